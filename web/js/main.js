/**
 * Registers the extension in ComfyUI's page, and loads the rest of it once that page is ready, or
 * as soon as it is needed.
 *
 * ComfyUI is not ready before it has imported every `.js` below the web folder, and what those
 * import. So this is the only one and imports nothing itself; all other modules are `.mjs`.
 * `scripts/*.js` only hand on what ComfyUI's page has at `window.comfyAPI`: two more requests.
 */

const { api } = window.comfyAPI?.api ?? (await import('../../../scripts/api.js'))
const { app } = window.comfyAPI?.app ?? (await import('../../../scripts/app.js'))

const TAB = 'aws'
const TITLE = 'Prompt on AWS'

/** What the server sends: ComfyUI complains of messages that nobody listens to. */
const EVENTS = ['aws.endpoint', 'aws.idle', 'aws.job', 'aws.model', 'aws.publish']

/** A page that is busy for longer is not waited for. */
const IDLE_MS = 3000

/** What is said while the other words are not there. */
const WORDS = {
  en: ['Loading…', 'Prompt on AWS could not be loaded. Reload the page.'],
  ja: ['読み込み中…', 'Prompt on AWS を読み込めませんでした。ページを再読み込みしてください。'],
  zh: ['正在加载…', '无法加载 Prompt on AWS。请重新加载页面。'],
}

/** @typedef {import('./page.mjs').AwsPage} AwsPage */

/** @type {Promise<AwsPage> | null} set once it is needed */
let loading = null
/** @type {AwsPage | null} set once it is there */
let loaded = null
/** @type {import('./canvas.mjs').Workflow | undefined} the graph that ComfyUI showed before that */
let shown
/** @type {HTMLElement | null} ComfyUI's element of the sidebar tab, while that is open */
let host = null

/** @returns {Promise<AwsPage>} loaded once; where that fails, the next one who asks tries again */
function page() {
  loading ??= load().catch((error) => {
    loading = null
    console.error('[aws] The page could not be loaded.', error)
    const [, failed] = words()
    say(failed)
    manager().toast.add({ severity: 'error', summary: TITLE, detail: failed })
    throw new Error(failed, { cause: error })
  })
  return loading
}

async function load() {
  const { AwsPage } = await import('./page.mjs')
  loaded = new AwsPage(app, api)
  if (shown) loaded.graphLoaded(shown)
  shown = undefined
  return loaded
}

/**
 * Do something with the page once it is there; that it cannot be loaded is said already.
 *
 * @param {(page: AwsPage) => void} action
 */
function withPage(action) {
  return page().then(action, () => {})
}

/** @returns {any} the type lacks half of what it has */
function manager() {
  return app.extensionManager
}

function words() {
  const language = String(manager().setting.get('Comfy.Locale')).slice(0, 2)
  return WORDS[/** @type {keyof typeof WORDS} */ (language)] ?? WORDS.en
}

/** @param {string} [text] shown in the open tab until the page is there */
function say(text = '') {
  const note = document.createElement('p')
  note.style.padding = '0 1rem'
  note.textContent = text
  host?.replaceChildren(note)
}

/** @returns {{on?: boolean, publish?: string}} what session.mjs has written of this tab */
function remembered() {
  try {
    return JSON.parse(window.sessionStorage.getItem('aws.tab') ?? '{}')
  } catch {
    return {}
  }
}

/**
 * Let the page say where each prompt goes. ComfyUI has no hook for a prompt's extra_data, so
 * `api.fetchApi` is wrapped for POST /prompt alone: Run, its shortcuts, batches, partial execution
 * and auto-queue all pass there.
 */
function wrapPrompts() {
  const original = api.fetchApi
  api.fetchApi = function fetchApi(route, options) {
    const send = (/** @type {RequestInit | undefined} */ sent) => original.call(this, route, sent)
    if (route !== '/prompt' || options?.method !== 'POST') return send(options)
    return sendPrompt(options, send)
  }
}

/**
 * @param {RequestInit} options
 * @param {(options: RequestInit) => Promise<Response>} send
 */
async function sendPrompt(options, send) {
  /** @type {AwsPage} */
  let aws
  try {
    aws = await page()
  } catch (error) {
    // What was to run on AWS does not run here because nobody could be asked.
    if (remembered().on) throw error
    return send(options)
  }
  return aws.sendPrompt(options, send)
}

/** @returns {Promise<unknown>} resolved once ComfyUI's page has nothing else to do */
function idle() {
  return new Promise((resolve) => {
    // Safari has none.
    if ('requestIdleCallback' in window) requestIdleCallback(resolve, { timeout: IDLE_MS })
    else setTimeout(resolve, IDLE_MS)
  })
}

for (const type of EVENTS) api.addEventListener(/** @type {`aws.${string}`} */ (type), () => {})

app.registerExtension({
  name: 'PromptOnAws',
  commands: [
    {
      id: 'PromptOnAws.Toggle',
      label: 'Toggle Prompt on AWS',
      icon: 'pi pi-cloud',
      function: () => void withPage((aws) => aws.toggle()),
    },
    {
      id: 'PromptOnAws.NewWorkflow',
      label: 'Publish the canvas as a template',
      icon: 'pi pi-cloud-upload',
      function: () => void withPage((aws) => aws.newWorkflow()),
    },
  ],
  keybindings: [
    { combo: { key: 'l', ctrl: true, shift: true }, commandId: 'PromptOnAws.Toggle' },
    { combo: { key: 'l' }, commandId: `Workspace.ToggleSidebarTab.${TAB}` },
  ],
  aboutPageBadges: [
    { label: TITLE, url: 'https://github.com/prompt-on-aws/prompt-on-aws', icon: 'pi pi-cloud' },
  ],
  async init() {
    wrapPrompts()
    // A page that was locked before a reload is locked again before anybody can touch it.
    if (remembered().publish) await withPage((aws) => aws.lockAgain())
  },
  afterConfigureGraph() {
    if (loaded) loaded.graphLoaded()
    else shown = (/** @type {any} */ (app).rootGraph ?? app.graph).serialize()
  },
  setup() {
    manager().registerSidebarTab({
      id: TAB,
      icon: 'pi pi-cloud',
      title: TITLE,
      tooltip: TITLE,
      type: 'custom',
      render: (/** @type {HTMLElement} */ element) => {
        host = element
        if (!loaded) say(words()[0])
        void withPage((aws) => host === element && aws.mount(element))
      },
      destroy: () => {
        host = null
        loaded?.unmount()
      },
    })
    // Not awaited: ComfyUI's page is ready before this one is there.
    void (loaded ? Promise.resolve() : idle()).then(() => withPage((aws) => aws.begin()))
  },
})
