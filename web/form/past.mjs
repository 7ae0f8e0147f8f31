/**
 * The runs that this browser has ordered by a template's form, so that they are there tomorrow,
 * in whichever tab.
 */

const KEPT = 50

export class Past {
  #key

  /** @param {string} template */
  constructor(template) {
    this.#key = `aws.form.runs/${template}`
  }

  /** @returns {string[]} ids of jobs, the eldest first */
  get #ids() {
    try {
      const kept = JSON.parse(localStorage.getItem(this.#key) ?? '[]')
      return Array.isArray(kept) ? kept.map(String) : []
    } catch {
      return [] // forbidden, or somebody else's
    }
  }

  /** @param {string} id */
  has(id) {
    return this.#ids.includes(id)
  }

  /** @param {string} id */
  add(id) {
    try {
      const ids = this.#ids.filter((each) => each !== id)
      localStorage.setItem(this.#key, JSON.stringify([...ids, id].slice(-KEPT)))
    } catch {
      // A full or forbidden storage costs the memory over the tab's life, nothing else.
    }
  }
}
