/**
 * Why a job failed, and the way on: to the node, to its log lines, to a larger instance.
 */

import { h, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { isPort } from '../store.mjs'

export class JobFailure {
  #store
  #message = h('p', { class: 'aws-error-text aws-message', testid: 'aws-job-message' })
  #advice = h('p', { class: 'aws-muted', testid: 'aws-job-advice' })
  #node
  #log
  #larger
  /** @type {Aws.Job | null} */
  #job = null

  /** @param {import('./panel.mjs').Parts} parts */
  constructor({ store, desk, fleet }) {
    this.#store = store
    /** @param {string} name @param {(job: Aws.Job) => void} act */
    const button = (name, act) => h('button', {
      type: 'button',
      class: 'aws-button aws-small',
      testid: `aws-job-${name}`,
      on: { click: () => this.#job && act(this.#job) },
    })
    this.#node = button('show-node', (job) => void desk.showNode(job))
    this.#log = button('failure-log', (job) => fleet.showLog(logOf(job)))
    this.#larger = button('larger', ({ template, facts }) =>
      fleet.advise({ template, instance_type: facts.error?.larger ?? '' }))
    setText(this.#log, t('jobs.log'))
    this.element = h('div', { class: 'aws-failure', hidden: true },
      this.#message, this.#advice, h('div', { class: 'aws-buttons' }, this.#node, this.#log, this.#larger))
  }

  /** @param {Aws.Job} job */
  draw(job) {
    this.#job = job
    this.element.hidden = job.state !== 'failed'
    if (job.state !== 'failed') return
    const { error } = job.facts
    setText(this.#message, job.message)
    this.#message.title = job.message
    const advice = error ? adviceOf(error) : ''
    setText(this.#advice, advice)
    this.#advice.hidden = advice === ''
    this.#node.hidden = !error?.node_id
    const title = error?.node_title || t('jobs.node', { id: error?.node_id ?? '' })
    setText(this.#node, t('jobs.showNode', { title }))
    const artist = isPort(this.#store.state)
    this.#log.hidden = artist
    this.#larger.hidden = artist || !error?.larger
    setText(this.#larger, t('jobs.createLarger', { type: error?.larger ?? '' }))
  }
}

/** @param {Aws.Job} job */
export function logOf({ id, endpoint, facts }) {
  // A job that no worker took left lines only here.
  return { source: endpoint && facts.started ? `endpoint:${endpoint}` : 'designer', job: id }
}

/** @param {Aws.JobError} error */
function adviceOf({ kind, hint, larger: type, larger_memory: memory }) {
  if (kind === 'node') return hint || t('jobs.error.node')
  if (kind === 'job') return hint
  const way = type ? t('jobs.error.larger', { type, memory }) : t('jobs.error.largest')
  return `${t(`jobs.error.${kind}`)} ${way}`
}
