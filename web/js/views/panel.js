/**
 * The sidebar tab. ComfyUI throws its elements away when the tab is closed and may ask for them
 * again at any time; everything worth keeping is in the store.
 */

import { h, icon } from '../dom.js'
import { t } from '../i18n.js'
import { connected } from '../store.js'
import { Endpoints } from './endpoints.js'
import { Header } from './header.js'
import { Jobs } from './jobs.js'
import { RunTarget } from './run_target.js'
import { Setup } from './setup.js'
import { Templates } from './templates.js'

export class Panel {
  #parts
  /** @type {AbortController | null} set while the panel is shown */
  #shown = null
  /** @type {HTMLElement | null} */
  #host = null

  /**
   * @param {object} parts
   * @param {import('../store.js').Store} parts.store
   * @param {import('../actions.js').Actions} parts.actions
   * @param {() => void} parts.newWorkflow
   * @param {import('./jobs.js').TitleOf} parts.titleOf
   */
  constructor(parts) {
    this.#parts = parts
  }

  /** @param {HTMLElement} host ComfyUI's element of the tab */
  mount(host) {
    this.#shown?.abort()
    this.#shown = new AbortController()
    this.#host = host
    host.style.height = '100%'
    host.replaceChildren(this.#build(this.#shown.signal))
    void this.#parts.actions.panelOpened()
  }

  unmount() {
    this.#shown?.abort()
    this.#shown = null
    this.#host?.replaceChildren()
    this.#host = null
    this.#parts.actions.panelClosed()
  }

  /** Draw everything anew, in another language. */
  redraw() {
    if (this.#host) this.mount(this.#host)
  }

  /** @param {AbortSignal} signal */
  #build(signal) {
    const { store, actions, newWorkflow, titleOf } = this.#parts
    const publish = h(
      'button',
      {
        type: 'button',
        class: 'aws-button aws-wide',
        title: t('workflow.new.hint'),
        testid: 'aws-new-workflow',
        on: { click: newWorkflow },
      },
      icon('pi-cloud-upload'),
      t('workflow.new')
    )
    const lists = h(
      'div',
      { class: 'aws-lists' },
      publish,
      new Templates(store, actions, newWorkflow, signal).element,
      new Endpoints(store, actions, signal).element,
      new Jobs(store, actions, titleOf, signal).element
    )
    const target = new RunTarget(store, actions, signal).element
    store.watch(
      ['status', 'statusProblem'],
      (state) => {
        const waiting = !state.status && !state.statusProblem
        target.hidden = waiting || Boolean(state.statusProblem) || !connected(state)
        lists.hidden = target.hidden
      },
      signal
    )
    return h(
      'div',
      { class: 'aws aws-panel', testid: 'aws-panel' },
      new Header(store, actions, signal).element,
      h('div', { class: 'aws-scroll' }, new Setup(store, actions, signal).element, target, lists)
    )
  }
}
