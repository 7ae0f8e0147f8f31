/**
 * What is on ComfyUI's canvas: its graph, whose it is, its last picture. With comfy.mjs the only
 * file that touches ComfyUI's page.
 *
 * Whose a canvas is stands in the graph itself (`extra.promptOnAws`), so that it stays true over
 * ComfyUI's own tabs, its saved files, and a reload.
 */

/** @typedef {typeof import('../../../scripts/app.js').app} App */
/** @typedef {typeof import('../../../scripts/api.js').api} Api */

/**
 * @typedef {object} Mark
 * @property {string} template name of the template that the canvas belongs to; empty for Local
 * @property {number} [version] the published version that it began as
 * @property {string} [print] fingerprint of that version as this page shows it
 * @property {string} [tab] the browser's tab that kept it as a draft
 * @property {string} [place] ComfyUI's tab in it
 * @property {number} [saved] when, in seconds since the epoch
 * @property {string} [lent] fingerprint of what a job lent the canvas, as this page shows it
 */

/** @typedef {Record<string, any>} Workflow */

/** @typedef {Record<string, any>} Prompt */

const KEY = 'promptOnAws'

const COVER_SIDE = 512

const TYPED_INTO = 'input:not([type=checkbox]), textarea, [contenteditable]'

/** Outline of the nodes that kept a publish from going on. */
const PROBLEM_STROKE = { color: 'red' }

export class Canvas {
  #app
  #api
  #learn
  /** @type {Set<string>} what has been asked for already */
  #asked = new Set()
  /** @type {any[]} nodes that are outlined */
  #outlined = []

  /**
   * @param {App} app
   * @param {Api} api
   * @param {() => Promise<void>} learn brings what nodes and choices there are now
   */
  constructor(app, api, learn) {
    this.#app = app
    this.#api = api
    this.#learn = learn
  }

  /** @returns {any} the whole graph, also while a subgraph is shown */
  get #graph() {
    const app = /** @type {any} */ (this.#app)
    return app.rootGraph ?? app.graph
  }

  /** @returns {any} ComfyUI's open workflows */
  get #tabs() {
    return /** @type {any} */ (this.#app.extensionManager).workflow
  }

  /** ComfyUI's tab that shows the canvas. */
  get place() {
    return String(this.#tabs.activeWorkflow?.path ?? '')
  }

  /** @returns {Workflow} as ComfyUI saves it */
  workflow() {
    return this.#graph.serialize()
  }

  /** @returns {Mark | null} */
  get mark() {
    return this.#graph ? markOf(this.#graph) : null
  }

  /** @param {Mark} mark */
  set mark(mark) {
    this.#graph.extra = { ...this.#graph.extra, [KEY]: mark }
  }

  /** @param {(workflow: Workflow) => void} listener told of every change that a person makes */
  onChange(listener) {
    this.#api.addEventListener(/** @type {any} */ ('graphChanged'), (/** @type {any} */ event) =>
      listener(event.detail?.nodes ? event.detail : this.workflow())
    )
  }

  /**
   * Show a workflow, in the tab that shows this environment already where there is one.
   *
   * @param {Workflow} workflow
   * @param {string} name of a new tab
   * @param {Mark} mark
   * @param {Prompt} [prompt] the same graph as it is queued
   */
  async open(workflow, name, mark, prompt = {}) {
    await this.#meet(workflow, prompt)
    const own = marked(workflow, mark)
    const open = /** @type {any[]} */ (this.#tabs.openWorkflows ?? []).filter((each) => {
      const shown = markOf(each.activeState)
      return each.isTemporary && shown?.template === mark.template && !shown.lent
    })
    const tab = open.find((each) => each.path === mark.place) ?? open[0]
    await this.#app.loadGraphData(/** @type {any} */ (own), true, true, tab ?? name)
  }

  /**
   * Learn what others have published since the page was opened, before it is shown. What nobody has
   * is asked for once.
   *
   * @param {Workflow} workflow
   * @param {Prompt} prompt
   */
  async #meet(workflow, prompt) {
    const news = strange(workflow, prompt).filter((each) => !this.#asked.has(each))
    for (const each of news) this.#asked.add(each)
    if (news.length > 0) await this.#learn()
  }

  /**
   * Show what a job was sent with, in a tab of its own: lent, until somebody changes it.
   *
   * @param {Aws.JobRequest} request
   * @param {string} name of the tab
   */
  async openJob({ workflow, prompt }, name) {
    const app = /** @type {any} */ (this.#app)
    await this.#meet(workflow ?? {}, prompt)
    const template = ownerOf(workflow ?? {})
    const lent = (/** @type {string} */ print) => ({ template, lent: print })
    if (workflow) await app.loadGraphData(marked(workflow, lent('loading')), true, true, name)
    else await app.loadApiJson(prompt, name)
    this.mark = lent(fingerprint(this.workflow()))
  }

  /**
   * Whether the canvas shows the graph that a job was sent with, as far as its nodes go.
   *
   * @param {Aws.JobRequest} request
   */
  shows({ workflow, prompt }) {
    const has = (/** @type {string} */ id) => this.#nodeOf(id) !== undefined
    const ids = Object.keys(prompt)
    if (workflow?.id && this.#graph.id && workflow.id !== this.#graph.id) return false
    return ids.every(has) && ids.every((id) => id.includes(':') || this.#typeFits(id, prompt[id]))
  }

  /**
   * @param {string} id
   * @param {{class_type: string}} node
   */
  #typeFits(id, node) {
    return this.#nodeOf(id)?.comfyClass === node.class_type
  }

  /** @param {string} id of a node, or of one in a subgraph's node on the canvas */
  #nodeOf(id) {
    const root = id.split(':')[0] ?? id
    return this.#graph.getNodeById(Number(root)) ?? this.#graph.getNodeById(root) ?? undefined
  }

  /**
   * Let the canvases of a template belong to its new name.
   *
   * @param {string} name
   * @param {string} renamed
   */
  rename(name, renamed) {
    const open = /** @type {any[]} */ (this.#tabs.openWorkflows ?? [])
    for (const graph of [this.#graph, ...open.map((each) => each.activeState)]) {
      const mark = graph ? markOf(graph) : null
      if (mark?.template === name) graph.extra[KEY] = { ...mark, template: renamed }
    }
  }

  /**
   * The result that the canvas shows: the picture of the last output node that has one.
   *
   * @returns {string} a data URL of a small picture; empty when there is none
   */
  lastPicture() {
    const nodes = /** @type {any[]} */ (this.#graph.nodes ?? [])
    const shown = nodes.flatMap((node) => {
      const [image] = node.imgs ?? []
      return image?.naturalWidth && !image.src.includes('type=input') ? [image] : []
    })
    const image = shown.at(-1)
    if (!image) return ''
    const scale = Math.min(1, COVER_SIDE / Math.max(image.naturalWidth, image.naturalHeight))
    const small = document.createElement('canvas')
    small.width = Math.max(1, Math.round(image.naturalWidth * scale))
    small.height = Math.max(1, Math.round(image.naturalHeight * scale))
    small.getContext('2d')?.drawImage(image, 0, 0, small.width, small.height)
    return small.toDataURL('image/webp', 0.9)
  }

  /**
   * Select a node of the graph that is shown, and leave the view where it is. Who types, or has a
   * finger on the mouse, is not disturbed.
   *
   * @param {string} id as ComfyUI's errors name it
   */
  select(id) {
    const { canvas } = /** @type {any} */ (this.#app)
    const node = this.#nodeOf(id)
    const types = document.activeElement?.matches(TYPED_INTO)
    if (!node || types || canvas.graph !== this.#graph || canvas.pointer?.isDown) return
    canvas.selectNodes([node])
    canvas.setDirty?.(true, true)
  }

  /**
   * Outline nodes, select them and bring the first into view; the outline of others goes.
   *
   * @param {string[]} ids as ComfyUI's errors name them; "7:3" is node 3 of subgraph node 7
   */
  outline(ids) {
    for (const node of this.#outlined) delete node.strokeStyles?.[KEY]
    const roots = [...new Set(ids.map((id) => id.split(':')[0] ?? id))]
    this.#outlined = roots.flatMap((id) => this.#nodeOf(id) ?? [])
    for (const node of this.#outlined) {
      if (node.strokeStyles) node.strokeStyles[KEY] = () => PROBLEM_STROKE
    }
    const { canvas } = /** @type {any} */ (this.#app)
    const [first] = this.#outlined
    if (first) {
      if (canvas.graph !== this.#graph) canvas.setGraph?.(this.#graph)
      canvas.selectNodes(this.#outlined)
      canvas.centerOnNode(first)
    }
    canvas.setDirty?.(true, true)
  }
}

/**
 * @param {Workflow} workflow
 * @returns {Mark | null}
 */
export function markOf(workflow) {
  const mark = workflow?.extra?.[KEY]
  return mark && typeof mark.template === 'string' ? mark : null
}

/**
 * The environment that a canvas belongs to: a template's name, empty for Local.
 *
 * @param {Workflow} workflow
 */
export function ownerOf(workflow) {
  return markOf(workflow)?.template ?? ''
}

/**
 * @param {Workflow} workflow
 * @param {Mark} mark
 * @returns {Workflow}
 */
export function marked(workflow, mark) {
  return { ...workflow, extra: { ...workflow.extra, [KEY]: mark } }
}

/**
 * A workflow as others get it.
 *
 * @param {Workflow} workflow
 * @returns {Workflow}
 */
export function unmarked(workflow) {
  const extra = { ...workflow.extra }
  delete extra[KEY]
  return { ...workflow, extra }
}

/**
 * What the page does not know of a graph: classes of nodes, and choices such as a model's name.
 *
 * @param {Workflow} workflow
 * @param {Prompt} prompt
 * @returns {string[]}
 */
function strange({ nodes = [], definitions }, prompt) {
  const known = /** @type {any} */ (window).LiteGraph.registered_node_types
  const subgraphs = /** @type {Workflow[]} */ (definitions?.subgraphs ?? [])
  const own = new Set(subgraphs.map(({ id }) => id))
  const drawn = [nodes, ...subgraphs.map((each) => each.nodes ?? [])].flat().map(({ type }) => type)
  const sent = Object.values(prompt)
  const types = [...drawn, ...sent.map((node) => node.class_type)]
  const choices = sent.flatMap(({ class_type: type, inputs }) => {
    const { required, optional } = known[type]?.nodeData?.input ?? {}
    return Object.entries(inputs ?? {}).flatMap(([name, value]) => {
      const [kind, more] = required?.[name] ?? optional?.[name] ?? []
      const offered = Array.isArray(kind) ? kind : more?.options
      const isKnown = typeof value !== 'string' || !Array.isArray(offered) || offered.includes(value)
      return isKnown ? [] : [`${type} ${name} ${value}`]
    })
  })
  return [...types.filter((type) => !known[type] && !own.has(type)), ...choices]
}

/**
 * Tells two graphs apart by what a person can change in them: not by the view, by sizes, which a
 * page may set by itself, or by the numbers of links.
 *
 * @param {Workflow} workflow
 * @returns {string}
 */
export function fingerprint(workflow) {
  const { nodes = [], links = [], groups = [], definitions } = workflow
  const subgraphs = /** @type {Workflow[]} */ (definitions?.subgraphs ?? [])
  return hash(
    JSON.stringify([
      nodes.map(nodeFacts).sort(),
      /** @type {any[]} */ (links).map(linkFacts).sort(),
      /** @type {any[]} */ (groups).map(({ title, bounding, color }) => [title, bounding, color]),
      subgraphs.map((each) => [each.id, each.name, fingerprint(each)]),
    ])
  )
}

/** @param {Record<string, any>} node */
function nodeFacts({ id, type, mode, title, pos, widgets_values: values, color, flags }) {
  const place = Object.values(pos ?? []).map((each) => Math.round(Number(each)))
  return JSON.stringify([id, type, mode, title, place, values, color, flags?.collapsed])
}

/** @param {any} link */
function linkFacts(link) {
  const ends = Array.isArray(link)
    ? link.slice(1, 5)
    : [link.origin_id, link.origin_slot, link.target_id, link.target_slot]
  return JSON.stringify(ends)
}

/**
 * 64 bits, by two rounds of FNV-1a: equal texts are told, nobody is kept from making some.
 *
 * @param {string} text
 */
function hash(text) {
  const round = (/** @type {number} */ seed) => {
    let value = seed
    for (let at = 0; at < text.length; at += 1) {
      value = Math.imul(value ^ text.charCodeAt(at), 0x01000193)
    }
    return (value >>> 0).toString(16).padStart(8, '0')
  }
  return round(0x811c9dc5) + round(0x1b873593)
}
