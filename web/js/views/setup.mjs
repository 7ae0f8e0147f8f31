/**
 * What stands in the panel while AWS cannot be used: why, and the way out.
 */

import { h, icon, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { isStopped, problemOfStatus, showsLists } from '../store.mjs'
import { RetryButton } from './retry_button.mjs'

export class Setup {
  #title = h('h3')
  #text = h('p')
  #hint = h('p', { class: 'aws-muted' })
  #problem = h('p', { class: 'aws-error-text', role: 'alert', testid: 'aws-stack-problem' })
  #startText = h('span')
  #spinner = icon('pi-spinner pi-spin')
  #start
  #retry

  /**
   * @param {import('../store.mjs').Store} store
   * @param {import('../actions.mjs').Actions} actions
   * @param {AbortSignal} signal
   */
  constructor(store, actions, signal) {
    this.#start = h(
      'button',
      {
        type: 'button',
        class: 'aws-button aws-primary aws-wide',
        testid: 'aws-stack-start',
        on: { click: () => void actions.stack('start') },
      },
      this.#spinner,
      this.#startText
    )
    this.#retry = new RetryButton('aws-status-retry', () => actions.refresh(), 'aws-wide')
    this.element = h(
      'section',
      { class: 'aws-card aws-setup', testid: 'aws-setup' },
      this.#title,
      this.#text,
      this.#hint,
      this.#start,
      this.#retry.element,
      this.#problem
    )
    const keys = /** @type {const} */ (
      ['status', 'statusProblem', 'listed', 'refreshing', 'stackBusy', 'stackProblem'])
    store.watch([...keys], (state) => this.#draw(state), signal)
  }

  /** @param {Readonly<Aws.State>} state */
  #draw(state) {
    const { status, statusProblem, stackBusy, stackProblem } = state
    const waiting = !status && !statusProblem
    this.element.hidden = waiting || (showsLists(state) && stackBusy !== 'start')
    if (this.element.hidden) return
    const { title, text, hint } = words(state)
    setText(this.#title, title)
    setText(this.#text, text)
    const starting = stackBusy === 'start'
    setText(this.#hint, starting ? t('stack.starting.hint') : hint)
    this.#hint.hidden = !this.#hint.textContent
    this.#start.hidden = !canStart(state)
    this.#start.disabled = stackBusy !== ''
    this.#spinner.hidden = !starting
    setText(this.#startText, t(starting ? 'stack.starting.short' : 'stack.start'))
    this.#retry.busy = state.refreshing
    this.#retry.element.hidden = !problemOfStatus(state) || canStart(state)
    setText(this.#problem, stackProblem ? `${stackProblem.message} ${stackProblem.hint}` : '')
    this.#problem.hidden = !stackProblem
  }
}

/** @param {Readonly<Aws.State>} state */
function canStart({ status, statusProblem }) {
  if (!status || statusProblem) return false
  return !status.configured || (status.target === 'local' && !status.stack.running)
}

/** @param {Readonly<Aws.State>} state */
function words(state) {
  const problem = problemOfStatus(state)
  if (!state.statusProblem && isStopped(state)) {
    return { title: t('setup.stopped.title'), text: t('setup.stopped.text'), hint: '' }
  }
  if (problem) {
    const isServer = state.statusProblem !== null
    return {
      title: t(isServer ? 'setup.server.title' : 'setup.problem.title'),
      text: problem.message,
      hint: [problem.hint, t('trouble.again')].filter(Boolean).join(' '),
    }
  }
  return { title: t('setup.title'), text: t('setup.text'), hint: '' }
}
