/**
 * How long the page waits before it asks again by itself: longer with every try.
 */

/** Milliseconds before each further try; the last one stays. */
const PAUSES = /** @type {const} */ ([2000, 4000, 8000, 15_000, 30_000])

/** @param {number} tries that this page has made again so far */
export function pauseAfter(tries) {
  return PAUSES[Math.min(tries, PAUSES.length - 1)]
}
