/**
 * One endpoint: how it stands, what it costs, and what can be done with it.
 */

import { h, icon, iconButton, setText } from '../dom.mjs'
import { ago, duration, moment, money } from '../format.mjs'
import { t } from '../i18n.mjs'
import { asleep, hourly, idleMinutes, inTransition, starting, takesJobs } from '../store.mjs'
import { EndpointEdit } from './endpoint_edit.mjs'
import { EndpointFailure } from './endpoint_failure.mjs'
import { EndpointStart } from './endpoint_start.mjs'
import { statusOf, tone } from './endpoint_state.mjs'

const FACTS = /** @type {const} */ (['now', 'limits', 'queue', 'price', 'idle', 'type', 'created'])

export class EndpointRow {
  #name
  #store
  #fleet
  #dot = h('span', { class: 'aws-dot', 'aria-hidden': 'true' })
  #status = h('span', { testid: 'aws-endpoint-status' })
  #meta = h('span', { class: 'aws-row-meta aws-ellipsis', testid: 'aws-endpoint-meta' })
  #chevron = icon('pi-chevron-right')
  #main
  #remove
  #start
  #failure
  #edit
  #details
  #buttons
  /** @type {Record<string, HTMLElement>} */
  #facts = {}
  /** @type {Aws.Endpoint | null} */
  #endpoint = null

  /**
   * @param {string} name
   * @param {import('./panel.mjs').Parts} parts
   * @param {AbortSignal} signal
   */
  constructor(name, { store, actions, fleet }, signal) {
    this.#name = name
    this.#store = store
    this.#fleet = fleet
    this.#start = new EndpointStart(name)
    this.#failure = new EndpointFailure(name, fleet, signal)
    this.#edit = new EndpointEdit(name, fleet, () => this.#showEdit(false))
    this.#buttons = this.#buildButtons()
    this.#details = this.#buildDetails()
    this.#main = h('button', {
      type: 'button',
      class: 'aws-disclose',
      'aria-expanded': 'false',
      'aria-controls': this.#details.id,
      'aria-label': t('endpoints.more', { name }),
      title: name,
      testid: 'aws-endpoint-more',
      on: { click: () => this.#open(this.#details.hidden) },
    }, this.#chevron, h('span', { class: 'aws-ellipsis' }, name))
    this.#remove = iconButton('pi-trash', t('endpoints.delete', { name }), {
      class: 'aws-icon-button aws-row-tool',
      testid: 'aws-endpoint-delete',
      on: { click: () => void actions.deleteEndpoint(name) },
    })
    this.element = h(
      'li',
      { class: 'aws-row aws-block', testid: 'aws-endpoint', 'data-name': name },
      h('div', { class: 'aws-row-body' },
        h('div', { class: 'aws-split' }, this.#main,
          h('span', { class: 'aws-status', role: 'status' }, this.#dot, this.#status), this.#remove),
        this.#meta, this.#start.element, this.#failure.element, this.#details, this.#edit.element)
    )
  }

  /** @param {Aws.Endpoint} endpoint */
  update = (endpoint) => {
    this.#endpoint = endpoint
    const { state } = this.#store
    this.element.dataset.status = endpoint.status
    this.#dot.dataset.tone = tone(endpoint)
    setText(this.#status, statusOf(endpoint))
    setText(this.#meta, summary(state, endpoint))
    this.#start.draw(starting(endpoint) ? state.starts[this.#name] : undefined)
    this.#failure.draw(endpoint.failure)
    this.#remove.disabled = inTransition(endpoint)
    const hint = inTransition(endpoint) ? 'endpoints.delete.later' : 'endpoints.delete'
    this.#remove.title = t(hint, { name: this.#name })
    this.#drawFacts(state, endpoint)
    this.#drawButtons(endpoint)
  }

  #buildButtons() {
    /** @param {string} name @param {() => void} click */
    const button = (name, click) => h('button', {
      type: 'button',
      class: 'aws-button aws-small',
      testid: `aws-endpoint-${name}`,
      on: { click },
    }, t(/** @type {any} */ (`endpoints.${name}`)))
    return {
      wake: button('wake', () => void this.#move('wake')),
      sleep: button('sleep', () => void this.#move('sleep')),
      edit: button('edit', () => this.#showEdit(true)),
      log: button('log', () =>
        this.#fleet.showLog({ source: `endpoint:${this.#name}`, job: '' })),
    }
  }

  #buildDetails() {
    const facts = FACTS.flatMap((name) => {
      this.#facts[name] = h('dd', { testid: `aws-endpoint-fact-${name}` })
      return [h('dt', {}, t(`endpoints.${name}`)), this.#facts[name]]
    })
    return h('div',
      { id: `aws-endpoint-details-${this.#name}`, class: 'aws-details', hidden: true, testid: 'aws-endpoint-details' },
      h('dl', { class: 'aws-facts aws-plain' }, ...facts),
      h('div', { class: 'aws-buttons' }, ...Object.values(this.#buttons)))
  }

  /** @param {'wake' | 'sleep'} action */
  async #move(action) {
    this.#buttons[action].disabled = true
    await this.#fleet.move(this.#name, action)
    if (this.#endpoint) this.#drawButtons(this.#endpoint)
  }

  /** @param {boolean} open */
  #open(open) {
    this.#details.hidden = !open
    this.#main.setAttribute('aria-expanded', String(open))
    this.#chevron.className = `pi ${open ? 'pi-chevron-down' : 'pi-chevron-right'}`
    if (!open) this.#edit.element.hidden = true
  }

  /** @param {boolean} shown */
  #showEdit(shown) {
    if (shown && this.#endpoint) this.#edit.show(this.#endpoint)
    else this.#edit.element.hidden = true
    if (!shown) this.#buttons.edit.focus()
  }

  /**
   * @param {Readonly<Aws.State>} state
   * @param {Aws.Endpoint} endpoint
   */
  #drawFacts(state, endpoint) {
    const { instances, desired_instances: wanted, min_instances: min, max_instances: max } = endpoint
    const idle = { time: duration(endpoint.idle_seconds) }
    const values = {
      now: t('endpoints.now.value', { now: instances, wanted }),
      limits: t('endpoints.limits.value', { min, max }),
      queue: queue(endpoint),
      price: price(state, endpoint),
      idle: min > 0 ? t('endpoints.idle.never', { min }) : t('endpoints.idle.value', idle),
      type: types(endpoint),
      created: ago(endpoint.created),
    }
    for (const name of FACTS) setText(/** @type {HTMLElement} */ (this.#facts[name]), values[name])
    const created = this.#facts.created
    if (created) created.title = moment(endpoint.created)
  }

  /** @param {Aws.Endpoint} endpoint */
  #drawButtons(endpoint) {
    const { wake, sleep, edit } = this.#buttons
    const works = takesJobs(endpoint)
    const sleeps = asleep(endpoint)
    wake.hidden = !works || !sleeps
    sleep.hidden = !works || sleeps || endpoint.min_instances > 0
    wake.disabled = sleep.disabled = inTransition(endpoint)
    edit.hidden = !works
    edit.disabled = inTransition(endpoint)
  }
}

/**
 * @param {Readonly<Aws.State>} state
 * @param {Aws.Endpoint} endpoint
 */
function summary(state, endpoint) {
  const { instances, max_instances: max, instance_type: type, template } = endpoint
  const count = t('endpoints.instances', { now: instances, max: Math.max(max, instances) })
  const now = asleep(endpoint) ? t('endpoints.instances.asleep') : count
  const usd = hourly(state, endpoint)
  const isPaid = usd !== null && instances > 0 && state.status?.target !== 'local'
  const cost = isPaid ? t('endpoints.cost', { price: money(usd * instances) }) : ''
  const purpose = template ? t('endpoints.for', { template }) : ''
  const minutes = idleMinutes(endpoint)
  const idle = minutes ? t('endpoints.idle.minutes', { minutes }) : ''
  return [takesJobs(endpoint) ? now : '', idle, cost, type, purpose].filter(Boolean).join(' · ')
}

/** @param {Aws.Endpoint} endpoint */
function queue({ backlog }) {
  if (backlog === null) return t('endpoints.queue.unknown')
  return backlog === 0 ? t('endpoints.queue.none') : t('endpoints.queue.jobs', { count: backlog })
}

/** @param {Aws.Endpoint} endpoint */
function types({ instance_type: type, instance_types: all }) {
  return all.length > 1 ? t('endpoints.type.order', { types: all.join(', ') }) : type
}

/**
 * @param {Readonly<Aws.State>} state
 * @param {Aws.Endpoint} endpoint
 */
function price(state, endpoint) {
  const usd = hourly(state, endpoint)
  if (usd === null) return t('endpoints.price.unknown')
  if (state.status?.target === 'local') return t('endpoints.price.local', { each: money(usd) })
  const now = money(usd * endpoint.instances)
  return t('endpoints.price.value', { now, each: money(usd) })
}
