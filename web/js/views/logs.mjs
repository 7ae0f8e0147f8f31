/**
 * The logs page: one log with its new lines, by job, level and text.
 */

import { h, iconButton, setAttribute, setText } from '../dom.mjs'
import { clock } from '../format.mjs'
import { t } from '../i18n.mjs'
import { lineText, Logbook, MOST } from '../logbook.mjs'

/** Time without a key after which a typed filter counts. */
const TYPED_MS = 300

/** Pixels from the end at which the newest line counts as seen. */
const AT_END = 24

/** Logs of the machine, which every ComfyUI may have; then the endpoints'. */
const HERE = ['designer', 'journal', 'start-up']
const LEVELS = ['', 'warning', 'error']

export class LogsPage {
  #comfy
  #logbook
  #signal
  #count = 0
  /** When and who of the last line: in a narrow panel it is not said again. */
  #before = ''
  #state = h('span', { class: 'aws-muted', role: 'status', testid: 'aws-logs-state' })
  #problem = h('p', { class: 'aws-error-text', role: 'alert', testid: 'aws-logs-problem' })
  #empty = h('p', { class: 'aws-muted', testid: 'aws-logs-empty' }, t('logs.empty'))
  #list = h('div', {
    class: 'aws-log',
    role: 'log',
    'aria-live': 'off', // a reader speaks what is chosen, not a hundred lines a second
    'aria-label': t('logs.lines'),
    tabindex: '0',
    testid: 'aws-log',
  })
  #source = h('select', { class: 'aws-input', 'aria-label': t('logs.source'), testid: 'aws-logs-source' })
  #level = h('select', { class: 'aws-input', 'aria-label': t('logs.level'), testid: 'aws-logs-level' },
    ...LEVELS.map((value) =>
      h('option', { value }, t(/** @type {any} */ (`logs.level.${value || 'all'}`)))))
  #job = filter('job')
  #text = filter('text')
  #follow = iconButton('pi-pause', t('logs.pause'), {
    testid: 'aws-logs-follow',
    'aria-pressed': 'true',
    on: { click: () => this.#setPaused(!this.#logbook.paused) },
  })

  /**
   * @param {object} parts
   * @param {import('../store.mjs').Store} parts.store
   * @param {import('../api.mjs').Server} parts.server
   * @param {import('../comfy.mjs').Comfy} parts.comfy
   * @param {import('../fleet.mjs').Fleet} parts.fleet
   * @param {AbortSignal} signal
   */
  constructor({ store, server, comfy, fleet }, signal) {
    this.#comfy = comfy
    this.#signal = signal
    this.#logbook = new Logbook(server, {
      lines: (lines, fresh) => this.#add(lines, fresh),
      told: (problem) => this.#told(problem),
    }, signal)
    this.element = h('div', { class: 'aws-logs', testid: 'aws-logs-page' },
      h('div', { class: 'aws-logs-filter' }, this.#source, this.#level, this.#job, this.#text),
      h('div', { class: 'aws-logs-tools' },
        this.#state,
        this.#follow,
        iconButton('pi-copy', t('logs.copy'), {
          testid: 'aws-logs-copy', on: { click: () => void this.#copy() } }),
        iconButton('pi-download', t('logs.download'), {
          testid: 'aws-logs-download', on: { click: () => this.#download() } })),
      this.#problem, this.#empty, this.#list)
    this.#listen()
    const wanted = store.state.log
    if (wanted) {
      this.#source.append(h('option', { value: wanted.source }))
      this.#job.value = wanted.job
      fleet.showLog(null)
      queueMicrotask(() => this.#source.focus()) // when the page is in place
    }
    store.watch(['endpoints'], ({ endpoints }) => this.#drawSources(endpoints.items), signal)
    this.#begin({ source: this.#source.value || 'designer', job: this.#job.value })
  }

  #listen() {
    const chosen = () => this.#begin({ source: this.#source.value, level: this.#level.value })
    for (const select of [this.#source, this.#level]) select.addEventListener('change', chosen)
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer
    for (const field of [this.#job, this.#text]) {
      // ComfyUI's shortcuts are single letters: keep typing to the field.
      field.addEventListener('keydown', (event) => event.stopPropagation())
      field.addEventListener('input', () => {
        clearTimeout(timer)
        timer = setTimeout(() => {
          if (this.#signal.aborted) return
          this.#begin({ job: this.#job.value.trim(), text: this.#text.value })
        }, TYPED_MS)
      })
    }
  }

  /** @param {Partial<import('../logbook.mjs').Wishes>} wishes */
  #begin(wishes) {
    this.#empty.hidden = true
    setText(this.#state, t('logs.state.loading'))
    this.#logbook.want(wishes)
  }

  /** @param {Aws.Endpoint[]} endpoints */
  #drawSources(endpoints) {
    const names = endpoints.map(({ name }) => name)
    const values = [...HERE, ...names.map((name) => `endpoint:${name}`)]
    if ([...this.#source.options].map(({ value }) => value).join() === values.join()) return
    const chosen = this.#source.value || 'designer'
    // One that was deleted may still be read.
    if (!values.includes(chosen)) values.push(chosen)
    this.#source.replaceChildren(...values.map((value) => h('option', { value }, sourceName(value))))
    this.#source.value = chosen
  }

  /**
   * @param {Aws.LogLine[]} lines
   * @param {boolean} fresh
   */
  #add(lines, fresh) {
    const { scrollHeight, scrollTop, clientHeight } = this.#list
    const atEnd = fresh || scrollHeight - scrollTop - clientHeight < AT_END
    if (fresh) this.#before = ''
    const rows = lines.slice(-MOST).map((line) => this.#row(line))
    if (fresh) this.#list.replaceChildren(...rows)
    else this.#list.append(...rows)
    while (this.#list.childElementCount > MOST) this.#list.firstElementChild?.remove()
    this.#count = this.#list.childElementCount
    if (atEnd) this.#list.scrollTop = this.#list.scrollHeight
  }

  /** @param {Aws.LogLine} line */
  #row({ at, level, job, source, text }) {
    const about = `${clock(at)} ${source}`
    const look = about === this.#before ? 'aws-log-line aws-log-same' : 'aws-log-line'
    this.#before = about
    return h('div', { class: look, 'data-level': level, 'data-job': job, testid: 'aws-log-line' },
      h('span', { class: 'aws-log-about aws-number', title: job || null }, about),
      h('span', { class: 'aws-log-text' }, text))
  }

  /** @param {Aws.Problem | null} problem */
  #told(problem) {
    setText(this.#problem, problem ? `${problem.message} ${problem.hint}` : '')
    if (problem) setText(this.#state, '')
    else this.#drawState()
    this.#empty.hidden = this.#count > 0 || problem !== null
  }

  #drawState() {
    const key = this.#logbook.paused ? 'logs.state.paused' : 'logs.state.live'
    setText(this.#state, t(key, { count: this.#count }))
  }

  /** @param {boolean} paused */
  #setPaused(paused) {
    this.#logbook.paused = paused
    const label = t(paused ? 'logs.follow' : 'logs.pause')
    this.#follow.title = label
    setAttribute(this.#follow, 'aria-label', label)
    setAttribute(this.#follow, 'aria-pressed', String(!paused))
    this.#follow.firstElementChild?.setAttribute('class', `pi ${paused ? 'pi-play' : 'pi-pause'}`)
    this.#drawState()
    if (!paused) this.#list.scrollTop = this.#list.scrollHeight
  }

  #asText() {
    return this.#logbook.lines.map((line) => `${lineText(line)}\n`).join('')
  }

  async #copy() {
    if (await copied(this.#asText())) this.#comfy.toast('success', t('logs.copied'))
    else this.#comfy.toast('error', t('logs.copyFailed'), t('logs.copyFailed.hint'))
  }

  #download() {
    const url = URL.createObjectURL(new Blob([this.#asText()], { type: 'text/plain' }))
    const name = `${this.#source.value.replaceAll(/[^\w-]+/g, '-')}.log`
    h('a', { href: url, download: name }).click()
    setTimeout(() => URL.revokeObjectURL(url), 10_000)
  }
}

/**
 * Put a text onto the clipboard. Browsers keep their own call for it from pages that came by plain
 * HTTP; there, the way of old is left.
 *
 * @param {string} text
 */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const before = document.activeElement
    const field = h('textarea', { style: 'position: fixed; opacity: 0', 'aria-hidden': 'true' })
    field.value = text
    document.body.append(field)
    field.select()
    const done = document.execCommand('copy')
    field.remove()
    if (before instanceof HTMLElement) before.focus()
    return done
  }
}

/** @param {'job' | 'text'} name */
function filter(name) {
  return h('input', {
    type: 'search',
    class: 'aws-input',
    'aria-label': t(`logs.${name}`),
    placeholder: t(`logs.${name}.placeholder`),
    autocomplete: 'off',
    spellcheck: 'false',
    testid: `aws-logs-${name}`,
  })
}

/** @param {string} value of the list of sources */
function sourceName(value) {
  const [kind, name] = value.split(':')
  if (kind === 'endpoint') return t('logs.source.endpoint', { name: name ?? '' })
  return t(/** @type {any} */ (`logs.source.${kind}`))
}
