/**
 * The form that creates an endpoint.
 */

import { told } from '../actions.js'
import { h, setText } from '../dom.js'
import { t } from '../i18n.js'

/** GPU machines that SageMaker real-time and asynchronous endpoints have, small to large. */
const INSTANCE_TYPES = [
  'ml.g4dn.xlarge',
  'ml.g5.xlarge',
  'ml.g5.2xlarge',
  'ml.g5.4xlarge',
  'ml.g6.xlarge',
  'ml.g6.2xlarge',
  'ml.g6e.xlarge',
  'ml.g6e.2xlarge',
  'ml.p4d.24xlarge',
  'ml.p5.48xlarge',
]
const STANDARD_TYPE = 'ml.g5.xlarge'

/** The account's quota decides; this only keeps a slip of the finger from being expensive. */
const MOST_INSTANCES = 100

export class EndpointForm {
  #store
  #actions
  #done
  #name
  #template
  #type
  #min
  #max
  #problem = h('p', { class: 'aws-error-text', role: 'alert', testid: 'aws-endpoint-form-problem' })
  #submit = h('button', {
    type: 'submit',
    class: 'aws-button aws-primary',
    testid: 'aws-endpoint-form-create',
  })

  /**
   * @param {import('../store.js').Store} store
   * @param {import('../actions.js').Actions} actions
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
    this.#type = h('select', { ...shared('type') },
      ...INSTANCE_TYPES.map((type) => h('option', { value: type }, type)))
    this.#min = input('min', { type: 'number', min: 0, max: MOST_INSTANCES, step: 1 })
    this.#max = input('max', { type: 'number', min: 1, max: MOST_INSTANCES, step: 1 })
    this.element = this.#build()
    store.watch(['templates'], (state) => this.#drawTemplates(state), signal)
    store.watch(['creating'], ({ creating }) => {
      this.#submit.disabled = creating
      setText(this.#submit, t(creating ? 'form.creating' : 'form.create'))
    }, signal)
  }

  /** Show it, with the template that is selected. */
  show() {
    this.#name.value = ''
    this.#template.value = this.#store.state.template
    this.#type.value = STANDARD_TYPE
    this.#min.value = '0'
    this.#max.value = '1'
    this.#tell('')
    this.element.hidden = false
    this.#name.focus()
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
      field('template', t('form.template'), this.#template),
      field('type', t('form.type'), this.#type),
      h('div', { class: 'aws-pair' },
        field('min', t('form.min'), this.#min), field('max', t('form.max'), this.#max)),
      h('p', { class: 'aws-muted' }, t('form.min.hint')),
      field('name', t('form.name'), this.#name),
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
    const [min, max] = [this.#min.valueAsNumber, this.#max.valueAsNumber]
    if (min > max) {
      this.#tell(t('form.range'))
      this.#max.focus()
      return
    }
    this.#tell('')
    const name = this.#name.value.trim()
    const problem = await this.#actions.createEndpoint({
      ...(name && { name }),
      ...(this.#template.value && { template: this.#template.value }),
      instance_type: this.#type.value,
      min_instances: min,
      max_instances: max,
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
  const id = `aws-endpoint-form-${name}`
  return { id, class: 'aws-input', testid: id }
}

/**
 * @param {string} name
 * @param {Record<string, unknown>} attrs
 */
function input(name, attrs) {
  const required = attrs.type === 'number'
  return h('input', { ...shared(name), required, ...attrs })
}

/**
 * @param {string} name
 * @param {string} label
 * @param {HTMLElement} control
 */
function field(name, label, control) {
  return h(
    'div',
    { class: 'aws-field' },
    h('label', { class: 'aws-label', for: `aws-endpoint-form-${name}` }, label),
    control
  )
}
