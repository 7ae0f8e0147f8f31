/**
 * A list of any length: only the rows in sight, and the one that Tab leads to, are in the page.
 *
 * Tab leads to one row and what belongs to it; arrow keys, Page Up and Down, Home and End move on
 * from it.
 * Each row says which of how many it is, so that a screen reader tells the same as the eye.
 */

import { h, KeyedRows, setAttribute } from '../dom.mjs'

/** Pixels of a row with the gap below it, and of the list's window; as in templates.css. */
const PITCH = 54
const WINDOW = 420

/** Rows drawn above and below the window, for scrolling that is quicker than drawing. */
const SPARE = 10

/** A list up to here is drawn whole: the browser's own search in the page then finds all of it. */
const WHOLE = 60

/** Rows that a key moves by. */
const PAGE = Math.floor(WINDOW / PITCH)

/**
 * @template T
 * @typedef {{item: T, at: number}} Placed an item and its place in the list
 */

/** @template T */
export class LongList {
  #rows
  #keyOf
  #list
  #stops
  /** @type {readonly T[]} */
  #items = []
  #top = 0
  /** Key of the row that Tab leads to, and its place; the first row when there is no such row. */
  #stop = ''
  #stopAt = 0

  /**
   * @param {object} parts
   * @param {Record<string, any>} parts.attrs of the list
   * @param {string} parts.stop selector of the part of a row that takes the focus
   * @param {(item: T) => string} parts.keyOf
   * @param {(item: T) => {element: HTMLElement, update: (item: T) => void}} parts.create
   */
  constructor({ attrs, stop, keyOf, create }) {
    this.#keyOf = keyOf
    this.#stops = stop
    this.#list = h('ul', attrs)
    this.#rows = new KeyedRows(
      this.#list,
      (/** @type {Placed<T>} */ { item }) => keyOf(item),
      ({ item }) => this.#placed(create(item))
    )
    this.#list.addEventListener('keydown', (event) => this.#move(event))
    this.#list.addEventListener('focusin', (event) => this.#enter(event))
    this.element = h('div', { class: 'aws-long-list' }, this.#list)
    this.element.addEventListener('scroll', () => {
      this.#top = this.element.scrollTop
      this.#draw()
    })
    // A list that was hidden meanwhile may be scrolled elsewhere.
    new ResizeObserver(() => {
      if (this.#top === this.element.scrollTop) return
      this.#top = this.element.scrollTop
      this.#draw()
    }).observe(this.element)
  }

  /** @param {readonly T[]} items all of them */
  update(items) {
    this.#items = items
    this.#list.style.height = `${items.length * PITCH}px`
    // The browser scrolls a list back that has become shorter, but only with its next layout.
    this.#top = Math.max(0, Math.min(this.#top, items.length * PITCH - WINDOW))
    this.#draw()
  }

  focusFirst() {
    this.#focus(0)
  }

  /**
   * A row that knows its place.
   *
   * @param {{element: HTMLElement, update: (item: T) => void}} row
   */
  #placed({ element, update }) {
    return {
      element,
      update: (/** @type {Placed<T>} */ { item, at }) => {
        element.style.top = `${at * PITCH}px`
        setAttribute(element, 'aria-posinset', at + 1)
        setAttribute(element, 'aria-setsize', this.#items.length)
        update(item)
        for (const part of element.querySelectorAll(`${this.#stops}, button, a`)) {
          setAttribute(part, 'tabindex', at === this.#stopAt ? '0' : '-1')
        }
      },
    }
  }

  #draw() {
    const length = this.#items.length
    const whole = length <= WHOLE
    const first = whole ? 0 : Math.max(0, Math.floor(this.#top / PITCH) - SPARE)
    const end = whole ? length : Math.min(length, first + PAGE + 2 * SPARE + 2)
    const places = Array.from({ length: end - first }, (_, at) => first + at)
    this.#stopAt = Math.max(0, this.#items.findIndex((item) => this.#keyOf(item) === this.#stop))
    if (this.#stopAt < first) places.unshift(this.#stopAt)
    else if (this.#stopAt >= end && length > 0) places.push(this.#stopAt)
    this.#rows.update(places.map((at) => ({ item: /** @type {T} */ (this.#items[at]), at })))
  }

  /** @param {number} at */
  #focus(at) {
    const item = this.#items[at]
    if (item === undefined) return
    this.#stop = this.#keyOf(item)
    this.#draw()
    const row = this.#list.querySelector(`:scope > [aria-posinset="${at + 1}"]`)
    const stop = /** @type {HTMLElement | null | undefined} */ (row?.querySelector(this.#stops))
    // Scrolls there, and the rows around it are drawn.
    stop?.focus()
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const target = /** @type {Element} */ (event.target)
    if (!target.matches(this.#stops)) return
    const last = this.#items.length - 1
    const at = Number(target.closest('[aria-posinset]')?.getAttribute('aria-posinset')) - 1
    /** @type {Record<string, number>} */
    const moves = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + PAGE,
      PageUp: at - PAGE,
      Home: 0,
      End: last,
    }
    const to = moves[event.key]
    if (to === undefined) return
    event.preventDefault()
    this.#focus(Math.max(0, Math.min(last, to)))
  }

  /** The row that has been clicked or reached is the one that Tab comes back to. */
  #enter(/** @type {FocusEvent} */ event) {
    const row = /** @type {Element} */ (event.target).closest('[aria-posinset]')
    const item = this.#items[Number(row?.getAttribute('aria-posinset')) - 1]
    if (item === undefined || this.#keyOf(item) === this.#stop) return
    this.#stop = this.#keyOf(item)
    this.#draw()
  }
}
