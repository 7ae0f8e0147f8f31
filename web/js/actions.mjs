/**
 * What the user can do, and what the server tells: the only writer of the store.
 */

import { JOBS, problemOf } from './api.mjs'
import { t } from './i18n.mjs'
import {
  connected,
  idleMinutes,
  inTransition,
  isPort,
  routesAll,
  starting,
  takesJobs,
  target,
} from './store.mjs'

/** Events tell of most changes; SageMaker tells nobody, so a changing endpoint is looked at. */
const POLL_MS = 2000

/** One that rests may be woken or put to sleep by SageMaker itself. */
const POLL_AT_REST_MS = 15_000

/** More jobs than the panel shows of them. */
const KEPT_JOBS = 100

/** @typedef {'templates' | 'endpoints' | 'jobs'} ListKey */

export class Actions {
  #server
  #comfy
  #store
  #session
  #open = false
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  /** Endpoints that this tab made and whose end of creation it announces. */
  #announced = new Set()
  /** @type {Promise<void> | null} the question for the status that is under way */
  #asking = null

  /** Called when runs were turned to AWS and can go there. */
  onTurnedOn = () => {}

  /** Called with the name of a template that was deleted here. */
  onDeleted = (/** @type {string} */ _name) => {}

  /**
   * @param {object} parts
   * @param {import('./api.mjs').Server} parts.server
   * @param {import('./comfy.mjs').Comfy} parts.comfy
   * @param {import('./store.mjs').Store} parts.store
   * @param {import('./session.mjs').Session} parts.session
   */
  constructor({ server, comfy, store, session }) {
    this.#server = server
    this.#comfy = comfy
    this.#store = store
    this.#session = session
    const { on, template } = session.read()
    store.set({ on, template })
  }

  /** Listen to the server; once a page. */
  listen() {
    this.#comfy.on('aws.job', ({ job }) => this.#takeJob(job))
    this.#comfy.on('aws.endpoint', ({ endpoint }) => this.takeEndpoint(endpoint))
    this.#comfy.on('aws.idle', (idle) => this.#takeIdle(idle))
    this.#comfy.on('aws.publish', (publish) => {
      if (publish.state === 'done') void this.#load('templates')
    })
    this.#comfy.on('reconnected', () => void this.refresh())
  }

  /** The panel is shown: changing endpoints are watched. */
  async panelOpened() {
    this.#open = true
    await this.refresh()
  }

  panelClosed() {
    this.#open = false
    clearTimeout(this.#timer)
  }

  /** Ask for everything anew. */
  async refresh() {
    this.#store.set({ refreshing: true })
    await this.#askStatus()
    await this.#loadLists()
    this.#store.set({ refreshing: false })
  }

  /** Ask how ComfyUI is connected; of those who wait for the first answer, one asks. */
  askStatus() {
    this.#asking ??= this.#askStatus().finally(() => {
      this.#asking = null
    })
    return this.#asking
  }

  async #askStatus() {
    try {
      this.#store.set({ status: await this.#server.status(), statusProblem: null })
    } catch (error) {
      this.#store.set({ statusProblem: problemOf(error) })
    }
  }

  /** @param {ListKey} key */
  reload(key) {
    return this.#load(key)
  }

  /** @param {'start' | 'stop'} action */
  async stack(action) {
    if (this.#store.state.stackBusy) return
    this.#store.set({ stackBusy: action, stackProblem: null })
    try {
      const status = await this.#server.stack(action)
      this.#store.set({ status, statusProblem: null, stackBusy: '' })
      if (action === 'start') this.#comfy.toast('success', t('stack.started'))
    } catch (error) {
      this.#store.set({ stackBusy: '', stackProblem: problemOf(error) })
    }
    await this.#loadLists()
  }

  /** @param {boolean} on */
  async toggle(on) {
    if (routesAll(this.#store.state)) return
    this.#session.write({ on })
    this.#store.set({ on })
    if (!on) return
    await this.refresh()
    const { state } = this.#store
    if (!state.on) return
    if (connected(state) && this.#usable()) {
      this.onTurnedOn()
      return
    }
    const detail = connected(state) ? t('target.none.hint') : t('setup.notConnected.hint')
    this.#comfy.toast('warn', t('target.none'), detail)
  }

  /** @param {string} name the template that this tab's runs name; empty for none */
  choose(name) {
    this.#session.write({ template: name })
    this.#store.set({ template: name })
  }

  /** @param {string} name */
  async deleteTemplate(name) {
    if (isPort(this.#store.state)) return
    const sure = await this.#comfy.confirmDelete(
      t('templates.delete.title'),
      t('templates.delete.message', { name })
    )
    if (!sure) return
    try {
      await this.#server.deleteTemplate(name)
      this.onDeleted(name)
      if (this.#store.state.template === name) this.choose('')
    } catch (error) {
      this.#fail(t('templates.deleteFailed', { name }), error)
    }
    await this.#load('templates')
  }

  /**
   * @param {string} name a template
   * @param {string} endpoint empty for the default one
   */
  async assign(name, endpoint) {
    try {
      this.#takeTemplate(await this.#server.changeTemplate(name, { endpoint }))
    } catch (error) {
      this.#fail(t('templates.changeFailed', { name }), error)
      await this.#load('templates')
    }
  }

  /**
   * @param {Aws.EndpointRequest} request
   * @returns {Promise<Aws.Problem | null>} what kept it from being created
   */
  async createEndpoint(request) {
    if (this.#store.state.creating) return null
    this.#store.set({ creating: true })
    try {
      const endpoint = await this.#server.createEndpoint({ ...named(request), ...request })
      this.#announced.add(endpoint.name)
      this.takeEndpoint(endpoint)
      if (request.template) await this.#takeOver(request.template, endpoint.name)
      return null
    } catch (error) {
      return problemOf(error)
    } finally {
      this.#store.set({ creating: false })
    }
  }

  /** Create an endpoint with the defaults for the selected template. */
  async createForTarget() {
    const { template } = this.#store.state
    const problem = await this.createEndpoint(template ? { template } : {})
    if (problem) this.#comfy.toast('error', t('endpoints.createFailed'), told(problem))
  }

  /** @param {string} name */
  async deleteEndpoint(name) {
    const sure = await this.#comfy.confirmDelete(
      t('endpoints.delete.title'),
      t('endpoints.delete.message', { name })
    )
    if (!sure) return
    try {
      await this.#server.deleteEndpoint(name)
    } catch (error) {
      this.#fail(t('endpoints.deleteFailed', { name }), error)
    }
    await this.#load('endpoints')
  }

  /**
   * @param {string} id
   * @returns {Promise<boolean>} whether it was asked to stop
   */
  async cancelJob(id) {
    try {
      for (const job of this.#newest([await this.#server.cancelJob(id)])) this.#takeJob(job)
      return true
    } catch (error) {
      this.#fail(t('jobs.cancelFailed'), error)
      await this.#load('jobs')
      return false
    }
  }

  #usable() {
    const { endpoint } = target(this.#store.state)
    return Boolean(endpoint && takesJobs(endpoint))
  }

  /**
   * Let a new endpoint run its template where another one stands chosen that cannot.
   *
   * @param {string} template
   * @param {string} endpoint
   */
  async #takeOver(template, endpoint) {
    const before = target({ ...this.#store.state, template })
    const isStuck = before.chosen && (!before.endpoint || before.endpoint.status === 'Failed')
    if (isStuck && before.name !== endpoint) await this.assign(template, endpoint)
  }

  async #loadLists() {
    const { state } = this.#store
    if (!connected(state) || state.statusProblem) return
    /** @type {ListKey[]} */
    const lists = isPort(state) ? [] : ['endpoints']
    lists.push('templates', 'jobs')
    const loads = lists.map((key) => this.#load(key))
    if (!isPort(state)) loads.push(this.#loadInstanceTypes())
    await Promise.all(loads)
  }

  /** Once is enough: prices change a few times a year. */
  async #loadInstanceTypes() {
    if (this.#store.state.instanceTypes.length > 0) return
    try {
      this.#store.set({ instanceTypes: await this.#server.instanceTypes() })
    } catch {
      // Without prices everything works; the lists beside this one tell what is wrong.
    }
  }

  /** @param {ListKey} key */
  async #load(key) {
    const before = /** @type {Aws.Listing<any>} */ (this.#store.state[key])
    if (before.state !== 'ready') this.#store.set({ [key]: { ...before, state: 'loading' } })
    try {
      let items = await this.#server[key]()
      if (key === 'jobs') items = this.#withOlder(this.#newest(/** @type {Aws.Job[]} */ (items)))
      const listed = this.#store.state.status?.bucket ?? ''
      this.#store.set({ listed, [key]: { items, state: 'ready', problem: null } })
      if (key === 'endpoints') items.forEach((item) => this.#announce(/** @type {any} */ (item)))
    } catch (error) {
      const problem = problemOf(error)
      const { items } = /** @type {Aws.Listing<any>} */ (this.#store.state[key])
      // Said once for all lists, which stay as they are.
      if (problem.code === 'offline' && before.state === 'ready') this.#store.set({ statusProblem: problem })
      else this.#store.set({ [key]: { items, state: 'error', problem } })
    }
    this.#watchEndpoints()
  }

  /**
   * The jobs of an answer, as they are where an event has told of them meanwhile.
   *
   * @param {Aws.Job[]} answered
   */
  #newest(answered) {
    const known = new Map(this.#store.state.jobs.items.map((job) => [job.id, job]))
    return answered.map((job) => {
      const before = known.get(job.id)
      return before && before.updated > job.updated ? before : job
    })
  }

  /**
   * The latest jobs, and those older ones that the page has asked for before.
   *
   * @param {Aws.Job[]} latest
   */
  #withOlder(latest) {
    const last = latest.at(-1)?.created ?? 0
    const full = latest.length >= JOBS
    const older = full ? this.#store.state.jobs.items.filter(({ created }) => created < last) : []
    if (older.length === 0) this.#store.set({ olderJobs: full })
    return [...latest, ...older]
  }

  /** Look again while somebody sees the endpoints, soon where one is on its way. */
  #watchEndpoints() {
    clearTimeout(this.#timer)
    const { endpoints, jobs } = this.#store.state
    if (!this.#open || endpoints.items.length === 0) return
    const waiting = jobs.items.some(({ state }) => state === 'submitted')
    const moving = endpoints.items.some((item) => inTransition(item) || starting(item))
    const pause = moving || waiting ? POLL_MS : POLL_AT_REST_MS
    this.#timer = setTimeout(() => {
      if (document.visibilityState === 'visible') void this.#load('endpoints')
      else this.#watchEndpoints()
    }, pause)
  }

  /** @param {Aws.Job} job */
  #takeJob(job) {
    const { jobs } = this.#store.state
    const items = upserted(jobs.items, job, (item) => item.id)
    items.sort((a, b) => b.created - a.created)
    const kept = Math.max(KEPT_JOBS, jobs.items.length)
    this.#store.set({ jobs: { ...jobs, items: items.slice(0, kept) } })
    if (job.state === 'submitted') this.#watchEndpoints()
  }

  /** @param {Aws.Endpoint} endpoint */
  takeEndpoint(endpoint) {
    const { endpoints } = this.#store.state
    const items =
      endpoint.status === 'Deleted'
        ? endpoints.items.filter((item) => item.name !== endpoint.name)
        : upserted(endpoints.items, endpoint, (item) => item.name)
    this.#store.set({ endpoints: { ...endpoints, items } })
    this.#announce(endpoint)
    this.#watchEndpoints()
  }

  /** @param {{ endpoint: Aws.Endpoint, asleep: boolean }} idle an endpoint that was awake for nothing */
  #takeIdle({ endpoint, asleep }) {
    const { name } = endpoint
    this.takeEndpoint(endpoint)
    if (asleep) {
      this.#comfy.toast('info', t('endpoints.idle.asleep', { name }))
      return
    }
    const minutes = idleMinutes(endpoint)
    this.#comfy.toast('warn', t('endpoints.idle.title', { name }), t('endpoints.idle.hint', { minutes }))
  }

  /** @param {Aws.Template} template */
  #takeTemplate(template) {
    const { templates } = this.#store.state
    const items = upserted(templates.items, template, (item) => item.name)
    this.#store.set({ templates: { ...templates, items } })
  }

  /** @param {Aws.Endpoint} endpoint */
  #announce({ name, status, failure }) {
    if (!this.#announced.has(name)) return
    if (status === 'InService') {
      this.#comfy.toast('success', t('endpoints.ready', { name }))
    } else if (status === 'Failed') {
      this.#comfy.toast('error', t('endpoints.failed', { name }), failure)
    } else {
      return
    }
    this.#announced.delete(name)
  }

  /**
   * @param {string} summary
   * @param {unknown} error
   */
  #fail(summary, error) {
    this.#comfy.toast('error', summary, told(problemOf(error)))
  }
}

/**
 * A name where the server has nothing to derive one from.
 *
 * @param {Aws.EndpointRequest} request
 * @returns {Aws.EndpointRequest}
 */
function named({ name, template }) {
  return name || template ? {} : { name: `comfy-${Date.now().toString(36)}` }
}

/**
 * A problem in one text: what, what to do, and which nodes.
 *
 * @param {Aws.Problem} problem
 */
export function told({ message, hint, node_errors: nodeErrors }) {
  const lines = Object.entries(nodeErrors ?? {}).flatMap(([id, node]) =>
    (node.errors ?? []).map((error) =>
      t('error.node', { id, type: node.class_type ?? '', message: error.message ?? '' })
    )
  )
  return [message, ...lines, hint].filter(Boolean).join('\n')
}

/**
 * The list with `item` in place of the one of its key, else before all others: newest first.
 *
 * @template T
 * @param {readonly T[]} items
 * @param {T} item
 * @param {(item: T) => string} keyOf
 * @returns {T[]}
 */
function upserted(items, item, keyOf) {
  const key = keyOf(item)
  return items.some((other) => keyOf(other) === key)
    ? items.map((other) => (keyOf(other) === key ? item : other))
    : [item, ...items]
}
