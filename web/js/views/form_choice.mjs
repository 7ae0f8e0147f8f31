/**
 * Which parameters of a template its form shows, in which order, and what they are called there.
 */

import { told } from '../actions.mjs'
import { problemOf } from '../api.mjs'
import { h, icon, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { ChoiceRows } from './choice_rows.mjs'

export class FormChoice {
  #shelf
  #name = ''
  #rows = new ChoiceRows(() => this.#draw())
  #link = h('a', { class: 'aws-link', target: '_blank', rel: 'noopener', testid: 'aws-details-form' },
    icon('pi-external-link'), t('choice.open'))
  #note = h('p', { class: 'aws-muted', role: 'status', testid: 'aws-choice-note' })
  #problem = h('p', { class: 'aws-error-text', role: 'alert', testid: 'aws-choice-problem' })
  #save = h('button', { type: 'button', class: 'aws-button', testid: 'aws-choice-save',
    on: { click: () => void this.#store(this.#rows.chosen()) } }, t('choice.save'))
  #rule = h('button', { type: 'button', class: 'aws-button', testid: 'aws-choice-rule',
    on: { click: () => void this.#store([]) } }, t('choice.rule'))
  #details

  /** @param {import('../shelf.mjs').Shelf} shelf */
  constructor(shelf) {
    this.#shelf = shelf
    this.#details = h('details', { class: 'aws-details', testid: 'aws-choice',
        on: { toggle: () => this.#details.open && this.#rows.count === 0 && void this.#load() } },
      h('summary', {}, t('choice.title')),
      this.#note, this.#rows.element,
      h('div', { class: 'aws-buttons' }, this.#save, this.#rule),
      this.#problem)
    this.element = h('section', { class: 'aws-section', 'aria-labelledby': 'aws-choice-title' },
      h('div', { class: 'aws-split' }, h('h3', { id: 'aws-choice-title' }, t('choice.form')), this.#link),
      this.#details)
  }

  /** @param {string} name of a template */
  start(name) {
    this.#name = name
    this.#link.href = this.#shelf.formOf(name)
    this.#details.open = false
    this.#forget()
  }

  #forget() {
    this.#rows.set([], [])
    setText(this.#problem, '')
    this.#draw()
  }

  async #load() {
    const name = this.#name
    setText(this.#note, t('loading'))
    try {
      const { shown, every } = await this.#shelf.parameters(name)
      if (this.#name !== name) return
      this.#rows.set(shown, every)
      setText(this.#note, t(this.#rows.count > 0 ? 'choice.text' : 'inputs.none'))
    } catch (error) {
      setText(this.#note, '')
      setText(this.#problem, told(problemOf(error)))
    }
    this.#draw()
  }

  /** @param {Aws.ChosenInput[]} parameters none for those that the rules find */
  async #store(parameters) {
    setText(this.#problem, '')
    this.#save.disabled = this.#rule.disabled = true
    const problem = await this.#shelf.choose(this.#name, parameters)
    if (problem) {
      setText(this.#problem, told(problem))
      this.#draw()
      return
    }
    this.#forget()
    await this.#load()
    setText(this.#note, t(parameters.length > 0 ? 'choice.saved' : 'choice.ruled'))
  }

  #draw() {
    this.#save.disabled = this.#rows.chosen().length === 0
    this.#rule.disabled = this.#rows.count === 0
  }
}
