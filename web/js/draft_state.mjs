/**
 * Tells the views whose the canvas is, and how it stands to what is kept and published.
 */

import { problemOf } from './api.mjs'
import { fingerprint, markOf } from './canvas.mjs'

export class DraftState {
  #store
  #canvas
  #drafts

  /**
   * @param {import('./store.mjs').Store} store
   * @param {import('./canvas.mjs').Canvas} canvas
   * @param {import('./drafts.mjs').Drafts} drafts
   */
  constructor(store, canvas, drafts) {
    this.#store = store
    this.#canvas = canvas
    this.#drafts = drafts
  }

  /** @param {ReadonlyMap<string, string>} prints fingerprints of what is kept, by environment */
  show(prints) {
    const workflow = this.#canvas.workflow()
    const print = fingerprint(workflow)
    const mark = markOf(workflow) ?? { template: '' }
    const owner = mark.template
    const edited = owner === '' || print !== mark.print
    const kept = prints.get(owner) === print
    const lent = print === mark.lent
    const before = this.#store.state.draft
    const earlier = before?.earlier ?? false
    this.#store.set({ draft: { owner, edited, kept, version: mark.version ?? 0, earlier, lent } })
    if (before?.owner !== owner || before.edited !== edited) void this.lookForEarlier(owner)
  }

  /** @param {string} owner the environment whose drafts may have been put aside */
  async lookForEarlier(owner) {
    try {
      const earlier = (await this.#drafts.earlier(owner)).length > 0
      const { draft } = this.#store.state
      if (draft?.owner === owner) this.#store.set({ draft: { ...draft, earlier } })
    } catch (error) {
      problemOf(error)
    }
  }
}
