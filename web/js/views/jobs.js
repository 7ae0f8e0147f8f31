/**
 * The forwarded executions: the live ones with their progress, the last ended ones.
 */

import { h, icon, iconButton, KeyedRows, ProgressBar, setText } from '../dom.js'
import { ago, moment } from '../format.js'
import { named, t } from '../i18n.js'
import { ended } from '../store.js'
import { Section } from './section.js'

/** Older ones are in ComfyUI's own history. */
const SHOWN_ENDED = 5

/** @type {Partial<Record<Aws.JobState, string>>} */
const ICONS = {
  succeeded: 'pi-check-circle',
  failed: 'pi-times-circle',
  cancelled: 'pi-ban',
}

/** @typedef {(promptId: string, nodeId: string) => string | undefined} TitleOf */

export class Jobs {
  #actions
  #titleOf
  #section
  #live = h('ul', { class: 'aws-list', 'aria-labelledby': 'aws-jobs-title', testid: 'aws-job-list' })
  #past = h('ul', { class: 'aws-list', 'aria-labelledby': 'aws-jobs-ended', testid: 'aws-ended-list' })
  #pastTitle = h('h4', { id: 'aws-jobs-ended' }, t('jobs.ended'))
  /** @type {KeyedRows<Aws.Job>} */
  #liveRows
  /** @type {KeyedRows<Aws.Job>} */
  #pastRows

  /**
   * @param {import('../store.js').Store} store
   * @param {import('../actions.js').Actions} actions
   * @param {TitleOf} titleOf a node's title in a job
   * @param {AbortSignal} signal
   */
  constructor(store, actions, titleOf, signal) {
    this.#actions = actions
    this.#titleOf = titleOf
    this.#liveRows = new KeyedRows(this.#live, (job) => job.id, (job) => this.#liveRow(job))
    this.#pastRows = new KeyedRows(this.#past, (job) => job.id, (job) => pastRow(job))
    this.#section = new Section({
      name: 'jobs',
      title: t('jobs.title'),
      empty: t('jobs.empty'),
      emptyHint: t('jobs.empty.hint'),
      retry: () => void actions.reload('jobs'),
      tools: [],
      body: [this.#live, this.#pastTitle, this.#past],
    })
    this.element = this.#section.element
    store.watch(['jobs'], ({ jobs }) => this.#draw(jobs), signal)
  }

  /** @param {Aws.Listing<Aws.Job>} jobs */
  #draw(jobs) {
    this.#section.draw(jobs)
    const live = jobs.items.filter((job) => !ended(job))
    const past = jobs.items.filter(ended).slice(0, SHOWN_ENDED)
    this.#live.hidden = live.length === 0
    this.#past.hidden = past.length === 0
    this.#pastTitle.hidden = past.length === 0
    this.#liveRows.update(live)
    this.#pastRows.update(past)
  }

  /** @param {Aws.Job} first */
  #liveRow(first) {
    const name = nameOf(first)
    const state = h('span', { class: 'aws-row-meta', testid: 'aws-job-state' })
    const now = h('span', { class: 'aws-row-meta aws-ellipsis', testid: 'aws-job-node' })
    const count = h('span', { class: 'aws-row-meta aws-number' })
    const bar = new ProgressBar(t('jobs.progress', { name }), 'aws-job-progress')
    const cancel = iconButton('pi-times', t('jobs.cancel', { name }), {
      testid: 'aws-job-cancel',
      on: {
        click: () => {
          cancel.disabled = true
          void this.#actions.cancelJob(first.id)
        },
      },
    })
    const element = h(
      'li',
      { class: 'aws-row', testid: 'aws-job', 'data-id': first.id },
      h(
        'div',
        { class: 'aws-row-body' },
        h('div', { class: 'aws-split' }, h('span', { class: 'aws-ellipsis' }, name), state),
        bar.element,
        h('div', { class: 'aws-split' }, now, count)
      ),
      cancel
    )
    const update = (/** @type {Aws.Job} */ job) => {
      element.dataset.state = job.state
      setText(state, named('job', job.state))
      setText(now, this.#nowOf(job))
      const { nodes_done: done, nodes_total: total } = job
      setText(count, total ? t('jobs.nodes', { done, total }) : '')
      bar.set(fraction(job))
      element.title = `${job.id}\n${job.endpoint}`
    }
    return { element, update }
  }

  /** @param {Aws.Job} job */
  #nowOf({ id, phase, progress }) {
    if (!progress) return phase ? step(phase) : ''
    const title = this.#titleOf(id, progress.node) ?? t('jobs.node', { id: progress.node })
    return progress.max > 1 ? `${title} ${progress.value}/${progress.max}` : title
  }
}

/** @param {Aws.Job} job */
function nameOf(job) {
  return job.template || t('jobs.canvas')
}

/**
 * @param {NonNullable<Aws.Job['phase']>} phase
 */
function step({ phase, message }) {
  const name = named('phase', phase)
  if (name === phase) return message || phase
  return message && message !== name ? t('phase.item', { phase: name, item: message }) : name
}

/**
 * How much of a job is done; null while nobody knows.
 *
 * @param {Aws.Job} job
 */
function fraction({ phase, progress, nodes_done: done, nodes_total: total }) {
  if (total > 0) {
    const part = progress && progress.max > 0 ? progress.value / progress.max : 0
    return Math.min(1, (done + Math.min(part, 0.99)) / total)
  }
  return phase && phase.total > 0 ? phase.done / phase.total : null
}

/** @param {Aws.Job} first */
function pastRow(first) {
  const mark = icon(ICONS[first.state] ?? 'pi-circle')
  const state = h('span', { testid: 'aws-job-state' }, named('job', first.state))
  const when = h('span', { class: 'aws-row-meta' })
  const message = h('span', { class: 'aws-row-meta aws-message', testid: 'aws-job-message' })
  const element = h(
    'li',
    {
      class: 'aws-row aws-row-past',
      testid: 'aws-job',
      'data-id': first.id,
      'data-state': first.state,
    },
    mark,
    h(
      'div',
      { class: 'aws-row-body' },
      h('div', { class: 'aws-split' },
        h('span', { class: 'aws-ellipsis' }, nameOf(first), ' · ', state), when),
      message
    )
  )
  const update = (/** @type {Aws.Job} */ job) => {
    setText(when, ago(job.updated))
    setText(message, job.message)
    message.hidden = !job.message
    element.title = `${job.id}\n${job.endpoint}\n${moment(job.updated)}`
  }
  return { element, update }
}
