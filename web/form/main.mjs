/**
 * A template as a form, for people who never look at the graph; without a template, their list.
 */

import { problemOf, Server, ServerError } from '../js/api.mjs'
import { h, setText } from '../js/dom.mjs'
import { locale, setLocale, t } from '../js/i18n.mjs'
import { pauseAfter } from '../js/patience.mjs'
import { fieldsOf, laidOut } from './fields.mjs'
import { Link } from './link.mjs'
import { Runs } from './runs.mjs'
import { Typed } from './typed.mjs'

const link = new Link()
const server = new Server((route, options) => link.fetch(route, options))
const page = /** @type {HTMLElement} */ (document.getElementById('page'))
const wanted = new URLSearchParams(location.search).get('template') ?? ''

await chooseLanguage()
document.title = wanted ? `${wanted} – ${t('title')}` : t('title')
page.replaceChildren(h('p', { class: 'muted', role: 'status' }, t('loading')))
await show()

/** Ask until there is an answer; what does not exist is no matter of time. */
async function show(tries = 0) {
  try {
    page.replaceChildren(...(wanted ? await sheet(wanted) : await list()))
  } catch (error) {
    const { message, hint } = problemOf(error)
    const isFinal = error instanceof ServerError && error.status >= 400 && error.status < 500
    const words = [message, hint, isFinal ? '' : t('trouble.again')].filter(Boolean).join(' ')
    if (page.querySelector('[role=alert]')?.textContent !== words) showProblem(words)
    if (!isFinal) setTimeout(() => void show(tries + 1), pauseAfter(tries))
  }
}

/** @param {string} words why nothing is shown */
function showProblem(words) {
  const again = h('button', { type: 'button', on: { click: () => location.reload() } }, t('retry'))
  page.replaceChildren(
    header(wanted || t('title'), ''),
    h('main', {}, h('p', { class: 'problem', role: 'alert', testid: 'aws-form-problem' }, words), again)
  )
}

async function chooseLanguage() {
  let { language } = navigator
  try {
    const answer = await link.fetch('/settings/Comfy.Locale')
    language = (answer.ok && (await answer.json())) || language
  } catch {
    // The browser's own language will do.
  }
  await setLocale(language)
  document.documentElement.lang = locale()
}

/**
 * @param {string} title
 * @param {string} description
 */
function header(title, description) {
  const others = wanted ? h('a', { href: location.pathname }, t('inputs.all')) : null
  return h(
    'header',
    {},
    h('div', { class: 'words' }, h('h1', {}, title), description ? h('p', { class: 'muted' }, description) : null),
    others
  )
}

async function list() {
  const templates = await server.templates()
  const rows = templates.map(({ name, description, cover }) => {
    const words = h('span', { class: 'words' }, h('strong', {}, name), h('span', { class: 'muted' }, description))
    const picture = cover
      ? h('img', { alt: '', loading: 'lazy',
          src: link.url(`/aws/templates/${encodeURIComponent(name)}/cover`, { digest: cover.digest }) })
      : h('span', { class: 'blank', 'aria-hidden': 'true' }, [...name][0])
    const href = `?template=${encodeURIComponent(name)}`
    return h('li', {}, h('a', { class: 'row', href, testid: 'aws-form-template' }, picture, words))
  })
  const body = rows.length ? h('ul', { class: 'list' }, ...rows) : h('p', { class: 'muted' }, t('templates.empty'))
  return [header(t('inputs.choose'), ''), h('main', {}, body)]
}

/** @param {string} name of the template */
async function sheet(name) {
  const [content, { parameters }] = await Promise.all([server.template(name), server.parameters(name)])
  const prompt = /** @type {Record<string, any>} */ (content.prompt)
  const typed = new Typed(name)
  const general = h('p', { class: 'problem', role: 'alert', hidden: true, testid: 'aws-form-problem' })
  const complain = (/** @type {string} */ text) => {
    setText(general, text)
    general.hidden = !text
  }
  const reset = h('button', { type: 'button', class: 'quiet', hidden: typed.isEmpty, testid: 'aws-form-reset' },
    t('inputs.reset'))
  const taken = h('span', { class: 'muted', role: 'status', testid: 'aws-form-taken' })
  const fields = fieldsOf(parameters, link, (field) => {
    complain('')
    typed.keep(field.name, field.keep())
    reset.hidden = false
    setText(taken, '')
  })
  const published = fields.map((field) => field.keep())
  for (const field of fields) if (typed.has(field.name)) field.restore(typed.of(field.name))
  const takeAgain = (/** @type {Record<string, any>} */ sent) => {
    for (const field of fields) {
      const value = sent[nodeOf(field)]?.inputs?.[inputOf(field)]
      if (value === undefined) continue
      field.take(value)
      field.complain('')
      typed.keep(field.name, field.keep())
    }
    complain('')
    reset.hidden = false
    fields[0]?.element.scrollIntoView({ block: 'nearest' })
    setText(taken, t('inputs.taken'))
    fields[0]?.focus()
  }
  const runs = new Runs(link, server, name, takeAgain)
  const run = h('button', { type: 'submit', class: 'primary', testid: 'aws-form-submit' }, t('inputs.run'))
  reset.addEventListener('click', () => {
    typed.forget()
    for (const [at, field] of fields.entries()) {
      field.restore(published[at])
      field.complain('')
    }
    complain('')
    setText(taken, '')
    reset.hidden = true
    run.focus()
  })
  const form = h(
    'form',
    { novalidate: true, testid: 'aws-form' },
    fields.length ? null : h('p', { class: 'muted' }, t('inputs.none')),
    ...laidOut(fields, parameters, content.template.parameters.length > 0),
    general,
    h('div', { class: 'actions' }, run, h('span', { class: 'muted keys' }, t('inputs.keys')), taken, reset)
  )
  const submit = async () => {
    if (run.disabled) return
    complain('')
    const wrong = fields.filter((field) => {
      const problem = field.check()
      field.complain(problem)
      return problem
    })
    wrong[0]?.focus()
    if (wrong.length) return
    run.disabled = true
    setText(run, t('inputs.sending'))
    setText(taken, '')
    await send(name, prompt, fields, runs, complain).finally(() => {
      run.disabled = false
      setText(run, t('inputs.run'))
    })
  }
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    void submit()
  })
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void submit()
  })
  const offline = h('p', { class: 'problem offline', role: 'status', hidden: true }, t('inputs.offline'))
  link.addEventListener('online', (event) => {
    offline.hidden = /** @type {CustomEvent} */ (event).detail
    if (offline.hidden && general.textContent === noAnswer()) complain('')
  })
  link.connect()
  const { description } = content.template
  return [header(name, description), offline, h('main', { class: 'columns' }, form, runs.element)]
}

function noAnswer() {
  return `${t('error.offline')} ${t('error.offline.hint')}`
}

/** @param {import('./fields.mjs').Field} field */
function nodeOf({ name }) {
  return name.slice(0, name.indexOf('.'))
}

/** @param {import('./fields.mjs').Field} field */
function inputOf({ name }) {
  return name.slice(name.indexOf('.') + 1)
}

/**
 * @param {string} template
 * @param {Record<string, any>} base the template's graph
 * @param {import('./fields.mjs').Field[]} fields
 * @param {Runs} runs
 * @param {(text: string) => void} complain
 */
async function send(template, base, fields, runs, complain) {
  const prompt = structuredClone(base)
  for (const field of fields) prompt[nodeOf(field)].inputs[inputOf(field)] = field.read()
  const body = { prompt, client_id: link.clientId, extra_data: { aws: { template } } }
  let answer
  let response
  try {
    response = await link.fetch('/prompt', {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'Content-Type': 'application/json' },
    })
    answer = await response.json()
  } catch {
    const { status } = response ?? {}
    complain(status ? `${t('error.unexpected', { status })} ${t('inputs.failed.hint')}`
      : noAnswer())
    return
  }
  if (answer.prompt_id) runs.add(answer.prompt_id, prompt)
  else refuse(answer, prompt, fields, complain)
}

/**
 * Show a refusal at the fields that it is about, and the rest of it below them.
 *
 * @param {{error?: {message?: string}, node_errors?: Record<string, any>}} answer
 * @param {Record<string, any>} prompt
 * @param {import('./fields.mjs').Field[]} fields
 * @param {(text: string) => void} complain
 */
function refuse(answer, prompt, fields, complain) {
  const rest = []
  for (const [node, { errors }] of Object.entries(answer.node_errors ?? {})) {
    for (const { message, extra_info: extra } of errors) {
      const field = fields.find(({ name }) => name === `${node}.${extra?.input_name}`)
      if (field) field.complain(message)
      else rest.push(`${prompt[node]?._meta?.title ?? node}: ${message}`)
    }
  }
  if (Object.keys(answer.node_errors ?? {}).length === 0) rest.push(answer.error?.message ?? '')
  complain(rest.join('\n'))
}
