/**
 * The drafts that were put aside: each by its time, and opened in place of the one of now.
 */

import { told } from '../actions.mjs'
import { problemOf } from '../api.mjs'
import { h, iconButton, setText } from '../dom.mjs'
import { ago, moment } from '../format.mjs'
import { locale, t } from '../i18n.mjs'
import { guard } from './guard.mjs'

export class DraftsDialog {
  #environments
  /** @type {AbortController | null} set while the dialog is open */
  #open = null
  /** @type {HTMLDialogElement | null} */
  #dialog = null
  #note = h('p', { class: 'aws-muted', role: 'status', testid: 'aws-drafts-note' })
  #list = h('ul', { class: 'aws-list', 'aria-labelledby': 'aws-drafts-title', testid: 'aws-drafts-list' })

  /** @param {import('../environments.mjs').Environments} environments */
  constructor(environments) {
    this.#environments = environments
  }

  /** @param {string} name of the environment that the canvas belongs to */
  async open(name) {
    if (this.#open) return
    this.#open = new AbortController()
    this.#list.replaceChildren()
    setText(this.#note, t('loading'))
    this.#dialog = this.#build(name)
    guard(this.#dialog, this.#open.signal, { locked: false })
    document.body.append(this.#dialog)
    this.#dialog.showModal()
    try {
      const drafts = await this.#environments.earlier()
      setText(this.#note, t(drafts.length > 0 ? 'drafts.text' : 'drafts.none'))
      this.#list.replaceChildren(...drafts.map((draft) => this.#row(draft)))
    } catch (error) {
      setText(this.#note, told(problemOf(error)))
    }
  }

  close() {
    this.#dialog?.close()
  }

  /** @param {string} name */
  #build(name) {
    return h('dialog', {
        class: 'aws aws-dialog',
        lang: locale(),
        'aria-labelledby': 'aws-drafts-title',
        testid: 'aws-drafts',
        on: { close: () => this.#closed() },
      },
      h('div', { class: 'aws-split' },
        h('h2', { id: 'aws-drafts-title', tabindex: '-1', autofocus: true }, t('drafts.title', { name })),
        iconButton('pi-times', t('details.close'), {
          testid: 'aws-drafts-close', on: { click: () => this.close() } })),
      this.#note,
      this.#list)
  }

  #closed() {
    this.#open?.abort()
    this.#open = null
    this.#dialog?.remove()
    this.#dialog = null
  }

  /** @param {{file: string, at: number}} draft */
  #row({ file, at }) {
    const show = () => {
      this.close()
      void this.#environments.showDraft(file)
    }
    return h('li', { class: 'aws-row', testid: 'aws-draft-row' },
      h('div', { class: 'aws-row-body' },
        h('span', {}, moment(at)), h('span', { class: 'aws-row-meta' }, ago(at))),
      h('button', {
          type: 'button',
          class: 'aws-button aws-small',
          'aria-label': t('drafts.open.label', { when: moment(at) }),
          testid: 'aws-draft-open',
          on: { click: show },
        }, t('drafts.open')))
  }
}
