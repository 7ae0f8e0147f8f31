/**
 * What the fields of a form are called, so that no two have the same name.
 */

import { named } from '../js/i18n.mjs'

/** @typedef {(parameter: Aws.Parameter) => string} Way */

/** @type {Way} */
const title = (parameter) => parameter.title

/** @type {Way} */
const inner = ({ place }) => place.at(-1) ?? ''

/** @type {Way} */
const full = ({ place, title: own }) => [...place, own].join(' · ')

/**
 * The designer's words, else those of the role. Where several have it, what tells a node from the
 * others: its title, the subgraph that it stands in, all of them with its title, or a number.
 *
 * @param {Aws.Parameter[]} parameters
 * @returns {string[]}
 */
export function labelsOf(parameters) {
  return parameters.map((parameter) => {
    if (parameter.label) return parameter.label
    const alike = sameBy(wordOf, parameter, parameters.filter(({ label }) => !label))
    if (alike.length === 1) return wordOf(parameter)
    const clear = [title, inner, full].find((way) => way(parameter) && sameBy(way, parameter, alike).length === 1)
    if (clear) return `${wordOf(parameter)} · ${clear(parameter)}`
    const rough = inner(parameter) ? inner : title
    const number = sameBy(rough, parameter, alike).indexOf(parameter) + 1
    return `${wordOf(parameter)} · ${rough(parameter)} (${number})`
  })
}

/**
 * @param {Way} way
 * @param {Aws.Parameter} parameter
 * @param {Aws.Parameter[]} all
 */
function sameBy(way, parameter, all) {
  return all.filter((each) => way(each) === way(parameter))
}

/** @type {Way} */
function wordOf({ role, title: own, input, media }) {
  return role ? named('inputs.role', role === 'file' ? media : role) : `${own} · ${input}`
}
