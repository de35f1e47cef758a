/// <reference types="vite/client" />

/** Keys that the browser keeps for itself otherwise; of some browsers only. */
interface Keyboard {
  lock(keys?: readonly string[]): Promise<void>
  unlock(): void
}

/** Not in every browser. */
interface Window {
  showSaveFilePicker?(options: { suggestedName?: string }): Promise<FileSystemFileHandle>
}

interface Navigator {
  readonly keyboard?: Keyboard
}
