/**
 * How an endpoint stands, as a tone and in words: in its own row, and in those of templates.
 */

import { named, t } from '../i18n.mjs'
import { asleep, inTransition, starting, takesJobs } from '../store.mjs'

/**
 * @param {Aws.Endpoint} endpoint
 * @returns {'busy' | 'asleep' | 'good' | 'bad'}
 */
export function tone(endpoint) {
  if (inTransition(endpoint) || starting(endpoint)) return 'busy'
  if (asleep(endpoint)) return 'asleep'
  return takesJobs(endpoint) ? 'good' : 'bad'
}

/** @param {Aws.Endpoint} endpoint */
export function statusOf(endpoint) {
  const wakes = endpoint.status !== 'Creating' && starting(endpoint) && endpoint.instances === 0
  if (wakes) return t('endpoint.waking')
  return asleep(endpoint) && endpoint.status === 'InService'
    ? t('endpoint.asleep')
    : named('endpoint', endpoint.status)
}
