/**
 * One field of the form for each parameter of a template.
 */

import { h, setAttribute, setText } from '../js/dom.js'
import { named, t } from '../js/i18n.js'

/** Larger numbers lose digits in JavaScript, as on ComfyUI's own page. */
const LARGEST = Number.MAX_SAFE_INTEGER

/** Roles whose fields are short and stand side by side. */
const WIDE = new Set(['text', 'file'])

/**
 * @typedef {object} Field
 * @property {string} name of the parameter
 * @property {HTMLElement} element
 * @property {() => unknown} read the value to run with
 * @property {() => string} check what is wrong with it; empty when nothing is
 * @property {(text: string) => void} complain
 * @property {() => void} focus
 */

/**
 * @typedef {object} Input
 * @property {HTMLElement} control gets the label and the focus
 * @property {HTMLElement[]} [more] what stands below it
 * @property {() => unknown} read
 * @property {() => string} check
 */

/**
 * @param {Aws.Parameter[]} parameters
 * @param {import('./link.mjs').Link} link
 * @param {() => void} changed
 * @returns {Field[]}
 */
export function fieldsOf(parameters, link, changed) {
  return parameters.map((parameter) => field(parameter, labelOf(parameter, parameters), link, changed))
}

/**
 * The designer's words, else those of the role, with the node's title where several have it.
 *
 * @param {Aws.Parameter} parameter
 * @param {Aws.Parameter[]} all
 */
function labelOf(parameter, all) {
  const { label, role, title, input, media } = parameter
  if (label) return label
  if (!role) return `${title} · ${input}`
  const word = named('inputs.role', role === 'file' ? media : role)
  return all.filter((each) => each.role === role && each.media === media).length > 1 ? `${word} · ${title}` : word
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} label
 * @param {import('./link.mjs').Link} link
 * @param {() => void} changed
 * @returns {Field}
 */
function field(parameter, label, link, changed) {
  const id = `field-${parameter.name}`
  const { control, more = [], read, check } = inputOf(parameter, id, link, changed)
  const problem = h('p', { class: 'problem', id: `${id}-problem`, role: 'alert', hidden: true })
  control.setAttribute('aria-describedby', problem.id)
  const isCheckbox = parameter.kind === 'boolean'
  const words = h('label', { for: id, title: parameter.tooltip || null }, label)
  const element = h(
    'div',
    {
      class: `field${WIDE.has(parameter.kind) ? ' wide' : ''}${isCheckbox ? ' tick' : ''}`,
      testid: 'aws-form-field',
      'data-name': parameter.name,
    },
    ...(isCheckbox ? [control, words] : [words, control]),
    ...more,
    problem
  )
  const complain = (/** @type {string} */ text) => {
    setText(problem, text)
    problem.hidden = !text
    setAttribute(control, 'aria-invalid', text ? 'true' : null)
  }
  element.addEventListener('input', () => {
    complain('')
    changed()
  })
  return { name: parameter.name, element, read, check, complain, focus: () => control.focus() }
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} id
 * @param {import('./link.mjs').Link} link
 * @param {() => void} changed
 * @returns {Input}
 */
function inputOf(parameter, id, link, changed) {
  if (parameter.kind === 'text') return line(parameter, id)
  if (parameter.kind === 'choice') return choice(parameter, id)
  if (parameter.kind === 'file') return file(parameter, id, link, changed)
  if (parameter.kind === 'boolean') {
    const box = h('input', { id, type: 'checkbox' })
    box.checked = parameter.value === true
    return { control: box, read: () => box.checked, check: () => '' }
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
  control.value = String(value ?? '')
  return { control, read: () => control.value, check: () => '' }
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} id
 * @returns {Input}
 */
function choice({ value, choices }, id) {
  const options = choices.includes(value) ? choices : [value, ...choices]
  const control = h('select', { id }, ...options.map((each, at) => h('option', { value: at }, String(each))))
  control.selectedIndex = options.indexOf(value)
  return { control, read: () => options[control.selectedIndex], check: () => '' }
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
  control.value = String(value)
  const check = () => {
    const typed = control.valueAsNumber
    if (Number.isNaN(typed)) return t('inputs.number')
    if (kind === 'int' && !Number.isInteger(typed)) return t('inputs.whole')
    if (typed < low) return t('inputs.least', { low })
    return typed > high ? t('inputs.most', { high }) : ''
  }
  return { control, read: () => control.valueAsNumber, check }
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} id
 * @returns {Input}
 */
function seed(parameter, id) {
  const { control, read, check } = number(parameter, id)
  const isFresh = h('input', { type: 'checkbox', id: `${id}-fresh`, checked: true })
  const low = Math.max(parameter.minimum ?? 0, 0)
  const high = Math.min(parameter.maximum ?? LARGEST, LARGEST)
  const more = [h('div', { class: 'tick' }, isFresh, h('label', { for: isFresh.id }, t('inputs.seed.fresh')))]
  const draw = () => {
    if (isFresh.checked) control.value = String(low + Math.floor(Math.random() * (high - low)))
    return read()
  }
  return { control, more, read: draw, check: () => (isFresh.checked ? '' : check()) }
}

/**
 * @param {Aws.Parameter} parameter
 * @param {string} id
 * @param {import('./link.mjs').Link} link
 * @param {() => void} changed
 * @returns {Input}
 */
function file({ value, media }, id, link, changed) {
  let name = String(value ?? '')
  let sending = false
  let failure = ''
  const control = h('input', { id, type: 'file', accept: media === 'file' ? null : `${media}/*` })
  const shown = h('img', { class: 'thumb', alt: '', hidden: true })
  const note = h('p', { class: 'muted', role: 'status' })
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
    sending = true
    failure = ''
    show()
    try {
      name = await sent(link, chosen)
    } catch {
      failure = t('inputs.file.failed')
    }
    sending = false
    show()
    changed()
  })
  show()
  const check = () => (sending ? t('inputs.file.sending') : failure)
  return { control, more: [h('div', { class: 'split' }, shown, note)], read: () => name, check }
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
