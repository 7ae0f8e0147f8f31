/**
 * Drafts: the canvas of each environment, kept in ComfyUI's user folder by its own userdata API,
 * so that each of its users has their own.
 *
 * A draft that gives way to another one is put aside under its time, and never overwritten.
 */

import { ServerError } from './api.mjs'
import { t } from './i18n.mjs'

/** @typedef {import('./canvas.mjs').Workflow} Workflow */

const FOLDER = 'aws-drafts'

/** Drafts put aside that stay for each environment. */
const KEPT = 10

export class Drafts {
  #fetch
  #bucket
  /**
   * Those that gave way to one of another open tab, by the tab that shows them: each is needed
   * until that tab itself is kept anew.
   *
   * @type {Map<string, Map<string, string>>}
   */
  #ofTabs = new Map()

  /**
   * @param {(route: string, options?: RequestInit) => Promise<Response>} fetch ComfyUI's own
   * @param {() => string} bucket whose templates these are; equal names may be in several
   */
  constructor(fetch, bucket) {
    this.#fetch = fetch
    this.#bucket = bucket
  }

  /**
   * @param {string} environment a template's name; empty for Local
   * @returns {Promise<Workflow | null>} null when there is none
   */
  async read(environment) {
    return this.#read(`${this.#stem(environment)}.json`)
  }

  /**
   * @param {string} environment
   * @param {Workflow} workflow
   */
  async write(environment, workflow) {
    await this.#call('POST', `${route(`${this.#stem(environment)}.json`)}?overwrite=true`, workflow)
  }

  /**
   * @param {string} environment whose draft is put aside, if it has one
   * @param {string} [tab] of ComfyUI that shows it still
   */
  async putAside(environment, tab) {
    const file = await this.#aside(environment)
    if (tab !== undefined) {
      const files = this.#ofTabs.get(environment) ?? new Map()
      this.#ofTabs.set(environment, files.set(tab, file))
    }
    await this.#prune(environment)
  }

  /**
   * What a tab was before it was kept is not needed any more: tabs that take turns keep one file
   * each.
   *
   * @param {string} environment
   * @param {string} tab
   */
  async dropOf(environment, tab) {
    const files = this.#ofTabs.get(environment)
    const file = files?.get(tab)
    files?.delete(tab)
    if (file) await this.drop(file)
  }

  /** @param {string} environment whose files put aside are not known by their tabs any more */
  forgetTabs(environment) {
    this.#ofTabs.delete(environment)
  }

  /**
   * Keep a canvas among the drafts put aside; the environment's draft stays.
   *
   * @param {string} environment
   * @param {Workflow} workflow
   */
  async writeAside(environment, workflow) {
    await this.#call('POST', route(this.#asideFile(environment)), workflow)
    await this.#prune(environment)
  }

  /** @param {string} environment whose draft is not needed any more */
  async remove(environment) {
    await this.#call('DELETE', route(`${this.#stem(environment)}.json`), undefined, true)
  }

  /**
   * @param {string} environment
   * @returns {Promise<string[]>} the files of its drafts put aside, the newest first
   */
  async earlier(environment) {
    const folder = this.#stem(environment)
    const query = new URLSearchParams({ dir: folder, recurse: 'false', split: 'false' })
    const response = await this.#call('GET', `/userdata?${query}`, undefined, true)
    const names = response ? /** @type {string[]} */ (await response.json()) : []
    return names.sort().reverse().map((name) => `${folder}/${name.split('/').at(-1)}`)
  }

  /**
   * A draft put aside becomes the environment's draft again; the one of now is put aside for it.
   *
   * @param {string} environment
   * @param {string} [file] one of those put aside; the newest when it is left out
   */
  async takeBack(environment, file) {
    const [newest] = await this.earlier(environment)
    const wanted = file ?? newest
    if (!wanted) return this.read(environment)
    await this.#aside(environment)
    await this.#move(wanted, `${this.#stem(environment)}.json`)
    await this.#prune(environment)
    return this.read(environment)
  }

  /** @param {string} file of a draft put aside that is not needed any more */
  async drop(file) {
    await this.#call('DELETE', route(file), undefined, true)
  }

  /**
   * Its draft and those put aside follow a template to its new name.
   *
   * @param {string} name of a template
   * @param {string} renamed
   */
  async rename(name, renamed) {
    await this.putAside(renamed)
    const [from, to] = [this.#stem(name), this.#stem(renamed)]
    await this.#move(`${from}.json`, `${to}.json`)
    const earlier = await this.earlier(name)
    await Promise.all(earlier.map((file) => this.#move(file, file.replace(`${from}/`, `${to}/`))))
  }

  /** @param {string} environment */
  async #aside(environment) {
    const file = this.#asideFile(environment)
    await this.#move(`${this.#stem(environment)}.json`, file)
    return file
  }

  /**
   * @param {string} environment
   * @returns {string} the file of a draft that is put aside now
   */
  #asideFile(environment) {
    return `${this.#stem(environment)}/${new Date().toISOString().replace(/[:.]/g, '-')}.json`
  }

  /** @param {string} environment of which there may be one too many */
  async #prune(environment) {
    const old = (await this.earlier(environment)).slice(KEPT)
    await Promise.all(old.map((file) => this.drop(file)))
  }

  /**
   * Where an environment's drafts lie. Template names differ by case, file names of some systems
   * do not: a mask of the capitals tells them apart.
   *
   * @param {string} environment
   */
  #stem(environment) {
    if (environment === '') return `${FOLDER}/local`
    const mask = [...environment].map((letter) => (/[A-Z]/.test(letter) ? '1' : '0')).join('')
    return `${FOLDER}/${this.#bucket() || 'bucket'}/${environment}~${mask}`
  }

  /** @param {string} file */
  async #read(file) {
    const response = await this.#call('GET', route(file), undefined, true)
    try {
      return response ? /** @type {Workflow} */ (await response.json()) : null
    } catch {
      return null // cut off by a crash: what it was is in the tab that wrote it
    }
  }

  /**
   * @param {string} from
   * @param {string} to
   */
  async #move(from, to) {
    await this.#call('POST', `${route(from)}/move/${encodeURIComponent(to)}`, undefined, true)
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @param {boolean} [mayLack] an answer that the file is not there is none
   * @returns {Promise<Response | null>}
   */
  async #call(method, path, body, mayLack = false) {
    /** @type {RequestInit} */
    const options = { method, cache: 'no-store' }
    if (body) options.body = JSON.stringify(body)
    let response
    try {
      response = await this.#fetch(path, options)
    } catch {
      throw failure(0)
    }
    if (response.ok) return response
    if (mayLack && response.status === 404) return null
    throw failure(response.status)
  }
}

/**
 * @param {string} file of a draft put aside
 * @returns {number} when, in seconds since the epoch
 */
export function asideAt(file) {
  const stamp = file.split('/').at(-1)?.replace(/T(\d+)-(\d+)-(\d+)-(\d+Z).*/, 'T$1:$2:$3.$4')
  return Date.parse(stamp ?? '') / 1000
}

/** @param {string} file */
function route(file) {
  return `/userdata/${encodeURIComponent(file)}`
}

/** @param {number} status */
function failure(status) {
  const hint = t(status ? 'draft.failed.hint' : 'error.offline.hint')
  return new ServerError(status, { code: 'draft', message: t('draft.failed', { status }), hint })
}
