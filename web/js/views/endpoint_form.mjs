/**
 * The form that creates an endpoint.
 */

import { told } from '../actions.mjs'
import { h, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { field, limitInputs, limitsOf, setLimits } from './endpoint_limits.mjs'
import { EndpointTypes, STANDARD_TYPE } from './endpoint_types.mjs'

const PREFIX = 'aws-endpoint-form'

/** What is asked for where nobody says otherwise. */
const STANDARD = { min_instances: 0, max_instances: 1, idle_seconds: 600 }

export class EndpointForm {
  #store
  #actions
  #done
  #name
  #template
  #types
  #limits = limitInputs(PREFIX)
  #problem = h('p', { class: 'aws-error-text', role: 'alert', testid: 'aws-endpoint-form-problem' })
  #submit = h('button', {
    type: 'submit',
    class: 'aws-button aws-primary',
    testid: 'aws-endpoint-form-create',
  })

  /**
   * @param {import('../store.mjs').Store} store
   * @param {import('../actions.mjs').Actions} actions
   * @param {() => void} done
   * @param {AbortSignal} signal
   */
  constructor(store, actions, done, signal) {
    this.#store = store
    this.#actions = actions
    this.#done = done
    this.#name = input('name', {
      type: 'text',
      autocomplete: 'off',
      spellcheck: 'false',
      placeholder: t('form.name.placeholder'),
    })
    this.#template = h('select', { ...shared('template') })
    this.#types = new EndpointTypes(PREFIX, store, signal)
    this.element = this.#build()
    // A hidden form need not hold a thousand choices.
    store.watch(['templates'], (state) => this.element.hidden || this.#drawTemplates(state), signal)
    store.watch(['creating'], ({ creating }) => {
      this.#submit.disabled = creating
      setText(this.#submit, t(creating ? 'form.creating' : 'form.create'))
    }, signal)
  }

  /**
   * Show it, with the template that is selected, or as it was advised.
   *
   * @param {NonNullable<Aws.State['wish']>} [wish]
   */
  show(wish) {
    this.#name.value = ''
    this.#drawTemplates(this.#store.state)
    this.#template.value = wish?.template ?? this.#store.state.template
    this.#types.start(wish?.instance_type ?? STANDARD_TYPE)
    setLimits(this.#limits, STANDARD)
    this.#tell('')
    this.element.hidden = false
    this.element.scrollIntoView({ block: 'nearest' })
    this.#template.focus() // the first field
  }

  #build() {
    const cancel = h(
      'button',
      {
        type: 'button',
        class: 'aws-button',
        testid: 'aws-endpoint-form-cancel',
        on: { click: () => this.#done() },
      },
      t('cancel')
    )
    return h(
      'form',
      {
        id: 'aws-endpoint-form',
        class: 'aws-card aws-form',
        hidden: true,
        'aria-label': t('endpoints.new'),
        testid: 'aws-endpoint-form',
        on: {
          submit: (/** @type {Event} */ event) => void this.#create(event),
          keydown: (/** @type {KeyboardEvent} */ event) => {
            // ComfyUI's shortcuts are single letters: keep typing to the form.
            event.stopPropagation()
            if (event.key === 'Escape') this.#done()
          },
        },
      },
      field(PREFIX, 'template', t('form.template'), this.#template),
      this.#types.element,
      h('div', { class: 'aws-pair' },
        field(PREFIX, 'min', t('form.min'), this.#limits.min),
        field(PREFIX, 'max', t('form.max'), this.#limits.max)),
      h('p', { class: 'aws-muted' }, t('form.min.hint')),
      field(PREFIX, 'idle', t('form.idle'), this.#limits.idle),
      field(PREFIX, 'name', t('form.name'), this.#name),
      this.#problem,
      h('div', { class: 'aws-dialog-buttons' }, cancel, this.#submit)
    )
  }

  /** @param {Readonly<Aws.State>} state */
  #drawTemplates({ templates }) {
    const chosen = this.#template.value
    this.#template.replaceChildren(
      h('option', { value: '' }, t('form.template.none')),
      ...templates.items.map(({ name }) => h('option', { value: name }, name))
    )
    this.#template.value = templates.items.some(({ name }) => name === chosen) ? chosen : ''
  }

  /** @param {Event} event */
  async #create(event) {
    event.preventDefault()
    const limits = limitsOf(this.#limits)
    if (limits.min_instances > limits.max_instances) {
      this.#tell(t('form.range'))
      this.#limits.max.focus()
      return
    }
    this.#tell('')
    const name = this.#name.value.trim()
    const problem = await this.#actions.createEndpoint({
      ...(name && { name }),
      ...(this.#template.value && { template: this.#template.value }),
      ...this.#types.wish,
      ...limits,
    })
    if (problem) this.#tell(told(problem))
    else this.#done()
  }

  /** @param {string} text */
  #tell(text) {
    setText(this.#problem, text)
    this.#problem.hidden = text === ''
  }
}

/** @param {string} name */
function shared(name) {
  const id = `${PREFIX}-${name}`
  return { id, class: 'aws-input', testid: id }
}

/**
 * @param {string} name
 * @param {Record<string, unknown>} attrs
 */
function input(name, attrs) {
  return h('input', { ...shared(name), ...attrs })
}
