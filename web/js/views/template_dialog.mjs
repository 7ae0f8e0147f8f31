/**
 * A template in detail: what it is, its versions and what changed between them, and everything
 * that can be done to it.
 */

import { told } from '../actions.mjs'
import { problemOf } from '../api.mjs'
import { h, iconButton, setText } from '../dom.mjs'
import { bytes, moment } from '../format.mjs'
import { locale, named, t } from '../i18n.mjs'
import { FormChoice } from './form_choice.mjs'
import { guard } from './guard.mjs'
import { TemplateForm } from './template_form.mjs'

/** Of a value in the table of differences. */
const SHOWN = 60

export class TemplateDialog {
  #parts
  #name = ''
  /** @type {AbortController | null} set while the dialog is open */
  #open = null
  #title = h('h2', { id: 'aws-details-title', tabindex: '-1', autofocus: true, testid: 'aws-details-title' })
  #cover = h('img', { class: 'aws-details-cover', alt: '', testid: 'aws-details-cover' })
  #facts = h('p', { class: 'aws-muted', testid: 'aws-details-facts' })
  #fault = h('p', { class: 'aws-error-text aws-wrap', role: 'status', testid: 'aws-details-fault' })
  #form
  #choice
  #versions = h('ul', { class: 'aws-list', 'aria-label': t('details.versions'), testid: 'aws-versions' })
  #before
  #after
  #changes = h('div', { class: 'aws-changes', role: 'status', testid: 'aws-changes' })
  #compare
  #problem = h('p', { class: 'aws-error-text', role: 'alert', testid: 'aws-details-problem' })
  #withFiles = h('input', { type: 'checkbox', testid: 'aws-export-files' })
  #export
  #dialog

  /**
   * @param {import('./templates.mjs').Parts} parts
   * @param {AbortSignal} signal
   */
  constructor(parts, signal) {
    this.#parts = parts
    this.#form = new TemplateForm(parts, (name) => void this.#show(name))
    this.#choice = new FormChoice(parts.shelf)
    const choice = (/** @type {string} */ testid, /** @type {string} */ label) =>
      h('select', { class: 'aws-input', 'aria-label': label, testid, on: { change: () => void this.#diff() } })
    this.#before = choice('aws-diff-before', t('details.before'))
    this.#after = choice('aws-diff-after', t('details.after'))
    this.#compare = h(
      'section',
      { class: 'aws-section', 'aria-labelledby': 'aws-changes-title' },
      h('h3', { id: 'aws-changes-title' }, t('details.changes')),
      h('div', { class: 'aws-pair' }, this.#before, this.#after),
      this.#changes
    )
    this.#export = h('button', { type: 'button', class: 'aws-button', testid: 'aws-export',
      on: { click: () => void this.#exportNow() } })
    this.#dialog = this.#build()
    signal.addEventListener('abort', () => this.#dialog.close())
    const { store } = parts
    store.watch(['templates', 'endpoints'], () => this.#open && this.#drawFacts(), signal)
  }

  #build() {
    const remove = h('button', { type: 'button', class: 'aws-button aws-danger', testid: 'aws-details-delete',
      on: { click: () => void this.#delete() } }, t('details.delete'))
    return h(
      'dialog',
      {
        class: 'aws aws-dialog aws-details-dialog',
        lang: locale(),
        testid: 'aws-details',
        'aria-labelledby': 'aws-details-title',
        on: { close: () => this.#closed() },
      },
      h('div', { class: 'aws-details-head' }, this.#cover,
        h('div', { class: 'aws-field' }, this.#title, this.#facts),
        iconButton('pi-times', t('details.close'), { testid: 'aws-details-close', on: { click: () => this.#dialog.close() } })),
      this.#fault,
      this.#form.element,
      this.#choice.element,
      h('section', { class: 'aws-section' }, h('h3', {}, t('details.versions')), this.#versions),
      this.#compare,
      h('section', { class: 'aws-section' }, h('h3', {}, t('details.file')),
        h('label', { class: 'aws-check' }, this.#withFiles, t('details.withFiles')),
        h('div', { class: 'aws-buttons' }, this.#export, remove)),
      this.#problem
    )
  }

  /** @param {string} name */
  async open(name) {
    if (this.#open) return
    this.#open = new AbortController()
    guard(this.#dialog, this.#open.signal, { locked: false })
    document.body.append(this.#dialog)
    this.#dialog.showModal()
    this.#setExporting(false)
    this.#title.focus()
    await this.#show(name)
  }

  #closed() {
    this.#open?.abort()
    this.#open = null
    this.#form.stop()
    this.#dialog.remove()
  }

  get #template() {
    return this.#parts.store.state.templates.items.find((item) => item.name === this.#name)
  }

  /** @param {string} name */
  async #show(name) {
    this.#name = name
    setText(this.#problem, '')
    setText(this.#fault, '')
    this.#drawFacts()
    const template = this.#template
    if (template) this.#form.start(template)
    this.#choice.start(name)
    this.#versions.replaceChildren(h('li', { class: 'aws-muted' }, t('loading')))
    this.#compare.hidden = true
    try {
      const versions = await this.#parts.shelf.versions(name)
      if (this.#open && this.#name === name) this.#drawVersions(versions)
    } catch (error) {
      this.#versions.replaceChildren()
      this.#fail(problemOf(error))
    }
  }

  #drawFacts() {
    const template = this.#template
    setText(this.#title, this.#name)
    if (!template) return
    const { version, size, author, created, updated } = template
    const facts = [
      t('templates.meta', { version, when: moment(updated), author: author || '–' }),
      size ? bytes(size) : '',
      t('details.created', { when: moment(created) }),
    ]
    setText(this.#facts, facts.filter(Boolean).join(' · '))
    const cover = this.#parts.shelf.coverOf(template)
    this.#cover.hidden = cover === ''
    if (cover && this.#cover.getAttribute('src') !== cover) this.#cover.src = cover
  }

  /** @param {Aws.VersionFacts[]} versions ascending */
  #drawVersions(versions) {
    const fault = versions.find((each) => each.current)?.fault
    setText(this.#fault, fault ? [t('details.fault', { when: moment(fault.at) }), fault.message, fault.hint].join('\n') : '')
    this.#versions.replaceChildren(...[...versions].reverse().map((each) => this.#versionRow(each)))
    this.#compare.hidden = versions.length < 2
    if (versions.length < 2) return
    for (const select of [this.#before, this.#after]) {
      select.replaceChildren(
        ...versions.map(({ version }) => h('option', { value: String(version) }, t('templates.version', { version })))
      )
    }
    const current = versions.findIndex((each) => each.current)
    this.#after.value = String(versions[Math.max(current, 1)]?.version)
    this.#before.value = String(versions[Math.max(current, 1) - 1]?.version)
    void this.#diff()
  }

  /** @param {Aws.VersionFacts} facts */
  #versionRow({ version, created, author, nodes, size, current }) {
    const meta = [moment(created), author, t('details.nodes', { count: nodes }), size ? bytes(size) : '']
    const back = h('button', { type: 'button', class: 'aws-button aws-small', testid: 'aws-rollback',
      'aria-label': t('details.rollBack.label', { version }),
      on: { click: () => void this.#rollBack(version) } }, t('details.rollBack'))
    return h(
      'li',
      { class: 'aws-row aws-version', testid: 'aws-version', 'data-version': String(version), 'data-current': String(current) },
      h('div', { class: 'aws-row-body' }, h('span', {}, t('templates.version', { version })),
        h('span', { class: 'aws-row-meta aws-wrap' }, meta.filter(Boolean).join(' · '))),
      current ? h('span', { class: 'aws-badge' }, t('details.current')) : back
    )
  }

  async #diff() {
    const name = this.#name
    const [before, after] = [Number(this.#before.value), Number(this.#after.value)]
    setText(this.#changes, t('loading'))
    try {
      const changes = await this.#parts.shelf.changes(name, before, after)
      if (this.#name !== name || Number(this.#before.value) !== before || Number(this.#after.value) !== after) return
      if (changes.length === 0) setText(this.#changes, t('details.same'))
      else this.#changes.replaceChildren(h('ul', { class: 'aws-needs' }, ...changes.map(changeRow)))
    } catch (error) {
      setText(this.#changes, told(problemOf(error)))
    }
  }

  /** @param {number} version */
  async #rollBack(version) {
    setText(this.#problem, '')
    const problem = await this.#parts.shelf.rollBack(this.#name, version)
    if (problem) {
      this.#fail(problem)
      return
    }
    this.#title.focus() // the button goes with its row
    await this.#show(this.#name)
  }

  async #exportNow() {
    setText(this.#problem, '')
    this.#setExporting(true)
    const problem = await this.#parts.shelf.export(this.#name, this.#withFiles.checked)
    this.#setExporting(false)
    if (problem) this.#fail(problem)
  }

  /** @param {boolean} busy */
  #setExporting(busy) {
    this.#export.disabled = busy
    setText(this.#export, t(busy ? 'details.exporting' : 'details.export'))
  }

  async #delete() {
    const name = this.#name
    // ComfyUI's question would lie below a modal dialog.
    this.#dialog.close()
    await this.#parts.shelf.delete(name)
  }

  /** @param {Aws.Problem} problem */
  #fail(problem) {
    setText(this.#problem, told(problem))
  }
}

/** @param {Aws.Change} change */
function changeRow({ kind, name, before, after }) {
  return h(
    'li',
    { class: 'aws-change' },
    h('span', { class: 'aws-muted' }, named('change', kind)),
    h('span', { class: 'aws-wrap' }, name),
    h('span', { class: 'aws-wrap aws-change-values' }, `${shown(before)} → ${shown(after)}`)
  )
}

/** @param {unknown} value */
function shown(value) {
  if (value === null || value === undefined) return '–'
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text
}
