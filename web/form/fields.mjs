/**
 * One field of the form for each parameter of a template.
 */

import { h, setAttribute, setText } from '../js/dom.mjs'
import { t } from '../js/i18n.mjs'
import { labelsOf } from './labels.mjs'

/** Larger numbers lose digits in JavaScript, as on ComfyUI's own page. */
const LARGEST = Number.MAX_SAFE_INTEGER

/** Fields that the rules have found, before some of them are folded away. */
const MOST_AT_ONCE = 12

/** Roles that are never among those. */
const FIRST = new Set(['prompt', 'negative_prompt', 'file'])

/** Kinds whose fields have a line of their own. */
const WIDE = new Set(['text', 'file'])

/**
 * @typedef {object} Field
 * @property {string} name of the parameter
 * @property {HTMLElement} element
 * @property {() => unknown} read the value to run with
 * @property {() => string} check what is wrong with it; empty when nothing is
 * @property {() => unknown} keep what stands in it, as JSON can hold it
 * @property {(kept: any) => void} restore
 * @property {(value: unknown) => void} take a value that was run with
 * @property {(text: string) => void} complain
 * @property {() => void} focus
 */

/**
 * @typedef {object} Input
 * @property {HTMLElement} control gets the label and the focus
 * @property {HTMLElement} [frame] what it stands in
 * @property {HTMLElement[]} [more] what stands below it
 * @property {() => unknown} read
 * @property {() => string} check
 * @property {() => unknown} keep
 * @property {(kept: any) => void} restore
 * @property {(value: unknown) => void} [take] where it is no kept one
 */

/**
 * @param {Aws.Parameter[]} parameters
 * @param {import('./link.mjs').Link} link
 * @param {(field: Field) => void} changed
 * @returns {Field[]}
 */
export function fieldsOf(parameters, link, changed) {
  const labels = labelsOf(parameters)
  return parameters.map((parameter, at) => field(parameter, labels[at] ?? '', link, changed))
}

/**
 * The fields as they stand on the page. Of many that nobody has chosen, all but the prompts and
 * files are folded away.
 *
 * @param {Field[]} fields
 * @param {Aws.Parameter[]} parameters one for each field
 * @param {boolean} areChosen whether the designer has chosen them
 */
export function laidOut(fields, parameters, areChosen) {
  const isMany = !areChosen && fields.length > MOST_AT_ONCE
  const folded = fields.filter((_, at) => isMany && !FIRST.has(parameters[at]?.role ?? ''))
  const shown = fields.filter((each) => !folded.includes(each))
  if (shown.length === 0) shown.push(...folded.splice(0, MOST_AT_ONCE))
  const sheet = (/** @type {Field[]} */ some) => h('div', { class: 'fields' }, ...some.map(({ element }) => element))
  if (folded.length === 0) return [sheet(shown)]
  const words = t('inputs.more', { count: folded.length })
  return [sheet(shown), h('details', { class: 'more', testid: 'aws-form-more' }, h('summary', {}, words), sheet(folded))]
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} label
 * @param {import('./link.mjs').Link} link
 * @param {(field: Field) => void} changed
 * @returns {Field}
 */
function field(parameter, label, link, changed) {
  const id = `field-${parameter.name}`
  const { control, frame = control, more = [], ...values } = inputOf(parameter, id, link)
  const problem = h('p', { class: 'problem', id: `${id}-problem`, role: 'alert', hidden: true })
  control.setAttribute('aria-describedby', [problem.id, ...more.map((each) => each.id)].filter(Boolean).join(' '))
  const isCheckbox = parameter.kind === 'boolean'
  const words = h('label', { for: id, title: parameter.tooltip || null }, label)
  const element = h(
    'div',
    {
      class: `field${WIDE.has(parameter.kind) ? ' wide' : ''}${isCheckbox ? ' tick' : ''}`,
      testid: 'aws-form-field',
      'data-name': parameter.name,
    },
    ...(isCheckbox ? [control, words] : [words, frame]),
    ...more,
    problem
  )
  const complain = (/** @type {string} */ text) => {
    setText(problem, text)
    problem.hidden = !text
    const fold = element.closest('details')
    if (text && fold) fold.open = true
    setAttribute(control, 'aria-invalid', text ? 'true' : null)
  }
  const made = { name: parameter.name, element, take: values.restore, ...values, complain, focus: () => control.focus() }
  element.addEventListener('input', () => {
    complain('')
    changed(made)
  })
  return made
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} id
 * @param {import('./link.mjs').Link} link
 * @returns {Input}
 */
function inputOf(parameter, id, link) {
  if (parameter.kind === 'text') return line(parameter, id)
  if (parameter.kind === 'choice') return choice(parameter, id)
  if (parameter.kind === 'file') return file(parameter, id, link)
  if (parameter.kind === 'boolean') {
    const box = h('input', { id, type: 'checkbox' })
    box.checked = parameter.value === true
    const read = () => box.checked
    return { control: box, read, check: () => '', keep: read, restore: (kept) => { box.checked = kept === true } }
  }
  return parameter.role === 'seed' ? seed(parameter, id) : number(parameter, id)
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} id
 * @returns {Input}
 */
function line({ value, multiline }, id) {
  const control = multiline ? h('textarea', { id, rows: 3 }) : h('input', { id, type: 'text' })
  const restore = (/** @type {unknown} */ kept) => { control.value = String(kept ?? '') }
  restore(value)
  const read = () => control.value
  return { control, read, check: () => '', keep: read, restore }
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} id
 * @returns {Input}
 */
function choice({ value, choices }, id) {
  const options = choices.includes(value) ? choices : [value, ...choices]
  const control = h('select', { id }, ...options.map((each, at) => h('option', { value: at }, String(each))))
  // A kept choice may be none of the template's present version.
  const restore = (/** @type {any} */ kept) => {
    control.selectedIndex = options.indexOf(options.includes(kept) ? kept : value)
  }
  restore(value)
  const read = () => options[control.selectedIndex]
  return { control, read, check: () => '', keep: read, restore }
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} id
 * @returns {Input & {control: HTMLInputElement}}
 */
function number({ kind, value, minimum, maximum, step }, id) {
  const low = minimum === null ? -LARGEST : Math.max(minimum, -LARGEST)
  const high = maximum === null ? LARGEST : Math.min(maximum, LARGEST)
  const control = h('input', {
    id,
    type: 'number',
    inputmode: kind === 'int' ? 'numeric' : 'decimal',
    min: low > -LARGEST ? low : null,
    max: high < LARGEST ? high : null,
    step: step ?? (kind === 'int' ? 1 : 'any'),
  })
  const restore = (/** @type {unknown} */ kept) => { control.value = String(kept) }
  restore(value)
  const check = () => {
    const typed = control.valueAsNumber
    if (Number.isNaN(typed)) return t('inputs.number')
    if (kind === 'int' && !Number.isInteger(typed)) return t('inputs.whole')
    if (typed < low) return t('inputs.least', { low })
    return typed > high ? t('inputs.most', { high }) : ''
  }
  return { control, read: () => control.valueAsNumber, check, keep: () => control.value, restore }
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} id
 * @returns {Input}
 */
function seed(parameter, id) {
  const { control, read, check, restore } = number(parameter, id)
  const isFresh = h('input', { type: 'checkbox', id: `${id}-fresh`, checked: true })
  const low = Math.max(parameter.minimum ?? 0, 0)
  const high = Math.min(parameter.maximum ?? LARGEST, LARGEST)
  const more = [h('div', { class: 'tick' }, isFresh, h('label', { for: isFresh.id }, t('inputs.seed.fresh')))]
  const draw = () => {
    if (isFresh.checked) control.value = String(low + Math.floor(Math.random() * (high - low)))
    return read()
  }
  // A number that is typed is meant to be used.
  control.addEventListener('input', () => { isFresh.checked = false })
  return {
    control,
    more,
    read: draw,
    check: () => (isFresh.checked ? '' : check()),
    keep: () => ({ value: control.value, fresh: isFresh.checked }),
    take: (value) => {
      restore(value)
      isFresh.checked = false
    },
    restore: (kept) => {
      restore(kept.value)
      isFresh.checked = kept.fresh
    },
  }
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} id
 * @param {import('./link.mjs').Link} link
 * @returns {Input}
 */
function file({ value, media }, id, link) {
  let name = String(value ?? '')
  let sending = false
  let failure = ''
  let turn = 0 // of several choices, the last one counts
  const control = h('input', { id, type: 'file', accept: media === 'file' ? null : `${media}/*` })
  const shown = h('img', { class: 'thumb', alt: '', hidden: true })
  const note = h('span', { class: 'muted', role: 'status' })
  // The browser's own words would say that no file is chosen, beside the template's.
  const frame = h('div', { class: 'file' }, shown, note,
    h('span', { class: 'choose', 'aria-hidden': 'true' }, t('inputs.file.choose')), control)
  const show = () => {
    setText(note, sending ? t('inputs.file.sending') : name)
    if (media !== 'image' || sending) return
    shown.src = link.url('/view', { filename: name.split('/').at(-1) ?? '', type: 'input',
      subfolder: name.split('/').slice(0, -1).join('/') })
  }
  // A template's own picture may be in the bucket alone.
  shown.addEventListener('error', () => { shown.hidden = true })
  shown.addEventListener('load', () => { shown.hidden = false })
  control.addEventListener('change', async () => {
    const chosen = control.files?.[0]
    if (!chosen) return
    const mine = (turn += 1)
    sending = true
    failure = ''
    show()
    const came = await sent(link, chosen).catch(() => '')
    if (mine !== turn) return
    name = came || name
    failure = came ? '' : t('inputs.file.failed')
    sending = false
    show()
    control.dispatchEvent(new Event('input', { bubbles: true }))
  })
  show()
  const check = () => (sending ? t('inputs.file.sending') : failure)
  const read = () => name
  const restore = (/** @type {unknown} */ kept) => {
    turn += 1
    name = String(kept)
    sending = false
    failure = ''
    control.value = ''
    show()
  }
  return { control, frame, read, check, keep: read, restore }
}

/**
 * @param {import('./link.mjs').Link} link
 * @param {File} chosen
 * @returns {Promise<string>} its name in the input folder
 */
async function sent(link, chosen) {
  const body = new FormData()
  body.append('image', chosen)
  const answer = await link.fetch('/upload/image', { method: 'POST', body })
  if (!answer.ok) throw new Error(`status ${answer.status}`)
  const { name, subfolder } = await answer.json()
  return subfolder ? `${subfolder}/${name}` : name
}
