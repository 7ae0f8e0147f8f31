/**
 * A titled part of the panel that shows a list, or why there is none.
 */

import { h, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { RetryButton } from './retry_button.mjs'

export class Section {
  #empty
  #emptyHint
  #text = h('span')
  #hint = h('span', { class: 'aws-muted' })
  #note
  #retry

  /**
   * @param {object} parts
   * @param {string} parts.name part of the ids and test ids
   * @param {string} parts.title
   * @param {string} parts.empty
   * @param {() => string} parts.emptyHint
   * @param {() => void} parts.retry
   * @param {HTMLElement[]} parts.tools buttons beside the title
   * @param {HTMLElement[]} parts.body
   */
  constructor({ name, title, empty, emptyHint, retry, tools, body }) {
    this.#empty = empty
    this.#emptyHint = emptyHint
    this.#retry = new RetryButton(`aws-${name}-retry`, retry)
    this.#note = h(
      'div',
      { class: 'aws-note', testid: `aws-${name}-note` },
      h('div', { class: 'aws-note-words', role: 'status' }, this.#text, this.#hint),
      this.#retry.element
    )
    const id = `aws-${name}-title`
    this.element = h(
      'section',
      { class: 'aws-section', 'aria-labelledby': id, testid: `aws-${name}` },
      h('div', { class: 'aws-section-head' }, h('h3', { id }, title), ...tools),
      ...body,
      this.#note
    )
  }

  /** @param {Aws.Listing<unknown>} listing */
  draw({ items, state, problem }) {
    const [text, hint] = this.#words(state, problem)
    // What is asked for again has failed until it is there: the words stay.
    const failed = state === 'error' || (state === 'loading' && problem !== null)
    const quiet = items.length > 0 && !failed
    this.element.setAttribute('aria-busy', String(state === 'loading'))
    this.#note.hidden = quiet
    this.#note.classList.toggle('aws-note-error', failed)
    this.#retry.element.hidden = !failed
    this.#retry.busy = state === 'loading'
    setText(this.#text, quiet ? '' : text)
    setText(this.#hint, quiet ? '' : hint)
  }

  /**
   * Say why nothing is shown although there is something.
   *
   * @param {string} text
   * @param {string} hint
   */
  say(text, hint) {
    this.#note.hidden = false
    setText(this.#text, text)
    setText(this.#hint, hint)
  }

  /**
   * @param {Aws.Listing<unknown>['state']} state
   * @param {Aws.Problem | null} problem
   */
  #words(state, problem) {
    if (problem) return [problem.message, problem.hint]
    if (state === 'ready') return [this.#empty, this.#emptyHint()]
    return [t('loading'), '']
  }
}
