/**
 * Says below the pages that the lists stand as they last were, because ComfyUI or AWS does not
 * answer, and that it is asked again. It takes its room from the end: nothing above it moves.
 */

import { h, icon, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { problemOfStatus, showsLists } from '../store.mjs'
import { RetryButton } from './retry_button.mjs'

export class Trouble {
  #title = h('strong')
  #text = h('span')

  /**
   * @param {import('../store.mjs').Store} store
   * @param {import('../actions.mjs').Actions} actions
   * @param {AbortSignal} signal
   */
  constructor(store, actions, signal) {
    const retry = new RetryButton('aws-trouble-retry', () => actions.refresh())
    this.element = h('div', { class: 'aws-trouble', hidden: true, testid: 'aws-trouble' },
      icon('pi-exclamation-triangle'),
      h('div', { class: 'aws-trouble-words', role: 'status' }, this.#title, this.#text),
      retry.element)
    store.watch(['status', 'statusProblem', 'listed', 'refreshing'], (state) => {
      retry.busy = state.refreshing
      const problem = showsLists(state) ? problemOfStatus(state) : null
      this.element.hidden = !problem
      setText(this.#title, problem?.message ?? '')
      setText(this.#text, problem ? [problem.hint, t('trouble.again')].filter(Boolean).join(' ') : '')
    }, signal)
  }
}
