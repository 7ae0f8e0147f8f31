/**
 * Environments: each template is one, and this machine alone, "Local". The canvas is kept as the
 * draft of its environment while it is worked on; a switch shows the draft of the other one.
 *
 * Nothing unsaved is lost: a switch waits until the canvas is kept, and what a page that closes
 * has not yet sent waits in the browser for the next one. A draft is overwritten only by the canvas
 * that it was: what ComfyUI brings back after a reload may be older, and takes no draft's place.
 */

import { problemOf } from './api.mjs'
import { fingerprint, marked, markOf, ownerOf } from './canvas.mjs'
import { DraftState } from './draft_state.mjs'
import { asideAt } from './drafts.mjs'
import { t } from './i18n.mjs'

/** @typedef {import('./canvas.mjs').Workflow} Workflow */

/** Pause after a change before the draft is written. */
const KEEP_MS = 1000

/**
 * @typedef {object} Seen a canvas
 * @property {Workflow} workflow
 * @property {string} place ComfyUI's tab that showed it
 * @property {string} tab the browser's tab
 * @property {boolean} [untouched] nobody has changed it since ComfyUI loaded it
 * @property {boolean} [resumed] an earlier page showed it
 */

export class Environments {
  #comfy
  #canvas
  #server
  #store
  #drafts
  #stash
  #choose
  #draft
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  /** @type {Seen | null} the newest canvas that is not yet kept */
  #pending = null
  /** @type {Map<string, string>} fingerprints of what this page has kept or opened */
  #kept = new Map()
  /** @type {Map<string, string>} ComfyUI's tabs that show the draft of each environment */
  #places = new Map()
  /** @type {Map<string, string>} fingerprints of what ComfyUI's tabs had before they were changed */
  #bases = new Map()
  /** @type {Set<Seen>} those being kept */
  #keeping = new Set()
  /** @type {Promise<unknown>} writes follow one another */
  #writing = Promise.resolve()
  /** @type {Promise<void> | null} set once what an earlier page left is being kept */
  #resumed = null
  /** Fingerprints of the canvas that ComfyUI showed by itself, and of the one loaded last. */
  #first = ''
  #loaded = ''
  /** @type {(shown: void) => void} */
  #tellShown = () => {}
  /** Resolved once ComfyUI shows a graph. */
  shown = new Promise((/** @type {(shown: void) => void} */ resolve) => {
    this.#tellShown = resolve
  })

  /**
   * @param {object} parts
   * @param {import('./comfy.mjs').Comfy} parts.comfy
   * @param {import('./canvas.mjs').Canvas} parts.canvas
   * @param {import('./api.mjs').Server} parts.server
   * @param {import('./store.mjs').Store} parts.store
   * @param {import('./drafts.mjs').Drafts} parts.drafts
   * @param {import('./stash.mjs').Stash} parts.stash
   * @param {(name: string) => void} parts.choose names the template in this tab's runs
   */
  constructor({ comfy, canvas, server, store, drafts, stash, choose }) {
    this.#comfy = comfy
    this.#canvas = canvas
    this.#server = server
    this.#store = store
    this.#drafts = drafts
    this.#stash = stash
    this.#choose = choose
    this.#draft = new DraftState(store, canvas, drafts)
  }

  /** Follow the canvas; once a page. */
  listen() {
    this.#canvas.onChange((workflow) => this.#changed(workflow))
    window.addEventListener('pagehide', () => this.#stashAll())
  }

  /**
   * ComfyUI has loaded a graph, by itself or because somebody opened one.
   *
   * @param {Workflow} [workflow] as it was then; the canvas when it is left out
   */
  loaded(workflow = this.#canvas.workflow()) {
    const { mark } = this.#canvas
    const print = fingerprint(workflow)
    if (mark && !mark.print && mark.version) this.#canvas.mark = { ...mark, print }
    this.#first ||= print
    this.#loaded = print
    this.#tellShown()
    this.#show()
  }

  /**
   * Go to an environment: its draft, else the published version, is shown.
   *
   * @param {string} name of a template; empty for Local
   */
  async select(name) {
    if (this.#store.state.opening) return
    this.#store.set({ opening: name || t('local') })
    try {
      await this.flush()
      const draft = await this.#inTurn(() => this.#drafts.read(name))
      if (draft) await this.#openDraft(name, draft)
      else if (name) await this.#openPublished(name)
      else this.#canvas.mark = { template: '' }
      this.#choose(name)
    } catch (error) {
      this.#fail(t('templates.openFailed', { name: name || t('local') }), error)
    } finally {
      this.#store.set({ opening: '' })
      this.#show()
    }
  }

  /** Show the version that others see; the draft is put aside. */
  async showPublished() {
    const name = this.#canvas.mark?.template
    if (!name) return
    try {
      await this.flush()
      await this.#inTurn(() => this.#drafts.putAside(name))
      this.#kept.delete(name)
      await this.#openPublished(name)
    } catch (error) {
      this.#fail(t('templates.openFailed', { name }), error)
    }
    this.#show()
    void this.#draft.lookForEarlier(name)
  }

  /** @returns {Promise<{file: string, at: number}[]>} drafts put aside, the newest first */
  async earlier() {
    const files = await this.#drafts.earlier(this.#canvas.mark?.template ?? '')
    return files.map((file) => ({ file, at: asideAt(file) }))
  }

  /**
   * Show a draft that was put aside; the one of now is put aside for it.
   *
   * @param {string} [file] the last one when it is left out
   */
  async showDraft(file) {
    const name = this.#canvas.mark?.template ?? ''
    try {
      await this.flush()
      const draft = await this.#inTurn(() => this.#drafts.takeBack(name, file))
      if (draft) await this.#openDraft(name, draft)
    } catch (error) {
      this.#fail(t('templates.openFailed', { name: name || t('local') }), error)
    }
    this.#show()
    void this.#draft.lookForEarlier(name)
  }

  /**
   * A version was published: the canvas that still shows it belongs to that template now.
   *
   * @param {string} name
   * @param {number} version
   * @param {string} print fingerprint of what was sent
   * @returns {boolean} whether the canvas shows it
   */
  published(name, version, print) {
    const shows = fingerprint(this.#canvas.workflow()) === print
    if (shows) {
      clearTimeout(this.#timer)
      this.#pending = null
      this.#canvas.mark = { template: name, version, print }
    }
    void this.#publishedDraft(name, print)
    return shows
  }

  /**
   * The draft of what is published now is not needed any more, and another one must not hide it.
   *
   * @param {string} name
   * @param {string} print
   */
  async #publishedDraft(name, print) {
    this.#kept.delete(name)
    try {
      await this.#inTurn(async () => {
        const draft = await this.#drafts.read(name)
        if (draft && fingerprint(draft) === print) await this.#drafts.remove(name)
        else if (draft) await this.#drafts.putAside(name)
      })
    } catch (error) {
      this.#fail(t('draft.notKept'), error)
    }
    this.#show()
    void this.#draft.lookForEarlier(name)
  }

  /**
   * @param {string} name of a template
   * @param {string} renamed
   */
  async renamed(name, renamed) {
    await this.flush()
    await this.#inTurn(() => this.#drafts.rename(name, renamed))
    for (const known of [this.#kept, this.#places]) {
      const value = known.get(name)
      if (value !== undefined) known.set(renamed, value)
      known.delete(name)
    }
    this.#drafts.forgetTabs(name) // their files have other names now
    this.#canvas.rename(name, renamed)
    this.#show()
  }

  /**
   * A template was deleted: another one of its name does not begin with its draft, and what is on
   * the canvas is Local's.
   *
   * @param {string} name
   */
  async deleted(name) {
    const { mark } = this.#canvas
    const pending = this.#pending
    if (mark?.template === name) this.#canvas.mark = { template: '' }
    if (pending && ownerOf(pending.workflow) === name) this.#pending = null
    try {
      const isLeft = pending && !this.#pending && this.#isNew(pending.workflow, this.#loaded)
      if (isLeft) await this.#keep(pending)
      this.#kept.delete(name)
      this.#places.delete(name)
      await this.#inTurn(() => this.#drafts.putAside(name))
    } catch (error) {
      this.#fail(t('draft.notKept'), error)
    }
    this.#show()
  }

  /**
   * Keep what is on the canvas now, when it is anything that is not kept.
   *
   * Throws what keeps it from being kept: then nothing may take its place.
   */
  async flush() {
    await this.resume()
    clearTimeout(this.#timer)
    const pending = this.#pending
    this.#pending = null
    if (pending && this.#isNew(pending.workflow, this.#loaded)) await this.#keep(pending)
    const now = this.#seen(this.#canvas.workflow())
    const isFirst = ownerOf(now.workflow) === '' && fingerprint(now.workflow) === this.#first
    const untouched = !this.#touch(now)
    if (!isFirst && this.#isNew(now.workflow, '')) await this.#keep({ ...now, untouched })
    await this.#writing
  }

  /** What a closing page could not keep is kept now, once a page and once it is known where. */
  resume() {
    if (!this.#store.state.status?.configured) return Promise.resolve()
    return (this.#resumed ??= this.#resumeNow())
  }

  async #resumeNow() {
    for (const key of this.#stash.keys()) {
      try {
        await this.#keep({ ...this.#stash.read(key), resumed: true })
        this.#stash.remove(key)
      } catch (error) {
        this.#store.set({ draftProblem: problemOf(error) })
      }
    }
  }

  /**
   * @param {Workflow} workflow what is on the canvas
   * @returns {Seen}
   */
  #seen(workflow) {
    return { workflow, place: this.#canvas.place, tab: this.#comfy.clientId }
  }

  /**
   * Note what a canvas was before somebody changed it.
   *
   * @param {Seen} seen
   * @returns {boolean} whether somebody has
   */
  #touch({ workflow, place }) {
    if (!this.#loaded) return true // before the page has shown a graph
    if (!this.#bases.has(place) && fingerprint(workflow) !== this.#loaded) {
      this.#bases.set(place, this.#loaded)
    }
    return this.#bases.has(place)
  }

  /** @param {Workflow} workflow */
  #changed(workflow) {
    if (!this.#store.state.status?.configured) return
    const seen = this.#seen(workflow)
    this.#touch(seen)
    const before = this.#pending
    if (before && (ownerOf(before.workflow) !== ownerOf(workflow) || before.place !== seen.place)) {
      this.#settle()
    }
    this.#pending = seen
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#settle(), KEEP_MS)
  }

  /** A change is over: look whether it is one, and keep it. */
  #settle() {
    const seen = this.#pending
    this.#pending = null
    if (!seen) return
    if (this.#isNew(seen.workflow, this.#loaded)) {
      this.#keep(seen).catch((error) => {
        this.#store.set({ draftProblem: problemOf(error) })
        this.#pending ??= seen // the next change, or the page's end, tries again
      })
    }
    this.#show()
  }

  /**
   * Whether a canvas has something that no file has.
   *
   * @param {Workflow} workflow
   * @param {string} loaded fingerprint of what was loaded, for a canvas that tells nothing itself
   */
  #isNew(workflow, loaded) {
    if (!workflow.nodes?.length) return false
    const owner = ownerOf(workflow)
    const mark = markOf(workflow)
    const print = fingerprint(workflow)
    return print !== mark?.lent && print !== (this.#kept.get(owner) ?? mark?.print ?? loaded)
  }

  /** @param {Seen} seen */
  async #keep(seen) {
    this.#keeping.add(seen)
    try {
      await this.#inTurn(() => this.#keepNow(seen))
    } finally {
      this.#keeping.delete(seen)
    }
  }

  /**
   * One after the other: while a draft is put aside for another one, nobody finds none.
   *
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  #inTurn(work) {
    const done = this.#writing.then(work)
    this.#writing = done.catch(() => {})
    return done
  }

  /** @param {Seen} seen */
  async #keepNow(seen) {
    const { workflow, place, tab } = seen
    const owner = ownerOf(workflow)
    const print = fingerprint(workflow)
    const there = await this.#drafts.read(owner)
    const differs = there && fingerprint(there) !== print
    const { lent, ...own } = { ...markOf(workflow) }
    const mark = { ...own, template: owner, tab, place, saved: Date.now() / 1000 }
    if (differs && seen.untouched && markOf(there)?.place === place) {
      // The draft is what this tab was last, the canvas what ComfyUI has brought back of it.
      await this.#drafts.writeAside(owner, marked(workflow, mark))
      void this.#draft.lookForEarlier(owner)
      return
    }
    if (differs && this.#isOthers(there, seen)) await this.#makeRoom(there, seen)
    await this.#drafts.write(owner, marked(workflow, mark))
    await this.#drafts.dropOf(owner, place)
    if (!seen.resumed) this.#kept.set(owner, print) // the canvas of now may be another one
    if (tab === this.#comfy.clientId) this.#places.set(owner, place)
    if (lent && place === this.#canvas.place) this.#canvas.mark = { ...own, template: owner }
    this.#store.set({ draftProblem: null })
    this.#show()
  }

  /**
   * Put a draft aside that is not what a canvas was before.
   *
   * @param {Workflow} draft
   * @param {Seen} seen the canvas
   */
  async #makeRoom(draft, { workflow, place, tab }) {
    const owner = ownerOf(workflow)
    const by = markOf(draft)
    const isOfOtherTab = by?.place !== place && by?.tab === tab
    await this.#drafts.putAside(owner, isOfOtherTab ? by?.place : undefined)
    void this.#draft.lookForEarlier(owner)
  }

  /**
   * Whether a draft is not simply what a canvas was a moment ago.
   *
   * @param {Workflow} draft
   * @param {Seen} seen the canvas
   */
  #isOthers(draft, { workflow, place, tab, resumed }) {
    const mark = markOf(draft)
    const owner = ownerOf(workflow)
    const before = this.#places.get(owner) ?? (mark?.tab === tab ? mark.place : undefined)
    if (before !== undefined && before !== place) return true
    if (resumed) return mark?.tab !== tab
    const print = fingerprint(draft)
    return print !== this.#kept.get(owner) && print !== this.#bases.get(place)
  }

  /**
   * @param {string} name
   * @param {Workflow} draft
   */
  async #openDraft(name, draft) {
    const mark = markOf(draft) ?? { template: name }
    this.#kept.set(name, fingerprint(draft))
    await this.#canvas.open(draft, name || t('local'), { ...mark, template: name })
    // As this page shows it, which may set a thing or two by itself.
    this.#kept.set(name, fingerprint(this.#canvas.workflow()))
    this.#places.set(name, this.#canvas.place)
    this.#drafts.forgetTabs(name) // the tab may have shown one of them
  }

  /** @param {string} name */
  async #openPublished(name) {
    const { workflow, version, prompt } = await this.#server.template(name)
    this.#kept.delete(name)
    await this.#canvas.open(workflow, name, { template: name, version }, prompt)
    this.#drafts.forgetTabs(name)
  }

  #show() {
    this.#draft.show(this.#kept)
  }

  /** What is not yet kept waits in the browser while the page closes. */
  #stashAll() {
    // What is on its way may not arrive: the page takes its requests with it.
    for (const seen of this.#keeping) this.#stash.put(seen)
    const pending = this.#pending
    if (pending && this.#isNew(pending.workflow, this.#loaded)) this.#stash.put(pending)
  }

  /**
   * @param {string} summary
   * @param {unknown} error
   */
  #fail(summary, error) {
    const { message, hint } = problemOf(error)
    this.#comfy.toast('error', summary, [message, hint].filter(Boolean).join('\n'))
  }
}
