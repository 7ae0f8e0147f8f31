/**
 * A button that asks again, and says that it does.
 */

import { h, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'

export class RetryButton {
  #busy = false

  /**
   * @param {string} testid
   * @param {() => unknown} ask
   * @param {string} [look] further classes
   */
  constructor(testid, ask, look = '') {
    // Not disabled while it is busy: that would take the focus away.
    this.element = h('button',
      { type: 'button', class: `aws-button ${look}`.trim(), testid, on: { click: () => this.#busy || ask() } },
      t('retry'))
  }

  /** @param {boolean} busy */
  set busy(busy) {
    this.#busy = busy
    this.element.setAttribute('aria-busy', String(busy))
    setText(this.element, t(busy ? 'retry.busy' : 'retry'))
  }
}
