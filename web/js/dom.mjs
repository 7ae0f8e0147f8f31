/**
 * Builds elements. Text only ever becomes text nodes, so nothing that a server says is markup.
 */

/** @typedef {string | number | Node | null | false | undefined} Child */

/**
 * Make an element.
 *
 * `attrs`: `class` and `testid` (data-testid) are set as attributes, `on` maps event types to
 * listeners; a boolean sets or leaves out the attribute, null and undefined leave it out.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [attrs]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attrs = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attrs)) {
    if (name === 'on') {
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener)
    } else {
      setAttribute(element, name === 'testid' ? 'data-testid' : name, value)
    }
  }
  element.append(...nodes(children))
  return element
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {unknown} value
 */
export function setAttribute(element, name, value) {
  if (value === false || value === null || value === undefined) element.removeAttribute(name)
  else element.setAttribute(name, value === true ? '' : String(value))
}

/**
 * Set an element's text, leaving the node alone when nothing changes: a live region speaks each
 * change.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

/**
 * @param {Child[]} children
 * @returns {(Node | string)[]}
 */
function nodes(children) {
  const kept = children.filter((child) => child !== null && child !== undefined && child !== false)
  return kept.map((child) => (child instanceof Node ? child : String(child)))
}

/**
 * @param {string} name one of PrimeIcons, such as `pi-plus`
 */
export function icon(name) {
  return h('i', { class: `pi ${name}`, 'aria-hidden': 'true' })
}

/**
 * A button that shows only an icon; its label is read out and shown on hovering.
 *
 * @param {string} name
 * @param {string} label
 * @param {Record<string, any>} attrs
 */
export function iconButton(name, label, attrs) {
  return h(
    'button',
    { type: 'button', class: 'aws-icon-button', title: label, 'aria-label': label, ...attrs },
    icon(name)
  )
}

/**
 * Progress from 0 to 1; null while the extent is unknown.
 */
export class ProgressBar {
  #fill = h('div', { class: 'aws-progress-fill' })

  /**
   * @param {string} label
   * @param {string} testid
   */
  constructor(label, testid) {
    this.element = h(
      'div',
      {
        class: 'aws-progress',
        role: 'progressbar',
        'aria-label': label,
        'aria-valuemin': '0',
        'aria-valuemax': '100',
        testid,
      },
      this.#fill
    )
  }

  /** @param {number | null} fraction */
  set(fraction) {
    this.element.classList.toggle('aws-progress-unknown', fraction === null)
    const percent = fraction === null ? null : Math.round(Math.min(1, Math.max(0, fraction)) * 100)
    setAttribute(this.element, 'aria-valuenow', percent)
    this.#fill.style.width = percent === null ? '' : `${percent}%`
  }
}

/**
 * The rows of a list. A row lives as long as its key, so that focus and scroll position stay
 * when the list changes around it.
 *
 * @template T
 */
export class KeyedRows {
  /** @type {Map<string, {element: HTMLElement, update: (item: T) => void}>} */
  #rows = new Map()
  #parent
  #keyOf
  #create

  /**
   * @param {HTMLElement} parent
   * @param {(item: T) => string} keyOf
   * @param {(item: T) => {element: HTMLElement, update: (item: T) => void}} create
   */
  constructor(parent, keyOf, create) {
    this.#parent = parent
    this.#keyOf = keyOf
    this.#create = create
  }

  /** @param {T[]} items */
  update(items) {
    const old = this.#rows
    const focused = /** @type {HTMLElement | null} */ (this.#parent.querySelector(':focus'))
    this.#rows = new Map(items.map((item) => {
      const key = this.#keyOf(item)
      return [key, old.get(key) ?? this.#create(item)]
    }))
    // First, so that those that stay need not be moved.
    for (const [key, row] of old) if (!this.#rows.has(key)) row.element.remove()
    /** @type {Element | null} */
    let next = this.#parent.firstElementChild
    for (const item of items) {
      const row = this.#rows.get(this.#keyOf(item))
      if (!row) continue
      row.update(item)
      if (row.element === next) next = next.nextElementSibling
      else this.#parent.insertBefore(row.element, next)
    }
    // An element that is moved loses the focus.
    if (focused?.isConnected && !focused.matches(':focus')) focused.focus({ preventScroll: true })
  }
}
