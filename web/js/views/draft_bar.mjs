/**
 * Whose the canvas is: a draft or the published version, and the way from one to the other.
 */

import { told } from '../actions.mjs'
import { h, icon, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { DraftsDialog } from './drafts_dialog.mjs'

export class DraftBar {
  #text = h('span', { testid: 'aws-draft-text' })
  #problem = h('span', { class: 'aws-error-text', testid: 'aws-draft-problem' })
  #published
  #earlier
  #all
  #align
  #owner = ''

  /**
   * @param {import('../store.mjs').Store} store
   * @param {import('../actions.mjs').Actions} actions
   * @param {import('../environments.mjs').Environments} environments
   * @param {AbortSignal} signal
   */
  constructor(store, actions, environments, signal) {
    const button = (/** @type {string} */ testid, /** @type {() => void} */ click) =>
      h('button', { type: 'button', class: 'aws-link', testid, on: { click } })
    this.#published = button('aws-draft-published', () => void environments.showPublished())
    this.#earlier = button('aws-draft-earlier', () => void environments.showDraft())
    const dialog = new DraftsDialog(environments)
    signal.addEventListener('abort', () => dialog.close())
    this.#all = button('aws-draft-all', () => void dialog.open(this.#owner || t('local')))
    setText(this.#all, t('draft.all'))
    this.#align = button('aws-draft-align', () => actions.choose(this.#owner))
    setText(this.#published, t('draft.showPublished'))
    setText(this.#earlier, t('draft.showEarlier'))
    this.element = h(
      'div',
      { class: 'aws-draft', role: 'status', testid: 'aws-draft' },
      icon('pi-pencil'),
      h('div', { class: 'aws-draft-words' }, this.#text, this.#problem, this.#published,
        this.#earlier, this.#all, this.#align)
    )
    store.watch(['draft', 'draftProblem', 'template', 'templates'], (state) => this.#draw(state), signal)
  }

  /** @param {Readonly<Aws.State>} state */
  #draw({ draft, draftProblem, template, templates }) {
    this.element.hidden = draft === null
    if (!draft) return
    const { owner, version } = draft
    const isOther = owner !== template
    this.#owner = owner
    const newest = templates.items.find((item) => item.name === owner)?.version ?? version
    setText(this.#text, isOther ? t('draft.other', { name: owner || t('local') }) : words(draft, newest))
    this.#drawWays(draft, isOther)
    this.#align.hidden = !isOther
    setText(this.#align, t('draft.align', { name: owner || t('local') }))
    setText(this.#problem, draftProblem ? told(draftProblem) : '')
  }

  /**
   * @param {Aws.Draft} draft
   * @param {boolean} isOther whether another environment is selected
   */
  #drawWays({ owner, edited, earlier, lent }, isOther) {
    const hasEarlier = !isOther && earlier
    this.#published.hidden = isOther || owner === '' || !edited || lent
    this.#earlier.hidden = !hasEarlier || edited
    this.#all.hidden = !hasEarlier
  }
}

/**
 * @param {Aws.Draft} draft
 * @param {number} newest version that is published
 */
function words({ owner, edited, kept, version, lent }, newest) {
  if (lent) return t('draft.lent')
  if (owner === '') return t(kept ? 'draft.local.kept' : 'draft.local')
  if (!edited) return t('draft.published', { version })
  if (version && version < newest) return t('draft.outdated', { version, newest })
  return t(kept ? 'draft.kept' : 'draft.edited')
}
