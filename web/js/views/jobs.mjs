/**
 * The forwarded executions: those under way first, then the ended ones, newest first.
 */

import { h, KeyedRows } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { ended, routesAll } from '../store.mjs'
import { JobRow } from './job_row.mjs'
import { Section } from './section.mjs'

/** Ended jobs that are shown at first, and how many more each time. */
const SHOWN = 5
const MORE = 20

const TICK_MS = 1000

/** @type {Record<string, (job: Aws.Job) => boolean>} */
const FILTERS = {
  all: () => true,
  live: (job) => !ended(job),
  succeeded: ({ state }) => state === 'succeeded',
  failed: ({ state }) => state === 'failed',
  cancelled: ({ state }) => state === 'cancelled',
}

export class Jobs {
  #store
  #desk
  #section
  #shown = SHOWN
  #list = h('ul', { class: 'aws-list', 'aria-labelledby': 'aws-jobs-title', testid: 'aws-job-list' })
  #filter
  #more
  /** @type {KeyedRows<Aws.Job>} */
  #rows

  /**
   * @param {import('./panel.mjs').Parts} parts
   * @param {AbortSignal} signal
   */
  constructor(parts, signal) {
    const { store, actions, desk } = parts
    this.#store = store
    this.#desk = desk
    this.#rows = new KeyedRows(this.#list, (job) => job.id, (job) => new JobRow(job, parts))
    this.#filter = h('select', {
      class: 'aws-input aws-filter',
      'aria-label': t('jobs.filter'),
      testid: 'aws-jobs-filter',
      on: { change: () => this.#begin() },
    }, ...Object.keys(FILTERS).map((value) =>
      h('option', { value }, t(/** @type {any} */ (`jobs.filter.${value}`)))))
    this.#more = h('button', {
      type: 'button',
      class: 'aws-button aws-wide aws-small',
      testid: 'aws-jobs-more',
      on: { click: () => void this.#showMore() },
    }, t('jobs.showMore'))
    this.#section = new Section({
      name: 'jobs',
      title: t('jobs.title'),
      empty: t('jobs.empty'),
      emptyHint: () => t(routesAll(store.state) ? 'jobs.empty.always' : 'jobs.empty.hint'),
      retry: () => void actions.reload('jobs'),
      tools: [this.#filter],
      body: [this.#list, this.#more],
    })
    this.element = this.#section.element
    store.watch(['jobs', 'olderJobs', 'starts', 'status'], () => this.#draw(), signal)
    const timer = setInterval(() => {
      if (!this.#store.state.jobs.items.every(ended)) this.#draw()
    }, TICK_MS)
    signal.addEventListener('abort', () => clearInterval(timer))
  }

  #begin() {
    this.#shown = SHOWN
    this.#draw()
  }

  async #showMore() {
    const before = this.#list.childElementCount
    this.#shown += MORE
    if (this.#past().length < this.#shown && this.#store.state.olderJobs) {
      this.#more.disabled = true
      await this.#desk.more()
      this.#more.disabled = false
    }
    this.#draw()
    const first = this.#list.children[before]
    if (this.#more.hidden && first) /** @type {HTMLElement} */ (first.querySelector('button'))?.focus()
  }

  /** @returns {Aws.Job[]} */
  #wanted() {
    const fits = FILTERS[this.#filter.value] ?? (() => true)
    return this.#store.state.jobs.items.filter(fits)
  }

  #past() {
    return this.#wanted().filter(ended)
  }

  #draw() {
    const { jobs, olderJobs } = this.#store.state
    const live = this.#wanted().filter((job) => !ended(job))
    const past = this.#past()
    this.#section.draw(jobs)
    this.#filter.hidden = jobs.items.length === 0
    const rows = [...live, ...past.slice(0, this.#shown)]
    if (jobs.items.length > 0 && rows.length === 0 && !olderJobs) {
      this.#section.say(t('jobs.none'), t('jobs.none.hint'))
    }
    this.#list.hidden = rows.length === 0
    this.#more.hidden = past.length <= this.#shown && !(olderJobs && jobs.state === 'ready')
    this.#rows.update(rows)
  }
}
