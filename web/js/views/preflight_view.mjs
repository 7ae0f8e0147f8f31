/**
 * What a publish needs and would send, before it is done.
 */

import { problemOf } from '../api.mjs'
import { h, icon, setText } from '../dom.mjs'
import { bytes, duration } from '../format.mjs'
import { t } from '../i18n.mjs'

export class PreflightView {
  #ask
  #showNodes
  #push
  #headIcon = icon('pi-search')
  #head = h('span', { testid: 'aws-preflight-head' })
  #send = h('span', { class: 'aws-muted', testid: 'aws-preflight-send' })
  #endpoint = h('span', { class: 'aws-muted', testid: 'aws-preflight-endpoint' })
  #findings = h('ul', { class: 'aws-findings', testid: 'aws-preflight-findings' })
  #list = h('ul', { class: 'aws-needs' })
  #details = h(
    'details',
    { class: 'aws-details', testid: 'aws-preflight-details' },
    h('summary', {}, t('preflight.list')),
    this.#list
  )
  #show
  #again
  #pushNow
  #buttons
  /** @type {string[]} */
  #nodes = []
  /** @type {Aws.ModelName[]} */
  #absent = []

  /**
   * @param {(signal: AbortSignal) => Promise<Aws.Preflight>} ask
   * @param {(nodes: string[]) => void} showNodes on the canvas
   * @param {(models: Aws.ModelName[]) => void} push begins to send models to the bucket
   */
  constructor(ask, showNodes, push) {
    this.#ask = ask
    this.#showNodes = showNodes
    this.#push = push
    this.#show = h(
      'button',
      {
        type: 'button',
        class: 'aws-button',
        testid: 'aws-preflight-show',
        on: { click: () => this.#showNodes(this.#nodes) },
      },
      t('preflight.show')
    )
    this.#again = h('button', { type: 'button', class: 'aws-button', testid: 'aws-preflight-again' },
      t('preflight.again'))
    this.#pushNow = h(
      'button',
      {
        type: 'button',
        class: 'aws-button',
        testid: 'aws-preflight-push',
        on: { click: () => this.#sendNow() },
      },
      t('preflight.push')
    )
    this.#buttons = h('div', { class: 'aws-buttons' }, this.#show, this.#again, this.#pushNow)
    this.element = h(
      'section',
      { class: 'aws-preflight', 'aria-label': t('preflight.label'), testid: 'aws-preflight' },
      h('div', { class: 'aws-preflight-head', role: 'status' }, this.#headIcon,
        h('div', { class: 'aws-field' }, this.#head, this.#send, this.#endpoint)),
      this.#findings,
      this.#buttons,
      this.#details
    )
  }

  /** @param {AbortSignal} signal aborts when nobody looks any more */
  async look(signal) {
    this.#again.onclick = () => void this.look(signal)
    this.#draw('busy', t('preflight.busy'), t('preflight.busy.hint'))
    try {
      const found = await this.#ask(signal)
      if (!signal.aborted) this.#drawFound(found)
    } catch (error) {
      if (signal.aborted) return
      const { message, hint } = problemOf(error)
      this.#draw('bad', message, hint)
      this.#buttons.hidden = this.#again.hidden = false
    }
  }

  /** @param {Aws.Preflight} found */
  #drawFound(found) {
    const { unresolved, warnings } = found
    if (unresolved.length > 0) {
      this.#draw('bad', t('preflight.missing', { count: unresolved.length }), t('preflight.missing.hint'))
    } else {
      this.#draw(warnings.length > 0 ? 'warn' : 'good', summary(found), sending(found))
    }
    this.#nodes = [...unresolved, ...warnings].map((each) => each.node_id).filter(Boolean)
    this.#findings.replaceChildren(
      ...unresolved.map((each) => finding(each, 'bad')),
      ...warnings.map((each) => finding(each, 'warn'))
    )
    this.#findings.hidden = this.#findings.children.length === 0
    this.#absent = found.models.filter((each) => !each.in_bucket)
    this.#again.hidden = unresolved.length === 0
    this.#show.hidden = unresolved.length === 0 || this.#nodes.length === 0
    this.#pushNow.hidden = this.#absent.length === 0
    this.#buttons.hidden = this.#again.hidden && this.#pushNow.hidden
    setText(this.#endpoint, atEndpoint(found))
    this.#list.replaceChildren(...needs(found))
    this.#details.hidden = this.#list.children.length === 0
  }

  /**
   * @param {'busy' | 'good' | 'warn' | 'bad'} tone
   * @param {string} head
   * @param {string} send
   */
  #draw(tone, head, send) {
    const names = { busy: 'pi-spinner pi-spin', good: 'pi-check-circle', warn: 'pi-exclamation-triangle', bad: 'pi-times-circle' }
    this.#headIcon.className = `pi ${names[tone]}`
    this.element.dataset.tone = tone
    setText(this.#head, head)
    setText(this.#send, send)
    this.#findings.hidden = true
    for (const each of [this.#buttons, this.#show, this.#again, this.#pushNow, this.#details]) {
      each.hidden = true
    }
    setText(this.#endpoint, '')
  }

  #sendNow() {
    this.#pushNow.hidden = true
    this.#buttons.hidden = this.#again.hidden
    setText(this.#send, t('preflight.pushed'))
    this.#push(this.#absent)
  }
}

/** @param {Aws.Preflight} found */
function summary({ models, inputs, packs }) {
  const size = [...models, ...inputs, ...packs].reduce((sum, each) => sum + each.size, 0)
  const counts = { models: models.length, inputs: inputs.length, packs: packs.length }
  return t('preflight.summary', { ...counts, size: bytes(size) })
}

/** @param {Aws.Preflight} found */
function sending({ bytes_to_upload: size, expected_seconds: seconds }) {
  if (size === 0) return t('preflight.nothing')
  const values = { size: bytes(size), time: duration(seconds ?? 0) }
  return t(seconds === null ? 'preflight.send' : 'preflight.send.time', values)
}

/**
 * What the endpoint that takes the jobs has to fetch before the first.
 *
 * @param {Aws.Preflight} found
 */
function atEndpoint({ endpoint }) {
  if (!endpoint) return ''
  const { name, instances, bytes_to_fetch: size } = endpoint
  if (size === 0) return t('preflight.endpoint.has', { name })
  const key = instances > 0 ? 'preflight.endpoint.fetches' : 'preflight.endpoint.asleep'
  return t(key, { name, size: bytes(size) })
}

/**
 * @param {Aws.Finding} found
 * @param {'bad' | 'warn'} tone
 */
function finding({ node_id: id, class_type: type, reason }, tone) {
  const message = id ? t('error.node', { id, type, message: reason }) : reason
  return h('li', { 'data-tone': tone }, message)
}

/** @param {Aws.Preflight} found */
function needs({ models, inputs, packs }) {
  const rows = [
    ...models.map((each) => ({ ...each, icon: 'pi-box', name: `${each.folder}/${each.name}` })),
    ...inputs.map((each) => ({ ...each, icon: 'pi-image' })),
    ...packs.map((each) => ({ ...each, icon: 'pi-code' })),
  ]
  return rows.map((each) =>
    h(
      'li',
      { class: 'aws-need' },
      icon(each.icon),
      h('span', { class: 'aws-ellipsis', title: each.name }, each.name),
      h('span', { class: 'aws-number aws-muted' }, bytes(each.size)),
      h('span', { class: 'aws-need-state', 'data-there': String(each.in_bucket) },
        t(each.in_bucket ? 'preflight.there' : 'preflight.new'))
    )
  )
}
