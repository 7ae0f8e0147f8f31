/**
 * The page's state. Views read it and are told which keys changed; only actions write it.
 */

/** @typedef {keyof Aws.State} StateKey */

/**
 * @template T
 * @returns {Aws.Listing<T>}
 */
const empty = () => ({ items: [], state: 'idle', problem: null })

export class Store extends EventTarget {
  /** @type {Aws.State} */
  #state = {
    status: null,
    statusProblem: null,
    refreshing: false,
    listed: '',
    stackBusy: '',
    stackProblem: null,
    templates: empty(),
    endpoints: empty(),
    jobs: empty(),
    olderJobs: false,
    instanceTypes: [],
    starts: {},
    wish: null,
    log: null,
    opening: '',
    creating: false,
    on: false,
    template: '',
    publish: null,
    draft: null,
    draftProblem: null,
  }

  /** @returns {Readonly<Aws.State>} */
  get state() {
    return this.#state
  }

  /** @param {Partial<Aws.State>} changes */
  set(changes) {
    const keys = /** @type {StateKey[]} */ (Object.keys(changes))
    const changed = keys.filter((key) => this.#state[key] !== changes[key])
    if (changed.length === 0) return
    this.#state = { ...this.#state, ...changes }
    this.dispatchEvent(new CustomEvent('change', { detail: changed }))
  }

  /**
   * Call `listener` now and whenever one of `keys` changes, until `signal` aborts.
   *
   * @param {StateKey[]} keys
   * @param {(state: Readonly<Aws.State>) => void} listener
   * @param {AbortSignal} signal
   */
  watch(keys, listener, signal) {
    this.addEventListener(
      'change',
      (event) => {
        const changed = /** @type {CustomEvent<StateKey[]>} */ (event).detail
        if (changed.some((key) => keys.includes(key))) listener(this.#state)
      },
      { signal }
    )
    listener(this.#state)
  }
}

/** This ComfyUI is an inference port, for artists: it runs templates and changes nothing. */
export const isPort = (/** @type {Readonly<Aws.State>} */ state) =>
  state.status?.role === 'inference'

/** Every prompt of this ComfyUI goes to AWS, whatever the tab says. */
export const routesAll = (/** @type {Readonly<Aws.State>} */ state) =>
  Boolean(state.status?.route) || isPort(state)

/** AWS is configured and answers. */
export const connected = (/** @type {Readonly<Aws.State>} */ state) =>
  Boolean(state.status?.configured && !state.status.problem)

/** Why the server or AWS cannot be asked; null when it can, or when there is nothing to ask. */
export const problemOfStatus = (/** @type {Readonly<Aws.State>} */ { status, statusProblem }) =>
  statusProblem ?? (status?.configured ? (status.problem ?? null) : null)

/** The local stack is what AWS is here, and it does not run. */
export const isStopped = (/** @type {Readonly<Aws.State>} */ { status }) =>
  status?.target === 'local' && !status.stack.running

/** The lists can be shown: as they are, or as they last were while nothing answers. */
export const showsLists = (/** @type {Readonly<Aws.State>} */ state) =>
  problemOfStatus(state)
    ? !isStopped(state) && state.listed !== '' && state.listed === state.status?.bucket
    : connected(state)

/** Something does not answer that may do so later. */
export const troubled = (/** @type {Readonly<Aws.State>} */ state) =>
  problemOfStatus(state) !== null ||
  [state.templates, state.endpoints, state.jobs].some((list) => list.state === 'error')

/** @type {ReadonlySet<Aws.EndpointStatus>} */
const TAKES_JOBS = new Set(['InService', 'Updating', 'SystemUpdating', 'RollingBack'])

/** @type {ReadonlySet<Aws.EndpointStatus>} */
const IN_TRANSITION = new Set([
  'Creating',
  'Updating',
  'SystemUpdating',
  'RollingBack',
  'Deleting',
])

export const takesJobs = (/** @type {Aws.Endpoint} */ endpoint) => TAKES_JOBS.has(endpoint.status)

export const inTransition = (/** @type {Aws.Endpoint} */ endpoint) =>
  IN_TRANSITION.has(endpoint.status)

/** Minutes without a run that are worth a word: sooner it is about to be used again, or to sleep. */
const IDLE_MINUTES = 15

/**
 * How many minutes an endpoint has been awake without a run; 0 when it is not worth a word.
 *
 * @param {Aws.Endpoint} endpoint
 */
export function idleMinutes({ idle_since: since }) {
  const minutes = since ? Math.floor((Date.now() / 1000 - since) / 60) : 0
  return minutes < IDLE_MINUTES ? 0 : minutes
}

/** An instance of it is on its way. */
export const starting = (/** @type {Aws.Endpoint} */ endpoint) =>
  endpoint.status === 'Creating' ||
  (takesJobs(endpoint) && endpoint.instances < endpoint.desired_instances)

/** It has no instance and waits for work. */
export const asleep = (/** @type {Aws.Endpoint} */ endpoint) =>
  takesJobs(endpoint) && endpoint.instances === 0 && endpoint.desired_instances === 0

/**
 * What one instance of an endpoint costs.
 *
 * @param {Readonly<Aws.State>} state
 * @param {Aws.Endpoint} endpoint
 * @returns {number | null} USD an hour; null when it is not known
 */
export function hourly({ instanceTypes }, endpoint) {
  return instanceTypes.find(({ name }) => name === endpoint.instance_type)?.price ?? null
}

/** @type {ReadonlySet<Aws.JobState>} */
const ENDED = new Set(['succeeded', 'failed', 'cancelled'])

export const ended = (/** @type {Aws.Job} */ job) => ENDED.has(job.state)

/**
 * Where this tab's next run goes: the endpoint chosen for the selected template, else the
 * server's default, else one that takes jobs, best the template's own. The server decides by the
 * same order when a prompt comes.
 *
 * @param {Readonly<Aws.State>} state
 * @returns {{name: string, endpoint: Aws.Endpoint | undefined, chosen: boolean}} `name` is empty
 *   when there is none; `chosen`: by a person
 */
export function target({ templates, template, endpoints, status }) {
  const own = templates.items.find((item) => item.name === template)?.endpoint
  const chosen = own || status?.endpoint || ''
  if (chosen) {
    const endpoint = endpoints.items.find((item) => item.name === chosen)
    return { name: chosen, endpoint, chosen: true }
  }
  const worth = (/** @type {Aws.Endpoint} */ item) =>
    (takesJobs(item) ? 4 : 0) + (item.status === 'Creating' ? 2 : 0) +
    (item.template === template ? 1 : 0)
  const [best] = [...endpoints.items].sort((a, b) => worth(b) - worth(a))
  const endpoint = best && worth(best) > 1 ? best : undefined
  return { name: endpoint?.name ?? '', endpoint, chosen: false }
}
