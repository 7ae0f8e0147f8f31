/**
 * What a browser tab remembers over a reload. Other tabs have their own.
 */

const KEY = 'aws.tab'

/**
 * @typedef {object} Remembered
 * @property {boolean} on
 * @property {string} template
 * @property {string} publish id of the one that locks the page
 * @property {string} print fingerprint of what it publishes
 * @property {string} page
 */

export class Session {
  #storage

  /** @param {Storage} storage */
  constructor(storage) {
    this.#storage = storage
  }

  /** @returns {Remembered} */
  read() {
    /** @type {Record<string, unknown>} */
    let stored = {}
    try {
      stored = JSON.parse(this.#storage.getItem(KEY) ?? '{}')
    } catch {
      // Somebody else's, or cut off: as if there were nothing.
    }
    const text = (/** @type {unknown} */ value) => (typeof value === 'string' ? value : '')
    const { on, template, publish, print, page } = stored
    return {
      on: on === true,
      template: text(template),
      publish: text(publish),
      print: text(print),
      page: text(page),
    }
  }

  /** @param {Partial<Remembered>} changes */
  write(changes) {
    try {
      this.#storage.setItem(KEY, JSON.stringify({ ...this.read(), ...changes }))
    } catch (error) {
      // A full or forbidden storage costs the memory over a reload, nothing else.
      console.warn('[aws] This tab cannot remember its state.', error)
    }
  }
}
