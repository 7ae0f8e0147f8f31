/**
 * Where models come from: files that are dropped or chosen, and URLs.
 */

import { told } from '../actions.mjs'
import { h, icon, setText } from '../dom.mjs'
import { t } from '../i18n.mjs'

const STANDARD_FOLDER = 'checkpoints'

export class ModelSources {
  #library
  #folder = h('select', { id: 'aws-models-folder', class: 'aws-input', testid: 'aws-models-folder' })
  #files = h('input', { type: 'file', multiple: true, hidden: true, testid: 'aws-models-files' })
  #zone
  #form
  #toggle
  #problem = h('p', { class: 'aws-error-text', role: 'alert', testid: 'aws-models-url-problem' })
  #submit = h('button', {
    type: 'submit',
    class: 'aws-button aws-primary',
    testid: 'aws-models-url-start',
  }, t('models.url.start'))
  #url = input('url', { type: 'url', required: true, placeholder: 'https://' })
  #name = input('name', { type: 'text', placeholder: t('models.url.name.placeholder') })
  #sha256 = input('sha256', { type: 'text', placeholder: t('models.url.sha256.placeholder') })

  /**
   * @param {import('../library.mjs').Library} library
   * @param {AbortSignal} signal
   */
  constructor(library, signal) {
    this.#library = library
    this.#toggle = h('button', {
        type: 'button',
        class: 'aws-button',
        'aria-expanded': 'false',
        'aria-controls': 'aws-models-url-form',
        testid: 'aws-models-url',
        on: { click: () => this.#showForm(this.#form.hidden) },
      }, icon('pi-link'), t('models.url'))
    const choose = h('button', {
        type: 'button',
        class: 'aws-button',
        testid: 'aws-models-choose',
        on: { click: () => this.#files.click() },
      }, icon('pi-file'), t('models.drop.choose'))
    this.#files.addEventListener('change', () => {
      this.#upload(this.#files.files)
      this.#files.value = '' // the same file can be chosen again
    })
    this.#form = this.#buildForm()
    this.#zone = h('div', { class: 'aws-card aws-drop', testid: 'aws-models-drop' },
      h('p', { class: 'aws-drop-words' }, icon('pi-inbox'), t('models.drop')),
      h('div', { class: 'aws-pair aws-drop-into' },
        h('label', { class: 'aws-label', for: 'aws-models-folder' }, t('models.drop.into')),
        this.#folder),
      h('div', { class: 'aws-drop-buttons' }, choose, this.#toggle, this.#files),
      this.#form)
    this.element = this.#zone
    library.watch(({ folders }) => this.#drawFolders(folders), signal)
  }

  /**
   * Take files that are dropped anywhere on `target`; ComfyUI would open them as workflows.
   *
   * @param {HTMLElement} target
   */
  takeDrops(target) {
    let depth = 0 // each element inside sends its own enter and leave
    const mark = () => this.#zone.classList.toggle('aws-drop-over', depth > 0)
    const own = (/** @type {DragEvent} */ event) => {
      if (!event.dataTransfer?.types.includes('Files')) return false
      event.preventDefault()
      event.stopPropagation()
      return true
    }
    target.addEventListener('dragenter', (event) => {
      if (own(event)) depth += 1
      mark()
    })
    target.addEventListener('dragover', own)
    target.addEventListener('dragleave', (event) => {
      if (own(event)) depth = Math.max(0, depth - 1)
      mark()
    })
    target.addEventListener('drop', (event) => {
      depth = 0
      mark()
      if (own(event)) this.#upload(event.dataTransfer?.files ?? null)
    })
  }

  /** @param {FileList | null} files */
  #upload(files) {
    if (files?.length) this.#library.upload([...files], this.#folder.value)
  }

  /** @param {Aws.ModelFolder[]} folders */
  #drawFolders(folders) {
    if (this.#folder.options.length === folders.length) return
    const chosen = this.#folder.value || STANDARD_FOLDER
    this.#folder.replaceChildren(...folders.map(({ name }) => h('option', { value: name }, name)))
    const there = folders.some(({ name }) => name === chosen)
    this.#folder.value = there ? chosen : (folders[0]?.name ?? '')
  }

  #buildForm() {
    return h('form', {
        id: 'aws-models-url-form',
        class: 'aws-form aws-url-form',
        hidden: true,
        'aria-label': t('models.url'),
        testid: 'aws-models-url-form',
        on: {
          submit: (/** @type {Event} */ event) => void this.#fetch(event),
          keydown: (/** @type {KeyboardEvent} */ event) => {
            // ComfyUI's shortcuts are single letters: keep typing to the form.
            event.stopPropagation()
            if (event.key === 'Escape') this.#showForm(false)
          },
        },
      },
      field('url', t('models.url.label'), this.#url),
      field('name', t('models.url.name'), this.#name),
      field('sha256', t('models.url.sha256'), this.#sha256),
      this.#problem,
      h('div', { class: 'aws-dialog-buttons' },
        h('button', {
            type: 'button',
            class: 'aws-button',
            testid: 'aws-models-url-cancel',
            on: { click: () => this.#showForm(false) },
          }, t('cancel')),
        this.#submit))
  }

  /** @param {boolean} shown */
  #showForm(shown) {
    this.#form.hidden = !shown
    this.#toggle.setAttribute('aria-expanded', String(shown))
    if (shown) this.#url.focus()
    else this.#toggle.focus()
    this.#tell('')
  }

  /** @param {Event} event */
  async #fetch(event) {
    event.preventDefault()
    this.#tell('')
    this.#submit.disabled = true
    setText(this.#submit, t('models.url.starting'))
    const problem = await this.#library.fetchUrl({
      url: this.#url.value.trim(),
      folder: this.#folder.value,
      name: this.#name.value.trim(),
      sha256: this.#sha256.value.trim(),
    })
    this.#submit.disabled = false
    setText(this.#submit, t('models.url.start'))
    if (problem) {
      this.#tell(told(problem))
      return
    }
    this.#form.reset()
    this.#url.focus()
  }

  /** @param {string} text */
  #tell(text) {
    setText(this.#problem, text)
  }
}

/**
 * @param {string} name
 * @param {Record<string, unknown>} attrs
 */
function input(name, attrs) {
  const id = `aws-models-url-${name}`
  return h('input', {
    id,
    class: 'aws-input',
    autocomplete: 'off',
    spellcheck: 'false',
    testid: `${id}-input`,
    ...attrs,
  })
}

/**
 * @param {string} name
 * @param {string} label
 * @param {HTMLElement} control
 */
function field(name, label, control) {
  const id = `aws-models-url-${name}`
  return h('div', { class: 'aws-field' },
    h('label', { class: 'aws-label', for: id }, label), control)
}
