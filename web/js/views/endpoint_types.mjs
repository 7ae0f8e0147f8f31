/**
 * The instance types of a new endpoint: the one that is wanted, and those that stand in for it, in
 * their order, where AWS has none of it to give.
 */

import { h, iconButton, setText } from '../dom.mjs'
import { money } from '../format.mjs'
import { t } from '../i18n.mjs'
import { field } from './endpoint_limits.mjs'

export const STANDARD_TYPE = 'ml.g5.xlarge'

/** SageMaker's limit, which the server holds. */
const MOST = 5

/** @typedef {{select: HTMLSelectElement, facts: HTMLElement, element: HTMLElement}} Choice */

export class EndpointTypes {
  #prefix
  #store
  #first
  /** @type {Choice[]} in their order */
  #others = []
  /** Of a choice ever made here: ids are not given twice. */
  #count = 0
  #list
  #hint
  #add

  /**
   * @param {string} prefix of the ids
   * @param {import('../store.mjs').Store} store
   * @param {AbortSignal} signal
   */
  constructor(prefix, store, signal) {
    this.#prefix = prefix
    this.#store = store
    this.#first = this.#choice(`${prefix}-type`, `${prefix}-facts`)
    this.#hint = h('p', { class: 'aws-muted', id: `${prefix}-fallback-hint`, testid: `${prefix}-fallback-hint` },
      t('form.fallback.hint'))
    this.#list = h('ol', { class: 'aws-list aws-fallbacks', 'aria-label': t('form.fallbacks'), testid: `${prefix}-fallbacks` })
    this.#add = h('button', { type: 'button', class: 'aws-button aws-small', testid: `${prefix}-fallback-add`,
      'aria-describedby': this.#hint.id, on: { click: () => this.#append() } }, t('form.fallback.add'))
    this.element = h('div', { class: 'aws-field' },
      field(prefix, 'type', t('form.type'), this.#first.select),
      this.#first.facts, this.#list, this.#hint, h('div', { class: 'aws-buttons' }, this.#add))
    store.watch(['instanceTypes', 'status'], () => this.#draw(), signal)
  }

  /** What is asked for. */
  get wish() {
    const fallbacks = this.#others.map(({ select }) => select.value)
    return { instance_type: this.#first.select.value, ...(fallbacks.length > 0 && { fallbacks }) }
  }

  /** @param {string} type that is chosen, alone */
  start(type) {
    this.#others = []
    this.#list.replaceChildren()
    this.#draw()
    this.#first.select.value = type
    this.#draw()
  }

  get #all() {
    return [this.#first, ...this.#others]
  }

  /**
   * @param {string} id
   * @param {string} factsId
   * @returns {Choice}
   */
  #choice(id, factsId) {
    const select = h('select', { id, class: 'aws-input', testid: id, 'aria-describedby': factsId,
      on: { change: () => this.#draw() } }, h('option', { value: STANDARD_TYPE }, STANDARD_TYPE))
    const facts = h('p', { class: 'aws-muted', id: factsId, testid: factsId })
    return { select, facts, element: select }
  }

  #append() {
    const { instanceTypes } = this.#store.state
    const taken = new Set(this.#all.map(({ select }) => select.value))
    const free = instanceTypes.find(({ name }) => !taken.has(name))
    if (!free) return
    this.#count += 1
    const id = `${this.#prefix}-fallback-${this.#count}`
    const choice = this.#choice(id, `${id}-facts`)
    choice.select.dataset.testid = `${this.#prefix}-fallback`
    choice.facts.dataset.testid = `${this.#prefix}-fallback-facts`
    const remove = iconButton('pi-times', t('form.fallback.remove'), {
      testid: `${this.#prefix}-fallback-remove`, on: { click: () => this.#remove(choice) } })
    choice.element = h('li', { class: 'aws-field' },
      h('label', { class: 'aws-label', for: id }),
      h('div', { class: 'aws-pair' }, choice.select, remove),
      choice.facts)
    this.#others.push(choice)
    this.#list.append(choice.element)
    this.#draw()
    choice.select.value = free.name
    this.#draw()
    choice.select.focus()
  }

  /** @param {Choice} choice */
  #remove(choice) {
    this.#others = this.#others.filter((each) => each !== choice)
    choice.element.remove()
    this.#draw()
    this.#add.focus()
  }

  #draw() {
    const { instanceTypes, status } = this.#store.state
    const chosen = this.#all.map(({ select }) => select.value)
    this.#all.forEach(({ select, facts, element }, at) => {
      if (instanceTypes.length > 0 && select.options.length !== instanceTypes.length) {
        const value = select.value
        select.replaceChildren(
          ...instanceTypes.map((type) => h('option', { value: type.name }, label(type))))
        select.value = value
      }
      for (const option of select.options) {
        option.disabled = chosen.some((name, other) => other !== at && name === option.value)
      }
      const type = instanceTypes.find(({ name }) => name === select.value)
      setText(facts, type ? told(type, status?.target === 'local') : '')
      const title = element.querySelector('label')
      if (title) setText(title, t('form.fallback', { number: at + 1 }))
    })
    this.#list.hidden = this.#others.length === 0
    this.#add.disabled = chosen.length >= Math.min(MOST, instanceTypes.length)
  }
}

/** @param {Aws.InstanceType} type */
function label({ name, gpu, gpu_memory: memory, price }) {
  const words = { name, gpu: gpu.replace('NVIDIA ', ''), memory }
  if (price === null) return t('form.type.option.unpriced', words)
  return t('form.type.option', { ...words, price: t('form.perHour', { price: money(price) }) })
}

/**
 * @param {Aws.InstanceType} type
 * @param {boolean} isLocal it is a name only, on the local stack
 */
function told(type, isLocal) {
  const { gpus, gpu, gpu_memory: memory, vcpus: cpus, memory: ram, price, region } = type
  const hardware = t('form.type.facts', { gpus, gpu, memory, cpus, ram })
  if (price === null) return `${hardware} ${t('form.type.price.unknown')}`
  const words = { price: money(price), region, when: type.as_of }
  if (isLocal) return `${hardware} ${t('form.type.price.local', words)}`
  const listed = type.source === 'list' ? 'form.type.price.listed' : 'form.type.price'
  return `${hardware} ${t(listed, words)}`
}
