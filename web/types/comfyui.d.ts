// The two modules that ComfyUI's server offers to extensions. web/js imports them by the path
// they have in the page ('../../../scripts/app.js'), where no file lies in this repository.

declare module '*/scripts/app.js' {
  export const app: import('@comfyorg/comfyui-frontend-types').ComfyApp
}

declare module '*/scripts/api.js' {
  /** ComfyUI's api, and the websocket events that this extension's server part sends. */
  type Api = import('@comfyorg/comfyui-frontend-types').ComfyApi & {
    addEventListener(
      type: `aws.${string}`,
      listener: (event: CustomEvent) => void,
      options?: AddEventListenerOptions | boolean
    ): void
  }
  export const api: Api
}

interface Window {
  /** What the two modules above take theirs from; no promise of ComfyUI's. */
  comfyAPI?: {
    api: Pick<typeof import('*/scripts/api.js'), 'api'>
    app: Pick<typeof import('*/scripts/app.js'), 'app'>
  }
}
