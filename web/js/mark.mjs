/**
 * Marks the prompts that this tab sends to AWS, and holds prompts back while the page is locked.
 */

/** @typedef {{template: string} | null} Mark null: runs here */

/**
 * Send a prompt on its way.
 *
 * @param {RequestInit} options of the request
 * @param {Mark} mark
 * @param {(options: RequestInit) => Promise<Response>} send
 */
export function sendMarked(options, mark, send) {
  const body = typeof options.body === 'string' ? parsed(options.body) : null
  // A job that is run again says itself where it goes.
  if (!mark || !body || body.extra_data?.aws) return send(options)
  body.extra_data = { ...body.extra_data, aws: mark }
  return send({ ...options, body: JSON.stringify(body) })
}

/**
 * The answer to a prompt that is held back, in ComfyUI's own shape, so that its page shows why.
 *
 * @param {string} message
 */
export function refused(message) {
  const error = { type: 'aws_locked', message, details: '', extra_info: {} }
  return new Response(JSON.stringify({ error, node_errors: {} }), {
    status: 409,
    headers: { 'Content-Type': 'application/json' },
  })
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
