/**
 * The life of this tab's publish: from the name to the message at its end.
 *
 * The page is locked as long as `store.state.publish` is set. The tab's session remembers the
 * publish, so that a reload finds the lock again; the server is asked now and then, so that a
 * lost event cannot leave the page locked.
 */

import { told } from './actions.mjs'
import { problemOf, ServerError, spoken } from './api.mjs'
import { fingerprint, unmarked } from './canvas.mjs'
import { t } from './i18n.mjs'
import { target } from './store.mjs'

const LOOK_MS = 2000

/** Time without any answer after which the page is given back. */
const LOST_MS = 15_000

export class Publishing {
  #server
  #comfy
  #store
  #session
  #canvas
  #onStart
  #ready
  #answeredAt = 0
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  /** @type {(name: string, problem: Aws.Problem) => void} */
  #onConflict = () => {}
  #onDone

  /**
   * @param {object} parts
   * @param {import('./api.mjs').Server} parts.server
   * @param {import('./comfy.mjs').Comfy} parts.comfy
   * @param {import('./store.mjs').Store} parts.store
   * @param {import('./session.mjs').Session} parts.session
   * @param {import('./canvas.mjs').Canvas} parts.canvas
   * @param {Promise<unknown>} parts.ready what came of a publish can be told from then on
   * @param {() => Promise<void>} parts.onStart keeps what is on the canvas, or throws
   * @param {(name: string, version: number, print: string) => void} parts.onDone a template was
   *   published from this tab; `print` is the fingerprint of what was sent
   */
  constructor({ server, comfy, store, session, canvas, ready, onStart, onDone }) {
    this.#server = server
    this.#comfy = comfy
    this.#store = store
    this.#session = session
    this.#canvas = canvas
    this.#ready = ready
    this.#onStart = onStart
    this.#onDone = onDone
  }

  /** @param {(name: string, problem: Aws.Problem) => void} listener somebody else was faster */
  set onConflict(listener) {
    this.#onConflict = listener
  }

  /** Listen to the server; once a page. */
  listen() {
    this.#comfy.on('aws.publish', (publish) => this.#take(publish))
  }

  /** Lock the page at once that was locked before a reload. */
  lockAgain() {
    const id = this.#session.read().publish
    if (id) this.#lock(reconnecting(id))
  }

  /** Take up what a reload interrupted. */
  async resume() {
    const id = this.#session.read().publish
    try {
      const publishes = id ? [await this.#server.publishState(id)] : await this.#server.publishes()
      const own = publishes.find((publish) => publish.id === id || this.#isOurs(publish))
      if (own?.id === id) this.#take(own)
      else if (own) this.#lock(own)
    } catch (error) {
      if (error instanceof ServerError && error.status === 404) this.#release()
      else if (!id) problemOf(error)
    }
  }

  /**
   * Publish what is on the canvas.
   *
   * @param {string} name
   * @param {import('./views/name_dialog.mjs').Wish} wish
   * @returns {Promise<Aws.Problem | null>} why it did not start
   */
  async start(name, { newVersion, description, cover, parameters }) {
    try {
      this.#canvas.outline([])
      await this.#onStart()
      // Of the canvas: in what is sent, ComfyUI has made its choices from prompts like {a|b}.
      this.#session.write({ print: fingerprint(this.#canvas.workflow()) })
      const { workflow, prompt } = await this.#comfy.graph()
      const publish = await this.#server.publish({
        workflow: unmarked(workflow),
        prompt,
        name,
        new_version: newVersion,
        description,
        cover,
        ...(parameters && { parameters }),
        client_id: this.#comfy.clientId,
      })
      this.#lock(publish)
      // A small one may have ended before its id was known here, and its event with it.
      void this.#look()
      return null
    } catch (error) {
      return problemOf(error)
    }
  }

  /** @returns {Promise<Aws.Problem | null>} why it cannot be cancelled */
  async cancel() {
    const { publish } = this.#store.state
    if (!publish) return null
    try {
      await this.#server.cancelPublish(publish.id)
      return null
    } catch (error) {
      return problemOf(error)
    }
  }

  /** @param {Aws.Publish} publish */
  #isOurs({ state, client_id: client }) {
    return state === 'running' && client !== '' && client === this.#comfy.clientId
  }

  /** @param {Aws.Publish} publish */
  #lock(publish) {
    this.#session.write({ publish: publish.id })
    this.#store.set({ publish })
    this.#answeredAt = Date.now()
    this.#lookLater()
  }

  #release() {
    clearTimeout(this.#timer)
    this.#session.write({ publish: '' })
    this.#store.set({ publish: null })
  }

  /** @param {Aws.Publish} publish */
  #take(publish) {
    if (publish.id !== this.#store.state.publish?.id) return
    this.#answeredAt = Date.now()
    if (publish.state === 'running') {
      this.#store.set({ publish })
      return
    }
    void this.#end(publish)
  }

  /** @param {Aws.Publish} publish one that has ended */
  async #end(publish) {
    clearTimeout(this.#timer)
    await this.#ready
    // Its event and an answer may both tell of the end.
    if (publish.id !== this.#store.state.publish?.id) return
    const { print } = this.#session.read()
    this.#release()
    this.#tell(publish, print)
  }

  /**
   * @param {Aws.Publish} publish one that has ended
   * @param {string} print fingerprint of what was sent
   */
  #tell({ name, state, version, error, dropped }, print) {
    if (state === 'done') {
      this.#onDone(name, version ?? 1, print)
      const isUsable = target(this.#store.state).endpoint !== undefined
      const key = isUsable ? 'publish.version' : 'publish.version.noEndpoint'
      this.#comfy.toast('success', t('publish.done', { name }), t(key, { version: version ?? 1 }))
      if (dropped.length > 0) this.#tellDropped(name, dropped)
    } else if (state === 'cancelled') {
      this.#comfy.toast('info', t('publish.cancelled', { name }), t('publish.cancelled.hint'))
    } else if (error?.code === 'conflict') {
      this.#onConflict(name, spoken(error))
    } else {
      this.#canvas.outline(Object.keys(error?.node_errors ?? {}))
      this.#comfy.toast('error', t('publish.failed', { name }), error ? told(spoken(error)) : '')
    }
  }

  /**
   * @param {string} name of the template
   * @param {Aws.ChosenInput[]} dropped
   */
  #tellDropped(name, dropped) {
    const names = dropped.map(({ node, input, label }) => label || `${node}.${input}`).join(', ')
    this.#comfy.toast('warn', t('publish.dropped', { name }), t('publish.dropped.text', { names }))
  }

  #lookLater() {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#look(), LOOK_MS)
  }

  async #look() {
    const id = this.#store.state.publish?.id
    if (!id) return
    try {
      this.#take(await this.#server.publishState(id))
    } catch (error) {
      if (this.#isLost(error)) {
        this.#release()
        this.#comfy.toast('warn', t('publish.lost'), t('publish.lost.hint'))
      }
    }
    if (this.#store.state.publish) this.#lookLater()
  }

  /** @param {unknown} error */
  #isLost(error) {
    if (error instanceof ServerError && error.status === 404) return true
    return Date.now() - this.#answeredAt > LOST_MS
  }
}

/**
 * What is known of a publish right after a reload.
 *
 * @param {string} id
 * @returns {Aws.Publish}
 */
function reconnecting(id) {
  return {
    id, name: '', state: 'running', phase: 'reconnect', item: '', done: 0, total: 0,
    rate: null, seconds_left: null, version: null, error: null, client_id: '', dropped: [],
  }
}
