/**
 * Asks where a model is to be deleted, and tells which templates use it.
 */

import { problemOf } from '../api.mjs'
import { h, setText } from '../dom.mjs'
import { locale, t } from '../i18n.mjs'
import { guard } from './guard.mjs'

const DANGER = { class: 'aws-button aws-danger' }

export class DeleteModelDialog {
  #library
  /** @type {AbortController | null} set while the dialog is open */
  #open = null
  /** @type {HTMLDialogElement | null} */
  #dialog = null
  /** @type {Element | null} what had the focus before */
  #before = null

  /** @param {import('../library.mjs').Library} library */
  constructor(library) {
    this.#library = library
  }

  /** @param {Aws.Model} model */
  open(model) {
    this.close()
    this.#before = document.activeElement
    this.#open = new AbortController()
    const users = h('p', { class: 'aws-muted', role: 'status', testid: 'aws-model-users' },
      t('models.delete.looking'))
    this.#dialog = this.#build(model, users)
    guard(this.#dialog, this.#open.signal, { locked: false })
    document.body.append(this.#dialog)
    this.#dialog.showModal()
    void this.#tellUsers(model, users)
  }

  close() {
    this.#open?.abort()
    this.#open = null
    this.#dialog?.close()
    this.#dialog?.remove()
    this.#dialog = null
    if (this.#before instanceof HTMLElement) this.#before.focus()
    this.#before = null
  }

  /**
   * @param {Aws.Model} model
   * @param {HTMLElement} users
   */
  #build(model, users) {
    const remove = (/** @type {'here' | 'bucket'} */ place) => () => {
      this.close()
      void this.#library.remove(model, place)
    }
    return h('dialog', {
        class: 'aws aws-dialog',
        lang: locale(),
        'aria-labelledby': 'aws-model-delete-title',
        testid: 'aws-model-dialog',
        on: {
          cancel: (/** @type {Event} */ event) => {
            event.preventDefault()
            this.close()
          },
        },
      },
      h('h2', { id: 'aws-model-delete-title' }, t('models.delete.title', { name: model.name })),
      users,
      h('div', { class: 'aws-dialog-buttons' },
        button(t('cancel'), 'cancel', () => this.close(), { autofocus: true }),
        model.here && button(t('models.delete.here'), 'here', remove('here'), DANGER),
        model.bucket && button(t('models.delete.bucket'), 'bucket', remove('bucket'), DANGER)))
  }

  /**
   * @param {Aws.Model} model
   * @param {HTMLElement} users
   */
  async #tellUsers(model, users) {
    try {
      const found = await this.#library.users(model)
      const names = found.map(({ template }) => template).join(', ')
      setText(users, names ? t('models.delete.used', { names }) : t('models.delete.unused'))
    } catch (error) {
      setText(users, t('models.delete.unknown', { message: problemOf(error).message }))
    }
  }
}

/**
 * @param {string} label
 * @param {string} name
 * @param {() => void} click
 * @param {Record<string, unknown>} attrs
 */
function button(label, name, click, attrs = {}) {
  return h('button', {
      type: 'button',
      class: 'aws-button',
      testid: `aws-model-delete-${name}`,
      on: { click },
      ...attrs,
    }, label)
}
