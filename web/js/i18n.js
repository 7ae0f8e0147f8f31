/**
 * The panel's words. ComfyUI translates commands and settings from `locales/`; everything that
 * this extension draws itself comes from here.
 */

import { EN } from './strings/en.js'

/** @typedef {keyof typeof EN} Key */

/** @type {Record<string, Partial<Record<Key, string>>>} */
const LANGUAGES = { en: EN }

let current = 'en'

/** @param {string} language ComfyUI's `Comfy.Locale`; English stands in for what is missing */
export function setLocale(language) {
  current = language
}

/** @returns {string} a language tag that Intl knows */
export function locale() {
  return current in LANGUAGES ? current : 'en'
}

/**
 * The text of `key`, with `{name}` replaced by `values.name`.
 *
 * @param {Key} key
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  const text = LANGUAGES[current]?.[key] ?? EN[key]
  return text.replace(/\{(\w+)\}/g, (whole, name) =>
    name in values ? String(values[name]) : whole
  )
}

/**
 * The text of `prefix.name` where there is one, else `name` itself: names that the server may
 * add to, such as phases.
 *
 * @param {string} prefix
 * @param {string} name
 */
export function named(prefix, name) {
  const key = `${prefix}.${name}`
  return key in EN ? t(/** @type {Key} */ (key)) : name
}
