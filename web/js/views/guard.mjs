/**
 * Keeps what happens in a modal dialog from ComfyUI's page.
 *
 * `showModal()` makes the page inert for the pointer and the focus, but ComfyUI listens on window
 * and document for keys, pastes and dropped files, and would run, edit or replace the graph.
 */

const EVENTS = ['keydown', 'keyup', 'keypress', 'paste', 'copy', 'cut', 'dragover', 'drop']

/** What a keyboard needs inside a dialog. */
const DIALOG_KEYS = new Set(['Tab', 'Enter', ' '])

/**
 * Stop events on their way to ComfyUI, until `signal` aborts.
 *
 * @param {HTMLDialogElement} dialog
 * @param {AbortSignal} signal
 * @param {{locked: boolean}} options `locked`: no key closes the dialog or types anything
 */
export function guard(dialog, signal, { locked }) {
  const listener = (/** @type {Event} */ event) => {
    const inside = event.target instanceof Node && dialog.contains(event.target)
    // Listeners stay unheard, but what the browser itself does goes on: Tab, typing, Enter.
    event.stopImmediatePropagation()
    const key = event instanceof KeyboardEvent ? event.key : ''
    // The focus is outside when the button that had it is gone: these keys lead back, or out.
    const leads = key === 'Tab' || (key === 'Escape' && !locked)
    const foreign = !(inside || leads) || event instanceof DragEvent
    if (foreign || (locked && !DIALOG_KEYS.has(key))) event.preventDefault()
  }
  for (const type of EVENTS) window.addEventListener(type, listener, { capture: true, signal })
}
