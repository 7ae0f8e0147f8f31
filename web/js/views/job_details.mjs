/**
 * What is known of a job beside its state, and what can be done with it.
 */

import { h, setText } from '../dom.mjs'
import { elapsed, listed, moment, money, precise } from '../format.mjs'
import { named, t } from '../i18n.mjs'
import { ended, isPort } from '../store.mjs'
import { logOf } from './job_failure.mjs'

/** Client of the jobs that programs order. */
const PROGRAM = 'program'

/** Seconds; a shorter phase is not worth its words. */
const WORTH = 0.05

const FACTS = /** @type {const} */ (['took', 'cost', 'endpoint', 'sent', 'phases'])

export class JobDetails {
  #store
  /** @type {Record<string, HTMLElement>} */
  #facts = {}
  #buttons
  #job

  /**
   * @param {Aws.Job} job
   * @param {import('./panel.mjs').Parts} parts
   */
  constructor(job, { store, desk, fleet }) {
    this.#store = store
    this.#job = job
    /** @param {'again' | 'load' | 'show' | 'log'} name @param {() => unknown} act */
    const button = (name, act) => h('button', {
      type: 'button',
      class: 'aws-button aws-small',
      testid: `aws-job-${name}`,
      on: { click: () => void this.#busy(name, act) },
    }, t(`jobs.${name}`))
    this.#buttons = {
      again: button('again', () => desk.again(this.#job)),
      load: button('load', () => desk.load(this.#job)),
      show: button('show', () => desk.show(this.#job)),
      log: button('log', () => fleet.showLog(logOf(this.#job))),
    }
    const facts = FACTS.flatMap((name) => {
      this.#facts[name] = h('dd', { testid: `aws-job-fact-${name}` })
      return [h('dt', {}, t(`jobs.${name}`)), this.#facts[name]]
    })
    this.element = h('div',
      { id: `aws-job-details-${job.id}`, class: 'aws-details', hidden: true, testid: 'aws-job-details' },
      h('dl', { class: 'aws-facts aws-plain' }, ...facts),
      h('div', { class: 'aws-buttons' }, ...Object.values(this.#buttons)))
  }

  /** @param {Aws.Job} job */
  draw(job) {
    this.#job = job
    const { state } = this.#store
    const values = {
      took: took(job),
      cost: cost(job, state.status?.target === 'local'),
      endpoint: [job.endpoint, job.facts.instance_type].filter(Boolean).join(' · ') || '–',
      sent: moment(job.created),
      phases: phases(job) || '–',
    }
    for (const name of FACTS) setText(/** @type {HTMLElement} */ (this.#facts[name]), values[name])
    const { show, again, load, log } = this.#buttons
    // What a program has ordered is drawn on no canvas.
    show.hidden = ended(job) || job.state === 'preparing' || job.client_id === PROGRAM
    // Before it is sent, nobody but this ComfyUI's memory has it.
    again.hidden = load.hidden = job.state === 'preparing'
    log.hidden = isPort(state) || job.state === 'failed' // which has one above
  }

  /**
   * @param {'again' | 'load' | 'show' | 'log'} name
   * @param {() => unknown} act
   */
  async #busy(name, act) {
    const button = this.#buttons[name]
    if (button.getAttribute('aria-busy') === 'true') return
    button.setAttribute('aria-busy', 'true')
    await act()
    button.removeAttribute('aria-busy')
  }
}

/** @param {Aws.Job} job */
function took(job) {
  if (ended(job)) return precise(job.updated - job.created)
  return t('jobs.took.so', { time: elapsed(Date.now() / 1000 - job.created) })
}

/**
 * @param {Aws.Job} job
 * @param {boolean} isLocal
 */
function cost({ state, price, cost: known, facts }, isLocal) {
  const isRunning = state === 'running' && facts.started > 0
  const seconds = isRunning ? Math.max(0, Date.now() / 1000 - facts.started) : 0
  const usd = known ?? (isRunning && price !== null ? (price * seconds) / 3600 : null)
  if (usd === null) return t('jobs.cost.unknown')
  return t(isLocal ? 'jobs.cost.local' : 'jobs.cost.about', { cost: money(usd) })
}

/** @param {Aws.Job} job */
function phases(job) {
  const over = Object.entries(job.facts.timings).filter(([, seconds]) => seconds >= WORTH)
  /** @type {[string, number][]} */
  const now = job.since && !ended(job)
    ? [[job.phase?.phase ?? 'run', Math.max(0, Date.now() / 1000 - job.since)]]
    : []
  return listed([...over, ...now].map(([name, seconds]) =>
    t('jobs.phase', { phase: named('phase', name), time: precise(seconds) })))
}
