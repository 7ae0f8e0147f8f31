/**
 * The rows in which somebody chooses what a form shows: ticked or not, in an order, with labels.
 */

import { h, iconButton } from '../dom.mjs'
import { named, t } from '../i18n.mjs'

/** @typedef {{parameter: Aws.FormParameter, tick: HTMLInputElement, label: HTMLInputElement, element: HTMLElement}} Row */

export class ChoiceRows {
  /** @type {Row[]} in the order of the form */
  #rows = []
  #changed

  /** @param {() => void} changed called when the user has changed something */
  constructor(changed) {
    this.#changed = changed
    this.element = h('ul', { class: 'aws-list aws-choices', 'aria-label': t('choice.title'), testid: 'aws-choices' })
    this.element.addEventListener('input', () => {
      this.#draw()
      this.#changed()
    })
  }

  /** How many there are to choose from. */
  get count() {
    return this.#rows.length
  }

  /**
   * @param {Aws.FormParameter[]} shown are ticked and stand first
   * @param {Aws.FormParameter[]} every all that there are
   */
  set(shown, every) {
    const names = new Set(shown.map(({ name }) => name))
    const all = [...shown, ...every.filter(({ name }) => !names.has(name))]
    const paths = all.map(pathOf)
    const repeated = new Set(paths.filter((path, at) => paths.indexOf(path) !== at))
    this.#rows = all.map((each) => {
      const path = pathOf(each)
      return this.#row(each, repeated.has(path) ? `${path} (${each.node})` : path, names.has(each.name))
    })
    this.element.replaceChildren(...this.#rows.map(({ element }) => element))
    this.#draw()
  }

  /** @returns {Aws.ChosenInput[]} what is ticked, in its order */
  chosen() {
    return this.#rows.filter(({ tick }) => tick.checked).map(({ parameter: { node, input }, label }) =>
      ({ node, input, label: label.value.trim() }))
  }

  /**
   * @param {Aws.FormParameter} parameter
   * @param {string} what tells it from the others
   * @param {boolean} isShown
   * @returns {Row}
   */
  #row(parameter, what, isShown) {
    const { name, role, label: called, media } = parameter
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
    this.#changed()
  }

  #draw() {
    for (const { tick, label } of this.#rows) label.disabled = !tick.checked
  }
}

/** @param {Aws.FormParameter} parameter */
function pathOf({ place, title, node, input }) {
  return [...place, title || node, input].join(' · ')
}
