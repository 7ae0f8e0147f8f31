/**
 * The first page: where runs go, templates, endpoints, jobs; the way out while AWS is not there.
 */

import { h, icon } from '../dom.mjs'
import { t } from '../i18n.mjs'
import { showsLists } from '../store.mjs'
import { DraftBar } from './draft_bar.mjs'
import { Endpoints } from './endpoints.mjs'
import { Jobs } from './jobs.mjs'
import { RunTarget } from './run_target.mjs'
import { Setup } from './setup.mjs'
import { Templates } from './templates.mjs'

export class RunPage {
  /**
   * @param {import('./panel.mjs').Parts} parts
   * @param {AbortSignal} signal
   */
  constructor(parts, signal) {
    const { store, actions, environments, newWorkflow } = parts
    const publish = h(
      'button',
      {
        type: 'button',
        class: 'aws-button aws-wide',
        title: t('workflow.new.hint'),
        testid: 'aws-new-workflow',
        on: { click: newWorkflow },
      },
      icon('pi-cloud-upload'),
      t('workflow.new')
    )
    const lists = h(
      'div',
      { class: 'aws-lists' },
      new DraftBar(store, actions, environments, signal).element,
      publish,
      new Templates(parts, signal).element,
      new Endpoints(parts, signal).element,
      new Jobs(parts, signal).element
    )
    const target = new RunTarget(store, actions, environments, signal).element
    store.watch(
      ['status', 'statusProblem', 'listed'],
      (state) => {
        target.hidden = !showsLists(state)
        lists.hidden = target.hidden
      },
      signal
    )
    const setup = new Setup(store, actions, signal).element
    this.element = h('div', { class: 'aws-lists' }, setup, target, lists)
  }

  /** It follows the store also while another page is shown. */
  again() {}
}
