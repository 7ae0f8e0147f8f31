/**
 * What can be done with a job: run again, its workflow and its progress on the canvas, its log.
 */

import { told } from './actions.mjs'
import { problemOf } from './api.mjs'
import { t } from './i18n.mjs'

export class JobDesk {
  #server
  #comfy
  #store
  #actions
  #canvas
  #environments

  /**
   * @param {object} parts
   * @param {import('./api.mjs').Server} parts.server
   * @param {import('./comfy.mjs').Comfy} parts.comfy
   * @param {import('./store.mjs').Store} parts.store
   * @param {import('./actions.mjs').Actions} parts.actions
   * @param {import('./canvas.mjs').Canvas} parts.canvas
   * @param {import('./environments.mjs').Environments} parts.environments
   */
  constructor({ server, comfy, store, actions, canvas, environments }) {
    this.#server = server
    this.#comfy = comfy
    this.#store = store
    this.#actions = actions
    this.#canvas = canvas
    this.#environments = environments
  }

  /**
   * The same prompt as a new job: its seeds, too, stay as they were.
   *
   * @param {Aws.Job} job
   */
  again(job) {
    return this.#try(t('jobs.againFailed'), async () => {
      const { prompt, outputs, extra_data: extra } = await this.#server.jobRequest(job.id)
      const aws = { template: job.template }
      const answer = await this.#comfy.queue(prompt, outputs, { ...extra, aws })
      if (answer.prompt_id) return
      const message = answer.error?.message ?? t('jobs.refused')
      const { node_errors: nodes } = answer
      this.#comfy.toast('error', t('jobs.againFailed'),
        told({ code: '', message, hint: '', ...(nodes && { node_errors: nodes }) }))
    })
  }

  /**
   * Its workflow on the canvas, in a tab of its own, with the values that it ran with.
   *
   * @param {Aws.Job} job
   */
  load(job) {
    return this.#try(t('jobs.loadFailed'), async () => {
      await this.#open(job, await this.#server.jobRequest(job.id))
    })
  }

  /**
   * Its progress on the canvas, in place of another job's.
   *
   * @param {Aws.Job} job
   */
  show(job) {
    return this.#try(t('jobs.showFailed'), async () => {
      await this.#bring(job)
      await this.#server.showJob(job.id, this.#comfy.clientId)
    })
  }

  /**
   * The node that failed, selected and in view.
   *
   * @param {Aws.Job} job
   */
  showNode(job) {
    return this.#try(t('jobs.loadFailed'), async () => {
      await this.#bring(job)
      this.#canvas.outline([job.facts.error?.node_id ?? ''])
    })
  }

  /** Listen to the server; once a page. */
  listen() {
    this.#comfy.on('aws.job', ({ job }) => void this.#select(job))
  }

  /**
   * Select the node at which a job of the workflow on the canvas failed.
   *
   * @param {Aws.Job} job
   */
  async #select({ id, state, client_id: client, facts }) {
    const node = facts?.error?.node_id
    if (state !== 'failed' || !node || client !== this.#comfy.clientId) return
    try {
      if (this.#canvas.shows(await this.#server.jobRequest(id))) this.#canvas.select(node)
    } catch {
      // It is gone, or the line is down; the list of jobs tells the failure.
    }
  }

  /** Jobs that are older than those of the list. */
  async more() {
    const { jobs } = this.#store.state
    const last = jobs.items.at(-1)
    if (!last) return
    try {
      const { jobs: older, more } = await this.#server.olderJobs(last.created)
      const now = this.#store.state.jobs
      const known = new Set(now.items.map(({ id }) => id))
      const items = [...now.items, ...older.filter(({ id }) => !known.has(id))]
      this.#store.set({ jobs: { ...now, items }, olderJobs: more })
    } catch (error) {
      this.#comfy.toast('error', t('jobs.moreFailed'), told(problemOf(error)))
    }
  }

  /** @param {string} id */
  cancel(id) {
    return this.#actions.cancelJob(id)
  }

  /**
   * @param {string} route
   * @returns {string} its address, for what the browser itself fetches
   */
  url(route) {
    return this.#comfy.url(route)
  }

  /** @param {Aws.Job} job */
  async #bring(job) {
    const request = await this.#server.jobRequest(job.id)
    if (!this.#canvas.shows(request)) await this.#open(job, request)
  }

  /**
   * @param {Aws.Job} job
   * @param {Aws.JobRequest} request
   */
  async #open(job, request) {
    await this.#environments.flush() // nothing unsaved is lost
    await this.#canvas.openJob(request, `${job.template || t('jobs.canvas')} ${job.id.slice(0, 4)}`)
    this.#environments.loaded() // once more, as it is lent now
  }

  /**
   * @param {string} summary of what did not work
   * @param {() => Promise<void>} work
   */
  async #try(summary, work) {
    try {
      await work()
    } catch (error) {
      this.#comfy.toast('error', summary, told(problemOf(error)))
    }
  }
}
