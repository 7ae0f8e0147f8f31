/**
 * Says what runs on AWS cost, once for each endpoint and browser: when they are first sent there.
 */

import { duration, money } from './format.mjs'
import { t } from './i18n.mjs'
import { hourly, isPort, takesJobs, target } from './store.mjs'

const KEY = 'aws.costsTold'

/** Endpoints that are remembered. */
const MOST = 200

export class CostNotice {
  #store
  #comfy
  #storage
  /** Name of the endpoint that runs of this tab went to when it last looked. */
  #last = ''

  /**
   * @param {import('./store.mjs').Store} store
   * @param {import('./comfy.mjs').Comfy} comfy
   * @param {Storage} storage outlives the tab
   */
  constructor(store, comfy, storage) {
    this.#store = store
    this.#comfy = comfy
    this.#storage = storage
  }

  /** Tell also of an endpoint that is made or chosen later; once a page. */
  follow() {
    const look = (/** @type {Readonly<Aws.State>} */ state) => {
      const known = state.templates.state === 'ready' && state.endpoints.state === 'ready'
      const { name, endpoint } = target(state)
      if (!state.on || !known || !endpoint || !takesJobs(endpoint) || name === this.#last) return
      this.#last = name
      this.tell()
    }
    const forever = new AbortController().signal
    this.#store.watch(['on', 'template', 'templates', 'endpoints'], look, forever)
  }

  /** Tell of the endpoint that runs of this tab go to, unless this browser has been told. */
  tell() {
    const { state } = this.#store
    const { endpoint } = target(state)
    if (!endpoint || isPort(state)) return
    const key = `${state.status?.bucket ?? ''}/${endpoint.name}@${Math.round(endpoint.created)}`
    const known = this.#told()
    if (known.includes(key)) return
    this.#remember([key, ...known].slice(0, MOST))
    this.#comfy.toast('info', t('cost.title', { name: endpoint.name }), costs(state, endpoint))
  }

  /** @returns {string[]} */
  #told() {
    try {
      const stored = JSON.parse(this.#storage.getItem(KEY) ?? '[]')
      return Array.isArray(stored) ? stored.map(String) : []
    } catch {
      return []
    }
  }

  /** @param {string[]} keys */
  #remember(keys) {
    try {
      this.#storage.setItem(KEY, JSON.stringify(keys))
    } catch {
      // A full or forbidden storage: it is told again.
    }
  }
}

/**
 * What an endpoint costs and when it sleeps, in two sentences.
 *
 * @param {Readonly<Aws.State>} state
 * @param {Aws.Endpoint} endpoint
 */
export function costs(state, endpoint) {
  return [price(state, endpoint), sleep(endpoint)].join(' ')
}

/**
 * @param {Readonly<Aws.State>} state
 * @param {Aws.Endpoint} endpoint
 */
function price(state, endpoint) {
  const usd = hourly(state, endpoint)
  const type = endpoint.instance_type
  if (state.status?.target === 'local') {
    return usd === null ? t('cost.local') : t('cost.local.aws', { type, price: money(usd) })
  }
  return usd === null ? t('cost.unknown', { type }) : t('cost.hour', { type, price: money(usd) })
}

/** @param {Aws.Endpoint} endpoint */
function sleep({ min_instances: min, idle_seconds: idle }) {
  return min > 0 ? t('cost.never', { min }) : t('cost.sleep', { time: duration(idle) })
}
