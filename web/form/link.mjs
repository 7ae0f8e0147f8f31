/**
 * The way to the ComfyUI that serves this page: its routes and its websocket.
 */

/** Seconds before each further try to connect; the last one stays. */
const PAUSES = [0.5, 1, 2, 5, 10]

const PREVIEW = 1
const KEY = 'aws.form.client'

/** Where ComfyUI's page keeps which of its users is at work, if it has several. */
const USER = 'Comfy.userId'

/** /extensions/NAME/form/link.mjs is three folders below ComfyUI's own root. */
const ROOT = new URL('../../../', import.meta.url)

/**
 * Events: `message` with detail `{type, data}`, `preview` with a Blob, `online` with a boolean.
 */
export class Link extends EventTarget {
  clientId = rememberedId()
  #tries = 0

  /**
   * @param {string} route
   * @param {RequestInit} [options]
   */
  fetch(route, options = {}) {
    const headers = new Headers(options.headers)
    const user = userAtWork()
    if (user) headers.set('Comfy-User', user)
    return fetch(new URL(`api${route}`, ROOT), { ...options, headers })
  }

  /**
   * @param {string} route
   * @param {Record<string, string>} query
   */
  url(route, query) {
    return new URL(`api${route}?${new URLSearchParams(query)}`, ROOT).href
  }

  connect() {
    const url = new URL(`ws?clientId=${this.clientId}`, ROOT)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url)
    socket.binaryType = 'arraybuffer'
    socket.addEventListener('open', () => {
      this.#tries = 0
      const flags = { type: 'feature_flags', data: { supports_preview_metadata: false } }
      socket.send(JSON.stringify(flags))
      this.#say('online', true)
    })
    socket.addEventListener('message', ({ data }) => this.#hear(data))
    socket.addEventListener('close', () => {
      this.#say('online', false)
      const pause = PAUSES[Math.min(this.#tries, PAUSES.length - 1)] ?? 1
      this.#tries += 1
      setTimeout(() => this.connect(), pause * 1000)
    })
  }

  /** @param {string | ArrayBuffer} frame */
  #hear(frame) {
    if (typeof frame === 'string') {
      this.#say('message', JSON.parse(frame))
      return
    }
    const view = new DataView(frame)
    if (view.getUint32(0) !== PREVIEW) return
    const type = view.getUint32(4) === 2 ? 'image/png' : 'image/jpeg'
    this.#say('preview', new Blob([frame.slice(8)], { type }))
  }

  /**
   * @param {string} type
   * @param {unknown} detail
   */
  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }))
  }
}

/** Empty where ComfyUI has one user. */
function userAtWork() {
  try {
    return localStorage.getItem(USER) ?? ''
  } catch {
    return ''
  }
}

/** The same after a reload, so that a run that goes on is seen again. */
function rememberedId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  const fresh = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  try {
    const known = sessionStorage.getItem(KEY) ?? fresh
    sessionStorage.setItem(KEY, known)
    return known
  } catch {
    return fresh
  }
}
