/**
 * The /aws routes; docs/openapi.yaml describes them.
 */

import { t } from './i18n.js'

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

export class Server {
  #fetch

  /** @param {(route: string, options?: RequestInit) => Promise<Response>} fetch ComfyUI's own */
  constructor(fetch) {
    this.#fetch = fetch
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
  checkName(name, signal) {
    return this.#call('POST', '/aws/templates/check', { name }, signal)
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
   * @param {{endpoint?: string, description?: string}} changes
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
   * @returns {Promise<{version: number, parameters: Aws.Parameter[]}>}
   */
  parameters(name) {
    return this.#call('GET', `/aws/templates/${encodeURIComponent(name)}/parameters`)
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
    return (await this.#call('GET', `/aws/publishes/${encodeURIComponent(id)}`)).publish
  }

  /** @param {string} id */
  cancelPublish(id) {
    return this.#call('DELETE', `/aws/publishes/${encodeURIComponent(id)}`)
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

  /** @returns {Promise<Aws.Job[]>} */
  async jobs() {
    return (await this.#call('GET', '/aws/jobs')).jobs
  }

  /**
   * @param {string} id
   * @returns {Promise<Aws.Job>}
   */
  async cancelJob(id) {
    return (await this.#call('POST', `/aws/jobs/${encodeURIComponent(id)}/cancel`)).job
  }

  /**
   * @param {string} method
   * @param {string} route
   * @param {object} [body]
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>} the JSON of a 2xx answer; null when it has none
   */
  async #call(method, route, body, signal) {
    /** @type {RequestInit} */
    const options = { method, signal: signal ?? null, cache: 'no-store' }
    if (body) {
      options.body = JSON.stringify(body)
      options.headers = { 'Content-Type': 'application/json' }
    }
    let response
    try {
      response = await this.#fetch(route, options)
    } catch (error) {
      if (signal?.aborted) throw error
      const lost = { code: 'offline', message: t('error.offline'), hint: t('error.offline.hint') }
      throw new ServerError(0, lost)
    }
    const text = await response.text()
    const answer = parsed(text)
    if (response.ok) return answer
    const problem = answer?.error?.message ? answer.error : unexpected(response)
    throw new ServerError(response.status, { hint: '', ...problem })
  }
}

/** @param {string} text */
function parsed(text) {
  try {
    return text ? JSON.parse(text) : null
  } catch {
    return null
  }
}

/** @param {Response} response */
function unexpected(response) {
  const hint = response.status === 404 ? t('error.noRoute.hint') : t('error.unexpected.hint')
  return { code: 'http', message: t('error.unexpected', { status: response.status }), hint }
}
