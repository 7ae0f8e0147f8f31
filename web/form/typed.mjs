/**
 * What was typed into a template's form, for as long as the tab is open. Fields that nobody has
 * touched are not in it: they follow the template's next version.
 */

export class Typed {
  #key
  /** @type {Record<string, unknown>} */
  #values = {}

  /** @param {string} template */
  constructor(template) {
    this.#key = `aws.form.typed/${template}`
    try {
      this.#values = JSON.parse(sessionStorage.getItem(this.#key) ?? '{}')
    } catch {
      // Forbidden storage: the form begins with the template's values.
    }
  }

  get isEmpty() {
    return Object.keys(this.#values).length === 0
  }

  /** @param {string} name of the parameter */
  has(name) {
    return Object.hasOwn(this.#values, name)
  }

  /** @param {string} name */
  of(name) {
    return this.#values[name]
  }

  /**
   * @param {string} name
   * @param {unknown} value
   */
  keep(name, value) {
    this.#values[name] = value
    this.#store((storage) => storage.setItem(this.#key, JSON.stringify(this.#values)))
  }

  forget() {
    this.#values = {}
    this.#store((storage) => storage.removeItem(this.#key))
  }

  /** @param {(storage: Storage) => void} change */
  #store(change) {
    try {
      change(sessionStorage)
    } catch {
      // A full or forbidden storage costs the memory over a reload, nothing else.
    }
  }
}
