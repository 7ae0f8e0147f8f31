/**
 * Registers the extension in ComfyUI's page: the only file here with side effects.
 */

import { api } from '../../../scripts/api.js'
import { app } from '../../../scripts/app.js'
import { Actions } from './actions.js'
import { Server } from './api.js'
import { Canvas } from './canvas.js'
import { Comfy } from './comfy.js'
import { CostNotice } from './cost_notice.js'
import { h } from './dom.js'
import { Drafts } from './drafts.js'
import { Environments } from './environments.js'
import { Fleet } from './fleet.js'
import { setLocale, t } from './i18n.js'
import { JobDesk } from './job_desk.js'
import { Library } from './library.js'
import { PromptMarker } from './mark.js'
import { Publishing } from './publishing.js'
import { Session } from './session.js'
import { Shelf } from './shelf.js'
import { Stash } from './stash.js'
import { connected, isPort, routesAll, Store } from './store.js'
import { LockDialog } from './views/lock_dialog.js'
import { NameDialog } from './views/name_dialog.js'
import { Panel } from './views/panel.js'
import { RunButton } from './views/run_button.js'

const TAB = 'aws'

/** A page that is not ready by then is as ready as it will be. */
const READY_MS = 15_000

const comfy = new Comfy(app, api)
const server = new Server(
  (route, options) => comfy.fetch(route, options),
  (route, file, progress, signal) => comfy.upload(route, file, progress, signal)
)
const store = new Store()
const session = new Session(window.sessionStorage)
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
/** @type {(ready: Promise<unknown>) => void} */
let tellReady = () => {}
/** The page shows a graph and knows its server; sooner the end of a publish means nothing to it. */
const ready = new Promise((/** @type {(ready: Promise<unknown>) => void} */ resolve) => {
  tellReady = resolve
})
const fleet = new Fleet({ server, comfy, store, actions })
const desk = new JobDesk({ server, comfy, store, actions, canvas, environments })
const notice = new CostNotice(store, comfy, window.localStorage)
const shelf = new Shelf({ server, comfy, store, actions, environments })
const publishing = new Publishing({
  server,
  comfy,
  store,
  session,
  canvas,
  ready,
  onStart: () => environments.flush(),
  onDone: (name, version, print) => {
    if (environments.published(name, version, print)) actions.choose(name)
    void actions.reload('templates')
  },
})
const library = new Library(server, comfy)
const marker = new PromptMarker(mark, () => store.state.publish !== null)
let nameDialog = makeNameDialog()
const panel = new Panel({
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
  newWorkflow: () => void newWorkflow(),
})

/** @type {LockDialog | null} */
let lock = null
const runButton = new RunButton(store, actions, new AbortController().signal)

/** What this tab's next prompt carries; null when it runs here. */
function mark() {
  const { on, template } = store.state
  // The server routes every prompt by itself then, and may have a template of its own for it.
  if (routesAll(store.state)) return template ? { template } : null
  return on ? { template } : null
}

function makeNameDialog() {
  return new NameDialog({
    check: (name, signal) => server.checkName(name, signal),
    preflight: async (signal) => server.preflight((await comfy.graph()).prompt, signal),
    showNodes: (nodes) => canvas.outline(nodes),
    push: (models) => void library.move('push', models),
    picture: () => canvas.lastPicture(),
    chosen: (name) => store.state.templates.items.find((each) => each.name === name)?.parameters ?? [],
    publish: (name, wish) => publishing.start(name, wish),
  })
}

async function newWorkflow() {
  if (store.state.publish) return
  if (isPort(store.state)) {
    comfy.toast('info', t('command.port'))
    return
  }
  if (!connected(store.state)) await actions.refresh()
  if (connected(store.state)) nameDialog.open()
  else comfy.toast('warn', t('command.notConnected'), t('setup.notConnected.hint'))
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}

function loadStyle() {
  for (const name of [
    'aws.css',
    'templates.css',
    'models_logs.css',
    'jobs_endpoints.css',
    'port.css',
    'settings.css',
    'run_button.css',
  ]) {
    const href = new URL(name, import.meta.url).href
    document.head.append(h('link', { rel: 'stylesheet', href }))
  }
}

/**
 * Speak ComfyUI's language. Nothing waits for the words.
 *
 * @param {string} language
 */
function speak(language) {
  void setLocale(language).then((changed) => {
    if (!changed) return
    nameDialog = makeNameDialog()
    panel.redraw()
    runButton.draw()
    lock?.draw()
  })
}

/** The public place in ComfyUI's bar beside Run, for what is no menu. */
function showRunButton() {
  app.menu?.actionsGroup.element.append(runButton.element)
}

actions.onTurnedOn = () => notice.tell()
notice.follow()

// Before ComfyUI connects: it complains of messages that nobody listens to.
actions.listen()
publishing.listen()
environments.listen()
library.listen()
desk.listen()

app.registerExtension({
  name: 'PromptOnAws',
  commands: [
    {
      id: 'PromptOnAws.Toggle',
      label: t('command.toggle'),
      icon: 'pi pi-cloud',
      function: () => void actions.toggle(!store.state.on),
    },
    {
      id: 'PromptOnAws.NewWorkflow',
      label: t('command.newWorkflow'),
      icon: 'pi pi-cloud-upload',
      function: () => void newWorkflow(),
    },
  ],
  keybindings: [
    { combo: { key: 'l', ctrl: true, shift: true }, commandId: 'PromptOnAws.Toggle' },
    { combo: { key: 'l' }, commandId: `Workspace.ToggleSidebarTab.${TAB}` },
  ],
  aboutPageBadges: [
    { label: t('title'), url: 'https://github.com/prompt-on-aws/prompt-on-aws', icon: 'pi pi-cloud' },
  ],
  init() {
    loadStyle()
    speak(comfy.locale)
    marker.wrap(api)
    publishing.onConflict = (name, problem) => nameDialog.open(name, problem)
    publishing.lockAgain()
    const forever = new AbortController().signal
    store.watch(['status'], ({ status }) => {
      document.documentElement.dataset.awsRole = status?.role ?? ''
    }, forever)
    lock = new LockDialog(store, () => publishing.cancel(), forever)
  },
  afterConfigureGraph: () => environments.loaded(),
  setup() {
    app.extensionManager.registerSidebarTab({
      id: TAB,
      icon: 'pi pi-cloud',
      title: t('title'),
      tooltip: t('title'),
      type: 'custom',
      render: (/** @type {HTMLElement} */ host) => panel.mount(host),
      destroy: () => panel.unmount(),
    })
    comfy.onLocale(speak)
    showRunButton()
    // Not awaited: the page is ready before the server has answered.
    const refreshed = actions.refresh()
    void refreshed.then(() => environments.resume())
    tellReady(Promise.race([Promise.all([refreshed, environments.shown]), pause(READY_MS)]))
    void publishing.resume()
  },
})
