/**
 * Which parameters of a template its form shows, in which order, and what they are called there.
 */

import { told } from '../actions.js'
import { problemOf } from '../api.js'
import { h, icon, iconButton, setText } from '../dom.js'
import { named, t } from '../i18n.js'

/** @typedef {{parameter: Aws.Parameter, tick: HTMLInputElement, label: HTMLInputElement, element: HTMLElement}} Row */

export class FormChoice {
  #shelf
  #name = ''
  /** @type {Row[]} in the order of the form */
  #rows = []
  #link = h('a', { class: 'aws-link', target: '_blank', rel: 'noopener', testid: 'aws-details-form' },
    icon('pi-external-link'), t('choice.open'))
  #list = h('ul', { class: 'aws-list aws-choices', 'aria-label': t('choice.title'), testid: 'aws-choices' })
  #note = h('p', { class: 'aws-muted', role: 'status', testid: 'aws-choice-note' })
  #problem = h('p', { class: 'aws-error-text', role: 'alert', testid: 'aws-choice-problem' })
  #save = h('button', { type: 'button', class: 'aws-button', testid: 'aws-choice-save',
    on: { click: () => void this.#store(this.#chosen()) } }, t('choice.save'))
  #rule = h('button', { type: 'button', class: 'aws-button', testid: 'aws-choice-rule',
    on: { click: () => void this.#store([]) } }, t('choice.rule'))
  #details

  /** @param {import('../shelf.js').Shelf} shelf */
  constructor(shelf) {
    this.#shelf = shelf
    this.#details = h('details', { class: 'aws-details', testid: 'aws-choice',
        on: { toggle: () => this.#details.open && this.#rows.length === 0 && void this.#load() } },
      h('summary', {}, t('choice.title')),
      this.#note, this.#list,
      h('div', { class: 'aws-buttons' }, this.#save, this.#rule),
      this.#problem)
    this.element = h('section', { class: 'aws-section', 'aria-labelledby': 'aws-choice-title' },
      h('div', { class: 'aws-split' }, h('h3', { id: 'aws-choice-title' }, t('choice.form')), this.#link),
      this.#details)
    this.#list.addEventListener('input', () => this.#draw())
  }

  /** @param {string} name of a template */
  start(name) {
    this.#name = name
    this.#link.href = this.#shelf.formOf(name)
    this.#details.open = false
    this.#forget()
  }

  #forget() {
    this.#rows = []
    this.#list.replaceChildren()
    setText(this.#problem, '')
    this.#draw()
  }

  async #load() {
    const name = this.#name
    setText(this.#note, t('loading'))
    try {
      const { shown, every } = await this.#shelf.parameters(name)
      if (this.#name !== name) return
      const isShown = new Set(shown.map((each) => each.name))
      const rest = every.filter((each) => !isShown.has(each.name))
      this.#rows = [...shown, ...rest].map((each) => this.#row(each, isShown.has(each.name)))
      this.#list.replaceChildren(...this.#rows.map(({ element }) => element))
      setText(this.#note, t(this.#rows.length > 0 ? 'choice.text' : 'inputs.none'))
    } catch (error) {
      setText(this.#note, '')
      setText(this.#problem, told(problemOf(error)))
    }
    this.#draw()
  }

  /**
   * @param {Aws.Parameter} parameter
   * @param {boolean} isShown
   * @returns {Row}
   */
  #row(parameter, isShown) {
    const { name, title, input, role, label: called, media } = parameter
    const what = `${title || parameter.node} · ${input}`
    const tick = h('input', { type: 'checkbox', checked: isShown, 'aria-label': t('choice.show', { name: what }),
      testid: 'aws-choice-show' })
    const label = h('input', { type: 'text', class: 'aws-input', value: called, maxlength: '60', autocomplete: 'off',
      placeholder: role ? named('inputs.role', role === 'file' ? media : role) : what,
      'aria-label': t('choice.label', { name: what }), testid: 'aws-choice-label' })
    const up = iconButton('pi-arrow-up', t('choice.up', { name: what }), {
      testid: 'aws-choice-up', on: { click: () => this.#raise(name) } })
    const element = h('li', { class: 'aws-choice', testid: 'aws-choice-row', 'data-name': name },
      tick, h('div', { class: 'aws-field' }, h('span', { class: 'aws-row-meta aws-ellipsis', title: what }, what), label), up)
    return { parameter, tick, label, element }
  }

  /** @param {string} name of a parameter that goes one place up */
  #raise(name) {
    const at = this.#rows.findIndex(({ parameter }) => parameter.name === name)
    const [row, above] = [this.#rows[at], this.#rows[at - 1]]
    if (!row || !above) return
    this.#rows.splice(at - 1, 2, row, above)
    row.element.after(above.element) // the one that is moved would lose the focus
  }

  #chosen() {
    return this.#rows.filter(({ tick }) => tick.checked).map(({ parameter: { node, input }, label }) =>
      ({ node, input, label: label.value.trim() }))
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
    const isEmpty = this.#rows.length === 0
    for (const { tick, label } of this.#rows) label.disabled = !tick.checked
    this.#save.disabled = isEmpty || this.#rows.every(({ tick }) => !tick.checked)
    this.#rule.disabled = isEmpty
  }
}
