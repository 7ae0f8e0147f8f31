/**
 * The field for a template's name: says the rule that is broken as it is typed, and asks the
 * bucket at once whether the name is taken.
 */

import { told } from '../actions.mjs'
import { h, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'

const MAX_LENGTH = 20

/** Typing pauses longer than this before the bucket is asked. */
const CHECK_MS = 250

/** A bucket that takes longer is not waited for: the server itself decides in the end. */
const ASK_MS = 5000

/**
 * The rule that `name` breaks, in words; empty when it breaks none.
 *
 * @param {string} name
 */
export function brokenRule(name) {
  if (name === '') return t('name.empty')
  const wrong = [...name].find((character) => !/^[A-Za-z0-9]$/.test(character))
  if (wrong !== undefined) {
    const character = /\s/.test(wrong)
      ? t('name.character.space')
      : t('name.character.quoted', { character: wrong })
    return t('name.character', { character })
  }
  if (name.length > MAX_LENGTH) return t('name.long', { length: name.length })
  return ''
}

/**
 * @callback CheckName asks the bucket
 * @param {string} name
 * @param {AbortSignal} signal
 * @returns {Promise<{ok: boolean, error: Aws.Problem | null}>}
 */

export class NameField {
  #check
  #onTaken
  #own = ''
  /** @type {AbortController | null} the question to the bucket that is under way */
  #asking = null
  #input
  #message

  /**
   * @param {object} parts
   * @param {string} parts.id of the elements, such as `aws-name`
   * @param {CheckName} parts.check
   * @param {(name: string) => void} [parts.onTaken] told of a name that is taken, and by an empty
   *   text that it is no longer the one in the field
   */
  constructor({ id, check, onTaken = () => {} }) {
    this.#check = check
    this.#onTaken = onTaken
    this.#message = h('p', {
      id: `${id}-message`,
      class: 'aws-field-message',
      role: 'status',
      testid: `${id}-message`,
    })
    this.#input = h('input', {
      id: `${id}-input`,
      class: 'aws-input',
      type: 'text',
      autocomplete: 'off',
      spellcheck: 'false',
      autofocus: true,
      'aria-describedby': `${id}-message`,
      testid: `${id}-input`,
      on: { input: () => this.#typed() },
    })
    this.element = h(
      'div',
      { class: 'aws-field' },
      h('label', { class: 'aws-label', for: `${id}-input` }, t('name.label')),
      this.#input,
      this.#message
    )
  }

  get value() {
    return this.#input.value
  }

  /** @param {boolean} readOnly */
  set readOnly(readOnly) {
    this.#input.readOnly = readOnly
  }

  /**
   * @param {string} name
   * @param {string} [own] a name that the template has already: it is neither taken nor asked for
   */
  start(name, own = '') {
    this.#own = own
    this.#input.value = name
    this.#onTaken('')
    this.#say(t('name.rule'), '')
    if (!own) this.#input.select()
  }

  stop() {
    this.#asking?.abort()
  }

  focus() {
    this.#input.focus()
  }

  /**
   * Why the name cannot be; says so, too. Null also when nobody knows, since the server decides.
   *
   * @param {boolean} taken whether a taken name will do
   * @returns {Promise<Aws.Problem | null>}
   */
  async problem(taken) {
    this.#asking?.abort()
    const message = brokenRule(this.value)
    const broken = message ? { code: 'invalid_name', message, hint: '' } : null
    const problem = broken ?? (taken || this.value === this.#own ? null : await this.#known())
    if (problem) this.refuse(problem)
    return problem
  }

  /** @param {Aws.Problem} problem */
  refuse(problem) {
    this.#say(told(problem), 'error')
    if (problem.code === 'conflict') this.#onTaken(this.value)
    this.focus()
  }

  async #known() {
    try {
      return (await this.#check(this.value, AbortSignal.timeout(ASK_MS))).error
    } catch {
      return null
    }
  }

  #typed() {
    const name = this.value
    this.#asking?.abort()
    this.#onTaken('')
    const broken = brokenRule(name)
    if (broken) this.#say(name === '' ? t('name.rule') : broken, name === '' ? '' : 'error')
    if (broken) return
    if (name === this.#own) {
      this.#say(t('name.rule'), '')
      return
    }
    this.#say(t('name.checking'), '')
    this.#asking = new AbortController()
    void this.#ask(name, this.#asking.signal)
  }

  /**
   * @param {string} name
   * @param {AbortSignal} signal
   */
  async #ask(name, signal) {
    await new Promise((resolve) => {
      setTimeout(resolve, CHECK_MS)
    })
    if (signal.aborted) return
    try {
      const { ok, error } = await this.#check(name, signal)
      if (signal.aborted) return
      if (ok || !error) {
        this.#say(t('name.free'), 'good')
      } else {
        this.#say(told(error), 'error')
        if (error.code === 'conflict') this.#onTaken(name)
      }
    } catch {
      // Not knowing is no reason to stop.
      if (!signal.aborted) this.#say(t('name.rule'), '')
    }
  }

  /**
   * @param {string} text
   * @param {'' | 'good' | 'error'} tone
   */
  #say(text, tone) {
    setText(this.#message, text)
    this.#message.dataset.tone = tone
    this.#input.setAttribute('aria-invalid', String(tone === 'error'))
  }
}
