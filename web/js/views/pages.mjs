/**
 * The pages of the panel behind a row of tabs: one is shown, and none is built before it is asked
 * for. A page into which things are typed is kept when another one is shown.
 */

import { h, icon } from '../dom.mjs'
import { t } from '../i18n.mjs'

/**
 * @typedef {object} Built
 * @property {HTMLElement} element
 * @property {() => void} [again] called when it is shown again; a page without it is built anew
 */

/**
 * @typedef {object} Page
 * @property {string} id part of the ids and test ids
 * @property {string} icon one of PrimeIcons, such as `pi-plus`
 * @property {string} label
 * @property {(signal: AbortSignal) => Built} build `signal` aborts when the page is given up
 */

export class Pages {
  #pages
  #session
  #signal
  #tabs
  #body = h('div', { class: 'aws-scroll', role: 'tabpanel', testid: 'aws-page' })
  /** @type {Map<string, Built & {abort: AbortController}>} by the ids of pages */
  #built = new Map()

  /**
   * @param {Page[]} pages
   * @param {import('../session.mjs').Session} session remembers the page of this tab
   * @param {boolean} waits whether more of them may come: their row has its place already
   * @param {AbortSignal} signal
   */
  constructor(pages, session, waits, signal) {
    this.#pages = pages
    this.#session = session
    this.#signal = signal
    this.#tabs = pages.map((page) => this.#tab(page))
    this.element = h(
      'div',
      { class: 'aws-pages' },
      h('div', {
          class: pages.length < 2 ? 'aws-tabs aws-unseen' : 'aws-tabs',
          role: 'tablist',
          'aria-label': t('pages.label'),
          hidden: pages.length < 2 && !waits,
          on: { keydown: this.#move },
        }, ...this.#tabs),
      this.#body
    )
    signal.addEventListener('abort', () => this.#built.forEach(({ abort }) => abort.abort()))
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
    this.#leave()
    this.#body.setAttribute('aria-labelledby', tabId(page.id))
    this.#body.dataset.page = page.id
    this.#body.scrollTop = 0
    const kept = this.#built.get(page.id)
    if (kept) {
      kept.element.hidden = false
      kept.again?.()
      return
    }
    const abort = new AbortController()
    const built = page.build(abort.signal)
    this.#built.set(page.id, {
      element: built.element,
      ...(built.again && { again: () => built.again?.() }),
      abort,
    })
    this.#body.append(built.element)
  }

  /** Put the page away that is shown. */
  #leave() {
    for (const [id, { element, again, abort }] of this.#built) {
      element.hidden = true
      if (again) continue
      abort.abort()
      element.remove()
      this.#built.delete(id)
    }
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
