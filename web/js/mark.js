/**
 * Marks the prompts that this tab sends to AWS, and holds prompts back while the page is locked.
 *
 * ComfyUI has no hook for a prompt's extra_data, so `api.fetchApi` is wrapped for POST /prompt
 * alone: Run, its shortcuts, batches, partial execution and auto-queue all pass there.
 */

import { t } from './i18n.js'

/** @typedef {{template: string} | null} Mark null: runs here */

export class PromptMarker {
  #mark
  #locked

  /**
   * @param {() => Mark} mark
   * @param {() => boolean} locked
   */
  constructor(mark, locked) {
    this.#mark = mark
    this.#locked = locked
  }

  /** @param {{fetchApi: (route: string, options?: RequestInit) => Promise<Response>}} api */
  wrap(api) {
    const original = api.fetchApi
    const marker = this
    api.fetchApi = function fetchApi(route, options) {
      const send = (/** @type {RequestInit | undefined} */ sent) =>
        original.call(this, route, sent)
      if (route !== '/prompt' || options?.method !== 'POST') return send(options)
      return marker.#prompt(options, send)
    }
  }

  /**
   * @param {RequestInit} options
   * @param {(options: RequestInit) => Promise<Response>} send
   */
  async #prompt(options, send) {
    if (this.#locked()) return refused()
    const mark = this.#mark()
    const body = typeof options.body === 'string' ? parsed(options.body) : null
    // A job that is run again says itself where it goes.
    if (!mark || !body || body.extra_data?.aws) return send(options)
    body.extra_data = { ...body.extra_data, aws: mark }
    return send({ ...options, body: JSON.stringify(body) })
  }
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** ComfyUI's own shape of a refusal, so that its page shows the reason. */
function refused() {
  const error = { type: 'aws_locked', message: t('lock.noRun'), details: '', extra_info: {} }
  return new Response(JSON.stringify({ error, node_errors: {} }), {
    status: 409,
    headers: { 'Content-Type': 'application/json' },
  })
}
