/**
 * One tab stop for a list: arrow keys, Home and End move between its rows.
 */

/**
 * @param {HTMLElement} list
 * @param {string} selector of the part of a row that takes the focus
 */
export function rove(list, selector) {
  const stops = () => /** @type {HTMLElement[]} */ ([...list.querySelectorAll(selector)])
  list.addEventListener('keydown', (event) => {
    const all = stops()
    const at = all.findIndex((stop) => stop === event.target)
    const next = at < 0 ? undefined : all[destination(event.key, at, all.length)]
    if (!next) return
    event.preventDefault()
    next.focus()
  })
  list.addEventListener('focusin', (event) => {
    const stop = /** @type {HTMLElement} */ (event.target).closest('li')?.querySelector(selector)
    if (stop) setStop(stops(), stop)
  })
}

/**
 * Make sure that exactly one row can be reached by Tab.
 *
 * @param {HTMLElement} list
 * @param {string} selector
 */
export function keepStop(list, selector) {
  const all = [...list.querySelectorAll(selector)]
  const current = all.filter((stop) => stop.getAttribute('tabindex') === '0')
  if (current.length !== 1 && all.length > 0) setStop(all, all[0])
}

/**
 * @param {Element[]} all
 * @param {Element} stop
 */
function setStop(all, stop) {
  for (const other of all) other.setAttribute('tabindex', other === stop ? '0' : '-1')
}

/**
 * @param {string} key
 * @param {number} at
 * @param {number} length
 * @returns {number} -1 for a key that does not move
 */
function destination(key, at, length) {
  switch (key) {
    case 'ArrowDown':
      return Math.min(at + 1, length - 1)
    case 'ArrowUp':
      return Math.max(at - 1, 0)
    case 'Home':
      return 0
    case 'End':
      return length - 1
    default:
      return -1
  }
}
