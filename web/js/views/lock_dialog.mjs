/**
 * The dialog that locks the page while a workflow is being published.
 *
 * It is open exactly while the store has a publish: nothing else opens or closes it.
 */

import { h, ProgressBar, setText } from '../dom.mjs'
import { bytes, duration } from '../format.mjs'
import { locale, named, t } from '../i18n.mjs'
import { guard } from './guard.mjs'

export class LockDialog {
  #cancel
  /** @type {AbortController | null} set while the dialog is open */
  #open = null
  /** @type {Aws.Publish | null} */
  #shown = null
  #isArmed = true
  #dialog
  // Takes the focus: an Enter held since the name dialog must not press Cancel.
  #title = h('h2', { id: 'aws-lock-title', tabindex: '-1', autofocus: true })
  #text = h('p', { class: 'aws-muted', id: 'aws-lock-text' })
  #phase = h('span', { testid: 'aws-lock-phase' })
  #bytes = h('span', { class: 'aws-number', testid: 'aws-lock-bytes' })
  #rate = h('div', { class: 'aws-muted aws-number aws-lock-rate', testid: 'aws-lock-rate' })
  #item = h('div', { class: 'aws-path', testid: 'aws-lock-item' })
  #bar = new ProgressBar('', 'aws-lock-progress')
  #problem = h('p', { class: 'aws-error-text', role: 'alert', testid: 'aws-lock-problem' })
  #button = h('button', {
    type: 'button',
    class: 'aws-button',
    testid: 'aws-lock-cancel',
    on: { click: () => void this.#askCancel() },
  })

  /**
   * @param {import('../store.mjs').Store} store
   * @param {() => Promise<Aws.Problem | null>} cancel
   * @param {AbortSignal} signal
   */
  constructor(store, cancel, signal) {
    this.#cancel = cancel
    this.#dialog = h(
      'dialog',
      {
        class: 'aws aws-dialog',
        testid: 'aws-lock',
        closedby: 'none',
        'aria-labelledby': 'aws-lock-title',
        'aria-describedby': 'aws-lock-text',
        on: {
          cancel: (/** @type {Event} */ event) => event.preventDefault(),
          // Chromium closes a dialog on the second Escape whatever `cancel` says.
          close: () => this.#open && !this.#dialog.open && this.#dialog.showModal(),
        },
      },
      this.#title,
      this.#text,
      h('div', { class: 'aws-split', role: 'status' }, this.#phase, this.#bytes),
      this.#bar.element,
      this.#rate,
      this.#item,
      this.#problem,
      h('div', { class: 'aws-dialog-buttons' }, this.#button)
    )
    store.watch(['publish'], ({ publish }) => this.#draw(publish), signal)
  }

  /** Draw what is shown anew, in another language. */
  draw() {
    this.#draw(this.#shown)
  }

  /** @param {Aws.Publish | null} publish */
  #draw(publish) {
    this.#shown = publish
    if (!publish) {
      this.#close()
      return
    }
    if (!this.#open) this.#show()
    this.#dialog.lang = locale()
    this.#bar.element.setAttribute('aria-label', t('lock.progress'))
    setText(this.#text, t('lock.text'))
    setText(this.#button, t(this.#isArmed ? 'lock.cancel' : 'lock.cancelling'))
    setText(this.#title, t('lock.title', { name: publish.name || '…' }))
    setText(this.#phase, named('phase', publish.phase))
    setText(this.#item, publish.item)
    this.#item.title = publish.item
    const known = publish.total > 0
    const extent = { done: bytes(publish.done), total: bytes(publish.total) }
    setText(this.#bytes, known ? t('lock.bytes', extent) : '')
    const { rate, seconds_left: left } = publish
    const speed = rate && left !== null ? { rate: bytes(rate), time: duration(left) } : null
    setText(this.#rate, speed ? t('lock.rate', speed) : '')
    this.#bar.set(known ? publish.done / publish.total : null)
  }

  #show() {
    this.#open = new AbortController()
    setText(this.#problem, '')
    this.#armed(true)
    guard(this.#dialog, this.#open.signal, { locked: true })
    document.body.append(this.#dialog)
    this.#dialog.showModal()
  }

  #close() {
    this.#open?.abort()
    this.#open = null
    this.#dialog.close()
    this.#dialog.remove()
  }

  /** @param {boolean} armed the button can be pressed */
  #armed(armed) {
    this.#isArmed = armed
    this.#button.disabled = !armed
    setText(this.#button, t(armed ? 'lock.cancel' : 'lock.cancelling'))
  }

  async #askCancel() {
    this.#armed(false)
    setText(this.#problem, '')
    const problem = await this.#cancel()
    if (!problem) return
    setText(this.#problem, `${problem.message} ${problem.hint}`)
    this.#armed(true)
  }
}
