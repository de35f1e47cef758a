// Messages are no records that events tell in full from the beginning: they are read when looked at,
// and again when an event says that there are others.
import { fromDate, type MessageRecord, type Ref } from "@basalt/xenapi"
import { onScopeDispose, shallowRef } from "vue"
import { calls } from "./session.js"
import { store } from "./store.js"

/** Of the last days only, where so many are given. */
export function messageList(days?: number) {
  const messages = shallowRef<{ ref: Ref<"message">; record: MessageRecord }[]>([])
  const error = shallowRef<unknown>()

  async function load() {
    try {
      const api = calls().message
      const all = days === undefined ? await api.get_all_records() : await api.get_since(fromDate(new Date(Date.now() - days * 86_400_000)))
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
