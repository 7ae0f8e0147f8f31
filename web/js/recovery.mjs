/**
 * Asks again by itself while ComfyUI or AWS does not answer: nobody has to click for it.
 */

import { pauseAfter } from './patience.mjs'
import { troubled } from './store.mjs'

/**
 * @param {object} parts
 * @param {import('./store.mjs').Store} parts.store
 * @param {import('./actions.mjs').Actions} parts.actions
 * @param {import('./library.mjs').Library} parts.library
 * @param {AbortSignal} signal until then somebody looks at the panel
 */
export function recover({ store, actions, library }, signal) {
  /** @type {ReturnType<typeof setTimeout> | null} */
  let timer = null
  let tries = 0
  const lacks = () => troubled(store.state) || library.lacks
  const stop = () => {
    if (timer !== null) clearTimeout(timer)
    timer = null
  }
  // Other news come all the time: they do not put off what is planned.
  const plan = () => {
    if (!lacks()) {
      tries = 0
      stop()
    } else if (timer === null && !signal.aborted) {
      timer = setTimeout(() => void look(), pauseAfter(tries))
    }
  }
  async function look() {
    stop()
    // A page that nobody sees looks when it is seen again.
    if (signal.aborted || !lacks() || document.visibilityState === 'hidden') return
    tries += 1
    if (troubled(store.state)) await actions.refresh()
    if (library.lacks) await library.load()
    plan()
  }
  window.addEventListener('online', () => void look(), { signal })
  document.addEventListener('visibilitychange', () => void look(), { signal })
  signal.addEventListener('abort', stop)
  library.watch(plan, signal)
  store.watch(['status', 'statusProblem', 'templates', 'endpoints', 'jobs'], plan, signal)
}
