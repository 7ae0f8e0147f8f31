/**
 * The panel's words. ComfyUI translates commands and nodes from `locales/`; everything that this
 * extension draws itself comes from here.
 *
 * English comes with the page. Another language is fetched when it is chosen, and English is shown
 * until then.
 */

import { EN } from './strings/en.mjs'

/** @typedef {keyof typeof EN} Key */
/** @typedef {Readonly<Partial<Record<Key, string>>>} Strings */

/** @type {Readonly<Record<string, () => Promise<Strings>>>} */
const OTHERS = {
  ja: async () => (await import('./strings/ja.mjs')).JA,
  zh: async () => (await import('./strings/zh.mjs')).ZH,
}

let wanted = 'en'
let current = 'en'
/** @type {Strings} */
let strings = EN
let plurals = new Intl.PluralRules(current)

/**
 * Speak a language from now on, as soon as its words are there.
 *
 * @param {string} language a language tag, such as ComfyUI's `Comfy.Locale`; English stands in
 *   for those that there is nothing for
 * @returns {Promise<boolean>} whether the words have changed
 */
export async function setLocale(language) {
  const chosen = known(language)
  wanted = chosen
  /** @type {Strings} */
  let words = EN
  try {
    words = (await OTHERS[chosen]?.()) ?? EN
  } catch {
    // The server went away meanwhile; what is shown stays as it is.
    return false
  }
  // Another one may have been chosen meanwhile.
  return wanted === chosen && speak(chosen, words)
}

/**
 * @param {string} language
 * @param {Strings} words
 * @returns {boolean} whether it is another one than before
 */
function speak(language, words) {
  const isOther = language !== current
  current = language
  strings = words
  plurals = new Intl.PluralRules(language)
  return isOther
}

/**
 * The language that is spoken for a tag: the tag's own, else that of its first part. Who reads
 * traditional Chinese is better served by simplified Chinese than by English.
 *
 * @param {string} language
 */
function known(language) {
  const [base = ''] = language.toLowerCase().split(/[-_]/)
  return base in OTHERS ? base : 'en'
}

/** @returns {string} the language of the words, a tag that Intl knows */
export function locale() {
  return current
}

/**
 * The text of `key`, with `{name}` replaced by `values.name`. A number named `count` is written
 * as people write it, and chooses `key.one` where the language tells one from many.
 *
 * @param {Key} key
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  const { count } = values
  const counted = typeof count === 'number'
  const shown = counted ? { ...values, count: count.toLocaleString(current) } : values
  return textOf(counted ? pluralKey(key, count) : key).replace(/\{(\w+)\}/g, (whole, name) =>
    name in shown ? String(shown[name]) : whole
  )
}

/** @param {Key} key */
function textOf(key) {
  return strings[key] ?? EN[key]
}

/**
 * @param {Key} key
 * @param {number} count
 * @returns {Key}
 */
function pluralKey(key, count) {
  const form = `${key}.${plurals.select(count)}`
  return form in EN ? /** @type {Key} */ (form) : key
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
