/**
 * The runs of this page: a card each, with progress, preview, results, and errors in words.
 */

import { h, ProgressBar, setText } from '../js/dom.js'
import { named, t } from '../js/i18n.js'

const KEPT = 20
const VIDEO = /\.(mp4|webm|mov|mkv)$/i
const SOUND = /\.(mp3|wav|flac|ogg|opus|m4a)$/i
const IMAGE = /\.(png|jpe?g|webp|gif|avif|bmp|svg)$/i
const ENDED = new Set(['succeeded', 'failed', 'cancelled'])

export class Runs {
  #link
  #server
  #template
  /** @type {Map<string, Card>} newest last */
  #cards = new Map()
  #empty = h('p', { class: 'muted', testid: 'aws-form-empty' }, t('inputs.empty'))
  #list = h('div', { class: 'runs', testid: 'aws-form-runs' })

  /**
   * @param {import('./link.mjs').Link} link
   * @param {import('../js/api.js').Server} server
   * @param {string} template whose runs are shown
   */
  constructor(link, server, template) {
    this.#link = link
    this.#server = server
    this.#template = template
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
  }

  /**
   * @param {string} id
   * @param {Record<string, any>} prompt
   */
  add(id, prompt) {
    const card = this.#card(id)
    card.prompt = prompt
    card.element.scrollIntoView({ block: 'nearest' })
  }

  /** @param {string} id */
  #card(id) {
    const known = this.#cards.get(id)
    if (known) return known
    const card = new Card(id, this.#link, () => void this.#server.cancelJob(id).catch(() => this.#catchUp()))
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

  /**
   * @param {string} type
   * @param {any} data
   */
  #hear(type, data) {
    if (type === 'aws.job') {
      if (this.#isOwn(data.job)) this.#take(data.job)
      return
    }
    const card = this.#cards.get(data.prompt_id)
    if (!card) return
    if (type === 'executed') card.show(data.output)
    else if (type === 'execution_error') card.fail(data)
    else if (type === 'executing' && data.node === null) void this.#finish(data.prompt_id)
  }

  /** @param {Aws.Job} job */
  #isOwn({ client_id: client, template }) {
    return client === this.#link.clientId && template === this.#template
  }

  /** @param {Aws.Job} job */
  #take(job) {
    this.#card(job.id).draw(job)
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
        if (ENDED.has(job.state)) await this.#finish(job.id)
      }
    } catch {
      // The line is down again; the next connection catches up.
    }
  }

  /** @param {string} id */
  async #finish(id) {
    const answer = await this.#link.fetch(`/history/${encodeURIComponent(id)}`)
    const entry = answer.ok ? (await answer.json())[id] : null
    for (const output of Object.values(entry?.outputs ?? {})) this.#cards.get(id)?.show(output)
  }
}

class Card {
  /** @type {Record<string, any>} */
  prompt = {}
  isRunning = false
  #link
  #state = h('span', { testid: 'aws-form-state', role: 'status' })
  #step = h('span', { class: 'muted', testid: 'aws-form-step' })
  #bar
  #cancel
  #preview = h('img', { class: 'output', alt: t('inputs.preview'), hidden: true, testid: 'aws-form-preview' })
  #outputs = h('div', { class: 'outputs' })
  #problem = h('p', { class: 'problem', role: 'alert', hidden: true, testid: 'aws-form-error' })
  /** @type {Set<string>} */
  #shown = new Set()

  /**
   * @param {string} id
   * @param {import('./link.mjs').Link} link
   * @param {() => void} cancel
   */
  constructor(id, link, cancel) {
    this.#link = link
    this.#bar = new ProgressBar(t('inputs.progress'), 'aws-form-progress')
    this.#cancel = h(
      'button',
      { type: 'button', testid: 'aws-form-cancel', on: { click: () => {
        this.#cancel.disabled = true
        cancel()
      } } },
      t('cancel')
    )
    this.element = h(
      'article',
      { class: 'run', testid: 'aws-form-run', 'data-id': id },
      h('div', { class: 'split' }, h('div', { class: 'words' }, this.#state, this.#step), this.#cancel),
      this.#bar.element,
      this.#problem,
      this.#preview,
      this.#outputs
    )
    setText(this.#state, named('job', 'preparing'))
    this.#bar.set(null)
  }

  /** @param {Aws.Job} job */
  draw(job) {
    const hasEnded = ENDED.has(job.state)
    this.isRunning = job.state === 'running'
    this.element.dataset.state = job.state
    setText(this.#state, named('job', job.state))
    setText(this.#step, hasEnded ? '' : this.#stepOf(job))
    this.#bar.element.hidden = hasEnded
    this.#bar.set(fraction(job))
    this.#cancel.hidden = hasEnded
    if (hasEnded) this.#dropPreview()
    if (job.state === 'failed' && !this.#problem.textContent) this.#complain(job.message)
  }

  /** @param {Aws.Job} job */
  #stepOf({ phase, progress }) {
    if (progress) {
      const title = this.prompt[progress.node]?._meta?.title ?? ''
      return progress.max > 1 ? `${title} ${progress.value}/${progress.max}` : title
    }
    return phase ? named('phase', phase.phase) : ''
  }

  /** @param {Blob} picture */
  preview(picture) {
    URL.revokeObjectURL(this.#preview.src)
    this.#preview.src = URL.createObjectURL(picture)
    this.#preview.hidden = false
  }

  #dropPreview() {
    URL.revokeObjectURL(this.#preview.src)
    this.#preview.hidden = true
  }

  /** @param {any} output what a node gave, in ComfyUI's form */
  show(output) {
    for (const [kind, entries] of Object.entries(output ?? {})) {
      if (!Array.isArray(entries)) continue
      for (const entry of entries) this.#add(kind, entry)
    }
  }

  /**
   * @param {string} kind
   * @param {any} entry
   */
  #add(kind, entry) {
    const key = JSON.stringify([kind, entry])
    const element = typeof entry === 'string' && kind === 'text' ? h('p', {}, entry) : this.#file(entry)
    if (!element || this.#shown.has(key)) return
    this.#shown.add(key)
    this.#outputs.append(element)
  }

  /** @param {any} entry */
  #file(entry) {
    if (typeof entry?.filename !== 'string') return null
    const { filename, subfolder = '', type = 'output' } = entry
    const url = this.#link.url('/view', { filename, subfolder, type })
    if (VIDEO.test(filename)) return h('video', { class: 'output', src: url, controls: true, loop: true })
    if (SOUND.test(filename)) return h('audio', { src: url, controls: true, 'aria-label': filename })
    const isImage = IMAGE.test(filename)
    const shown = isImage
      ? h('img', { class: 'output', src: url, alt: filename, testid: 'aws-form-image' })
      : filename
    return h('a', { href: url, target: '_blank', rel: 'noopener', download: isImage ? null : filename }, shown)
  }

  /** @param {{node_id?: string, node_type?: string, exception_message?: string}} error */
  fail({ node_id: node, node_type: type, exception_message: message }) {
    const title = (node && this.prompt[node]?._meta?.title) || type || ''
    this.#complain([title, (message ?? '').trim()].filter(Boolean).join(': '))
  }

  /** @param {string} text */
  #complain(text) {
    setText(this.#problem, text)
    this.#problem.hidden = !text
  }
}

/** @param {Aws.Job} job */
function fraction({ phase, progress, nodes_done: done, nodes_total: total }) {
  if (total > 0) {
    const part = progress && progress.max > 0 ? progress.value / progress.max : 0
    return (done + Math.min(part, 0.99)) / total
  }
  return phase && phase.total > 0 ? phase.done / phase.total : null
}
