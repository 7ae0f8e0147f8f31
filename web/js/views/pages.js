/**
 * The pages of the panel behind a row of tabs: one is shown, and only that one is built.
 */

import { h, icon } from '../dom.js'
import { t } from '../i18n.js'

/**
 * @typedef {object} Page
 * @property {string} id part of the ids and test ids
 * @property {string} icon one of PrimeIcons, such as `pi-plus`
 * @property {string} label
 * @property {(signal: AbortSignal) => HTMLElement} build `signal` aborts when the page is left
 */

export class Pages {
  #pages
  #session
  #signal
  #tabs
  #body = h('div', { class: 'aws-scroll', role: 'tabpanel', testid: 'aws-page' })
  /** @type {AbortController | null} */
  #open = null

  /**
   * @param {Page[]} pages
   * @param {import('../session.js').Session} session remembers the page of this tab
   * @param {AbortSignal} signal
   */
  constructor(pages, session, signal) {
    this.#pages = pages
    this.#session = session
    this.#signal = signal
    this.#tabs = pages.map((page) => this.#tab(page))
    this.element = h(
      'div',
      { class: 'aws-pages' },
      h('div', {
          class: 'aws-tabs',
          role: 'tablist',
          'aria-label': t('pages.label'),
          hidden: pages.length < 2,
          on: { keydown: this.#move },
        }, ...this.#tabs),
      this.#body
    )
    signal.addEventListener('abort', () => this.#open?.abort())
    this.show(session.read().page)
  }

  /** @param {string} id of a page; the first one when there is no such page */
  show(id) {
    if (this.#signal.aborted) return
    const page = this.#pages.find((each) => each.id === id) ?? this.#pages[0]
    if (!page) return
    if (page.id === id) this.#session.write({ page: id })
    this.#pages.forEach((each, at) => {
      const tab = this.#tabs[at]
      tab?.setAttribute('aria-selected', String(each === page))
      tab?.setAttribute('tabindex', each === page ? '0' : '-1')
    })
    this.#open?.abort()
    this.#open = new AbortController()
    this.#body.setAttribute('aria-labelledby', tabId(page.id))
    this.#body.dataset.page = page.id
    this.#body.scrollTop = 0
    this.#body.replaceChildren(page.build(this.#open.signal))
  }

  /** @param {Page} page */
  #tab({ id, label, icon: name }) {
    return h(
      'button',
      {
        type: 'button',
        class: 'aws-tab',
        role: 'tab',
        id: tabId(id),
        title: label,
        testid: `aws-page-${id}`,
        on: { click: () => this.show(id) },
      },
      icon(name),
      h('span', {}, label)
    )
  }

  /** Arrow keys, Home and End, as in every row of tabs. */
  #move = (/** @type {KeyboardEvent} */ event) => {
    const at = this.#tabs.findIndex((tab) => tab === event.target)
    const last = this.#tabs.length - 1
    /** @type {Record<string, number>} */
    const moves = {
      ArrowRight: at === last ? 0 : at + 1,
      ArrowLeft: at === 0 ? last : at - 1,
      Home: 0,
      End: last,
    }
    const to = moves[event.key]
    const page = to === undefined ? undefined : this.#pages[to]
    if (at < 0 || to === undefined || !page) return
    event.preventDefault()
    this.show(page.id)
    this.#tabs[to]?.focus()
  }
}

/** @param {string} id of a page */
function tabId(id) {
  return `aws-tab-${id}`
}
