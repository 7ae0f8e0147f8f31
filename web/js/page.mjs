/**
 * The extension in ComfyUI's page: puts its parts together, and is what `main.js` asks.
 */

import { Actions } from './actions.mjs'
import { Server } from './api.mjs'
import { Canvas } from './canvas.mjs'
import { Comfy } from './comfy.mjs'
import { CostNotice } from './cost_notice.mjs'
import { h } from './dom.mjs'
import { Drafts } from './drafts.mjs'
import { Environments } from './environments.mjs'
import { Fleet } from './fleet.mjs'
import { setLocale, t } from './i18n.mjs'
import { JobDesk } from './job_desk.mjs'
import { Library } from './library.mjs'
import { refused, sendMarked } from './mark.mjs'
import { Publishing } from './publishing.mjs'
import { Session } from './session.mjs'
import { Shelf } from './shelf.mjs'
import { Stash } from './stash.mjs'
import { connected, isPort, routesAll, Store } from './store.mjs'
import { LockDialog } from './views/lock_dialog.mjs'
import { NameDialog } from './views/name_dialog.mjs'
import { Panel } from './views/panel.mjs'
import { RunButton } from './views/run_button.mjs'

/** A page that is not ready by then is as ready as it will be. */
const READY_MS = 15_000

const STYLES = ['aws', 'templates', 'models_logs', 'jobs_endpoints', 'port', 'settings', 'run_button']

/** As long as the browser's tab. */
const FOREVER = new AbortController().signal

export class AwsPage {
  #app
  #comfy
  #server
  #store = new Store()
  #actions
  #canvas
  #environments
  #publishing
  #library
  #nameDialog
  #panel
  #runButton
  #lock
  /** @type {(ready: Promise<unknown>) => void} */
  #tellReady = () => {}

  /**
   * @param {import('./comfy.mjs').App} app
   * @param {import('./comfy.mjs').Api} api
   */
  constructor(app, api) {
    const store = this.#store
    const session = new Session(window.sessionStorage)
    const comfy = new Comfy(app, api)
    const server = new Server(
      (route, options) => comfy.fetch(route, options),
      (route, file, progress, signal) => comfy.upload(route, file, progress, signal)
    )
    const actions = new Actions({ server, comfy, store, session })
    const canvas = new Canvas(app, api, () => comfy.refreshChoices())
    const environments = new Environments({
      comfy,
      canvas,
      server,
      store,
      drafts: new Drafts(
        (route, options) => comfy.fetch(route, options),
        () => store.state.status?.bucket ?? ''
      ),
      stash: new Stash(window.localStorage, () => [comfy.user, store.state.status?.bucket ?? '']),
      choose: (name) => actions.choose(name),
    })
    const fleet = new Fleet({ server, comfy, store, actions })
    const desk = new JobDesk({ server, comfy, store, actions, canvas, environments })
    const notice = new CostNotice(store, comfy, window.localStorage)
    const shelf = new Shelf({ server, comfy, store, actions, environments })
    const library = new Library(server, comfy)
    this.#app = app
    this.#comfy = comfy
    this.#server = server
    this.#actions = actions
    this.#canvas = canvas
    this.#environments = environments
    this.#library = library
    this.#publishing = new Publishing({
      server,
      comfy,
      store,
      session,
      canvas,
      // The page shows a graph and knows its server: sooner the end of a publish means nothing.
      ready: new Promise((resolve) => {
        this.#tellReady = resolve
      }),
      onStart: () => environments.flush(),
      onDone: (name, version, print) => {
        if (environments.published(name, version, print)) actions.choose(name)
        void actions.reload('templates')
      },
    })
    this.#nameDialog = this.#makeNameDialog()
    this.#panel = new Panel({
      store,
      actions,
      environments,
      shelf,
      fleet,
      desk,
      server,
      comfy,
      library,
      session,
      newWorkflow: () => void this.newWorkflow(),
    })
    this.#runButton = new RunButton(store, actions, FOREVER)
    this.#lock = new LockDialog(store, () => this.#publishing.cancel(), FOREVER)

    actions.onTurnedOn = () => notice.tell()
    actions.onDeleted = (name) => void environments.deleted(name)
    this.#publishing.onConflict = (name, problem) => this.#nameDialog.open(name, problem)
    store.watch(['status'], ({ status }) => {
      document.documentElement.dataset.awsRole = status?.role ?? ''
    }, FOREVER)
    notice.follow()
    for (const part of [actions, this.#publishing, environments, library, desk]) part.listen()
    this.#loadStyles()
    this.#speak(comfy.locale)
    comfy.onLocale((language) => this.#speak(language))
  }

  /** Lock the page at once that was locked before a reload. */
  lockAgain() {
    this.#publishing.lockAgain()
  }

  /** ComfyUI's page is set up: show what there is, and take up what a reload interrupted. */
  begin() {
    // The public place in ComfyUI's bar beside Run, for what is no menu.
    this.#runButton.follow(this.#app.menu?.actionsGroup.element)
    const refreshed = this.#actions.refresh()
    void refreshed.then(() => this.#environments.resume())
    const known = Promise.all([refreshed, this.#environments.shown])
    this.#tellReady(Promise.race([known, pause(READY_MS)]))
    void this.#publishing.resume()
  }

  /**
   * ComfyUI has loaded a graph, by itself or because somebody opened one.
   *
   * @param {import('./canvas.mjs').Workflow} [graph] as it was then, where that was a while ago
   */
  graphLoaded(graph) {
    this.#environments.loaded(graph)
  }

  /** @param {HTMLElement} host ComfyUI's element of the sidebar tab */
  mount(host) {
    this.#panel.mount(host)
  }

  unmount() {
    this.#panel.unmount()
  }

  toggle() {
    void this.#actions.toggle(!this.#store.state.on)
  }

  /** Ask for the name of a new template, or say why there can be none. */
  async newWorkflow() {
    const { state } = this.#store
    if (state.publish) return
    if (isPort(state)) {
      this.#comfy.toast('info', t('command.port'))
      return
    }
    if (!connected(state)) await this.#actions.refresh()
    if (connected(this.#store.state)) this.#nameDialog.open()
    else this.#comfy.toast('warn', t('command.notConnected'), t('setup.notConnected.hint'))
  }

  /**
   * @param {RequestInit} options of a POST /prompt
   * @param {(options: RequestInit) => Promise<Response>} send
   */
  async sendPrompt(options, send) {
    if (!this.#store.state.status) await this.#actions.askStatus() // it may say where all runs go
    if (this.#store.state.publish) return refused(t('lock.noRun'))
    return sendMarked(options, this.#mark(), send)
  }

  /** @returns {import('./mark.mjs').Mark} what this tab's next prompt carries */
  #mark() {
    const { on, template } = this.#store.state
    // The server routes every prompt by itself then, and may have a template of its own for it.
    if (routesAll(this.#store.state)) return template ? { template } : null
    return on ? { template } : null
  }

  #makeNameDialog() {
    return new NameDialog({
      check: (name, signal) => this.#server.checkName(name, signal),
      preflight: async (signal) =>
        this.#server.preflight(await this.#comfy.graph(), signal),
      showNodes: (nodes) => this.#canvas.outline(nodes),
      push: (models) => void this.#library.move('push', models),
      picture: () => this.#canvas.lastPicture(),
      chosen: (name) =>
        this.#store.state.templates.items.find((each) => each.name === name)?.parameters ?? [],
      publish: (name, wish) => this.#publishing.start(name, wish),
    })
  }

  #loadStyles() {
    for (const name of STYLES) {
      const href = new URL(`${name}.css`, import.meta.url).href
      document.head.append(h('link', { rel: 'stylesheet', href }))
    }
  }

  /**
   * Speak ComfyUI's language. Nothing waits for the words.
   *
   * @param {string} language
   */
  #speak(language) {
    void setLocale(language).then((changed) => {
      if (!changed) return
      this.#nameDialog = this.#makeNameDialog()
      this.#panel.redraw()
      this.#runButton.draw()
      this.#lock.draw()
    })
  }
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
