// What the server says of a start, asked before there is anything to start.
import { isError, type Ref } from "@basalt/xenapi"
import { shallowRef, watch, type ShallowRef } from "vue"
import { calls, may } from "@/api/session.js"
import { store } from "@/api/store.js"

/** Why no host could start the template as it is; undefined while one could, or nobody was asked. */
export function useBootWord(template: () => Ref<"VM"> | undefined): ShallowRef<unknown> {
  const refusal = shallowRef<unknown>()
  let latest = 0
  watch(template, async (vm) => {
    const mine = ++latest
    refusal.value = undefined
    if (!vm || !may("VM.assert_can_boot_here")) return
    let first: unknown
    for (const [host, { enabled }] of store.table("host")) {
      if (!enabled) continue
      try {
        await calls().VM.assert_can_boot_here(vm, host)
        return
      } catch (error) {
        // The template's memory is not what was chosen: that is looked at apart.
        if (isError(error, "HOST_NOT_ENOUGH_FREE_MEMORY")) return
        first ??= error
      }
    }
    if (mine === latest) refusal.value = first
  }, { immediate: true })
  return refusal
}
