/**
 * The shelf of templates: what is done to those in the bucket: renamed, edited, rolled back, taken out and in.
 */

import { problemOf } from './api.mjs'
import { t } from './i18n.mjs'

export class Shelf {
  #server
  #comfy
  #store
  #actions
  #environments

  /**
   * @param {object} parts
   * @param {import('./api.mjs').Server} parts.server
   * @param {import('./comfy.mjs').Comfy} parts.comfy
   * @param {import('./store.mjs').Store} parts.store
   * @param {import('./actions.mjs').Actions} parts.actions
   * @param {import('./environments.mjs').Environments} parts.environments
   */
  constructor({ server, comfy, store, actions, environments }) {
    this.#server = server
    this.#comfy = comfy
    this.#store = store
    this.#actions = actions
    this.#environments = environments
  }

  /**
   * @param {Aws.Template} template
   * @returns {string} the address of its cover; empty when it has none
   */
  coverOf({ name, cover }) {
    if (!cover) return ''
    return this.#comfy.url(`/aws/templates/${encodeURIComponent(name)}/cover?digest=${cover.digest}`)
  }

  /**
   * @param {string} name of a template
   * @returns {string} the address of its form, for people who never look at the graph
   */
  formOf(name) {
    return this.#comfy.url(`/aws/form?template=${encodeURIComponent(name)}`)
  }

  /** @type {import('./views/name_field.mjs').CheckName} */
  checkName = (name, signal) => this.#server.checkName(name, signal)

  /** @param {string} name */
  versions(name) {
    return this.#server.versions(name)
  }

  /**
   * @param {string} name
   * @param {number} before
   * @param {number} after
   */
  changes(name, before, after) {
    return this.#server.changes(name, before, after)
  }

  /**
   * Change a template's name, description and endpoint, as far as they differ.
   *
   * @param {Aws.Template} template
   * @param {{name: string, description: string, endpoint: string}} wish
   * @returns {Promise<Aws.Problem | null>}
   */
  async edit({ name, description, endpoint }, wish) {
    try {
      const changes = {
        ...(description !== wish.description && { description: wish.description }),
        ...(endpoint !== wish.endpoint && { endpoint: wish.endpoint }),
      }
      if (Object.keys(changes).length > 0) await this.#server.changeTemplate(name, changes)
      if (wish.name !== name) {
        await this.#server.renameTemplate(name, wish.name)
        await this.#environments.renamed(name, wish.name)
        if (this.#store.state.template === name) this.#actions.choose(wish.name)
      }
      await this.#actions.reload('templates')
      return null
    } catch (error) {
      await this.#actions.reload('templates')
      return problemOf(error)
    }
  }

  /**
   * @param {string} name
   * @returns {Promise<{shown: Aws.Parameter[], every: Aws.Parameter[]}>} what its form shows, and
   *   what it could
   */
  async parameters(name) {
    const [shown, every] = await Promise.all([
      this.#server.parameters(name),
      this.#server.parameters(name, true),
    ])
    return { shown: shown.parameters, every: every.parameters }
  }

  /**
   * Let a template's form show these parameters; none for those that are found by rule.
   *
   * @param {string} name
   * @param {Aws.ChosenInput[]} parameters
   * @returns {Promise<Aws.Problem | null>}
   */
  async choose(name, parameters) {
    try {
      await this.#server.changeTemplate(name, { parameters })
      await this.#actions.reload('templates')
      return null
    } catch (error) {
      return problemOf(error)
    }
  }

  /**
   * @param {string} name
   * @param {number} version that becomes the current one
   * @returns {Promise<Aws.Problem | null>}
   */
  async rollBack(name, version) {
    try {
      await this.#server.rollBack(name, version)
      await this.#actions.reload('templates')
      this.#comfy.toast('success', t('details.rolledBack', { name, version }))
      return null
    } catch (error) {
      return problemOf(error)
    }
  }

  /**
   * Save a version as a file.
   *
   * @param {string} name
   * @param {boolean} withFiles models, inputs and node packs, too
   * @returns {Promise<Aws.Problem | null>}
   */
  async export(name, withFiles) {
    try {
      const file = await this.#server.exportTemplate(name, withFiles)
      const link = document.createElement('a')
      link.href = URL.createObjectURL(file)
      link.download = `${name}.zip`
      link.click()
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
      return null
    } catch (error) {
      return problemOf(error)
    }
  }

  /**
   * Make a template of a file.
   *
   * @param {File} file
   * @param {string} name
   * @param {AbortSignal} signal
   * @returns {Promise<Aws.Problem | null>}
   */
  async import(file, name, signal) {
    try {
      const template = await this.#server.importTemplate(file, name, signal)
      await this.#actions.reload('templates')
      this.#comfy.toast('success', t('import.done', { name: template.name }))
      return null
    } catch (error) {
      return signal.aborted ? null : problemOf(error)
    }
  }

  /** @param {string} name */
  delete(name) {
    return this.#actions.deleteTemplate(name)
  }
}
