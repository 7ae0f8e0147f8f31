/**
 * The models page: what is here and in the bucket, and the ways between.
 */

import { h, icon, iconButton, KeyedRows, setText } from '../dom.mjs'
import { bytes } from '../format.mjs'
import { t } from '../i18n.mjs'
import { DeleteModelDialog } from './delete_model.mjs'
import { ModelSources } from './model_sources.mjs'
import { Section } from './section.mjs'
import { Transfers } from './transfers.mjs'

/** Rows drawn at first and with each click on "more": a machine may have thousands. */
const STEP = 200

/** @type {Record<string, (model: Aws.Model) => boolean>} */
const SHOWN = {
  all: () => true,
  here: ({ here }) => here,
  bucket: ({ bucket }) => bucket,
  unsent: ({ bucket, differs }) => !bucket || differs,
  absent: ({ here }) => !here,
}

export class ModelsPage {
  #library
  #section
  #dialog
  #search = h('input', {
    type: 'search',
    class: 'aws-input',
    placeholder: t('models.search'),
    'aria-label': t('models.search'),
    autocomplete: 'off',
    spellcheck: 'false',
    testid: 'aws-models-search',
  })
  #show = h('select', {
      class: 'aws-input aws-models-show',
      'aria-label': t('models.show'),
      testid: 'aws-models-show',
    }, ...Object.keys(SHOWN).map((value) =>
      h('option', { value }, t(/** @type {any} */ (`models.show.${value}`)))))
  #offline = h('p', { class: 'aws-muted', role: 'status', testid: 'aws-models-offline' })
  #list = h('ul', { class: 'aws-list', 'aria-labelledby': 'aws-models-title', testid: 'aws-model-list' })
  #more = h('button', { type: 'button', class: 'aws-button aws-wide', testid: 'aws-models-more' })
  #limit = STEP
  /** @type {KeyedRows<Aws.Model>} */
  #rows

  /**
   * @param {import('../library.mjs').Library} library
   * @param {AbortSignal} signal
   */
  constructor(library, signal) {
    this.#library = library
    this.#dialog = new DeleteModelDialog(library)
    this.#rows = new KeyedRows(
      this.#list,
      ({ folder, name }) => `${folder}/${name}`,
      (model) => this.#row(model)
    )
    const reload = () => void library.load()
    this.#section = new Section({
      name: 'models',
      title: t('models.title'),
      empty: t('models.empty'),
      emptyHint: () => t('models.empty.hint'),
      retry: reload,
      tools: [
        iconButton('pi-refresh', t('refresh'), {
          testid: 'aws-models-refresh',
          on: { click: reload },
        }),
      ],
      body: [
        h('div', { class: 'aws-models-filter' }, this.#search, this.#show),
        this.#offline, this.#list, this.#more,
      ],
    })
    const sources = new ModelSources(library, signal)
    this.element = h(
      'div',
      { class: 'aws-lists', testid: 'aws-models-page' },
      sources.element,
      new Transfers(library, signal).element,
      this.#section.element
    )
    sources.takeDrops(this.element)
    for (const control of [this.#search, this.#show]) {
      control.addEventListener('input', () => this.#narrow())
    }
    // ComfyUI's shortcuts are single letters: keep typing to the field.
    this.#search.addEventListener('keydown', (event) => event.stopPropagation())
    this.#more.addEventListener('click', () => {
      this.#limit += STEP
      this.#draw(library.state)
    })
    library.watch((state) => this.#draw(state), signal)
    signal.addEventListener('abort', () => this.#dialog.close())
    reload()
  }

  again() {
    void this.#library.load()
  }

  #narrow() {
    this.#limit = STEP
    this.#draw(this.#library.state)
  }

  /** @param {Readonly<import('../library.mjs').LibraryState>} state */
  #draw({ models, bucketProblem }) {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean)
    const wanted = SHOWN[this.#show.value] ?? (() => true)
    const found = models.items.filter((model) => {
      const text = `${model.folder}/${model.name}`.toLowerCase()
      return wanted(model) && words.every((word) => text.includes(word))
    })
    this.#section.draw(models)
    if (models.state === 'ready' && models.items.length > 0 && found.length === 0) {
      this.#section.say(t('models.none'), t('models.none.hint'))
    }
    const left = found.length - this.#limit
    this.#rows.update(found.slice(0, this.#limit))
    this.#list.hidden = found.length === 0
    this.#more.hidden = left <= 0
    setText(this.#more, t('models.more', { count: Math.min(left, STEP) }))
    this.#offline.hidden = !bucketProblem
    const message = bucketProblem?.message ?? ''
    setText(this.#offline, message && t('models.offline', { message }))
  }

  /** @param {Aws.Model} first */
  #row({ folder, name }) {
    let model = /** @type {Aws.Model | null} */ (null)
    const meta = h('span', { class: 'aws-row-meta aws-ellipsis' })
    const here = mark('pi-desktop')
    const bucket = mark('pi-cloud')
    const tool = (/** @type {string} */ image, /** @type {string} */ label, /** @type {string} */ testid,
      /** @type {() => void} */ click) =>
      iconButton(image, label, { testid, on: { click } })
    const push = tool('pi-cloud-upload', t('models.push', { name }), 'aws-model-push',
      () => void this.#library.move('push', [{ folder, name }]))
    const pull = tool('pi-download', t('models.pull', { name }), 'aws-model-pull',
      () => void this.#library.move('pull', [{ folder, name }]))
    const remove = tool('pi-trash', t('models.delete', { name }), 'aws-model-delete',
      () => model && this.#dialog.open(model))
    const element = h(
      'li',
      { class: 'aws-row aws-model', testid: 'aws-model', 'data-name': name, 'data-folder': folder },
      h('div', { class: 'aws-row-body' },
        h('span', { class: 'aws-ellipsis', title: `${folder}/${name}` }, name),
        h('span', { class: 'aws-model-facts' }, here, bucket, meta)),
      push, pull, remove
    )
    const update = (/** @type {Aws.Model} */ now) => {
      model = now
      const offline = this.#library.state.bucketProblem !== null
      element.dataset.here = String(now.here)
      element.dataset.bucket = String(now.bucket)
      setText(meta, t('models.meta', { folder, size: bytes(now.size) }))
      tell(here, now.here ? t('models.here') : '', false)
      const words = t(now.differs ? 'models.differs' : 'models.bucket')
      tell(bucket, now.bucket ? words : '', now.differs)
      push.hidden = offline || !now.here || (now.bucket && !now.differs)
      pull.hidden = offline || now.here || !now.bucket
    }
    return { element, update }
  }
}

/** @param {string} name of an icon */
function mark(name) {
  return h('span', { class: 'aws-mark', role: 'img' }, icon(name))
}

/**
 * @param {HTMLElement} element
 * @param {string} words empty to hide it
 * @param {boolean} warns
 */
function tell(element, words, warns) {
  element.hidden = words === ''
  element.title = words
  element.setAttribute('aria-label', words)
  element.classList.toggle('aws-mark-warns', warns)
}
