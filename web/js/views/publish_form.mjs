/**
 * What the form of a workflow is to show, chosen before it is published: by rule, as the template
 * has it already, or as the user says.
 */

import { h, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { ChoiceRows } from './choice_rows.mjs'

export class PublishForm {
  /** @type {Aws.FormParameter[]} of the workflow; those that the rules find have a role */
  #every = []
  /** @type {Aws.ChosenInput[]} what the template shows that gets a new version; none by rule */
  #before = []
  /** @type {Aws.ChosenInput[] | null} what the user has chosen, none by rule; null for nothing */
  #own = null
  #rows = new ChoiceRows(() => {
    this.#own = this.#rows.chosen()
    this.#draw()
  })
  #note = h('p', { class: 'aws-muted', role: 'status', testid: 'aws-name-form-note' })
  #rule = h('button', { type: 'button', class: 'aws-button', testid: 'aws-name-form-rule',
    on: { click: () => this.#choose([]) } }, t('choice.rule'))

  constructor() {
    this.element = h('details', { class: 'aws-details', hidden: true, testid: 'aws-name-form' },
      h('summary', {}, t('choice.title')),
      h('p', { class: 'aws-muted' }, t('choice.text')),
      this.#rows.element,
      h('div', { class: 'aws-buttons' }, this.#rule),
      this.#note)
  }

  /** @returns {Aws.ChosenInput[] | undefined} undefined when the user has chosen nothing */
  get wish() {
    return this.#own ?? undefined
  }

  /** Begin with nothing chosen. */
  start() {
    this.#every = this.#before = []
    this.element.open = false
    this.#choose(null)
  }

  /** @param {Aws.FormParameter[]} every what the workflow on the canvas has */
  offer(every) {
    this.#every = every
    this.#fill()
  }

  /** @param {Aws.ChosenInput[]} chosen what the template shows that gets a new version */
  follow(chosen) {
    this.#before = chosen
    if (!this.#own) this.#fill()
  }

  /** @param {Aws.ChosenInput[] | null} own */
  #choose(own) {
    this.#own = own
    this.#fill()
  }

  #fill() {
    const chosen = this.#own ?? this.#before
    const shown = chosen.flatMap(({ node, input, label }) =>
      this.#every.filter((each) => each.node === node && each.input === input)
        .map((each) => ({ ...each, label })))
    this.#rows.set(shown.length > 0 ? shown : this.#every.filter(({ role }) => role), this.#every)
    this.element.hidden = this.#rows.count === 0
    this.#draw()
  }

  #draw() {
    const isByRule = (this.#own ?? this.#before).length === 0
    setText(this.#note, isByRule ? t('choice.ruled') : '')
    this.#rule.disabled = isByRule && this.#rows.chosen().length > 0
  }
}
