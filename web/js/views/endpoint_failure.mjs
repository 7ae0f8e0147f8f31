/**
 * Why an endpoint failed: SageMaker's reason, and the last lines that its workers wrote.
 */

import { problemOf } from '../api.mjs'
import { h, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'

export class EndpointFailure {
  #name
  #fleet
  #signal
  #reason = h('p', { class: 'aws-error-text', testid: 'aws-endpoint-failure' })
  #title = h('span', { class: 'aws-muted' })
  #lines = h('pre', {
    class: 'aws-last-lines',
    role: 'group',
    tabindex: '0', // it scrolls
    'aria-label': t('endpoints.lines'),
    testid: 'aws-endpoint-lines',
  })
  /** The failure whose lines were asked for. */
  #asked = ''

  /**
   * @param {string} name of the endpoint
   * @param {import('../fleet.mjs').Fleet} fleet
   * @param {AbortSignal} signal
   */
  constructor(name, fleet, signal) {
    this.#name = name
    this.#fleet = fleet
    this.#signal = signal
    const open = h('button', {
      type: 'button',
      class: 'aws-button aws-small',
      testid: 'aws-endpoint-failure-log',
      on: { click: () => fleet.showLog({ source: `endpoint:${name}`, job: '' }) },
    }, t('endpoints.log'))
    this.element = h('div', { class: 'aws-failure', hidden: true },
      this.#reason, this.#title, this.#lines, open)
  }

  /** @param {string} failure empty: there is none */
  draw(failure) {
    this.element.hidden = !failure
    setText(this.#reason, failure)
    if (!failure || failure === this.#asked) return
    this.#asked = failure
    this.#lines.hidden = true
    setText(this.#title, t('loading'))
    void this.#load()
  }

  async #load() {
    try {
      const lines = await this.#fleet.lastLines(this.#name, this.#signal)
      setText(this.#title, t(lines.length > 0 ? 'endpoints.lines' : 'endpoints.lines.none'))
      setText(this.#lines, lines.map(({ text }) => text).join('\n'))
      this.#lines.hidden = lines.length === 0
    } catch (error) {
      if (!this.#signal.aborted) setText(this.#title, problemOf(error).message)
    }
  }
}
