/**
 * Edits a template: its name, its description, its endpoint.
 */

import { told } from '../actions.mjs'
import { h, setText } from '../dom.mjs'
import { named, t } from '../i18n.mjs'
import { NameField } from './name_field.mjs'

export class TemplateForm {
  #parts
  #onSaved
  /** @type {Aws.Template | null} */
  #template = null
  #field
  #description = h('textarea', { id: 'aws-edit-description', class: 'aws-input aws-textarea', rows: '2',
    maxlength: '1000', testid: 'aws-edit-description' })
  #endpoint = h('select', { id: 'aws-edit-endpoint', class: 'aws-input', testid: 'aws-edit-endpoint' })
  #problem = h('p', { class: 'aws-error-text', role: 'alert', testid: 'aws-edit-problem' })
  #save = h('button', { type: 'submit', class: 'aws-button', testid: 'aws-edit-save' })
  #busy = false

  /**
   * @param {import('./templates.mjs').Parts} parts
   * @param {(name: string) => void} onSaved
   */
  constructor(parts, onSaved) {
    this.#parts = parts
    this.#onSaved = onSaved
    this.#field = new NameField({ id: 'aws-rename', check: parts.shelf.checkName })
    this.element = h(
      'form',
      { class: 'aws-card', novalidate: true, testid: 'aws-edit',
        on: { submit: (/** @type {Event} */ event) => void this.#submit(event), input: () => this.#draw() } },
      this.#field.element,
      h('div', { class: 'aws-field' },
        h('label', { class: 'aws-label', for: 'aws-edit-description' }, t('name.description')),
        this.#description),
      h('div', { class: 'aws-field' },
        h('label', { class: 'aws-label', for: 'aws-edit-endpoint' }, t('target.endpoint')),
        this.#endpoint),
      this.#problem,
      h('div', { class: 'aws-dialog-buttons' }, this.#save)
    )
  }

  /** @param {Aws.Template} template */
  start(template) {
    this.#template = template
    this.#field.start(template.name, template.name)
    this.#description.value = template.description
    const names = this.#parts.store.state.endpoints.items
    const known = names.some((item) => item.name === template.endpoint)
    this.#endpoint.replaceChildren(
      h('option', { value: '' }, t('edit.endpoint.any')),
      ...names.map(({ name, status }) => h('option', { value: name }, `${name} – ${named('endpoint', status)}`)),
      ...(template.endpoint && !known ? [h('option', { value: template.endpoint }, template.endpoint)] : [])
    )
    this.#endpoint.value = template.endpoint
    setText(this.#problem, '')
    this.#setBusy(false)
  }

  stop() {
    this.#field.stop()
  }

  get #wish() {
    return {
      name: this.#field.value,
      description: this.#description.value.trim(),
      endpoint: this.#endpoint.value,
    }
  }

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault()
    const template = this.#template
    if (this.#busy || !template) return
    setText(this.#problem, '')
    this.#setBusy(true)
    const refused = await this.#field.problem(false)
    const wish = this.#wish
    const problem = refused ? null : await this.#parts.shelf.edit(template, wish)
    this.#setBusy(false)
    if (problem?.code === 'conflict') this.#field.refuse(problem)
    else if (problem) setText(this.#problem, told(problem))
    if (!refused && !problem) this.#onSaved(wish.name)
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    this.#busy = busy
    this.#field.readOnly = busy
    this.#draw()
  }

  #draw() {
    const wish = this.#wish
    const template = this.#template
    const same = template && wish.name === template.name &&
      wish.description === template.description && wish.endpoint === template.endpoint
    this.#save.disabled = this.#busy || Boolean(same)
    setText(this.#save, t(this.#busy ? 'edit.saving' : 'edit.save'))
  }
}
