/**
 * Asks the name of a new template and says at once what is wrong with it.
 */

import { told } from '../actions.js'
import { h, setText } from '../dom.js'
import { t } from '../i18n.js'
import { guard } from './guard.js'

const MAX_LENGTH = 20

/** Typing pauses longer than this before the bucket is asked. */
const CHECK_MS = 250

/** A bucket that takes longer is not waited for: the publish itself decides. */
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
    const character = /\s/.test(wrong) ? t('name.character.space') : `“${wrong}”`
    return t('name.character', { character })
  }
  if (name.length > MAX_LENGTH) return t('name.long', { length: name.length })
  return ''
}

export class NameDialog {
  #check
  #publish
  /** @type {AbortController | null} set while the dialog is open */
  #open = null
  /** @type {AbortController | null} the question to the bucket that is under way */
  #asking = null
  #busy = false
  /** Name that the bucket holds already; only that one can get a new version. */
  #taken = ''
  #input
  #message = h('p', {
    id: 'aws-name-message',
    class: 'aws-field-message',
    role: 'status',
    testid: 'aws-name-message',
  })
  #newVersion = h('input', { type: 'checkbox', testid: 'aws-name-new-version' })
  #newVersionText = h('span')
  #newVersionRow = h(
    'label',
    { class: 'aws-check', hidden: true },
    this.#newVersion,
    this.#newVersionText
  )
  #ok = h('button', { type: 'submit', class: 'aws-button aws-primary', testid: 'aws-name-ok' })
  #dialog

  /**
   * @param {object} parts
   * @param {(name: string, signal: AbortSignal) => Promise<{ok: boolean, error: Aws.Problem | null}>}
   *   parts.check asks the bucket
   * @param {(name: string, newVersion: boolean) => Promise<Aws.Problem | null>} parts.publish
   *   the dialog closes when this has no problem
   */
  constructor({ check, publish }) {
    this.#check = check
    this.#publish = publish
    this.#input = h('input', {
      id: 'aws-name-input',
      class: 'aws-input',
      type: 'text',
      autocomplete: 'off',
      spellcheck: 'false',
      autofocus: true,
      'aria-describedby': 'aws-name-message',
      testid: 'aws-name-input',
      on: { input: () => this.#typed() },
    })
    this.#newVersion.addEventListener('change', () => this.#draw())
    this.#dialog = this.#build()
  }

  /**
   * Open the dialog.
   *
   * @param {string} [name] what stands in the field
   * @param {Aws.Problem} [problem] why that name was refused
   */
  open(name = '', problem) {
    if (this.#open) return
    this.#open = new AbortController()
    this.#input.value = name
    this.#setBusy(false)
    this.#forgetTaken()
    guard(this.#dialog, this.#open.signal, { locked: false })
    document.body.append(this.#dialog)
    this.#dialog.showModal()
    this.#input.select()
    if (problem) this.#refuse(problem)
    else this.#say(t('name.rule'), '')
  }

  close() {
    this.#dialog.close()
  }

  #build() {
    const cancel = h(
      'button',
      {
        type: 'button',
        class: 'aws-button',
        testid: 'aws-name-cancel',
        on: { click: () => this.close() },
      },
      t('cancel')
    )
    const form = h(
      'form',
      { novalidate: true, on: { submit: (/** @type {Event} */ event) => this.#submit(event) } },
      h('h2', { id: 'aws-name-title' }, t('name.title')),
      h('p', { class: 'aws-muted' }, t('name.text')),
      h('label', { class: 'aws-label', for: 'aws-name-input' }, t('name.label')),
      this.#input,
      this.#message,
      this.#newVersionRow,
      h('div', { class: 'aws-dialog-buttons' }, cancel, this.#ok)
    )
    return h(
      'dialog',
      {
        class: 'aws aws-dialog',
        testid: 'aws-name-dialog',
        'aria-labelledby': 'aws-name-title',
        on: {
          cancel: (/** @type {Event} */ event) => this.#busy && event.preventDefault(),
          close: () => this.#closed(),
        },
      },
      form
    )
  }

  #closed() {
    this.#open?.abort()
    this.#open = null
    this.#asking?.abort()
    this.#dialog.remove()
  }

  #typed() {
    const name = this.#input.value
    this.#asking?.abort()
    this.#forgetTaken()
    const broken = brokenRule(name)
    if (broken) {
      this.#say(name === '' ? t('name.rule') : broken, name === '' ? '' : 'error')
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
      if (ok || !error) this.#say(t('name.free'), 'good')
      else this.#refuse(error)
    } catch {
      // Not knowing is no reason to stop.
      if (!signal.aborted) this.#say(t('name.rule'), '')
    }
  }

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault()
    if (this.#busy) return
    const name = this.#input.value
    const broken = brokenRule(name)
    if (broken) {
      this.#say(broken, 'error')
      this.#input.focus()
      return
    }
    this.#asking?.abort()
    this.#setBusy(true)
    const newVersion = this.#taken === name && this.#newVersion.checked
    const problem = (newVersion ? null : await this.#known(name)) ??
      (await this.#publish(name, newVersion))
    this.#setBusy(false)
    if (!problem) {
      this.close()
      return
    }
    this.#refuse(problem)
    this.#input.focus()
  }

  /**
   * Why the bucket will refuse a name; null also when nobody knows, since the publish decides.
   *
   * @param {string} name
   * @returns {Promise<Aws.Problem | null>}
   */
  async #known(name) {
    try {
      return (await this.#check(name, AbortSignal.timeout(ASK_MS))).error
    } catch {
      return null
    }
  }

  /** @param {Aws.Problem} problem */
  #refuse(problem) {
    this.#say(told(problem), 'error')
    if (problem.code !== 'conflict') return
    this.#taken = this.#input.value
    this.#newVersionText.textContent = t('name.newVersion', { name: this.#taken })
    this.#newVersionRow.hidden = false
    this.#draw()
  }

  #forgetTaken() {
    this.#taken = ''
    this.#newVersion.checked = false
    this.#newVersionRow.hidden = true
    this.#draw()
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    this.#busy = busy
    this.#input.readOnly = busy
    this.#draw()
  }

  #draw() {
    this.#ok.disabled = this.#busy
    setText(this.#ok, t(this.#busy ? 'name.starting' : 'name.ok'))
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
