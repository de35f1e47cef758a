// What is used of noVNC, which brings no types.
declare module "@novnc/novnc" {
  interface Options {
    shared?: boolean
    wsProtocols?: string[]
  }

  export default class RFB extends EventTarget {
    constructor(target: HTMLElement, url: string, options?: Options)
    scaleViewport: boolean
    focusOnClick: boolean
    background: string
    focus(): void
    disconnect(): void
    /** Down and up when `down` is left out. */
    sendKey(keysym: number, code: string | null, down?: boolean): void
  }
}
