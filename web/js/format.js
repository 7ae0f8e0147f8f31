/**
 * Numbers and times for people.
 */

import { locale, t } from './i18n.js'

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB']

/** @param {number} count bytes; shown in powers of 1000, as disks and AWS bills count */
export function bytes(count) {
  let value = count
  let unit = 0
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000
    unit += 1
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1
  return `${value.toLocaleString(locale(), { maximumFractionDigits: digits })} ${UNITS[unit]}`
}

/** @param {number} seconds from now, or that something takes */
export function duration(seconds) {
  const rounded = Math.max(1, Math.round(seconds))
  /** @param {number} value @param {string} unit */
  const said = (value, unit) =>
    value.toLocaleString(locale(), { style: 'unit', unit, unitDisplay: 'short' })
  if (rounded < 60) return said(rounded, 'second')
  if (rounded < 3600) return said(Math.ceil(rounded / 60), 'minute')
  return said(Math.ceil(rounded / 360) / 10, 'hour')
}

/** @param {number} at seconds since the epoch */
export function ago(at) {
  const seconds = Math.max(0, Date.now() / 1000 - at)
  if (seconds < 60) return t('time.now')
  const format = new Intl.RelativeTimeFormat(locale(), { numeric: 'auto', style: 'short' })
  if (seconds < 3600) return format.format(-Math.round(seconds / 60), 'minute')
  if (seconds < 86400) return format.format(-Math.round(seconds / 3600), 'hour')
  return format.format(-Math.round(seconds / 86400), 'day')
}

/** @param {number} at seconds since the epoch */
export function moment(at) {
  return new Date(at * 1000).toLocaleString(locale())
}
