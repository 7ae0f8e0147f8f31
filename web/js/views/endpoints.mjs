/**
 * The SageMaker endpoints: how they stand, how they start, creating, changing and deleting them.
 */

import { h, iconButton, KeyedRows } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { EndpointForm } from './endpoint_form.mjs'
import { EndpointRow } from './endpoint_row.mjs'
import { Section } from './section.mjs'

const TICK_MS = 1000

export class Endpoints {
  #store
  #section
  #form
  #new
  #list = h('ul', { class: 'aws-list', 'aria-labelledby': 'aws-endpoints-title', testid: 'aws-endpoint-list' })
  /** @type {KeyedRows<Aws.Endpoint>} */
  #rows

  /**
   * @param {import('./panel.mjs').Parts} parts
   * @param {AbortSignal} signal
   */
  constructor(parts, signal) {
    const { store, actions, fleet } = parts
    this.#store = store
    this.#rows = new KeyedRows(this.#list, (item) => item.name,
      (item) => new EndpointRow(item.name, parts, signal))
    this.#form = new EndpointForm(store, actions, () => this.#showForm(false), signal)
    this.#new = iconButton('pi-plus', t('endpoints.new'), {
      testid: 'aws-new-endpoint',
      'aria-expanded': 'false',
      'aria-controls': 'aws-endpoint-form',
      on: { click: () => this.#showForm(this.#form.element.hidden) },
    })
    this.#section = new Section({
      name: 'endpoints',
      title: t('endpoints.title'),
      empty: t('endpoints.empty'),
      emptyHint: () => t('endpoints.empty.hint'),
      retry: () => void actions.reload('endpoints'),
      tools: [this.#new],
      body: [this.#form.element, this.#list],
    })
    this.element = this.#section.element
    store.watch(['endpoints', 'starts', 'instanceTypes', 'status'], () => this.#draw(), signal)
    store.watch(['wish'], ({ wish }) => {
      if (!wish) return
      this.#showForm(true, wish)
      fleet.advise(null)
    }, signal)
    fleet.watch(signal)
    this.#tick(signal)
  }

  #draw() {
    const { endpoints } = this.#store.state
    this.#section.draw(endpoints)
    this.#list.hidden = endpoints.items.length === 0
    this.#rows.update(endpoints.items)
  }

  /**
   * What lasts is counted on between two looks at the server.
   *
   * @param {AbortSignal} signal
   */
  #tick(signal) {
    const timer = setInterval(() => {
      if (Object.keys(this.#store.state.starts).length > 0) this.#draw()
    }, TICK_MS)
    signal.addEventListener('abort', () => clearInterval(timer))
  }

  /**
   * @param {boolean} shown
   * @param {NonNullable<Aws.State['wish']>} [wish]
   */
  #showForm(shown, wish) {
    this.#new.setAttribute('aria-expanded', String(shown))
    if (shown) this.#form.show(wish)
    else this.#form.element.hidden = true
    if (!shown) this.#new.focus()
  }
}
