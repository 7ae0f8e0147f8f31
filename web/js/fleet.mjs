/**
 * The endpoints as machines: woken, put to sleep, changed, and watched while they start.
 */

import { told } from './actions.mjs'
import { problemOf } from './api.mjs'
import { t } from './i18n.mjs'
import { starting } from './store.mjs'

const LOOK_MS = 1500

/** Lines of the log that are shown with a failure. */
const LAST_LINES = 8

export class Fleet {
  #server
  #comfy
  #store
  #actions

  /**
   * @param {object} parts
   * @param {import('./api.mjs').Server} parts.server
   * @param {import('./comfy.mjs').Comfy} parts.comfy
   * @param {import('./store.mjs').Store} parts.store
   * @param {import('./actions.mjs').Actions} parts.actions
   */
  constructor({ server, comfy, store, actions }) {
    this.#server = server
    this.#comfy = comfy
    this.#store = store
    this.#actions = actions
  }

  /**
   * Start an instance now, or stop all of them.
   *
   * @param {string} name
   * @param {'wake' | 'sleep'} action
   */
  async move(name, action) {
    try {
      this.#actions.takeEndpoint(await this.#server.moveEndpoint(name, action))
    } catch (error) {
      this.#comfy.toast('error', t(`endpoints.${action}Failed`, { name }), told(problemOf(error)))
      await this.#actions.reload('endpoints')
    }
  }

  /**
   * @param {string} name
   * @param {Aws.EndpointLimits} limits
   * @returns {Promise<Aws.Problem | null>} what kept it from being changed
   */
  async change(name, limits) {
    try {
      this.#actions.takeEndpoint(await this.#server.changeEndpoint(name, limits))
      return null
    } catch (error) {
      return problemOf(error)
    }
  }

  /**
   * The last lines of an endpoint's log.
   *
   * @param {string} name
   * @param {AbortSignal} signal
   */
  async lastLines(name, signal) {
    const wishes = { source: `endpoint:${name}`, last: String(LAST_LINES) }
    return (await this.#server.logs(wishes, signal)).lines
  }

  /** @param {Aws.State['log']} log that shall be shown; null when it is */
  showLog(log) {
    this.#store.set({ log })
  }

  /** @param {Aws.State['wish']} wish an endpoint that somebody may want to create */
  advise(wish) {
    this.#store.set({ wish })
  }

  /** @param {AbortSignal} signal until then somebody looks at the endpoints */
  watch(signal) {
    const look = async () => {
      if (signal.aborted) return
      if (document.visibilityState === 'visible') await this.#look()
      if (!signal.aborted) setTimeout(() => void look(), LOOK_MS)
    }
    void look()
  }

  async #look() {
    const { endpoints, starts } = this.#store.state
    const names = endpoints.items.filter(starting).map(({ name }) => name)
    if (names.length === 0 && Object.keys(starts).length === 0) return
    const found = await Promise.all(names.map((name) => this.#start(name)))
    this.#store.set({ starts: Object.fromEntries(found.flatMap((each) => (each ? [each] : []))) })
  }

  /**
   * @param {string} name
   * @returns {Promise<[string, Aws.State['starts'][string]] | null>}
   */
  async #start(name) {
    try {
      const start = await this.#server.endpointStart(name)
      return start && [name, { ...start, skew: start.now - Date.now() / 1000 }]
    } catch {
      // The endpoint went, or the line is down: the list tells.
      return null
    }
  }
}
