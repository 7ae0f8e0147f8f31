/**
 * What a browser tab remembers over a reload. Other tabs have their own.
 */

const KEY = 'aws.tab'

/** @typedef {{on: boolean, template: string, publish: string, page: string}} Remembered */

export class Session {
  #storage

  /** @param {Storage} storage */
  constructor(storage) {
    this.#storage = storage
  }

  /** @returns {Remembered} */
  read() {
    const empty = { on: false, template: '', publish: '', page: '' }
    try {
      const stored = JSON.parse(this.#storage.getItem(KEY) ?? '{}')
      return {
        on: stored.on === true,
        template: typeof stored.template === 'string' ? stored.template : '',
        publish: typeof stored.publish === 'string' ? stored.publish : '',
        page: typeof stored.page === 'string' ? stored.page : '',
      }
    } catch {
      return empty
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
