/**
 * One run: its progress and preview, its results to look at and to save, its error in words.
 */

import { h, ProgressBar, setText } from '../js/dom.mjs'
import { ago, elapsed, moment } from '../js/format.mjs'
import { named, t } from '../js/i18n.mjs'

const VIDEO = /\.(mp4|webm|mov|mkv)$/i
const SOUND = /\.(mp3|wav|flac|ogg|opus|m4a)$/i
const IMAGE = /\.(png|jpe?g|webp|gif|avif|bmp|svg)$/i
const ENDED = new Set(['succeeded', 'failed', 'cancelled'])

export const ended = (/** @type {Aws.Job} */ { state }) => ENDED.has(state)

export class Card {
  /** @type {Record<string, any>} */
  prompt = {}
  isRunning = false
  /** @type {Aws.Job | null} */
  #job = null
  #link
  #state = h('span', { testid: 'aws-form-state', role: 'status' })
  #time = h('span', { class: 'muted', testid: 'aws-form-time' })
  #step = h('span', { class: 'muted', testid: 'aws-form-step' })
  #bar
  #cancel
  #again
  #preview = h('img', { class: 'output', alt: t('inputs.preview'), hidden: true, testid: 'aws-form-preview' })
  #outputs = h('div', { class: 'outputs' })
  #problem = h('p', { class: 'problem', role: 'alert', hidden: true, testid: 'aws-form-error' })
  #lines = h('p', { class: 'muted lines' })
  #rest = h('details', { hidden: true, testid: 'aws-form-rest' }, h('summary', { class: 'muted' }, t('inputs.failed.more')),
    this.#lines)
  #advice = h('p', { class: 'muted', hidden: true, testid: 'aws-form-advice' })
  /** @type {Set<string>} */
  #shown = new Set()

  /**
   * @param {string} id
   * @param {import('./link.mjs').Link} link
   * @param {() => void} cancel
   * @param {() => void} again take the values that it ran with
   */
  constructor(id, link, cancel, again) {
    this.#link = link
    this.#bar = new ProgressBar(t('inputs.progress'), 'aws-form-progress')
    this.#cancel = h(
      'button',
      { type: 'button', testid: 'aws-form-cancel', on: { click: () => {
        this.#cancel.disabled = true
        setText(this.#cancel, t('inputs.cancelling'))
        cancel()
      } } },
      t('cancel')
    )
    this.#again = h('button', { type: 'button', class: 'quiet', hidden: true, testid: 'aws-form-again',
      on: { click: again } }, t('inputs.again'))
    this.element = h(
      'article',
      { class: 'run', testid: 'aws-form-run', 'data-id': id },
      h('div', { class: 'split' },
        h('div', { class: 'words' }, this.#state, this.#time, this.#step), this.#cancel, this.#again),
      this.#bar.element,
      this.#problem,
      this.#advice,
      this.#rest,
      this.#preview,
      this.#outputs
    )
    setText(this.#state, named('job', 'preparing'))
    this.#bar.set(null)
  }

  /** @param {Aws.Job} job which may be the answer to a question, older than what was heard since */
  draw(job) {
    if (this.#job && this.#job.updated > job.updated) return
    const isOver = ended(job)
    this.#job = job
    this.isRunning = job.state === 'running'
    this.element.dataset.state = job.state
    setText(this.#state, named('job', job.state))
    this.tick()
    setText(this.#step, isOver ? '' : this.#stepOf(job))
    this.#bar.element.hidden = isOver
    this.#bar.set(fraction(job))
    this.#cancel.hidden = isOver
    this.#again.hidden = !isOver
    if (isOver) this.#dropPreview()
    if (job.state === 'failed') this.#explain(job)
  }

  /** Time goes on. */
  tick() {
    if (!this.#job) return
    const { created, updated } = this.#job
    setText(this.#time, ended(this.#job) ? ago(updated) : elapsed(Date.now() / 1000 - created))
    this.#time.title = moment(created)
  }

  /** It is asked to stop no more: nobody heard. */
  uncancel() {
    this.#cancel.disabled = false
    setText(this.#cancel, t('cancel'))
  }

  /** @param {Aws.Job} job */
  #stepOf({ phase, progress }) {
    if (progress) {
      const title = progress.title || this.prompt[progress.node]?._meta?.title || ''
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

  get isEmpty() {
    return this.#shown.size === 0
  }

  /** @param {any} output what a node gave, in ComfyUI's form */
  show(output) {
    for (const [kind, entries] of Object.entries(output ?? {})) {
      if (!Array.isArray(entries)) continue
      for (const entry of entries) this.#add(kind, entry)
    }
  }

  /** Ask once more for pictures that did not come. */
  mend() {
    for (const image of this.#outputs.querySelectorAll('img[data-gone]')) {
      if (image instanceof HTMLImageElement) image.src = `${image.src.split('#')[0]}#${Date.now()}`
    }
  }

  /**
   * @param {string} kind
   * @param {any} entry
   */
  #add(kind, entry) {
    const isFile = typeof entry?.filename === 'string'
    const key = JSON.stringify(isFile ? [entry.type, entry.subfolder, entry.filename] : [kind, entry])
    if (this.#shown.has(key)) return
    const text = typeof entry === 'string' && kind === 'text' ? h('p', {}, entry) : null
    const element = isFile ? this.#file(entry) : text
    if (!element) return
    this.#shown.add(key)
    this.#outputs.append(element)
  }

  /** @param {any} entry */
  #file({ filename, subfolder = '', type = 'output' }) {
    const url = this.#link.url('/view', { filename, subfolder, type })
    const save = h('a', { class: 'save', href: url, download: filename, testid: 'aws-form-save',
      'aria-label': t('inputs.save.label', { file: filename }) }, t('inputs.save'))
    if (VIDEO.test(filename)) return figure(h('video', { class: 'output', src: url, controls: true, loop: true }), save)
    if (SOUND.test(filename)) return figure(h('audio', { src: url, controls: true, 'aria-label': filename }), save)
    if (!IMAGE.test(filename)) return figure(h('span', {}, filename), save)
    const gone = h('p', { class: 'muted', hidden: true, testid: 'aws-form-gone' }, t('inputs.gone'))
    const image = h('img', { class: 'output', alt: filename, testid: 'aws-form-image' })
    const seen = (/** @type {boolean} */ there) => {
      gone.hidden = there
      image.toggleAttribute('data-gone', !there)
    }
    image.addEventListener('error', () => seen(false))
    image.addEventListener('load', () => seen(true))
    image.src = url
    const whole = h('a', { href: url, target: '_blank', rel: 'noopener', title: t('inputs.whole.size') }, image)
    return figure(whole, gone, save)
  }

  /** @param {{node_id?: string, node_type?: string, exception_message?: string}} error */
  fail({ node_id: node, node_type: type, exception_message: message }) {
    const title = (node && this.prompt[node]?._meta?.title) || type || ''
    this.#complain([title, (message ?? '').trim()].filter(Boolean).join(': '))
  }

  /** @param {Aws.Job} job that has failed */
  #explain({ message, facts }) {
    if (!this.#problem.textContent) this.#complain(message)
    const kind = facts.error?.kind ?? 'job'
    const isMemory = kind === 'gpu_memory' || kind === 'memory'
    setText(this.#advice, t(isMemory ? 'inputs.failed.memory' : 'inputs.failed.hint'))
    this.#advice.hidden = false
  }

  /** @param {string} text its first line says what is wrong; what follows is for who asks */
  #complain(text) {
    const [first = '', ...more] = text.split('\n')
    setText(this.#problem, first)
    setText(this.#lines, more.join('\n'))
    this.#problem.hidden = !text
    this.#rest.hidden = more.length === 0
  }
}

/** @param {HTMLElement[]} parts */
function figure(...parts) {
  return h('figure', {}, ...parts)
}

/** @param {Aws.Job} job */
function fraction({ phase, progress, nodes_done: done, nodes_total: total }) {
  if (total > 0) {
    const part = progress && progress.max > 0 ? progress.value / progress.max : 0
    return (done + Math.min(part, 0.99)) / total
  }
  return phase && phase.total > 0 ? phase.done / phase.total : null
}
