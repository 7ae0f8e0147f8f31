/**
 * Models on their way, and those that came or failed until they are dismissed.
 */

import { h, iconButton, KeyedRows, ProgressBar, setAttribute, setText } from '../dom.mjs'
import { bytes } from '../format.mjs'
import { named, t } from '../i18n.mjs'
import { hasEnded } from '../library.mjs'

export class Transfers {
  #library
  #list = h('ul', {
    class: 'aws-list',
    'aria-labelledby': 'aws-transfers-title',
    testid: 'aws-transfer-list',
  })
  /** @type {KeyedRows<Aws.Transfer>} */
  #rows

  /**
   * @param {import('../library.mjs').Library} library
   * @param {AbortSignal} signal
   */
  constructor(library, signal) {
    this.#library = library
    this.#rows = new KeyedRows(this.#list, ({ id }) => id, (transfer) => this.#row(transfer))
    this.element = h('section',
      { class: 'aws-section', 'aria-labelledby': 'aws-transfers-title', testid: 'aws-transfers' },
      h('div', { class: 'aws-section-head' },
        h('h3', { id: 'aws-transfers-title' }, t('transfers.title'))),
      this.#list)
    library.watch(({ transfers }) => {
      this.element.hidden = transfers.length === 0
      this.#rows.update(transfers)
    }, signal)
  }

  /** @param {Aws.Transfer} first */
  #row(first) {
    let transfer = first
    const name = h('span', { class: 'aws-ellipsis' })
    const state = h('span', { class: 'aws-row-meta', testid: 'aws-transfer-state' })
    const from = h('span', { class: 'aws-row-meta aws-ellipsis' })
    const extent = h('span', { class: 'aws-row-meta aws-number' })
    const error = h('span', { class: 'aws-error-text', testid: 'aws-transfer-error' })
    const bar = new ProgressBar(t('transfers.progress', { name: first.name }), 'aws-transfer-progress')
    const stop = iconButton('pi-times', '', {
      testid: 'aws-transfer-stop',
      on: { click: () => void this.#library.stop(transfer) },
    })
    const again = iconButton('pi-refresh', '', {
      testid: 'aws-transfer-retry',
      on: { click: () => void this.#library.retry(transfer) },
    })
    const element = h('li', { class: 'aws-row', testid: 'aws-transfer', 'data-kind': first.kind },
      h('div', { class: 'aws-row-body' },
        h('div', { class: 'aws-split' }, name, state),
        bar.element,
        h('div', { class: 'aws-split' }, from, extent),
        error),
      again, stop)
    const update = (/** @type {Aws.Transfer} */ now) => {
      transfer = now
      const ended = hasEnded(now)
      const shown = now.name || t('transfers.unnamed', { source: now.source })
      const source = t(/** @type {any} */ (`transfers.kind.${now.kind}`), { source: now.source })
      element.dataset.state = now.state
      setText(name, shown)
      name.title = `${now.folder}/${now.name}`
      setText(state, named('transfer', now.state === 'running' && now.phase ? now.phase : now.state))
      setText(from, `${source} · ${now.folder}`)
      setText(extent, size(now))
      setText(error, now.error ? `${now.error.message} ${now.error.hint}` : '')
      bar.element.hidden = ended
      bar.set(now.total > 0 ? now.done / now.total : null)
      const label = t(ended ? 'transfers.dismiss' : 'transfers.cancel', { name: shown })
      setAttribute(stop, 'aria-label', label)
      stop.title = label
      again.hidden = !this.#library.canRetry(now)
      const retry = t('transfers.retry', { name: shown })
      setAttribute(again, 'aria-label', retry)
      again.title = retry
    }
    return { element, update }
  }
}

/** @param {Aws.Transfer} transfer */
function size({ done, total, state }) {
  if (state === 'done') return bytes(total || done)
  if (total === 0) return done > 0 ? bytes(done) : ''
  return t('transfers.bytes', { done: bytes(done), total: bytes(total) })
}
