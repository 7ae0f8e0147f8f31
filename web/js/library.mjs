/**
 * The models of this machine and of the bucket, and those on their way.
 *
 * A state of its own beside the store's: only the models page looks at it, and it is loaded when
 * that page is shown.
 */

import { told } from './actions.mjs'
import { problemOf } from './api.mjs'
import { t } from './i18n.mjs'

/** Several files that arrive together refresh the canvas once. */
const REFRESH_MS = 600

/**
 * @typedef {object} LibraryState
 * @property {Aws.Listing<Aws.Model>} models
 * @property {Aws.ModelFolder[]} folders
 * @property {Aws.Problem | null} bucketProblem why the bucket's models are not among them
 * @property {Aws.Transfer[]} transfers newest first
 */

/** @typedef {{transfer: Aws.Transfer, file: File, abort: AbortController}} Upload */

export class Library extends EventTarget {
  #server
  #comfy
  /** @type {LibraryState} */
  #state = {
    models: { items: [], state: 'idle', problem: null },
    folders: [],
    bucketProblem: null,
    transfers: [],
  }
  /** Transfers that this tab started: it alone refreshes its canvas for them. */
  #own = new Set()
  /** @type {Map<string, Aws.FetchRequest>} by the ids of the transfers that this tab began from a URL */
  #fetches = new Map()
  /** @type {Map<string, Upload>} */
  #uploads = new Map()
  #uploading = false
  #loads = 0
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /**
   * @param {import('./api.mjs').Server} server
   * @param {import('./comfy.mjs').Comfy} comfy
   */
  constructor(server, comfy) {
    super()
    this.#server = server
    this.#comfy = comfy
  }

  /** @returns {Readonly<LibraryState>} */
  get state() {
    return this.#state
  }

  /** The models were asked for, and not all of them came. */
  get lacks() {
    return this.#state.models.state === 'error' || this.#state.bucketProblem !== null
  }

  /** Listen to the server; once a page. */
  listen() {
    this.#comfy.on('aws.model', ({ transfer }) => this.#hear(transfer))
    window.addEventListener('beforeunload', (event) => {
      // An upload ends with its page.
      if (this.#uploading) event.preventDefault()
    })
  }

  /**
   * Call `listener` now and with each change, until `signal` aborts.
   *
   * @param {(state: Readonly<LibraryState>) => void} listener
   * @param {AbortSignal} signal
   */
  watch(listener, signal) {
    this.addEventListener('change', () => listener(this.#state), { signal })
    listener(this.#state)
  }

  /** Ask for everything anew. */
  async load() {
    const mine = (this.#loads += 1)
    const { models } = this.#state
    if (models.state !== 'ready') this.#set({ models: { ...models, state: 'loading' } })
    try {
      const found = await this.#server.models()
      const transfers = await this.#server.transfers() // last: their events come meanwhile
      if (mine !== this.#loads) return // a newer answer is on its way
      const uploads = [...this.#uploads.values()].map(({ transfer }) => transfer)
      this.#set({
        models: { items: found.models, state: 'ready', problem: null },
        folders: found.folders,
        bucketProblem: found.problem,
        transfers: [...uploads, ...transfers].sort((a, b) => b.created - a.created),
      })
    } catch (error) {
      const problem = problemOf(error)
      if (mine !== this.#loads) return
      const { items } = this.#state.models
      this.#set({ models: { items, state: 'error', problem } })
    }
  }

  /**
   * @param {Aws.FetchRequest} request
   * @returns {Promise<Aws.Problem | null>} why it did not start
   */
  async fetchUrl(request) {
    try {
      const transfers = await this.#server.fetchModel(request)
      for (const { id } of transfers) this.#fetches.set(id, request)
      this.#started(transfers)
      return null
    } catch (error) {
      return problemOf(error)
    }
  }

  /**
   * Send models to the bucket, such as those that a preflight misses there, or fetch them.
   *
   * @param {'push' | 'pull'} direction
   * @param {Aws.ModelName[]} models
   */
  async move(direction, models) {
    try {
      this.#started(await this.#server.moveModels(direction, models))
    } catch (error) {
      this.#fail(t('models.moveFailed', { name: models[0]?.name ?? '' }), error)
    }
  }

  /**
   * Put files into a models folder, one after the other.
   *
   * @param {File[]} files
   * @param {string} folder
   */
  upload(files, folder) {
    for (const file of files) {
      const problem = this.#wrong(file.name, folder)
      /** @type {Aws.Transfer} */
      const transfer = {
        id: `upload-${crypto.getRandomValues(new Uint32Array(2)).join('-')}`,
        kind: 'upload', folder, name: file.name, state: problem ? 'failed' : 'waiting',
        phase: 'upload', done: 0, total: file.size, error: problem, source: '',
        created: Date.now() / 1000,
      }
      this.#uploads.set(transfer.id, { transfer, file, abort: new AbortController() })
      this.#take(transfer)
    }
    void this.#sendAll()
  }

  /**
   * Whether this page knows how to begin a transfer again that came to nothing.
   *
   * @param {Aws.Transfer} transfer
   */
  canRetry({ id, kind, state }) {
    if (state !== 'failed' && state !== 'cancelled') return false
    return this.#uploads.has(id) || this.#fetches.has(id) || kind === 'push' || kind === 'pull'
  }

  /**
   * Begin a transfer again that came to nothing, in place of it.
   *
   * @param {Aws.Transfer} transfer
   */
  async retry(transfer) {
    const { id, kind, folder, name } = transfer
    const file = this.#uploads.get(id)?.file
    const request = this.#fetches.get(id)
    await this.stop(transfer)
    if (file) {
      this.upload([file], folder)
    } else if (kind === 'push' || kind === 'pull') {
      await this.move(kind, [{ folder, name }])
    } else if (request) {
      const problem = await this.fetchUrl(request)
      if (problem) this.#comfy.toast('error', t('models.moveFailed', { name }), told(problem))
    }
  }

  /**
   * Cancel a transfer that is under way, dismiss one that has ended.
   *
   * @param {Aws.Transfer} transfer
   */
  async stop(transfer) {
    const ended = hasEnded(transfer)
    const upload = this.#uploads.get(transfer.id)
    if (upload) {
      upload.abort.abort()
      if (ended) this.#uploads.delete(transfer.id)
      else this.#change(upload, { state: 'cancelled' })
    } else {
      try {
        const stopped = await this.#server.stopTransfer(transfer.id)
        if (!ended) this.#take(stopped)
      } catch (error) {
        problemOf(error) // it is gone already
      }
    }
    if (!ended) return
    this.#drop(transfer.id)
    this.#fetches.delete(transfer.id)
  }

  /**
   * @param {Aws.ModelName} model
   * @returns {Promise<Aws.ModelUser[]>}
   */
  users(model) {
    return this.#server.modelUsers(model)
  }

  /**
   * @param {Aws.ModelName} model
   * @param {'here' | 'bucket'} place
   */
  async remove(model, place) {
    try {
      await this.#server.deleteModel(model, place)
      this.#refreshLater()
    } catch (error) {
      this.#fail(t('models.deleteFailed', { name: model.name }), error)
    }
    await this.load()
  }

  async #sendAll() {
    if (this.#uploading) return
    this.#uploading = true
    const waits = (/** @type {Upload} */ { transfer }) => transfer.state === 'waiting'
    let next
    while ((next = [...this.#uploads.values()].find(waits))) await this.#send(next)
    this.#uploading = false
  }

  /** @param {Upload} upload */
  async #send(upload) {
    const { file, abort, transfer } = upload
    this.#change(upload, { state: 'running' })
    const progress = (/** @type {number} */ done) => this.#change(upload, { done })
    try {
      await this.#server.uploadModel(transfer, file, progress, abort.signal)
      this.#change(upload, { state: 'done', done: file.size })
      this.#refreshLater()
      await this.load()
    } catch (error) {
      if (!abort.signal.aborted) this.#change(upload, { state: 'failed', error: problemOf(error) })
    }
  }

  /**
   * What the server would say only after the whole file.
   *
   * @param {string} name
   * @param {string} folder
   * @returns {Aws.Problem | null}
   */
  #wrong(name, folder) {
    const { folders, models } = this.#state
    const suffixes = folders.find((each) => each.name === folder)?.suffixes ?? []
    const code = 'invalid_name'
    if (!suffixes.some((suffix) => name.toLowerCase().endsWith(suffix))) {
      const message = t('models.drop.wrong', { folder, suffixes: suffixes.join(', ') })
      return { code, message, hint: '' }
    }
    const taken = models.items.some((m) => m.here && m.folder === folder && m.name === name)
    const hint = t('models.drop.taken.hint')
    return taken ? { code, message: t('models.drop.taken'), hint } : null
  }

  /** @param {Aws.Transfer[]} transfers */
  #started(transfers) {
    for (const transfer of transfers) {
      this.#own.add(transfer.id)
      const known = this.#state.transfers.find(({ id }) => id === transfer.id)
      // A small one may have ended before its id was known here.
      if (known) this.#hear(known)
      else this.#take(transfer)
    }
  }

  /** @param {Aws.Transfer | null} transfer null when models came or went otherwise */
  #hear(transfer) {
    if (transfer) this.#take(transfer)
    if (transfer && transfer.state !== 'done') return
    if (transfer && transfer.kind !== 'push' && this.#own.has(transfer.id)) this.#refreshLater()
    if (this.#state.models.state !== 'idle') void this.load()
  }

  /**
   * @param {Upload} upload
   * @param {Partial<Aws.Transfer>} changes
   */
  #change(upload, changes) {
    if (hasEnded(upload.transfer)) return
    upload.transfer = { ...upload.transfer, ...changes }
    this.#take(upload.transfer)
  }

  /** @param {Aws.Transfer} transfer */
  #take(transfer) {
    const { transfers } = this.#state
    const known = transfers.some(({ id }) => id === transfer.id)
    this.#set({
      transfers: known
        ? transfers.map((each) => (each.id === transfer.id ? transfer : each))
        : [transfer, ...transfers],
    })
  }

  /** @param {string} id of a transfer */
  #drop(id) {
    this.#set({ transfers: this.#state.transfers.filter((each) => each.id !== id) })
  }

  #refreshLater() {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#comfy.refreshChoices(), REFRESH_MS)
  }

  /** @param {Partial<LibraryState>} changes */
  #set(changes) {
    this.#state = { ...this.#state, ...changes }
    this.dispatchEvent(new Event('change'))
  }

  /**
   * @param {string} summary
   * @param {unknown} error
   */
  #fail(summary, error) {
    const { message, hint } = problemOf(error)
    this.#comfy.toast('error', summary, [message, hint].filter(Boolean).join('\n'))
  }
}

/** @param {Aws.Transfer} transfer */
export function hasEnded({ state }) {
  return state === 'done' || state === 'failed' || state === 'cancelled'
}
