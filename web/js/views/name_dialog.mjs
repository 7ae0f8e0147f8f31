/**
 * New Workflow: asks for the name, says what a publish would send, and takes a description, a
 * cover, and what the form shows.
 */

import { h, setText } from '../dom.mjs'
import { locale, t } from '../i18n.mjs'
import { guard } from './guard.mjs'
import { NameField } from './name_field.mjs'
import { PreflightView } from './preflight_view.mjs'
import { PublishForm } from './publish_form.mjs'

/**
 * @typedef {object} Wish
 * @property {boolean} newVersion
 * @property {string} description
 * @property {string} cover base64 of a picture; empty for none
 * @property {Aws.ChosenInput[] | undefined} parameters what the form shows, none for what the rules
 *   find; undefined for what it has shown
 */

export class NameDialog {
  #publish
  #picture
  #chosen
  /** @type {AbortController | null} set while the dialog is open */
  #open = null
  #busy = false
  /** Name that the bucket holds already; only that one can get a new version. */
  #taken = ''
  #field
  #preflight
  #form = new PublishForm()
  #newVersion = h('input', { type: 'checkbox', testid: 'aws-name-new-version' })
  #newVersionText = h('span')
  #newVersionRow = h(
    'label',
    { class: 'aws-check', hidden: true },
    this.#newVersion,
    this.#newVersionText
  )
  #description = h('textarea', {
    id: 'aws-name-description',
    class: 'aws-input aws-textarea',
    rows: '2',
    maxlength: '1000',
    testid: 'aws-name-description',
  })
  #useCover = h('input', { type: 'checkbox', checked: true, testid: 'aws-name-use-cover' })
  #cover = h('img', { class: 'aws-cover', alt: '', testid: 'aws-name-cover' })
  #coverRow = h(
    'label',
    { class: 'aws-check', hidden: true },
    this.#useCover,
    this.#cover,
    h('span', {}, t('name.cover'))
  )
  #cancel = h('button', { type: 'button', class: 'aws-button', testid: 'aws-name-cancel',
    on: { click: () => this.close() } }, t('cancel'))
  #ok = h('button', { type: 'submit', class: 'aws-button aws-primary', testid: 'aws-name-ok' })
  #dialog

  /**
   * @param {object} parts
   * @param {import('./name_field.mjs').CheckName} parts.check
   * @param {(signal: AbortSignal) => Promise<Aws.Preflight>} parts.preflight looks the canvas over
   * @param {(nodes: string[]) => void} parts.showNodes on the canvas
   * @param {(models: Aws.ModelName[]) => void} parts.push begins to send models to the bucket
   * @param {() => string} parts.picture a data URL of the canvas' last result; empty for none
   * @param {(name: string) => Aws.ChosenInput[]} parts.chosen what a template's form shows by choice
   * @param {(name: string, wish: Wish) => Promise<Aws.Problem | null>} parts.publish
   *   the dialog closes when this has no problem
   */
  constructor({ check, preflight, showNodes, push, picture, chosen, publish }) {
    this.#publish = publish
    this.#picture = picture
    this.#chosen = chosen
    this.#field = new NameField({
      id: 'aws-name',
      check,
      onTaken: (name) => this.#drawTaken(name),
    })
    const show = (/** @type {string[]} */ nodes) => {
      if (this.#busy) return
      this.close()
      showNodes(nodes)
    }
    const look = async (/** @type {AbortSignal} */ signal) => {
      const found = await preflight(signal)
      this.#form.offer(found.parameters)
      return found
    }
    this.#preflight = new PreflightView(look, show, push)
    this.#newVersion.addEventListener('change', () => this.#draw())
    this.#dialog = this.#build()
  }

  /**
   * Open the dialog.
   *
   * @param {string} [name] what stands in the field
   * @param {Aws.Problem} [problem] why that name was refused; what else was typed is there still
   */
  open(name = '', problem) {
    if (this.#open) return
    if (!problem) {
      this.#description.value = ''
      this.#useCover.checked = true
      this.#form.start()
    }
    this.#open = new AbortController()
    this.#setBusy(false)
    guard(this.#dialog, this.#open.signal, { locked: false })
    document.body.append(this.#dialog)
    this.#dialog.showModal()
    this.#field.start(name)
    this.#drawCover()
    void this.#preflight.look(this.#open.signal)
    if (problem) this.#field.refuse(problem)
  }

  close() {
    this.#dialog.close()
  }

  #build() {
    const form = h(
      'form',
      { novalidate: true, on: { submit: (/** @type {Event} */ event) => this.#submit(event) } },
      h('h2', { id: 'aws-name-title' }, t('name.title')),
      h('p', { class: 'aws-muted' }, t('name.text')),
      this.#field.element,
      this.#newVersionRow,
      h('div', { class: 'aws-field' },
        h('label', { class: 'aws-label', for: 'aws-name-description' }, t('name.description')),
        this.#description),
      this.#coverRow,
      this.#form.element,
      this.#preflight.element,
      h('div', { class: 'aws-dialog-buttons' }, this.#cancel, this.#ok)
    )
    return h(
      'dialog',
      {
        class: 'aws aws-dialog',
        lang: locale(),
        testid: 'aws-name-dialog',
        'aria-labelledby': 'aws-name-title',
        on: {
          cancel: (/** @type {Event} */ event) => this.#busy && event.preventDefault(),
          close: () => this.#closed(),
        },
      },
      form
    )
  }

  #closed() {
    // Chromium closes a dialog on the second Escape whatever `cancel` says.
    if (this.#busy) {
      this.#dialog.showModal()
      return
    }
    this.#open?.abort()
    this.#open = null
    this.#field.stop()
    this.#dialog.remove()
  }

  #drawCover() {
    const picture = this.#picture()
    this.#coverRow.hidden = picture === ''
    if (picture) this.#cover.src = picture
    else this.#cover.removeAttribute('src')
  }

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault()
    if (this.#busy) return
    const name = this.#field.value
    const newVersion = this.#taken === name && this.#newVersion.checked
    this.#setBusy(true)
    const refused = await this.#field.problem(newVersion)
    const problem = refused ? null : await this.#publish(name, this.#wish(newVersion))
    this.#setBusy(false)
    if (problem) this.#field.refuse(problem)
    if (!refused && !problem) this.close()
  }

  /**
   * @param {boolean} newVersion
   * @returns {Wish}
   */
  #wish(newVersion) {
    const hasCover = !this.#coverRow.hidden && this.#useCover.checked
    const cover = hasCover ? (this.#cover.src.split(',')[1] ?? '') : ''
    const description = this.#description.value.trim()
    return { newVersion, description, cover, parameters: this.#form.wish }
  }

  /** @param {string} name that is taken; empty when none is */
  #drawTaken(name) {
    this.#taken = name
    if (!name) this.#newVersion.checked = false
    this.#newVersionText.textContent = t('name.newVersion', { name })
    this.#newVersionRow.hidden = name === ''
    this.#draw()
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    this.#busy = busy
    this.#field.readOnly = busy
    this.#draw()
  }

  #draw() {
    this.#ok.disabled = this.#busy
    this.#cancel.disabled = this.#busy
    this.#form.follow(this.#newVersion.checked ? this.#chosen(this.#taken) : [])
    setText(this.#ok, t(this.#busy ? 'name.starting' : 'name.ok'))
  }
}
