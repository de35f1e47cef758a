// Which rows of a long list are in sight: rows of one height in a box that scrolls.
import { computed, onScopeDispose, ref, watch, type Ref } from "vue"

/** Rows above and below that are there already when they come into sight. */
const spare = 2

export interface RowWindow {
  /** The rows to draw: `length` of them, from `first`. */
  first: number
  length: number
}

/**
 * Follows the box. Nothing happens while it moves by less than a row. `rowHeight` is in pixels; whatever
 * stands above the rows in the box must stick to its top, so that it scrolls with none of them.
 */
export function useWindow(box: Readonly<Ref<HTMLElement | null>>, count: () => number, rowHeight: () => number) {
  const top = ref(0)
  const height = ref(0)
  const look = () => (top.value = Math.floor((box.value?.scrollTop ?? 0) / rowHeight()))
  const measured = new ResizeObserver(() => {
    height.value = box.value?.clientHeight ?? 0
    look()
  })
  watch(box, (now, before) => {
    before?.removeEventListener("scroll", look)
    measured.disconnect()
    if (!now) return
    now.addEventListener("scroll", look, { passive: true })
    measured.observe(now)
  }, { immediate: true, flush: "post" })
  onScopeDispose(() => {
    box.value?.removeEventListener("scroll", look)
    measured.disconnect()
  })

  const drawn = computed<RowWindow>(() => {
    const length = Math.min(Math.ceil(height.value / rowHeight()) + 1 + 2 * spare, count())
    return { first: Math.max(0, Math.min(top.value - spare, count() - length)), length }
  })
  /** Scrolls as little as brings a row into sight. */
  function show(index: number) {
    const element = box.value
    if (!element) return
    const [from, to] = [index * rowHeight(), (index + 1) * rowHeight()]
    if (from < element.scrollTop) element.scrollTop = from
    else if (to > element.scrollTop + element.clientHeight) element.scrollTop = to - element.clientHeight
    look()
  }
  return { drawn, show }
}
