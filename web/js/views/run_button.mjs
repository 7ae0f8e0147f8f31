/**
 * A small switch beside ComfyUI's Run button: shows where the next run goes, and changes it.
 */

import { h, icon, setAttribute, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { connected, isPort, routesAll, target } from '../store.mjs'
import { problemOf } from './run_target.mjs'

/** How the shortcut is called in `main.js`, in the form of aria-keyshortcuts. */
const SHORTCUT = 'Control+Shift+L'

/** Around the Run button of App mode, which newer pages show in place of ComfyUI's bar. */
const APP_RUN = '[data-testid="linear-run-button"]'
const LOOK_MS = 500

export class RunButton {
  #store
  #words = h('span', { class: 'aws-ellipsis', testid: 'aws-run-words' })

  /**
   * @param {import('../store.mjs').Store} store
   * @param {import('../actions.mjs').Actions} actions
   * @param {AbortSignal} signal
   */
  constructor(store, actions, signal) {
    this.#store = store
    this.element = h(
      'button',
      {
        type: 'button',
        class: 'aws aws-run-button',
        'aria-keyshortcuts': SHORTCUT,
        testid: 'aws-run-button',
        on: { click: () => void actions.toggle(!store.state.on) },
      },
      icon('pi-cloud'),
      this.#words
    )
    store.watch(
      ['status', 'on', 'template', 'templates', 'endpoints'],
      () => this.draw(),
      signal
    )
  }

  /**
   * Stand by the Run button that is shown. Nothing tells when that is another one.
   *
   * @param {HTMLElement | undefined} bar the public place beside the usual one
   */
  follow(bar) {
    const stand = () => {
      const place = document.querySelector(APP_RUN) ?? bar
      if (place && this.element.parentElement !== place) place.append(this.element)
    }
    stand()
    setInterval(stand, LOOK_MS)
  }

  /** Also to be called when the language has changed. */
  draw() {
    const { state } = this.#store
    const forced = routesAll(state)
    const on = forced || state.on
    const problem = on ? refusal(state) : ''
    this.element.hidden = !on && !state.status?.configured
    this.element.dataset.tone = problem ? 'bad' : on ? 'on' : 'off'
    setAttribute(this.element, 'aria-pressed', String(on))
    setAttribute(this.element, 'aria-disabled', forced || null)
    setAttribute(this.element, 'aria-label', t('title'))
    setAttribute(this.element, 'title', [where(state, on), problem].filter(Boolean).join(' '))
    setText(this.#words, t(on ? 'runButton.aws' : 'runButton.local'))
  }
}

/**
 * Where the next run goes, in a sentence.
 *
 * @param {Readonly<Aws.State>} state
 * @param {boolean} on
 */
function where(state, on) {
  if (!on) return t('runButton.toLocal')
  const { name } = target(state)
  const { template } = state
  if (template && name) return t('runButton.toTemplate', { template, endpoint: name })
  return name ? t('runButton.toEndpoint', { endpoint: name }) : t('toggle.on')
}

/**
 * Why the next run would be refused; empty when it would not, or while that is not known.
 *
 * @param {Readonly<Aws.State>} state
 */
function refusal(state) {
  if (!state.status) return ''
  if (!connected(state)) return t('command.notConnected')
  // Artists are not told of endpoints.
  return isPort(state) || state.endpoints.state !== 'ready' ? '' : problemOf(state)
}
