/**
 * The runs of this form: a card each, those of this tab as they go on, and those that this browser
 * has ordered before.
 */

import { h } from '../js/dom.mjs'
import { t } from '../js/i18n.mjs'
import { Card, ended } from './card.mjs'
import { Past } from './past.mjs'

const KEPT = 20
const TICK_MS = 1000

export class Runs {
  #link
  #server
  #template
  #past
  #again
  /** @type {Map<string, Card>} newest last */
  #cards = new Map()
  #empty = h('p', { class: 'muted', testid: 'aws-form-empty' }, t('inputs.empty'))
  #list = h('div', { class: 'runs', testid: 'aws-form-runs' })

  /**
   * @param {import('./link.mjs').Link} link
   * @param {import('../js/api.mjs').Server} server
   * @param {string} template whose runs are shown
   * @param {(prompt: Record<string, any>) => void} again takes the values that a run was sent with
   */
  constructor(link, server, template, again) {
    this.#link = link
    this.#server = server
    this.#template = template
    this.#past = new Past(template)
    this.#again = again
    this.element = h(
      'section',
      { class: 'results', 'aria-labelledby': 'results-title' },
      h('h2', { id: 'results-title' }, t('inputs.results')),
      this.#empty,
      this.#list
    )
    link.addEventListener('message', (event) => {
      const { type, data } = /** @type {CustomEvent} */ (event).detail
      this.#hear(type, data ?? {})
    })
    link.addEventListener('preview', (event) => this.#preview(/** @type {CustomEvent} */ (event).detail))
    link.addEventListener('online', (event) => {
      if (/** @type {CustomEvent} */ (event).detail) void this.#catchUp()
    })
    setInterval(() => this.#cards.forEach((card) => card.tick()), TICK_MS)
  }

  /**
   * @param {string} id
   * @param {Record<string, any>} prompt
   */
  add(id, prompt) {
    this.#past.add(id)
    const card = this.#card(id)
    card.prompt = prompt
    card.element.scrollIntoView({ block: 'nearest' })
  }

  /** @param {string} id */
  #card(id) {
    const known = this.#cards.get(id)
    if (known) return known
    const card = new Card(id, this.#link, () => void this.#cancel(id), () => void this.#takeAgain(id))
    this.#cards.set(id, card)
    this.#list.prepend(card.element)
    this.#empty.hidden = true
    const oldest = this.#cards.keys().next().value
    if (this.#cards.size > KEPT && oldest) {
      this.#cards.get(oldest)?.element.remove()
      this.#cards.delete(oldest)
    }
    return card
  }

  /** @param {string} id */
  async #cancel(id) {
    try {
      await this.#server.cancelJob(id)
    } catch {
      this.#cards.get(id)?.uncancel()
      await this.#catchUp()
    }
  }

  /** @param {string} id */
  async #takeAgain(id) {
    const card = this.#card(id)
    try {
      if (Object.keys(card.prompt).length === 0) card.prompt = (await this.#server.jobRequest(id)).prompt
    } catch {
      return // the page says that the line is down
    }
    this.#again(card.prompt)
  }

  /**
   * @param {string} type
   * @param {any} data
   */
  #hear(type, data) {
    if (type === 'aws.job') {
      if (this.#isOwn(data.job)) this.#hearJob(data.job)
      return
    }
    const card = this.#cards.get(data.prompt_id)
    if (!card) return
    if (type === 'executed') card.show(data.output)
    else if (type === 'execution_error') card.fail(data)
    else if (type === 'executing' && data.node === null) void this.#finish(data.prompt_id)
  }

  /** @param {Aws.Job} job */
  #hearJob(job) {
    this.#take(job)
    // ComfyUI tells the end of a run, and what it gave, to the tab alone that has sent it.
    const isOfThisTab = job.client_id === this.#link.clientId
    if (ended(job) && !isOfThisTab) void this.#finish(job.id, job.facts.files)
  }

  /** @param {Aws.Job} job */
  #isOwn({ id, client_id: client, template }) {
    return template === this.#template && (client === this.#link.clientId || this.#past.has(id))
  }

  /** @param {Aws.Job} job */
  #take(job) {
    const card = this.#card(job.id)
    card.draw(job)
    card.show({ files: job.facts.files.filter(({ node_id: node }) => node === '') })
  }

  /** Previews carry no id: they belong to the run that ComfyUI shows, the eldest live one. */
  #preview(/** @type {Blob} */ picture) {
    const live = [...this.#cards.values()].find((card) => card.isRunning)
    live?.preview(picture)
  }

  /** What was missed while the page was closed or the line was down. */
  async #catchUp() {
    try {
      const jobs = await this.#server.jobs()
      const own = jobs.filter((job) => this.#isOwn(job)).slice(0, KEPT)
      for (const job of own.reverse()) {
        this.#take(job)
        if (ended(job)) await this.#finish(job.id, job.facts.files)
      }
      this.#cards.forEach((card) => card.mend())
    } catch {
      // The line is down again; the next connection catches up.
    }
  }

  /**
   * @param {string} id
   * @param {Aws.SavedFile[]} [files] what is known of a run that ComfyUI has forgotten
   */
  async #finish(id, files = []) {
    const card = this.#cards.get(id)
    if (!card) return
    try {
      const answer = await this.#link.fetch(`/history/${encodeURIComponent(id)}`)
      const entry = answer.ok ? (await answer.json())[id] : null
      for (const output of Object.values(entry?.outputs ?? {})) card.show(output)
    } catch {
      // The next connection catches up.
    }
    const kept = files.filter(({ type }) => type === 'output')
    if (card.isEmpty) card.show({ files: kept.length > 0 ? kept : files })
  }
}
