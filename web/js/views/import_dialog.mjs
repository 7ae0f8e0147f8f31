/**
 * Makes a template of a file that was exported here or elsewhere.
 */

import { told } from '../actions.mjs'
import { h, setText } from '../dom.mjs'
import { locale, t } from '../i18n.mjs'
import { guard } from './guard.mjs'
import { NameField } from './name_field.mjs'

export class ImportDialog {
  #shelf
  #field
  #dialog
  /** @type {AbortController | null} set while the dialog is open */
  #open = null
  #file = h('input', {
    id: 'aws-import-file',
    class: 'aws-input',
    type: 'file',
    accept: '.zip,application/zip',
    testid: 'aws-import-file',
  })
  #problem = h('p', { class: 'aws-error-text', role: 'alert', testid: 'aws-import-problem' })
  #ok = h('button', { type: 'submit', class: 'aws-button aws-primary', testid: 'aws-import-ok' })
  #busy = false

  /** @param {import('../shelf.mjs').Shelf} shelf */
  constructor(shelf) {
    this.#shelf = shelf
    this.#field = new NameField({ id: 'aws-import-name', check: shelf.checkName })
    this.#file.addEventListener('change', () => this.#chosen())
    const cancel = h('button', { type: 'button', class: 'aws-button', testid: 'aws-import-cancel',
      on: { click: () => this.#dialog.close() } }, t('cancel'))
    this.#dialog = h(
      'dialog',
      {
        class: 'aws aws-dialog',
        lang: locale(),
        testid: 'aws-import-dialog',
        'aria-labelledby': 'aws-import-title',
        on: { close: () => this.#closed() },
      },
      h(
        'form',
        { novalidate: true, on: { submit: (/** @type {Event} */ event) => void this.#submit(event) } },
        h('h2', { id: 'aws-import-title' }, t('import.title')),
        h('p', { class: 'aws-muted' }, t('import.text')),
        h('div', { class: 'aws-field' },
          h('label', { class: 'aws-label', for: 'aws-import-file' }, t('import.file')),
          this.#file),
        this.#field.element,
        this.#problem,
        h('div', { class: 'aws-dialog-buttons' }, cancel, this.#ok)
      )
    )
  }

  open() {
    if (this.#open) return
    this.#open = new AbortController()
    this.#file.value = ''
    setText(this.#problem, '')
    this.#setBusy(false)
    guard(this.#dialog, this.#open.signal, { locked: false })
    document.body.append(this.#dialog)
    this.#dialog.showModal()
    this.#field.start('')
    this.#file.focus()
  }

  #closed() {
    this.#open?.abort()
    this.#open = null
    this.#field.stop()
    this.#dialog.remove()
  }

  /** The file's own name is a good guess. */
  #chosen() {
    const [file] = this.#file.files ?? []
    const guess = (file?.name ?? '').replace(/(-v\d+)?( ?\(\d+\))?\.zip$/i, '')
    if (!this.#field.value) this.#field.start(guess.replace(/[^A-Za-z0-9]/g, '').slice(0, 20))
    setText(this.#problem, '')
  }

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault()
    const signal = this.#open?.signal
    if (this.#busy || !signal) return
    const [file] = this.#file.files ?? []
    if (!file) {
      setText(this.#problem, t('import.noFile'))
      this.#file.focus()
      return
    }
    setText(this.#problem, '')
    this.#setBusy(true)
    const refused = await this.#field.problem(false)
    const problem = refused ? null : await this.#shelf.import(file, this.#field.value, signal)
    this.#setBusy(false)
    if (problem?.code === 'conflict') this.#field.refuse(problem)
    else if (problem) setText(this.#problem, told(problem))
    if (!refused && !problem) this.#dialog.close()
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    this.#busy = busy
    this.#field.readOnly = busy
    this.#file.disabled = busy
    this.#ok.disabled = busy
    setText(this.#ok, t(busy ? 'import.busy' : 'import.ok'))
  }
}
