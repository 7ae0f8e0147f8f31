/**
 * Canvases that a closing page could not keep wait in the browser for the next page.
 */

import { ownerOf } from './canvas.mjs'

/** @typedef {import('./environments.mjs').Seen} Seen */

const STASH = 'aws.draft'

export class Stash {
  #storage
  #scope

  /**
   * @param {Storage} storage outlives the tab
   * @param {() => string[]} scope the user and the bucket that the canvases belong to
   */
  constructor(storage, scope) {
    this.#storage = storage
    this.#scope = scope
  }

  /** @param {Seen} seen replaces what the same tab of ComfyUI has stashed of this environment */
  put(seen) {
    try {
      const key = `${this.#prefix()}${ownerOf(seen.workflow)}/${seen.place}`
      this.#storage.setItem(key, JSON.stringify(seen))
    } catch (error) {
      console.warn('[aws] The last change could not be stashed.', error)
    }
  }

  /** @returns {string[]} keys of what waits */
  keys() {
    const prefix = this.#prefix()
    return Object.keys(this.#storage).filter((key) => key.startsWith(prefix))
  }

  /**
   * @param {string} key
   * @returns {Seen}
   */
  read(key) {
    return JSON.parse(this.#storage.getItem(key) ?? 'null')
  }

  /** @param {string} key */
  remove(key) {
    this.#storage.removeItem(key)
  }

  #prefix() {
    return [STASH, ...this.#scope(), ''].join('/')
  }
}
