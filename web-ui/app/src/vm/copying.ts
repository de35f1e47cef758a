// A VM, a template or a snapshot becomes another VM: asked from wherever it is listed.
import { shallowRef } from "vue"
import type { VmEntry } from "@/lib/objects.js"

/** What the dialog of the page is about; undefined: it is closed. */
export const copying = shallowRef<VmEntry>()

export function askCopy(vm: VmEntry): void {
  copying.value = vm
}
