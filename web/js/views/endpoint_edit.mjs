/**
 * Changes how many instances an endpoint has, and when it goes to sleep.
 */

import { told } from '../actions.mjs'
import { h, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { field, limitInputs, limitsOf, setLimits } from './endpoint_limits.mjs'

export class EndpointEdit {
  #name
  #fleet
  #done
  #inputs
  #problem = h('p', { class: 'aws-error-text', role: 'alert', hidden: true, testid: 'aws-endpoint-edit-problem' })
  #save = h('button', { type: 'submit', class: 'aws-button aws-primary aws-small', testid: 'aws-endpoint-edit-save' },
    t('endpoints.edit.save'))

  /**
   * @param {string} name of the endpoint
   * @param {import('../fleet.mjs').Fleet} fleet
   * @param {() => void} done
   */
  constructor(name, fleet, done) {
    this.#name = name
    this.#fleet = fleet
    this.#done = done
    const prefix = `aws-endpoint-edit-${name}`
    this.#inputs = limitInputs(prefix, 'aws-endpoint-edit')
    const cancel = h('button', {
      type: 'button',
      class: 'aws-button aws-small',
      testid: 'aws-endpoint-edit-cancel',
      on: { click: done },
    }, t('cancel'))
    this.element = h(
      'form',
      {
        class: 'aws-card aws-form',
        hidden: true,
        'aria-label': `${t('endpoints.edit')} ${name}`,
        testid: 'aws-endpoint-edit',
        on: {
          submit: (/** @type {Event} */ event) => void this.#change(event),
          keydown: (/** @type {KeyboardEvent} */ event) => {
            // ComfyUI's shortcuts are single letters: keep typing to the form.
            event.stopPropagation()
            if (event.key === 'Escape') done()
          },
        },
      },
      h('div', { class: 'aws-pair' },
        field(prefix, 'min', t('form.min'), this.#inputs.min),
        field(prefix, 'max', t('form.max'), this.#inputs.max)),
      field(prefix, 'idle', t('form.idle'), this.#inputs.idle),
      this.#problem,
      h('div', { class: 'aws-dialog-buttons' }, cancel, this.#save)
    )
  }

  /** @param {Aws.Endpoint} endpoint as it stands */
  show(endpoint) {
    setLimits(this.#inputs, endpoint)
    this.#tell('')
    this.element.hidden = false
    this.#inputs.min.focus()
  }

  /** @param {Event} event */
  async #change(event) {
    event.preventDefault()
    const limits = limitsOf(this.#inputs)
    if (limits.min_instances > limits.max_instances) {
      this.#tell(t('form.range'))
      this.#inputs.max.focus()
      return
    }
    this.#busy(true)
    const problem = await this.#fleet.change(this.#name, limits)
    this.#busy(false)
    if (problem) this.#tell(told(problem))
    else this.#done()
  }

  /** @param {boolean} busy */
  #busy(busy) {
    this.#save.disabled = busy
    setText(this.#save, t(busy ? 'endpoints.edit.saving' : 'endpoints.edit.save'))
  }

  /** @param {string} text */
  #tell(text) {
    setText(this.#problem, text)
    this.#problem.hidden = text === ''
  }
}
