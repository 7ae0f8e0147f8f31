/**
 * The sidebar tab. ComfyUI throws its elements away when the tab is closed and may ask for them
 * again at any time; everything worth keeping is in the store.
 */

import { h } from '../dom.mjs'
import { locale, t } from '../i18n.mjs'
import { recover } from '../recovery.mjs'
import { isPort } from '../store.mjs'
import { Header } from './header.mjs'
import { LogsPage } from './logs.mjs'
import { ModelsPage } from './models.mjs'
import { Pages } from './pages.mjs'
import { RunPage } from './run_page.mjs'
import { SettingsPage } from './settings.mjs'
import { Trouble } from './trouble.mjs'

/**
 * @typedef {object} Parts what the pages are built from
 * @property {import('../store.mjs').Store} store
 * @property {import('../actions.mjs').Actions} actions
 * @property {import('../environments.mjs').Environments} environments
 * @property {import('../shelf.mjs').Shelf} shelf
 * @property {import('../fleet.mjs').Fleet} fleet
 * @property {import('../job_desk.mjs').JobDesk} desk
 * @property {import('../api.mjs').Server} server
 * @property {import('../comfy.mjs').Comfy} comfy
 * @property {import('../library.mjs').Library} library
 * @property {import('../session.mjs').Session} session
 * @property {() => void} newWorkflow
 */

export class Panel {
  #parts
  /** @type {AbortController | null} set while the panel is shown */
  #shown = null
  /** @type {HTMLElement | null} */
  #host = null

  /** @param {Parts} parts */
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

  /** The role of this ComfyUI became known after the panel was opened. */
  #rebuild() {
    this.#shown?.abort()
    this.#shown = new AbortController()
    this.#host?.replaceChildren(this.#build(this.#shown.signal))
  }

  /** Draw everything anew, in another language. */
  redraw() {
    if (this.#host) this.mount(this.#host)
  }

  /** @param {AbortSignal} signal */
  #build(signal) {
    const { store, actions, library, session } = this.#parts
    const pages = [
      {
        id: 'run',
        icon: 'pi-play',
        label: t('page.run'),
        build: (/** @type {AbortSignal} */ shown) => new RunPage(this.#parts, shown),
      },
      {
        id: 'models',
        icon: 'pi-box',
        label: t('page.models'),
        build: (/** @type {AbortSignal} */ shown) => new ModelsPage(library, shown),
      },
      {
        id: 'logs',
        icon: 'pi-align-left',
        label: t('page.logs'),
        build: (/** @type {AbortSignal} */ shown) => new LogsPage(this.#parts, shown),
      },
      {
        id: 'settings',
        icon: 'pi-cog',
        label: t('page.settings'),
        build: (/** @type {AbortSignal} */ shown) => new SettingsPage(this.#parts, shown),
      },
    ]
    // Until the server has said what it is, nothing is shown of what artists have no part in.
    const isDesigner = designs(store.state)
    store.watch(['status'], (state) => {
      if (designs(state) !== isDesigner && !signal.aborted) this.#rebuild()
    }, signal)
    const known = isDesigner ? pages : pages.slice(0, 1)
    const shown = new Pages(known, session, store.state.status === null, signal)
    store.watch(['log'], ({ log }) => {
      if (log && isDesigner) shown.show('logs')
    }, signal)
    recover(this.#parts, signal)
    return h(
      'div',
      { class: 'aws aws-panel', lang: locale(), testid: 'aws-panel', on: { keydown: keepToList } },
      new Header(store, actions, signal).element,
      shown.element,
      new Trouble(store, actions, signal).element
    )
  }
}

/**
 * A key chooses in a list that has the focus. ComfyUI's shortcuts, which spare text fields alone,
 * are not meant.
 *
 * @param {KeyboardEvent} event
 */
function keepToList(event) {
  const isShortcut = event.ctrlKey || event.altKey || event.metaKey
  if (event.target instanceof HTMLSelectElement && !isShortcut) event.stopPropagation()
}

/** Whether it is known that this ComfyUI is a designer's. */
function designs(/** @type {Readonly<Aws.State>} */ state) {
  return state.status !== null && !isPort(state)
}
