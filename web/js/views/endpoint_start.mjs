/**
 * How the start of an endpoint's instance goes on: its phases, with what each takes and took.
 */

import { h, icon, KeyedRows, ProgressBar, setText } from '../dom.mjs'
import { bytes, elapsed } from '../format.mjs'
import { named, t } from '../i18n.mjs'

const ICONS = { done: 'pi-check', now: 'pi-spinner', next: 'pi-circle' }

/** Of the bar, so that it never says to be at its end before it is. */
const NEARLY = 0.97

export class EndpointStart {
  #title = h('span', { class: 'aws-muted', testid: 'aws-start-title' })
  #bar
  #list = h('ol', { class: 'aws-phases' })
  /** @type {KeyedRows<Aws.StartPhase & {at: number}>} */
  #rows

  /** @param {string} name of the endpoint */
  constructor(name) {
    this.#bar = new ProgressBar(t('endpoints.progress', { name }), 'aws-start-progress')
    this.#rows = new KeyedRows(this.#list, (phase) => phase.name, (phase) => row(phase.name))
    this.element = h('div', { class: 'aws-start', hidden: true, testid: 'aws-endpoint-start' },
      this.#title, this.#bar.element, this.#list)
  }

  /** @param {Aws.State['starts'][string] | undefined} start none: nothing starts */
  draw(start) {
    this.element.hidden = !start
    if (!start) return
    const at = Date.now() / 1000 + start.skew
    const time = elapsed(at - start.began)
    const { expected } = start
    setText(this.#title, expected
      ? t('endpoints.starting.expected', { time, expected: elapsed(expected) })
      : t('endpoints.starting', { time }))
    this.#bar.set(expected ? Math.min(NEARLY, (at - start.began) / expected) : null)
    this.#rows.update(start.phases.map((phase) => ({ ...phase, at })))
  }
}

/** @param {string} name of a phase */
function row(name) {
  const mark = icon(ICONS.next)
  const state = h('span', { class: 'aws-unseen' })
  const size = h('span', { class: 'aws-row-meta aws-number' })
  const time = h('span', { class: 'aws-row-meta aws-number' })
  const element = h('li', { class: 'aws-phase', testid: 'aws-start-phase', 'data-name': name },
    mark, h('span', { class: 'aws-phase-name' }, named('start', name)), state, size, time)
  const update = (/** @type {Aws.StartPhase & {at: number}} */ phase) => {
    const { began, ended, done, total, expected, at } = phase
    const stage = ended ? 'done' : began ? 'now' : 'next'
    element.dataset.stage = stage
    element.title = phase.message
    mark.className = `pi ${ICONS[stage]}`
    setText(state, t(`start.state.${stage}`))
    setText(size, total ? sizeOf(stage, done, total) : '')
    setText(time, timeOf(stage, (ended || at) - began, expected))
  }
  return { element, update }
}

/**
 * @param {'done' | 'now' | 'next'} stage
 * @param {number} done bytes
 * @param {number} total
 */
function sizeOf(stage, done, total) {
  if (stage === 'now') return t('start.bytes', { done: bytes(done), total: bytes(total) })
  return stage === 'done' ? bytes(total) : ''
}

/**
 * @param {'done' | 'now' | 'next'} stage
 * @param {number} seconds
 * @param {number | null} expected
 */
function timeOf(stage, seconds, expected) {
  const known = expected !== null && expected >= 0.5
  if (stage === 'next') return known ? t('start.about', { time: elapsed(expected) }) : ''
  const time = elapsed(seconds)
  return stage === 'now' && known ? t('start.of', { time, expected: elapsed(expected) }) : time
}
