/**
 * Reads one log while somebody looks at it: the last lines, then what is new.
 *
 * The server remembers how far this page has read (`after`); a log that is begun anew, because
 * other lines are wanted or the server forgot, replaces what is shown.
 */

import { problemOf } from './api.mjs'

const LOOK_MS = 2000
const LAST = 200

/** Lines kept in the page. */
export const MOST = 2000

/** @typedef {{source: string, level: string, job: string, text: string}} Wishes */

/**
 * @typedef {object} Listener
 * @property {(lines: Aws.LogLine[], fresh: boolean) => void} lines `fresh`: in place of the others
 * @property {(problem: Aws.Problem | null) => void} told after each answer
 */

export class Logbook {
  #server
  #listener
  #signal
  /** @type {Wishes} */
  #wishes = { source: 'designer', level: '', job: '', text: '' }
  #after = ''
  #paused = false
  /** @type {AbortController | null} the request under way */
  #asking = null
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  /** @type {Aws.LogLine[]} */
  #lines = []

  /**
   * @param {import('./api.mjs').Server} server
   * @param {Listener} listener
   * @param {AbortSignal} signal ends the reading
   */
  constructor(server, listener, signal) {
    this.#server = server
    this.#listener = listener
    this.#signal = signal
    signal.addEventListener('abort', () => this.#stop())
    document.addEventListener('visibilitychange', () => this.#look(), { signal })
  }

  /** @returns {readonly Aws.LogLine[]} what is shown */
  get lines() {
    return this.#lines
  }

  get paused() {
    return this.#paused
  }

  set paused(paused) {
    this.#paused = paused
    this.#look()
  }

  /** @param {Partial<Wishes>} wishes other lines are wanted: begin anew */
  want(wishes) {
    this.#stop()
    this.#wishes = { ...this.#wishes, ...wishes }
    this.#after = ''
    this.#look(true)
  }

  #stop() {
    clearTimeout(this.#timer)
    this.#asking?.abort()
    this.#asking = null
  }

  /** @param {boolean} [begin] even while it is paused */
  #look(begin = false) {
    clearTimeout(this.#timer)
    const hidden = document.visibilityState === 'hidden'
    if (this.#signal.aborted || this.#asking || (!begin && (this.#paused || hidden))) return
    void this.#read()
  }

  async #read() {
    const asking = new AbortController()
    this.#asking = asking
    try {
      const page = await this.#server.logs(
        { ...this.#wishes, last: String(LAST), after: this.#after },
        asking.signal
      )
      if (asking.signal.aborted) return
      this.#after = page.after
      if (page.fresh || page.lines.length > 0) this.#show(page.lines, page.fresh)
      this.#listener.told(null)
    } catch (error) {
      if (asking.signal.aborted) return
      if (!this.#after) this.#show([], true) // what is shown is another log
      this.#listener.told(problemOf(error))
    }
    this.#asking = null
    this.#timer = setTimeout(() => this.#look(), LOOK_MS)
  }

  /**
   * @param {Aws.LogLine[]} lines
   * @param {boolean} fresh
   */
  #show(lines, fresh) {
    this.#lines = [...(fresh ? [] : this.#lines), ...lines].slice(-MOST)
    this.#listener.lines(lines, fresh)
  }
}

/** @param {Aws.LogLine} line as it is copied and downloaded */
export function lineText({ at, level, job, source, text }) {
  const about = job ? `${source} job=${job}` : source
  return `${new Date(at * 1000).toISOString()} ${level.toUpperCase()} ${about}: ${text}`
}
