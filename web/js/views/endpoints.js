/**
 * The SageMaker endpoints: how they stand, creating and deleting them.
 */

import { h, iconButton, KeyedRows, setText } from '../dom.js'
import { named, t } from '../i18n.js'
import { idleMinutes, inTransition, takesJobs } from '../store.js'
import { EndpointForm } from './endpoint_form.js'
import { Section } from './section.js'

export class Endpoints {
  #actions
  #section
  #form
  #new
  #list = h('ul', { class: 'aws-list', 'aria-labelledby': 'aws-endpoints-title', testid: 'aws-endpoint-list' })
  /** @type {KeyedRows<Aws.Endpoint>} */
  #rows

  /**
   * @param {import('../store.js').Store} store
   * @param {import('../actions.js').Actions} actions
   * @param {AbortSignal} signal
   */
  constructor(store, actions, signal) {
    this.#actions = actions
    this.#rows = new KeyedRows(this.#list, (item) => item.name, (item) => this.#row(item.name))
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
      emptyHint: t('endpoints.empty.hint'),
      retry: () => void actions.reload('endpoints'),
      tools: [this.#new],
      body: [this.#form.element, this.#list],
    })
    this.element = this.#section.element
    store.watch(['endpoints'], ({ endpoints }) => this.#draw(endpoints), signal)
  }

  /** @param {Aws.Listing<Aws.Endpoint>} endpoints */
  #draw(endpoints) {
    this.#section.draw(endpoints)
    this.#list.hidden = endpoints.items.length === 0
    this.#rows.update(endpoints.items)
  }

  /** @param {boolean} shown */
  #showForm(shown) {
    this.#new.setAttribute('aria-expanded', String(shown))
    if (shown) this.#form.show()
    else this.#form.element.hidden = true
    if (!shown) this.#new.focus()
  }

  /** @param {string} name */
  #row(name) {
    const dot = h('span', { class: 'aws-dot', 'aria-hidden': 'true' })
    const status = h('span', { testid: 'aws-endpoint-status' })
    const meta = h('span', { class: 'aws-row-meta aws-ellipsis' })
    const failure = h('span', { class: 'aws-error-text', testid: 'aws-endpoint-failure' })
    const remove = iconButton('pi-trash', t('endpoints.delete', { name }), {
      class: 'aws-icon-button aws-row-tool',
      testid: 'aws-endpoint-delete',
      on: { click: () => void this.#actions.deleteEndpoint(name) },
    })
    const element = h(
      'li',
      { class: 'aws-row', testid: 'aws-endpoint', 'data-name': name },
      h(
        'div',
        { class: 'aws-row-body' },
        h(
          'div',
          { class: 'aws-split' },
          h('span', { class: 'aws-ellipsis', title: name }, name),
          h('span', { class: 'aws-status', role: 'status' }, dot, status)
        ),
        meta,
        failure
      ),
      remove
    )
    const update = (/** @type {Aws.Endpoint} */ endpoint) => {
      element.dataset.status = endpoint.status
      dot.dataset.tone = tone(endpoint)
      setText(status, named('endpoint', endpoint.status))
      setText(meta, facts(endpoint))
      setText(failure, endpoint.failure)
      failure.hidden = !endpoint.failure
      remove.disabled = endpoint.status === 'Deleting'
    }
    return { element, update }
  }
}

/** @param {Aws.Endpoint} endpoint */
function tone(endpoint) {
  if (inTransition(endpoint)) return 'busy'
  return takesJobs(endpoint) ? 'good' : 'bad'
}

/** @param {Aws.Endpoint} endpoint */
function facts(endpoint) {
  const { instances, max_instances: max, instance_type: type, template } = endpoint
  const asleep = takesJobs(endpoint) && instances === 0 && endpoint.desired_instances === 0
  const count = t('endpoints.instances', { now: instances, max: Math.max(max, instances) })
  const purpose = template ? t('endpoints.for', { template }) : ''
  const minutes = idleMinutes(endpoint)
  const idle = minutes ? t('endpoints.idle', { minutes }) : ''
  return [asleep ? t('endpoints.instances.asleep') : count, type, purpose, idle].filter(Boolean).join(' · ')
}
