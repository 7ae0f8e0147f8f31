/**
 * Where this tab's runs go: the Prompt on AWS switch, the template, the endpoint.
 */

import { costs } from '../cost_notice.mjs'
import { h, icon, iconButton, setText } from '../dom.mjs'
import { named, t } from '../i18n.mjs'
import { isPort, routesAll, showsLists, takesJobs, target } from '../store.mjs'

export class RunTarget {
  #switch
  #switchText = h('span', { class: 'aws-muted', id: 'aws-toggle-text', testid: 'aws-toggle-text' })
  #template = h('span', { class: 'aws-ellipsis', testid: 'aws-target-template' })
  #clear
  #select
  #details
  #cost = h('p', { class: 'aws-muted', id: 'aws-target-cost', testid: 'aws-target-cost' })
  #warning
  #warningText = h('span', { testid: 'aws-target-problem' })
  #create

  /**
   * @param {import('../store.mjs').Store} store
   * @param {import('../actions.mjs').Actions} actions
   * @param {import('../environments.mjs').Environments} environments
   * @param {AbortSignal} signal
   */
  constructor(store, actions, environments, signal) {
    this.#switch = h('input', {
      id: 'aws-toggle',
      type: 'checkbox',
      role: 'switch',
      class: 'aws-switch',
      'aria-describedby': 'aws-toggle-text',
      testid: 'aws-toggle',
      on: { change: () => void actions.toggle(this.#switch.checked) },
    })
    this.#clear = iconButton('pi-times', t('target.template.clear'), {
      testid: 'aws-template-clear',
      on: { click: () => void environments.select('') },
    })
    this.#select = h('select', {
      id: 'aws-target-endpoint',
      class: 'aws-input',
      'aria-describedby': 'aws-target-cost',
      testid: 'aws-target-endpoint',
      on: { change: () => void actions.assign(store.state.template, this.#select.value) },
    })
    this.#create = h('button', {
      type: 'button',
      class: 'aws-button aws-primary',
      testid: 'aws-target-create',
      on: { click: () => void actions.createForTarget() },
    })
    this.#warning = h(
      'div',
      { class: 'aws-warning', role: 'status', testid: 'aws-target-warning' },
      icon('pi-exclamation-triangle'),
      h('div', { class: 'aws-warning-body' }, this.#warningText, this.#create)
    )
    this.#details = this.#buildDetails()
    this.element = h(
      'section',
      { class: 'aws-card', testid: 'aws-target' },
      h(
        'div',
        { class: 'aws-toggle-row' },
        h('label', { for: 'aws-toggle', class: 'aws-toggle-label' }, icon('pi-cloud'),
          t('toggle.label')),
        this.#switch
      ),
      this.#switchText,
      this.#details,
      this.#cost,
      this.#warning
    )
    store.watch(
      ['status', 'statusProblem', 'listed', 'on', 'template', 'templates', 'endpoints', 'creating', 'instanceTypes'],
      (state) => this.#draw(state),
      signal
    )
  }

  #buildDetails() {
    return h(
      'dl',
      { class: 'aws-facts' },
      h('dt', {}, t('target.template')),
      h('dd', { class: 'aws-split' }, this.#template, this.#clear),
      h('dt', {}, h('label', { for: 'aws-target-endpoint' }, t('target.endpoint'))),
      h('dd', {}, this.#select)
    )
  }

  /** @param {Readonly<Aws.State>} state */
  #draw(state) {
    const forced = routesAll(state)
    const on = forced || state.on
    this.#switch.checked = on
    this.#switch.disabled = forced || !state.status?.configured
    const route = state.status?.route ?? ''
    const text = on ? t('toggle.on') : t('toggle.off')
    const why = isPort(state) ? t('toggle.port') : t('toggle.forced', { route })
    setText(this.#switchText, forced ? why : text)
    this.#details.hidden = !showsLists(state)
    setText(this.#template, state.template || t('target.template.none'))
    this.#template.classList.toggle('aws-muted', !state.template)
    this.#clear.hidden = !state.template
    this.#drawSelect(state)
    this.#drawCost(state, on)
    this.#drawWarning(state, on)
  }

  /**
   * @param {Readonly<Aws.State>} state
   * @param {boolean} on
   */
  #drawCost(state, on) {
    const { endpoint } = target(state)
    const shown = on && endpoint && !isPort(state) && showsLists(state)
    this.#cost.hidden = !shown
    setText(this.#cost, shown ? costs(state, endpoint) : '')
  }

  /** @param {Readonly<Aws.State>} state */
  #drawSelect(state) {
    const { name, chosen } = target(state)
    const own = state.templates.items.find((item) => item.name === state.template)?.endpoint ?? ''
    const options = [h('option', { value: '' }, standard(state, chosen ? '' : name))]
    for (const endpoint of state.endpoints.items) {
      const label = `${endpoint.name} – ${named('endpoint', endpoint.status)}`
      options.push(h('option', { value: endpoint.name }, label))
    }
    const isUnknown = own && !state.endpoints.items.some((item) => item.name === own)
    if (isUnknown) options.push(h('option', { value: own }, own))
    if (sameOptions(this.#select, options)) options.length = 0
    else this.#select.replaceChildren(...options)
    this.#select.value = own
    // Which endpoint runs a template is kept with the template; without one there is no choice.
    this.#select.disabled = !state.template
    this.#select.title = name
  }

  /**
   * @param {Readonly<Aws.State>} state
   * @param {boolean} on
   */
  #drawWarning(state, on) {
    const ready = state.endpoints.state === 'ready' && state.templates.state === 'ready'
    const text = on && showsLists(state) && ready ? problemOf(state) : ''
    this.#warning.hidden = text === ''
    setText(this.#warningText, text)
    const { endpoint } = target(state)
    this.#create.hidden = endpoint !== undefined && endpoint.status !== 'Failed'
    this.#create.disabled = state.creating
    const { template } = state
    const label = template ? t('target.createFor', { template }) : t('target.create')
    setText(this.#create, state.creating ? t('target.creating') : label)
  }
}

/**
 * What happens without a choice, in words.
 *
 * @param {Readonly<Aws.State>} state
 * @param {string} automatic the endpoint that is taken then, where nothing else says so
 */
function standard({ status }, automatic) {
  if (status?.endpoint) return t('target.endpoint.default', { name: status.endpoint })
  return automatic ? t('target.endpoint.automatic', { name: automatic }) : t('target.endpoint.none')
}

/**
 * @param {HTMLSelectElement} select
 * @param {HTMLOptionElement[]} options
 */
function sameOptions(select, options) {
  return (
    select.options.length === options.length &&
    options.every((option, index) => {
      const { value, text } = select.options[index]
      return option.value === value && option.text === text
    })
  )
}

/**
 * Why the runs of this tab would be refused; empty when they would not.
 *
 * @param {Readonly<Aws.State>} state
 */
export function problemOf(state) {
  const { name, endpoint } = target(state)
  if (!name) return t('target.missing')
  if (!endpoint) return t('target.gone', { name })
  if (takesJobs(endpoint)) return ''
  if (endpoint.status === 'Failed') {
    return [t('target.failed', { name }), endpoint.failure].filter(Boolean).join(' ')
  }
  return t('target.notReady', { name })
}
