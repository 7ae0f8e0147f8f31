/**
 * The /aws routes; docs/openapi.yaml describes them.
 */

import { locale, named as wordOf, t } from './i18n.mjs'

/** Jobs that are asked for at once. */
export const JOBS = 100

/** After so long nothing will come of a question. */
const GIVE_UP_MS = 60_000

/** The page is locked while it asks: it must learn soon that nobody answers. */
const LOCKED_MS = 5000

/** An answer other than 2xx, or none at all (`status` 0). */
export class ServerError extends Error {
  /**
   * @param {number} status HTTP status
   * @param {Aws.Problem} problem
   */
  constructor(status, problem) {
    super(problem.message)
    this.name = 'ServerError'
    this.status = status
    this.problem = problem
  }
}

/**
 * A problem of the server's in the page's language: what kind it is, and behind it what the server
 * itself says, which is English.
 *
 * @param {Aws.Problem} problem
 * @returns {Aws.Problem}
 */
export function spoken(problem) {
  const { code, message } = problem
  const kind = locale() === 'en' ? code : wordOf('error.code', code)
  // A kind that has no words is shown as the server says it.
  return kind === code ? problem : { ...problem, message: t('error.behind', { kind, message }) }
}

/**
 * What to tell the user of anything that was thrown.
 *
 * @param {unknown} error
 * @returns {Aws.Problem}
 */
export function problemOf(error) {
  if (error instanceof ServerError) return error.problem
  console.error('[aws]', error)
  return { code: 'page', message: error instanceof Error ? error.message : String(error), hint: '' }
}

/**
 * @callback Upload sends a file as a request's body; its promise is rejected as fetch's is
 * @param {string} route
 * @param {Blob} file
 * @param {(done: number) => void} progress
 * @param {AbortSignal} signal
 * @returns {Promise<{ok: boolean, status: number, text: string}>}
 */

export class Server {
  #fetch
  #upload

  /**
   * @param {(route: string, options?: RequestInit) => Promise<Response>} fetch ComfyUI's own
   * @param {Upload} [upload] left out by a page that sends no files
   */
  constructor(fetch, upload = () => Promise.reject(new TypeError('No upload.'))) {
    this.#fetch = fetch
    this.#upload = upload
  }

  /** @returns {Promise<Aws.Status>} */
  status() {
    return this.#call('GET', '/aws/status')
  }

  /**
   * @param {'start' | 'stop'} action
   * @returns {Promise<Aws.Status>}
   */
  stack(action) {
    return this.#call('POST', '/aws/stack', { action })
  }

  /** @returns {Promise<Aws.Template[]>} */
  async templates() {
    return (await this.#call('GET', '/aws/templates')).templates
  }

  /**
   * @param {string} name
   * @param {AbortSignal} signal
   * @returns {Promise<{ok: boolean, error: Aws.Problem | null}>}
   */
  async checkName(name, signal) {
    const { ok, error } = await this.#call('POST', '/aws/templates/check', { name }, signal)
    return { ok, error: error && spoken(error) }
  }

  /**
   * @param {string} name
   * @returns {Promise<Aws.TemplateContent>}
   */
  template(name) {
    return this.#call('GET', `/aws/templates/${encodeURIComponent(name)}`)
  }

  /**
   * @param {string} name
   * @param {{endpoint?: string, description?: string, parameters?: Aws.ChosenInput[]}} changes
   * @returns {Promise<Aws.Template>}
   */
  async changeTemplate(name, changes) {
    const route = `/aws/templates/${encodeURIComponent(name)}`
    return (await this.#call('PATCH', route, changes)).template
  }

  /** @param {string} name */
  deleteTemplate(name) {
    return this.#call('DELETE', `/aws/templates/${encodeURIComponent(name)}`)
  }

  /**
   * What a template's form shows.
   *
   * @param {string} name
   * @param {boolean} [every] what it could show, too
   * @returns {Promise<{version: number, parameters: Aws.Parameter[]}>}
   */
  parameters(name, every = false) {
    const route = `/aws/templates/${encodeURIComponent(name)}/parameters`
    return this.#call('GET', every ? `${route}?all=1` : route)
  }

  /**
   * @param {string} name
   * @param {string} renamed
   */
  renameTemplate(name, renamed) {
    return this.#call('POST', `/aws/templates/${encodeURIComponent(name)}/rename`, { name: renamed })
  }

  /**
   * @param {string} name
   * @returns {Promise<Aws.VersionFacts[]>} ascending
   */
  async versions(name) {
    return (await this.#call('GET', `/aws/templates/${encodeURIComponent(name)}/versions`)).versions
  }

  /**
   * @param {string} name
   * @param {number} before a version
   * @param {number} after another one
   * @returns {Promise<Aws.Change[]>}
   */
  async changes(name, before, after) {
    const asked = query({ before: String(before), after: String(after) })
    const route = `/aws/templates/${encodeURIComponent(name)}/diff?${asked}`
    return (await this.#call('GET', route)).changes
  }

  /**
   * @param {string} name
   * @param {number} version
   */
  rollBack(name, version) {
    return this.#call('POST', `/aws/templates/${encodeURIComponent(name)}/rollback`, { version })
  }

  /**
   * @param {string} name
   * @param {boolean} withBlobs
   */
  async exportTemplate(name, withBlobs) {
    const asked = query({ blobs: withBlobs ? '1' : '0' })
    const route = `/aws/templates/${encodeURIComponent(name)}/export?${asked}`
    return (await this.#answer(route, { cache: 'no-store' })).blob()
  }

  /**
   * @param {Blob} file
   * @param {string} name
   * @param {AbortSignal} signal
   * @returns {Promise<Aws.Template>}
   */
  async importTemplate(file, name, signal) {
    const route = `/aws/templates/import?${query({ name })}`
    const headers = { 'Content-Type': 'application/zip' }
    const response = await this.#answer(route, { method: 'POST', body: file, headers, signal })
    return (await response.json()).template
  }

  /**
   * What publishing a prompt would send.
   *
   * @param {{prompt: object, workflow: object}} graph
   * @param {AbortSignal} signal
   * @returns {Promise<Aws.Preflight>}
   */
  preflight({ prompt, workflow }, signal) {
    return this.#call('POST', '/aws/preflight', { prompt, workflow }, signal)
  }

  /** @returns {Promise<Aws.SettingsInForce>} */
  settings() {
    return this.#call('GET', '/aws/settings')
  }

  /**
   * @param {Partial<Aws.Settings>} changes
   * @returns {Promise<Aws.SettingsInForce>}
   */
  saveSettings(changes) {
    return this.#call('PUT', '/aws/settings', changes)
  }

  /** @returns {Promise<Aws.Check[]>} */
  async testConnection() {
    return (await this.#call('POST', '/aws/test')).checks
  }

  /** @returns {Promise<Aws.Publish[]>} */
  async publishes() {
    return (await this.#call('GET', '/aws/publishes')).publishes
  }

  /**
   * @param {Aws.PublishRequest} request
   * @returns {Promise<Aws.Publish>}
   */
  async publish(request) {
    return (await this.#call('POST', '/aws/publishes', request)).publish
  }

  /**
   * @param {string} id
   * @returns {Promise<Aws.Publish>}
   */
  async publishState(id) {
    const route = `/aws/publishes/${encodeURIComponent(id)}`
    return (await this.#call('GET', route, undefined, AbortSignal.timeout(LOCKED_MS))).publish
  }

  /** @param {string} id */
  cancelPublish(id) {
    const route = `/aws/publishes/${encodeURIComponent(id)}`
    return this.#call('DELETE', route, undefined, AbortSignal.timeout(LOCKED_MS))
  }

  /** @returns {Promise<Aws.Endpoint[]>} */
  async endpoints() {
    return (await this.#call('GET', '/aws/endpoints')).endpoints
  }

  /**
   * @param {Aws.EndpointRequest} request
   * @returns {Promise<Aws.Endpoint>}
   */
  async createEndpoint(request) {
    return (await this.#call('POST', '/aws/endpoints', request)).endpoint
  }

  /** @param {string} name */
  deleteEndpoint(name) {
    return this.#call('DELETE', `/aws/endpoints/${encodeURIComponent(name)}`)
  }

  /**
   * @param {string} name
   * @param {Aws.EndpointLimits} limits
   * @returns {Promise<Aws.Endpoint>}
   */
  async changeEndpoint(name, limits) {
    return (await this.#call('PATCH', `/aws/endpoints/${encodeURIComponent(name)}`, limits)).endpoint
  }

  /**
   * @param {string} name
   * @param {'wake' | 'sleep'} action
   * @returns {Promise<Aws.Endpoint>}
   */
  async moveEndpoint(name, action) {
    const route = `/aws/endpoints/${encodeURIComponent(name)}/${action}`
    return (await this.#call('POST', route)).endpoint
  }

  /**
   * @param {string} name
   * @returns {Promise<Aws.Start | null>} null when no instance is on its way
   */
  async endpointStart(name) {
    return (await this.#call('GET', `/aws/endpoints/${encodeURIComponent(name)}/start`)).start
  }

  /** @returns {Promise<Aws.InstanceType[]>} */
  async instanceTypes() {
    return (await this.#call('GET', '/aws/instance-types')).instance_types
  }

  /** @returns {Promise<Aws.Job[]>} the latest, newest first */
  async jobs() {
    return (await this.#call('GET', `/aws/jobs?${query({ limit: String(JOBS) })}`)).jobs
  }

  /**
   * @param {number} before seconds since the epoch
   * @returns {Promise<{jobs: Aws.Job[], more: boolean}>}
   */
  olderJobs(before) {
    const asked = query({ limit: String(JOBS), before: String(before) })
    return this.#call('GET', `/aws/jobs?${asked}`)
  }

  /**
   * @param {string} id
   * @returns {Promise<Aws.JobRequest>}
   */
  jobRequest(id) {
    return this.#call('GET', `/aws/jobs/${encodeURIComponent(id)}/request`)
  }

  /**
   * Have a job drawn on the canvas of a page.
   *
   * @param {string} id
   * @param {string} clientId of the page's websocket
   */
  showJob(id, clientId) {
    return this.#call('POST', `/aws/jobs/${encodeURIComponent(id)}/show`, { client_id: clientId })
  }

  /**
   * @param {string} id
   * @returns {Promise<Aws.Job>}
   */
  async cancelJob(id) {
    return (await this.#call('POST', `/aws/jobs/${encodeURIComponent(id)}/cancel`)).job
  }

  /** @returns {Promise<Aws.Models>} */
  models() {
    return this.#call('GET', '/aws/models')
  }

  /**
   * @param {Aws.ModelName} model
   * @returns {Promise<Aws.ModelUser[]>}
   */
  async modelUsers({ folder, name }) {
    return (await this.#call('GET', `/aws/models/users?${query({ folder, name })}`)).users
  }

  /**
   * @param {Aws.ModelName} model
   * @param {'here' | 'bucket'} place
   */
  deleteModel({ folder, name }, place) {
    return this.#call('DELETE', `/aws/models?${query({ folder, name, place })}`)
  }

  /**
   * @param {Aws.FetchRequest} request
   * @returns {Promise<Aws.Transfer[]>}
   */
  async fetchModel(request) {
    return (await this.#call('POST', '/aws/models/url', request)).transfers
  }

  /**
   * @param {'push' | 'pull'} direction
   * @param {Aws.ModelName[]} models
   * @returns {Promise<Aws.Transfer[]>}
   */
  async moveModels(direction, models) {
    const named = models.map(({ folder, name }) => ({ folder, name }))
    return (await this.#call('POST', `/aws/models/${direction}`, { models: named })).transfers
  }

  /**
   * @param {Aws.ModelName} model
   * @param {Blob} file
   * @param {(done: number) => void} progress
   * @param {AbortSignal} signal
   */
  async uploadModel({ folder, name }, file, progress, signal) {
    const route = `/aws/models/upload?${query({ folder, name })}`
    let answer
    try {
      answer = await this.#upload(route, file, progress, signal)
    } catch (error) {
      if (signal.aborted) throw error
      throw offline()
    }
    if (!answer.ok) throw refused(answer.status, parsed(answer.text))
  }

  /** @returns {Promise<Aws.Transfer[]>} */
  async transfers() {
    return (await this.#call('GET', '/aws/models/transfers')).transfers
  }

  /**
   * @param {string} id
   * @returns {Promise<Aws.Transfer>}
   */
  async stopTransfer(id) {
    const route = `/aws/models/transfers/${encodeURIComponent(id)}`
    return (await this.#call('DELETE', route)).transfer
  }

  /**
   * @param {Record<string, string>} wishes
   * @param {AbortSignal} signal
   * @returns {Promise<Aws.LogPage>}
   */
  logs(wishes, signal) {
    return this.#call('GET', `/aws/logs?${query(wishes)}`, undefined, signal)
  }

  /**
   * @param {string} method
   * @param {string} route
   * @param {object} [body]
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>} the JSON of a 2xx answer; null when it has none
   */
  async #call(method, route, body, signal) {
    const patience = method === 'GET' ? AbortSignal.timeout(GIVE_UP_MS) : null
    /** @type {RequestInit} */
    const options = { method, signal: signal ?? patience, cache: 'no-store' }
    if (body) {
      options.body = JSON.stringify(body)
      options.headers = { 'Content-Type': 'application/json' }
    }
    return parsed(await (await this.#answer(route, options)).text())
  }

  /**
   * @param {string} route
   * @param {RequestInit} options
   * @returns {Promise<Response>} a 2xx answer
   */
  async #answer(route, options) {
    let response
    try {
      response = await this.#fetch(route, options)
    } catch (error) {
      if (options.signal?.aborted && !isTimeout(error)) throw error
      throw offline()
    }
    if (response.ok) return response
    throw refused(response.status, parsed(await response.text()))
  }
}

/** @param {Record<string, string>} values */
function query(values) {
  return new URLSearchParams(values).toString()
}

/** @param {unknown} error */
function isTimeout(error) {
  return error instanceof DOMException && error.name === 'TimeoutError'
}

function offline() {
  const lost = { code: 'offline', message: t('error.offline'), hint: t('error.offline.hint') }
  return new ServerError(0, lost)
}

/**
 * @param {number} status HTTP status
 * @param {any} answer
 */
function refused(status, answer) {
  const problem = answer?.error?.message ? answer.error : unexpected(status)
  return new ServerError(status, spoken({ hint: '', ...problem }))
}

/** @param {string} text */
function parsed(text) {
  try {
    return text ? JSON.parse(text) : null
  } catch {
    return null
  }
}

/** @param {number} status HTTP status */
function unexpected(status) {
  const hint = status === 404 ? t('error.noRoute.hint') : t('error.unexpected.hint')
  return { code: 'http', message: t('error.unexpected', { status }), hint }
}
