/**
 * The fields of an endpoint's limits, which creating and changing one share.
 */

import { h } from '../dom.mjs'

/** The account's quota decides; this only keeps a slip of the finger from being expensive. */
const MOST_INSTANCES = 100

const MOST_MINUTES = 24 * 60

/** @typedef {{min: HTMLInputElement, max: HTMLInputElement, idle: HTMLInputElement}} Inputs */

/**
 * @param {string} prefix of the ids
 * @param {string} [testid] prefix of the test ids
 * @returns {Inputs}
 */
export function limitInputs(prefix, testid = prefix) {
  /** @param {string} name @param {number} min @param {number} max */
  const input = (name, min, max) => h('input', {
    id: `${prefix}-${name}`,
    class: 'aws-input',
    testid: `${testid}-${name}`,
    type: 'number',
    required: true,
    min,
    max,
    step: 1,
  })
  return {
    min: input('min', 0, MOST_INSTANCES),
    max: input('max', 1, MOST_INSTANCES),
    idle: input('idle', 1, MOST_MINUTES),
  }
}

/**
 * @param {Inputs} inputs
 * @param {{min_instances: number, max_instances: number, idle_seconds: number}} limits
 */
export function setLimits({ min, max, idle }, limits) {
  min.value = String(limits.min_instances)
  max.value = String(limits.max_instances)
  idle.value = String(Math.max(1, Math.round(limits.idle_seconds / 60)))
}

/** @param {Inputs} inputs */
export function limitsOf({ min, max, idle }) {
  return {
    min_instances: min.valueAsNumber,
    max_instances: max.valueAsNumber,
    idle_seconds: idle.valueAsNumber * 60,
  }
}

/**
 * @param {string} prefix of the control's id
 * @param {string} name
 * @param {string} label
 * @param {HTMLElement} control
 */
export function field(prefix, name, label, control) {
  return h('div', { class: 'aws-field' },
    h('label', { class: 'aws-label', for: `${prefix}-${name}` }, label), control)
}
