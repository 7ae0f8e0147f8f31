/**
 * The settings of the connection, and a test of it: each thing it needs with its cure.
 */

import { told } from '../actions.mjs'
import { problemOf } from '../api.mjs'
import { h, icon, setText } from '../dom.mjs'
import { named, t } from '../i18n.mjs'

/** @type {readonly (keyof Aws.Settings)[]} in the order of the page, after the target */
const AT_AWS = ['region', 'profile', 'bucket', 'execution_role', 'image']

/** @type {readonly (keyof Aws.Settings)[]} what runs may cost: numbers, or empty */
const COSTS = ['cost_limit_job', 'cost_limit_month', 'cost_limit_user', 'idle_guard']

/** @type {Record<Aws.Check['state'], string>} */
const ICONS = { passed: 'pi-check-circle', failed: 'pi-times-circle', skipped: 'pi-minus-circle' }

export class SettingsPage {
  #server
  #actions
  #signal
  /** @type {Aws.SettingsInForce | null} */
  #known = null
  /** @type {Map<keyof Aws.Settings, HTMLInputElement | HTMLSelectElement>} */
  #fields = new Map()
  #note = h('p', { class: 'aws-muted', role: 'status', testid: 'aws-settings-note' }, t('loading'))
  #problem = h('p', { class: 'aws-error-text', role: 'alert', hidden: true, testid: 'aws-settings-problem' })
  #again
  #save
  #test
  #form
  #file = h('p', { class: 'aws-muted aws-told', testid: 'aws-settings-file' })
  #checks = h('ul', { class: 'aws-list', 'aria-label': t('settings.checks'), testid: 'aws-checks' })
  #sum = h('p', { class: 'aws-muted', role: 'status', testid: 'aws-checks-sum' })

  /**
   * @param {Pick<import('./panel.mjs').Parts, 'server' | 'actions' | 'store'>} parts
   * @param {AbortSignal} signal
   */
  constructor({ server, actions, store }, signal) {
    this.#server = server
    this.#actions = actions
    this.#signal = signal
    this.#again = h(
      'button',
      { type: 'button', class: 'aws-button', hidden: true, testid: 'aws-settings-retry', on: { click: () => void this.#load() } },
      t('retry')
    )
    this.#save = h('button', { type: 'submit', class: 'aws-button aws-primary', testid: 'aws-settings-save' }, t('settings.save'))
    this.#test = h(
      'button',
      { type: 'button', class: 'aws-button', testid: 'aws-settings-test', on: { click: () => void this.#tryOut() } },
      t('settings.test')
    )
    this.#form = this.#buildForm()
    this.#form.hidden = true
    this.element = h(
      'section',
      { class: 'aws-lists', 'aria-labelledby': 'aws-tab-settings', testid: 'aws-settings' },
      this.#form,
      this.#note,
      this.#problem,
      this.#again,
      this.#sum,
      this.#checks
    )
    void this.#load()
    store.watch(['status', 'statusProblem'], ({ statusProblem }) => {
      if (!statusProblem && !this.#again.hidden) void this.#load()
    }, signal)
  }

  /** What was typed stays; else it may have been changed elsewhere meanwhile. */
  again() {
    if (!this.#known || Object.keys(this.#changes()).length === 0) void this.#load()
  }

  #buildForm() {
    const target = h(
      'select',
      { on: { change: () => this.#showTarget() } },
      ...['', 'local', 'aws'].map((value) => h('option', { value }, t(targetKey(value))))
    )
    const form = h(
      'form',
      {
        class: 'aws-card aws-settings',
        novalidate: true,
        testid: 'aws-settings-form',
        on: {
          submit: (/** @type {Event} */ event) => {
            event.preventDefault()
            void this.#store()
          },
        },
      },
      this.#field('target', target),
      ...AT_AWS.map((name) => this.#field(name, h('input', { type: 'text', spellcheck: 'false', autocomplete: 'off' }))),
      this.#field('endpoint', h('input', { type: 'text', spellcheck: 'false', autocomplete: 'off' })),
      ...COSTS.map((name) => this.#field(name, h('input', { type: 'text', inputmode: 'decimal', autocomplete: 'off' }))),
      this.#file,
      h('div', { class: 'aws-split' }, this.#save, this.#test)
    )
    form.addEventListener('input', () => this.#drawSave())
    return form
  }

  /**
   * @param {keyof Aws.Settings} name
   * @param {HTMLInputElement | HTMLSelectElement} control
   */
  #field(name, control) {
    const id = `aws-setting-${name}`
    control.id = id
    control.classList.add('aws-input')
    control.dataset.testid = id
    control.setAttribute('aria-describedby', `${id}-hint`)
    this.#fields.set(name, control)
    return h(
      'div',
      { class: 'aws-setting', 'data-setting': name },
      h('label', { for: id }, named('setting', name)),
      control,
      h('span', { class: 'aws-muted', id: `${id}-hint` }, named('setting.hint', name))
    )
  }

  async #load() {
    this.#tell('')
    this.#again.hidden = true
    setText(this.#note, t('loading'))
    this.#note.hidden = false
    const asked = this.#values()
    try {
      this.#take(await this.#server.settings(), asked)
    } catch (error) {
      this.#tell(told(problemOf(error)))
      this.#again.hidden = false
    }
    this.#note.hidden = true
  }

  /**
   * @param {Aws.SettingsInForce} known
   * @param {Map<keyof Aws.Settings, string>} asked what stood in the fields then; what was typed since stays
   */
  #take(known, asked) {
    this.#known = known
    for (const [name, control] of this.#fields) {
      const variable = known.forced[name]
      if (control.value === asked.get(name)) control.value = known.settings[name]
      control.disabled = Boolean(variable)
      const hint = this.#form.querySelector(`#${control.id}-hint`)
      if (hint) setText(hint, variable ? t('settings.forced', { variable }) : named('setting.hint', name))
    }
    setText(this.#file, t('settings.file', { file: known.file }))
    this.#form.hidden = false
    this.#showTarget()
    this.#drawSave()
  }

  /** The local stack has a bucket and a role of its own. */
  #showTarget() {
    const isLocal = this.#fields.get('target')?.value === 'local'
    for (const name of AT_AWS) {
      const field = this.#fields.get(name)?.closest('[data-setting]')
      if (field instanceof HTMLElement) field.hidden = isLocal
    }
  }

  #values() {
    return new Map([...this.#fields].map(([name, control]) => [name, control.value]))
  }

  #changes() {
    const known = this.#known
    const changed = [...this.#fields].filter(([name, control]) => control.value.trim() !== known?.settings[name])
    return Object.fromEntries(changed.map(([name, control]) => [name, control.value.trim()]))
  }

  #drawSave() {
    const changed = Object.keys(this.#changes()).length > 0
    this.#save.disabled = !changed
    setText(this.#test, t(changed ? 'settings.saveAndTest' : 'settings.test'))
  }

  /** @returns {Promise<boolean>} whether what the page shows is what the server has */
  async #store() {
    const changes = this.#changes()
    if (Object.keys(changes).length === 0) return true
    const sent = this.#values()
    this.#tell('')
    this.#save.disabled = true
    setText(this.#save, t('settings.saving'))
    try {
      this.#take(await this.#server.saveSettings(changes), sent)
      this.#forget()
      if (!this.#signal.aborted) await this.#actions.refresh()
      return true
    } catch (error) {
      this.#tell(told(problemOf(error)))
      return false
    } finally {
      setText(this.#save, t('settings.save'))
      this.#drawSave()
    }
  }

  async #tryOut() {
    if (!(await this.#store())) return
    this.#forget()
    this.#tell('')
    this.#test.disabled = true
    setText(this.#sum, t('settings.testing'))
    try {
      const checks = await this.#server.testConnection()
      this.#checks.replaceChildren(...checks.map(checkRow))
      const failed = checks.filter(({ state }) => state === 'failed').length
      setText(this.#sum, failed ? t('settings.failed', { count: failed }) : t('settings.passed'))
    } catch (error) {
      setText(this.#sum, '')
      this.#tell(told(problemOf(error)))
    } finally {
      this.#test.disabled = false
    }
  }

  /** What was found does not hold for other settings. */
  #forget() {
    this.#checks.replaceChildren()
    setText(this.#sum, '')
  }

  /** @param {string} text */
  #tell(text) {
    setText(this.#problem, text)
    this.#problem.hidden = !text
  }
}

/** @param {Aws.Check} check */
function checkRow({ name, state, message, hint, permission }) {
  const words = h('span', {}, named('check', name))
  const mark = icon(ICONS[state])
  return h(
    'li',
    { class: 'aws-finding', testid: 'aws-check', 'data-name': name, 'data-state': state },
    mark,
    h(
      'div',
      { class: 'aws-finding-body' },
      h('div', { class: 'aws-split' }, words, h('span', { class: 'aws-row-meta' }, named('check.state', state))),
      h('span', { class: 'aws-muted aws-told' }, message),
      hint ? h('span', { class: 'aws-told', testid: 'aws-check-hint' }, hint) : null,
      permission && state === 'failed' ? h('code', { class: 'aws-told' }, permission) : null
    )
  )
}

/**
 * @param {string} value
 * @returns {'settings.target.none' | 'settings.target.local' | 'settings.target.aws'}
 */
function targetKey(value) {
  if (value === 'local') return 'settings.target.local'
  return value === 'aws' ? 'settings.target.aws' : 'settings.target.none'
}
