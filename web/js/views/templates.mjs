/**
 * The templates of the bucket, and Local. Choosing one shows its draft, or its workflow, on the
 * canvas.
 */

import { h, icon, iconButton, setAttribute, setText } from '../dom.mjs'
import { ago, bytes, moment } from '../format.mjs'
import { t } from '../i18n.mjs'
import { isPort, target } from '../store.mjs'
import { statusOf, tone } from './endpoint_state.mjs'
import { ImportDialog } from './import_dialog.mjs'
import { LongList } from './long_list.mjs'
import { Section } from './section.mjs'
import { TemplateDialog } from './template_dialog.mjs'

/** @typedef {Pick<import('./panel.mjs').Parts, 'store' | 'actions' | 'environments' | 'shelf' | 'newWorkflow'>} Parts */

export class Templates {
  #parts
  #section
  #details
  #search
  #none = h('p', { class: 'aws-muted aws-none', role: 'status', testid: 'aws-templates-none' })
  /** @type {LongList<Aws.Template>} */
  #list
  #local
  /** @type {Readonly<Aws.State>} */
  #state

  /**
   * @param {Parts} parts
   * @param {AbortSignal} signal
   */
  constructor(parts, signal) {
    const { store, actions, environments, shelf, newWorkflow } = parts
    this.#parts = parts
    this.#state = store.state
    this.#details = new TemplateDialog(parts, signal)
    this.#list = new LongList({
      attrs: {
        class: 'aws-templates',
        'aria-labelledby': 'aws-templates-title',
        testid: 'aws-template-list',
      },
      stop: '.aws-template-row',
      keyOf: (item) => item.name,
      create: (item) => this.#row(item.name),
    })
    this.#search = this.#buildSearch()
    this.#local = this.#buildLocal(environments)
    const dialog = new ImportDialog(shelf)
    const reload = () => void actions.reload('templates')
    this.#section = new Section({
      name: 'templates',
      title: t('templates.title'),
      empty: t('templates.empty'),
      emptyHint: () => t(isPort(store.state) ? 'templates.empty.port' : 'templates.empty.hint'),
      retry: reload,
      tools: [
        iconButton('pi-file-import', t('import.title'), { testid: 'aws-templates-import', on: { click: () => dialog.open() } }),
        iconButton('pi-refresh', t('refresh'), { testid: 'aws-templates-refresh', on: { click: reload } }),
        iconButton('pi-plus', t('workflow.new'), { testid: 'aws-new-plus', on: { click: newWorkflow } }),
      ],
      body: [this.#search, this.#local, this.#list.element, this.#none],
    })
    this.element = this.#section.element
    store.watch(
      ['templates', 'template', 'opening', 'endpoints', 'status'],
      (state) => this.#draw(state),
      signal
    )
  }

  #buildSearch() {
    return h('input', {
      type: 'search',
      class: 'aws-input',
      placeholder: t('templates.search'),
      'aria-label': t('templates.search'),
      testid: 'aws-template-search',
      on: {
        input: () => this.#filter(),
        keydown: (/** @type {KeyboardEvent} */ event) => {
          if (event.key === 'ArrowDown') {
            event.preventDefault()
            this.#list.focusFirst()
          }
        },
      },
    })
  }

  /** @param {import('../environments.mjs').Environments} environments */
  #buildLocal(environments) {
    return h(
      'div',
      { class: 'aws-row' },
      h(
        'button',
        {
          type: 'button',
          class: 'aws-row-main aws-template-row',
          testid: 'aws-local',
          title: t('local.hint'),
          on: { click: () => void environments.select('') },
        },
        h('span', { class: 'aws-template-thumb' }, icon('pi-desktop')),
        h('span', { class: 'aws-template-words' }, h('span', {}, t('local')),
          h('span', { class: 'aws-row-meta aws-ellipsis' }, t('local.text')))
      )
    )
  }

  /** @param {Readonly<Aws.State>} state */
  #draw(state) {
    this.#state = state
    const { items } = state.templates
    this.#section.draw(state.templates)
    this.#search.hidden = items.length === 0
    this.#list.element.hidden = items.length === 0
    this.#local.hidden = items.length === 0
    const isLocal = state.template === ''
    this.#local.classList.toggle('aws-selected', isLocal)
    setAttribute(/** @type {Element} */ (this.#local.firstElementChild), 'aria-current', isLocal ? 'true' : null)
    this.#filter()
  }

  #filter() {
    const wanted = this.#search.value.trim().toLocaleLowerCase()
    const { items } = this.#state.templates
    const fitting = items.filter(({ name, author, description }) =>
      `${name}\n${author}\n${description}`.toLocaleLowerCase().includes(wanted)
    )
    this.#list.update(fitting)
    const isNone = items.length > 0 && fitting.length === 0
    setText(this.#none, isNone ? t('templates.none', { text: this.#search.value.trim() }) : '')
    this.#none.hidden = !isNone
  }

  /** @param {string} name */
  #row(name) {
    const { actions, environments, shelf } = this.#parts
    const thumb = h('span', { class: 'aws-template-thumb' })
    const meta = h('span', { class: 'aws-row-meta aws-ellipsis', testid: 'aws-template-meta' })
    const dot = h('span', { class: 'aws-dot', role: 'img' })
    const words = h('span', { class: 'aws-row-meta aws-where-wide', 'aria-hidden': 'true' })
    const main = h(
      'button',
      {
        type: 'button',
        class: 'aws-row-main aws-template-row',
        testid: 'aws-template',
        'data-name': name,
        on: {
          click: () => void environments.select(name),
          keydown: (/** @type {KeyboardEvent} */ event) => {
            if (event.key !== 'Delete') return
            // ComfyUI would delete the selected nodes, too.
            event.preventDefault()
            event.stopPropagation()
            void actions.deleteTemplate(name)
          },
        },
      },
      thumb,
      h('span', { class: 'aws-template-words' },
        h('span', { class: 'aws-split' }, h('span', { class: 'aws-ellipsis' }, name),
          h('span', { class: 'aws-status' }, words, dot)), meta)
    )
    const more = iconButton('pi-info-circle', t('details.open', { name }), {
      class: 'aws-icon-button aws-row-tool',
      testid: 'aws-template-details',
      on: { click: () => void this.#details.open(name) },
    })
    // Artists have no details to find it in.
    const form = h('a', {
      class: 'aws-icon-button',
      href: shelf.formOf(name),
      target: '_blank',
      rel: 'noopener',
      title: t('templates.form', { name }),
      'aria-label': t('templates.form', { name }),
      testid: 'aws-template-form',
    }, icon('pi-external-link'))
    const remove = iconButton('pi-trash', t('templates.delete', { name }), {
      class: 'aws-icon-button aws-row-tool',
      testid: 'aws-template-delete',
      on: { click: () => void actions.deleteTemplate(name) },
    })
    const element = h('li', { class: 'aws-row' }, main, more, form, remove)
    let cover = ''
    const update = (/** @type {Aws.Template} */ template) => {
      const selected = this.#state.template === name
      const opening = this.#state.opening === name
      element.classList.toggle('aws-selected', selected)
      setAttribute(main, 'aria-current', selected ? 'true' : null)
      main.setAttribute('aria-busy', String(opening))
      setText(meta, opening ? t('templates.opening') : facts(template))
      drawEndpoint(dot, words, this.#state, name)
      form.hidden = !isPort(this.#state)
      const source = shelf.coverOf(template)
      if (cover !== source || !thumb.firstChild) thumb.replaceChildren(picture(source))
      cover = source
    }
    // Nobody reads a thousand tooltips: each is written when it is looked for.
    element.addEventListener('pointerenter', () => {
      const template = this.#state.templates.items.find((item) => item.name === name)
      if (template) element.title = title(template)
    })
    return { element, update }
  }
}

/** @param {string} source address of a cover; empty for none */
function picture(source) {
  return source ? h('img', { src: source, alt: '', loading: 'lazy', decoding: 'async' }) : icon('pi-sitemap')
}

/** @param {Aws.Template} template */
function facts({ version, size, author, updated }) {
  const parts = [t('templates.version', { version }), size ? bytes(size) : '', ago(updated), author]
  return parts.filter(Boolean).join(' · ')
}

/**
 * @param {HTMLElement} dot
 * @param {HTMLElement} words
 * @param {Readonly<Aws.State>} state
 * @param {string} template
 */
function drawEndpoint(dot, words, state, template) {
  const { name, endpoint } = target({ ...state, template })
  dot.hidden = name === ''
  words.hidden = !endpoint
  if (name === '') return
  const status = endpoint ? statusOf(endpoint) : t('target.gone', { name })
  const label = t('templates.endpoint', { name, status })
  if (dot.title === label) return
  dot.title = label
  dot.setAttribute('aria-label', label)
  dot.dataset.tone = endpoint ? tone(endpoint) : 'bad'
  setText(words, status)
}

/** @param {Aws.Template} template */
function title({ name, version, updated, author, description }) {
  const meta = t('templates.meta', { version, when: moment(updated), author: author || '–' })
  return [name, meta, description].filter(Boolean).join('\n')
}
