/**
 * The panel's title and how ComfyUI is connected.
 */

import { h, iconButton, setAttribute, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'

/** @typedef {'good' | 'busy' | 'bad' | 'off'} Tone */

export class Header {
  #dot = h('span', { class: 'aws-dot', 'aria-hidden': 'true' })
  #words = h('span', { class: 'aws-ellipsis' })
  #stop
  #refresh

  /**
   * @param {import('../store.mjs').Store} store
   * @param {import('../actions.mjs').Actions} actions
   * @param {AbortSignal} signal
   */
  constructor(store, actions, signal) {
    this.#stop = iconButton('pi-power-off', t('stack.stop'), {
      testid: 'aws-stack-stop',
      on: { click: () => void actions.stack('stop') },
    })
    this.#refresh = iconButton('pi-refresh', t('refresh'), {
      testid: 'aws-refresh',
      on: { click: () => void actions.refresh() },
    })
    this.element = h(
      'header',
      { class: 'aws-header' },
      h(
        'div',
        { class: 'aws-header-words' },
        h('h2', {}, t('title')),
        h('div', { class: 'aws-connection', role: 'status', testid: 'aws-connection' },
          this.#dot, this.#words)
      ),
      this.#stop,
      this.#refresh
    )
    store.watch(['status', 'statusProblem', 'stackBusy'], (state) => this.#draw(state), signal)
  }

  /** @param {Readonly<Aws.State>} state */
  #draw(state) {
    const { tone, text } = connection(state)
    this.#dot.dataset.tone = tone
    setText(this.#words, text)
    setAttribute(this.#words, 'title', state.status?.bucket || null)
    this.#stop.hidden = !(state.status?.target === 'local' && state.status.stack.running)
    this.#stop.disabled = state.stackBusy !== ''
  }
}

/**
 * @param {Readonly<Aws.State>} state
 * @returns {{tone: Tone, text: string}}
 */
function connection({ status, statusProblem, stackBusy }) {
  if (stackBusy) {
    return { tone: 'busy', text: t(stackBusy === 'start' ? 'stack.starting' : 'stack.stopping') }
  }
  if (statusProblem) return { tone: 'bad', text: t('status.problem') }
  if (!status) return { tone: 'busy', text: t('status.connecting') }
  if (!status.configured) return { tone: 'off', text: t('status.off') }
  if (status.target === 'local' && !status.stack.running) {
    return { tone: 'off', text: t('status.stopped') }
  }
  if (status.problem) return { tone: 'bad', text: t('status.problem') }
  const where = [t(status.target === 'local' ? 'status.local' : 'status.aws')]
  if (status.target === 'aws') where.push(status.region, status.bucket)
  return { tone: 'good', text: where.filter(Boolean).join(' · ') }
}
