/**
 * What a job gave: its preview while it runs, then its pictures and other files.
 */

import { h, icon, setAttribute, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'

/** Results that are shown in a row. */
const SHOWN = 4

const PICTURES = /\.(png|jpe?g|webp|gif|avif|bmp|svg)$/i

export class JobResults {
  #name
  #desk
  #preview
  #files = h('div', { class: 'aws-results-files' })
  #more
  #all = false
  /** What is shown. */
  #drawn = ''
  #previews = 0
  /** @type {Aws.SavedFile[]} */
  #saved = []

  /**
   * @param {string} name of the job
   * @param {import('../job_desk.mjs').JobDesk} desk
   */
  constructor(name, desk) {
    this.#name = name
    this.#desk = desk
    this.#preview = h('img', {
      class: 'aws-thumb',
      alt: t('jobs.preview', { name }),
      hidden: true,
      testid: 'aws-job-preview',
    })
    this.#more = h('button', {
      type: 'button',
      class: 'aws-thumb aws-thumb-more',
      testid: 'aws-job-results-more',
      on: { click: () => this.#showAll() },
    })
    this.element = h('div', { class: 'aws-results', hidden: true, testid: 'aws-job-results' },
      this.#preview, this.#files)
  }

  /** @param {Aws.Job} job */
  draw({ id, state, previews, facts }) {
    const isRunning = state === 'running' && previews > 0
    if (isRunning) this.#drawPreview(id, previews)
    this.#preview.hidden = !isRunning
    // What a node only previews is thrown away with ComfyUI's temporary files.
    const kept = facts.files.filter(({ type }) => type === 'output')
    this.#saved = kept.length > 0 ? kept : facts.files
    this.#drawFiles()
    this.element.hidden = !isRunning && this.#saved.length === 0
  }

  /**
   * @param {string} id
   * @param {number} previews
   */
  #drawPreview(id, previews) {
    // One at a time: the next is asked for when the last has come.
    if (previews === this.#previews || !this.#preview.complete) return
    this.#previews = previews
    const route = `/aws/jobs/${encodeURIComponent(id)}/preview?n=${previews}`
    setAttribute(this.#preview, 'src', this.#desk.url(route))
  }

  #drawFiles() {
    const print = `${this.#all} ${this.#saved.map(({ filename }) => filename).join('\n')}`
    if (print === this.#drawn) return
    this.#drawn = print
    const count = this.#saved.length
    const isCut = !this.#all && count > SHOWN
    const shown = isCut ? this.#saved.slice(0, SHOWN - 1) : this.#saved
    setText(this.#more, t('jobs.moreResults', { count: count - shown.length }))
    setAttribute(this.#more, 'aria-label', t('jobs.moreResults.label', { count, name: this.#name }))
    const links = shown.map((file, at) => this.#link(file, at + 1))
    this.#files.replaceChildren(...links, ...(isCut ? [this.#more] : []))
  }

  #showAll() {
    const at = this.#files.childElementCount - 1
    this.#all = true
    this.#drawFiles()
    const next = this.#files.children[at]
    if (next instanceof HTMLElement) next.focus()
  }

  /**
   * @param {Aws.SavedFile} file
   * @param {number} number
   */
  #link({ filename, subfolder, type }, number) {
    const href = this.#desk.url(`/view?${new URLSearchParams({ filename, subfolder, type })}`)
    const label = t('jobs.result', { number, name: this.#name, file: filename })
    const isPicture = PICTURES.test(filename)
    const link = h('a', {
      class: isPicture ? 'aws-thumb' : 'aws-file',
      href,
      target: '_blank',
      rel: 'noopener',
      title: label,
      'aria-label': label,
      testid: 'aws-job-result',
    })
    if (isPicture) {
      const gone = () => link.replaceChildren(icon('pi-image'))
      link.append(h('img', { src: href, alt: '', loading: 'lazy', decoding: 'async', on: { error: gone } }))
    } else {
      link.append(icon('pi-file'), h('span', { class: 'aws-ellipsis' }, filename))
    }
    return link
  }
}
