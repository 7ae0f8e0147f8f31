/**
 * One job: how it stands, what it gave, why it failed, and what can be done with it.
 */

import { h, icon, iconButton, ProgressBar, setText } from '../dom.mjs'
import { ago, bytes, elapsed } from '../format.mjs'
import { named, t } from '../i18n.mjs'
import { ended } from '../store.mjs'
import { JobDetails } from './job_details.mjs'
import { JobFailure } from './job_failure.mjs'
import { JobResults } from './job_results.mjs'

/** @type {Record<Aws.JobState, string>} */
const ICONS = {
  preparing: 'pi-clock',
  submitted: 'pi-clock',
  running: 'pi-play',
  succeeded: 'pi-check-circle',
  failed: 'pi-times-circle',
  cancelled: 'pi-ban',
}

/** Phases of a job that no machine has taken yet. */
const QUEUED = new Set(['queued', 'requeued'])

export class JobRow {
  #store
  #mark = icon('pi-clock')
  #main
  #state = h('span', { testid: 'aws-job-state' })
  #time = h('span', { class: 'aws-row-meta aws-number', testid: 'aws-job-time' })
  #cancel
  #bar
  #now = h('span', { class: 'aws-row-meta aws-ellipsis', testid: 'aws-job-node' })
  #count = h('span', { class: 'aws-row-meta aws-number' })
  #progress
  #results
  #failure
  #details

  /**
   * @param {Aws.Job} first
   * @param {import('./panel.mjs').Parts} parts
   */
  constructor(first, parts) {
    const { store, desk } = parts
    const name = nameOf(first)
    this.#store = store
    this.#bar = new ProgressBar(t('jobs.progress', { name }), 'aws-job-progress')
    this.#progress = h('div', { class: 'aws-job-progress' },
      this.#bar.element, h('div', { class: 'aws-split' }, this.#now, this.#count))
    this.#results = new JobResults(name, desk)
    this.#failure = new JobFailure(parts)
    this.#details = new JobDetails(first, parts)
    this.#main = h('button', {
      type: 'button',
      class: 'aws-disclose',
      'aria-expanded': 'false',
      'aria-controls': this.#details.element.id,
      testid: 'aws-job-more',
      on: { click: () => this.#open(this.#details.element.hidden) },
    }, this.#mark, h('span', { class: 'aws-ellipsis' }, name), this.#state)
    this.#cancel = iconButton('pi-times', t('jobs.cancel', { name }), {
      testid: 'aws-job-cancel',
      on: {
        click: () => void this.#stop(first.id, desk),
      },
    })
    this.element = h(
      'li',
      { class: 'aws-row aws-block aws-job', testid: 'aws-job', 'data-id': first.id },
      h('div', { class: 'aws-row-body' },
        h('div', { class: 'aws-split' }, this.#main, this.#time, this.#cancel),
        this.#progress, this.#results.element, this.#failure.element, this.#details.element)
    )
  }

  /** @param {Aws.Job} job */
  update = (job) => {
    const over = ended(job)
    this.element.dataset.state = job.state
    this.#mark.className = `pi ${ICONS[job.state]}`
    setText(this.#state, named('job', job.state))
    setText(this.#time, over ? ago(job.updated) : elapsed(Date.now() / 1000 - job.created))
    this.#progress.hidden = over
    if (over) this.#dropCancel()
    else this.#drawProgress(job)
    this.#results.draw(job)
    this.#failure.draw(job)
    this.#details.draw(job)
  }

  /**
   * @param {string} id
   * @param {import('../job_desk.mjs').JobDesk} desk
   */
  async #stop(id, desk) {
    this.#cancel.disabled = true
    this.#cancel.disabled = await desk.cancel(id) // asked once is enough
  }

  /** What is over cannot be cancelled; who was about to is left at the job. */
  #dropCancel() {
    if (document.activeElement === this.#cancel) this.#main.focus()
    this.#cancel.remove()
  }

  /** @param {boolean} open */
  #open(open) {
    this.#details.element.hidden = !open
    this.#main.setAttribute('aria-expanded', String(open))
  }

  /** @param {Aws.Job} job */
  #drawProgress(job) {
    const now = nowOf(job, this.#store.state)
    const { nodes_done: done, nodes_total: total } = job
    setText(this.#now, now)
    this.#now.title = now
    setText(this.#count, total && !job.phase ? t('jobs.nodes', { done, total }) : '')
    this.#bar.set(fraction(job))
  }
}

/** @param {Aws.Job} job */
export function nameOf(job) {
  return job.template || t('jobs.canvas')
}

/**
 * What happens now, in words.
 *
 * @param {Aws.Job} job
 * @param {Readonly<Aws.State>} state
 */
function nowOf({ phase, progress, endpoint }, { starts }) {
  if (progress) {
    const title = progress.title || t('jobs.node', { id: progress.node })
    return progress.max > 1 ? `${title} ${progress.value}/${progress.max}` : title
  }
  return phase ? waitingFor(phase, starts[endpoint]) : ''
}

/**
 * @param {NonNullable<Aws.Job['phase']>} phase
 * @param {Aws.Start | undefined} start of its endpoint
 */
function waitingFor({ phase, message, done, total }, start) {
  const name = named('phase', phase)
  const step = start?.phases.filter(({ began, ended: over }) => began && !over).at(-1)
  if (QUEUED.has(phase)) return step ? t('phase.item', { phase: name, item: stepOf(step) }) : name
  if (name === phase) return message || name
  if (total > 0) return t('phase.item', { phase: name, item: part(done, total) })
  // A message that only says the phase in other words adds nothing.
  const adds = message && !message.startsWith(name)
  return adds ? t('phase.item', { phase: name, item: message }) : name
}

/**
 * @param {number} done bytes
 * @param {number} total
 */
function part(done, total) {
  return t('start.bytes', { done: bytes(done), total: bytes(total) })
}

/** @param {Aws.StartPhase} phase of its endpoint's start */
function stepOf({ name, done, total }) {
  return [named('start', name), total ? part(done, total) : ''].filter(Boolean).join(' ')
}

/**
 * How much of a job is done; null while nobody knows.
 *
 * @param {Aws.Job} job
 */
function fraction({ state, phase, progress, nodes_done: done, nodes_total: total }) {
  if (phase) return phase.total > 0 ? phase.done / phase.total : null
  if (state !== 'running' || !total) return null
  const share = progress && progress.max > 0 ? progress.value / progress.max : 0
  return Math.min(1, (done + Math.min(share, 0.99)) / total)
}
