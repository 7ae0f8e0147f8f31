/**
 * With canvas.mjs the only file that touches ComfyUI's page: its toasts, dialogs and websocket.
 */

/** @typedef {typeof import('../../../scripts/app.js').app} App */
/** @typedef {typeof import('../../../scripts/api.js').api} Api */

const TOAST_MS = 6000

/** Errors stay until they are closed or this long: they carry what to do next. */
const ERROR_TOAST_MS = 20_000

export class Comfy {
  #app
  #api

  /**
   * @param {App} app
   * @param {Api} api
   */
  constructor(app, api) {
    this.#app = app
    this.#api = api
  }

  /** The websocket client that this page is to ComfyUI; empty before it is connected. */
  get clientId() {
    return this.#api.clientId ?? ''
  }

  /** Who uses the page, where ComfyUI has several users. */
  get user() {
    return this.#api.user ?? ''
  }

  get locale() {
    return String(this.#manager.setting.get('Comfy.Locale') ?? 'en')
  }

  /** @returns {any} the type lacks half of what it has */
  get #manager() {
    return this.#app.extensionManager
  }

  /**
   * @param {string} route
   * @param {RequestInit} [options]
   */
  fetch(route, options) {
    return this.#api.fetchApi(route, options)
  }

  /**
   * @param {string} route
   * @returns {string} its address, for what the browser itself fetches
   */
  url(route) {
    return this.#api.apiURL(route)
  }

  /**
   * Send a file as a request's body; fetch does not tell how much of it has gone.
   *
   * @param {string} route
   * @param {Blob} file
   * @param {(done: number) => void} progress
   * @param {AbortSignal} signal
   * @returns {Promise<{ok: boolean, status: number, text: string}>}
   */
  upload(route, file, progress, signal) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest()
      request.open('POST', this.#api.apiURL(route))
      request.setRequestHeader('Content-Type', 'application/octet-stream')
      if (this.#api.user) request.setRequestHeader('Comfy-User', this.#api.user)
      request.upload.addEventListener('progress', ({ loaded }) => progress(loaded))
      request.addEventListener('load', () => {
        const { status, responseText: text } = request
        resolve({ ok: status >= 200 && status < 300, status, text })
      })
      const lost = () => reject(new TypeError('The connection was lost.'))
      for (const type of ['error', 'abort', 'timeout']) request.addEventListener(type, lost)
      signal.addEventListener('abort', () => request.abort())
      request.send(file)
    })
  }

  /** Let the nodes on the canvas offer the models that are there now. */
  async refreshChoices() {
    await this.#manager.command.execute('Comfy.RefreshNodeDefinitions')
  }

  /**
   * @param {`aws.${string}` | 'reconnected'} type
   * @param {(detail: any) => void} listener
   */
  on(type, listener) {
    this.#api.addEventListener(
      /** @type {`aws.${string}`} */ (type),
      (/** @type {CustomEvent} */ event) => listener(event.detail)
    )
  }

  /** @param {(locale: string) => void} listener */
  onLocale(listener) {
    // The event comes before the setting has its new value.
    this.#app.ui.settings.addEventListener('Comfy.Locale.change', (event) =>
      listener(String(/** @type {CustomEvent} */ (event).detail.value))
    )
  }

  /**
   * @param {'success' | 'info' | 'warn' | 'error'} severity
   * @param {string} summary
   * @param {string} [detail]
   */
  toast(severity, summary, detail) {
    const life = severity === 'error' || severity === 'warn' ? ERROR_TOAST_MS : TOAST_MS
    this.#manager.toast.add({ severity, summary, detail, life })
  }

  /**
   * Queue a prompt as it stands, whatever is on the canvas. Its extra_data says where it runs.
   *
   * @param {Record<string, any>} prompt
   * @param {string[]} outputs nodes to execute
   * @param {Record<string, any>} extraData
   * @returns {Promise<any>} ComfyUI's answer, `error` in it when it was refused
   */
  async queue(prompt, outputs, extraData) {
    const body = {
      client_id: this.clientId,
      prompt,
      partial_execution_targets: outputs.length > 0 ? outputs : undefined,
      extra_data: extraData,
    }
    const response = await this.fetch('/prompt', {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'Content-Type': 'application/json' },
    })
    return response.json()
  }

  /**
   * Ask before something is deleted.
   *
   * @param {string} title
   * @param {string} message
   * @returns {Promise<boolean>}
   */
  async confirmDelete(title, message) {
    return (await this.#manager.dialog.confirm({ title, message, type: 'delete' })) === true
  }

  /**
   * What is on the canvas.
   *
   * @returns {Promise<{workflow: object, prompt: object}>}
   */
  async graph() {
    const { workflow, output } = await this.#app.graphToPrompt()
    return { workflow, prompt: output }
  }
}
