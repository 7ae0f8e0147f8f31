/**
 * The templates of the bucket. Choosing one shows its workflow on the canvas.
 */

import { h, iconButton, KeyedRows, setAttribute, setText } from '../dom.js'
import { ago, moment } from '../format.js'
import { t } from '../i18n.js'
import { keepStop, rove } from './roving.js'
import { Section } from './section.js'

const ROW = '.aws-row-main'

export class Templates {
  #actions
  #section
  #list = h('ul', { class: 'aws-list', 'aria-labelledby': 'aws-templates-title', testid: 'aws-template-list' })
  /** @type {KeyedRows<Aws.Template>} */
  #rows
  /** @type {Readonly<Aws.State> | null} */
  #state = null

  /**
   * @param {import('../store.js').Store} store
   * @param {import('../actions.js').Actions} actions
   * @param {() => void} newWorkflow
   * @param {AbortSignal} signal
   */
  constructor(store, actions, newWorkflow, signal) {
    this.#actions = actions
    this.#rows = new KeyedRows(this.#list, (item) => item.name, (item) => this.#row(item.name))
    rove(this.#list, ROW)
    const reload = () => void actions.reload('templates')
    this.#section = new Section({
      name: 'templates',
      title: t('templates.title'),
      empty: t('templates.empty'),
      emptyHint: t('templates.empty.hint'),
      retry: reload,
      tools: [
        iconButton('pi-refresh', t('refresh'), { testid: 'aws-templates-refresh', on: { click: reload } }),
        iconButton('pi-plus', t('workflow.new'), { testid: 'aws-new-plus', on: { click: newWorkflow } }),
      ],
      body: [this.#list],
    })
    this.element = this.#section.element
    store.watch(['templates', 'template', 'opening'], (state) => this.#draw(state), signal)
  }

  /** @param {Readonly<Aws.State>} state */
  #draw(state) {
    this.#state = state
    this.#section.draw(state.templates)
    this.#list.hidden = state.templates.items.length === 0
    this.#rows.update(state.templates.items)
    keepStop(this.#list, ROW)
  }

  /** @param {string} name */
  #row(name) {
    const meta = h('span', { class: 'aws-row-meta' })
    const main = h(
      'button',
      {
        type: 'button',
        class: 'aws-row-main',
        tabindex: '-1',
        testid: 'aws-template',
        'data-name': name,
        on: {
          click: () => void this.#actions.select(name),
          keydown: (/** @type {KeyboardEvent} */ event) => {
            if (event.key === 'Delete') void this.#actions.deleteTemplate(name)
          },
        },
      },
      h('span', { class: 'aws-ellipsis' }, name),
      meta
    )
    const remove = iconButton('pi-trash', t('templates.delete', { name }), {
      class: 'aws-icon-button aws-row-tool',
      testid: 'aws-template-delete',
      on: { click: () => void this.#actions.deleteTemplate(name) },
    })
    const element = h('li', { class: 'aws-row' }, main, remove)
    const update = (/** @type {Aws.Template} */ template) => {
      const selected = this.#state?.template === name
      const opening = this.#state?.opening === name
      element.classList.toggle('aws-selected', selected)
      setAttribute(main, 'aria-current', selected ? 'true' : null)
      main.setAttribute('aria-busy', String(opening))
      const version = t('templates.version', { version: template.version })
      setText(meta, opening ? t('templates.opening') : `${version} · ${ago(template.updated)}`)
      element.title = [title(template), template.description].filter(Boolean).join('\n')
    }
    return { element, update }
  }
}

/** @param {Aws.Template} template */
function title({ version, updated, author }) {
  return t('templates.meta', { version, when: moment(updated), author: author || '–' })
}
