/**
 * Numbers and times for people.
 */

import { locale, t } from './i18n.mjs'

const LEAST_USD = 0.0001

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB']

/**
 * Making one of Intl's formats costs a hundred times as much as using it, and lists are long.
 *
 * @type {Map<string, any>}
 */
const formats = new Map()

/**
 * @template T
 * @param {new (locale: string, options: any) => T} Format one of Intl's
 * @param {object} options
 * @returns {T} the same for the same language and options
 */
function format(Format, options) {
  const key = JSON.stringify([locale(), Format.name, options])
  const made = formats.get(key) ?? new Format(locale(), options)
  formats.set(key, made)
  return made
}

/** @param {number} count bytes; shown in powers of 1000, as disks and AWS bills count */
export function bytes(count) {
  let value = count
  let unit = 0
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000
    unit += 1
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1
  const written = format(Intl.NumberFormat, { maximumFractionDigits: digits }).format(value)
  return `${written} ${UNITS[unit]}`
}

/** @param {number} seconds from now, or that something takes */
export function duration(seconds) {
  const rounded = Math.max(1, Math.round(seconds))
  if (rounded < 60) return span(rounded, 'second')
  if (rounded < 3600) return span(Math.ceil(rounded / 60), 'minute')
  return span(Math.ceil(rounded / 360) / 10, 'hour')
}

/**
 * @param {number} value
 * @param {'second' | 'minute' | 'hour'} unit
 */
function span(value, unit) {
  return format(Intl.NumberFormat, { style: 'unit', unit, unitDisplay: 'short' }).format(value)
}

/**
 * Time that goes on, or has: "1 min 20 sec".
 *
 * @param {number} seconds
 */
export function elapsed(seconds) {
  const whole = Math.max(0, Math.round(seconds))
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)]
  if (hours) return `${span(hours, 'hour')} ${span(minutes, 'minute')}`
  return minutes ? `${span(minutes, 'minute')} ${span(whole % 60, 'second')}` : span(whole, 'second')
}

/**
 * As `elapsed`, with the tenths of a short time.
 *
 * @param {number} seconds
 */
export function precise(seconds) {
  return seconds < 10 ? span(Math.round(Math.max(0, seconds) * 10) / 10, 'second') : elapsed(seconds)
}

/**
 * @param {number} usd
 * @returns {string}
 */
export function money(usd) {
  const digits = usd > 0 && usd < 0.01 ? 4 : 2
  if (usd > 0 && usd < LEAST_USD) return `<${money(LEAST_USD)}`
  return format(Intl.NumberFormat, {
    style: 'currency',
    currency: 'USD',
    currencyDisplay: 'narrowSymbol',
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(usd)
}

/** @param {string[]} items as one text */
export function listed(items) {
  return format(Intl.ListFormat, { style: 'narrow', type: 'conjunction' }).format(items)
}

/** @param {number} at seconds since the epoch */
export function ago(at) {
  const seconds = Math.max(0, Date.now() / 1000 - at)
  if (seconds < 60) return t('time.now')
  const relative = format(Intl.RelativeTimeFormat, { numeric: 'auto', style: 'short' })
  if (seconds < 3600) return relative.format(-Math.round(seconds / 60), 'minute')
  if (seconds < 86400) return relative.format(-Math.round(seconds / 3600), 'hour')
  return relative.format(-Math.round(seconds / 86400), 'day')
}

/** @param {number} at seconds since the epoch */
export function moment(at) {
  const options = { dateStyle: 'medium', timeStyle: 'medium' }
  return format(Intl.DateTimeFormat, options).format(at * 1000)
}

/**
 * The time of day.
 *
 * @param {number} at seconds since the epoch
 */
export function clock(at) {
  return format(Intl.DateTimeFormat, { timeStyle: 'medium' }).format(at * 1000)
}
