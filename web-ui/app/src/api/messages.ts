// Messages are no records that events tell in full from the beginning: they are read when looked at,
// and again when an event says that there are others.
import type { MessageRecord, Ref } from "@basalt/xenapi"
import { onScopeDispose, shallowRef } from "vue"
import { calls } from "./session.js"
import { store } from "./store.js"

export function messageList() {
  const messages = shallowRef<{ ref: Ref<"message">; record: MessageRecord }[]>([])
  const error = shallowRef<unknown>()

  async function load() {
    try {
      const all = await calls().message.get_all_records()
      messages.value = Object.entries(all).map(([ref, record]) => ({ ref: ref as Ref<"message">, record }))
      error.value = undefined
    } catch (failure) {
      error.value = failure
    }
  }

  let waiting: ReturnType<typeof setTimeout> | undefined
  const stop = store.onChange((changed) => {
    if (!changed.has("message")) return
    // Many at once are read once.
    clearTimeout(waiting)
    waiting = setTimeout(() => void load(), 300)
  })
  onScopeDispose(() => {
    clearTimeout(waiting)
    stop()
  })
  return { messages, error, load }
}
