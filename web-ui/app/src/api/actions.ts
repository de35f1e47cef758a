// What a person starts: each action shows its progress and its end, in one list for the whole page.
import { XenApiError, type ErrorCode, type Ref, type TaskRecord } from "@basalt/xenapi"
import { computed, shallowReactive } from "vue"
import { signedIn } from "./session.js"
import { store } from "./store.js"
import { taskTitleKey } from "@/lib/objects.js"

export type ActionState = "running" | "done" | "failed" | "cancelled"

export interface Action {
  readonly id: number
  readonly title: string
  state: ActionState
  /** 0 to 1; undefined while nobody can tell. */
  progress: number | undefined
  /** What it is about now, such as "3 of 7". */
  note: string
  error: unknown
  /** The task that works for it, if it can be cancelled. */
  task: Ref<"task"> | undefined
  cancel: (() => void) | undefined
  /** Whether this page does the work, so that it ends with the page. */
  here: boolean
  /** Whether the notice at the edge of the page is still there. */
  shown: boolean
}

const kept = 50
let lastId = 0

export const actions = shallowReactive<Action[]>([])
export const notices = computed(() => actions.filter((action) => action.shown).slice(0, 4))

/**
 * Does work under a title. Resolves to undefined when it failed: the notice tells. `here`: whether it
 * needs the page, whose closing is asked about until it has ended.
 */
export async function perform<T>(
  title: string,
  work: (action: Action) => Promise<T>,
  here = true,
): Promise<{ value: T } | undefined> {
  const action: Action = shallowReactive({
    id: ++lastId, title, state: "running", progress: undefined, note: "", error: undefined,
    task: undefined, cancel: undefined, here, shown: true,
  })
  actions.unshift(action)
  actions.splice(kept)
  try {
    const value = await work(action)
    action.state = "done"
    setTimeout(() => (action.shown = false), 4000)
    return { value }
  } catch (error) {
    const cancelled = error instanceof XenApiError && error.code === "TASK_CANCELLED"
    action.state = cancelled ? "cancelled" : "failed"
    action.error = error
    if (cancelled) setTimeout(() => (action.shown = false), 4000)
    return undefined
  } finally {
    action.cancel = undefined
    action.task = undefined
  }
}

/** Follows a task in an action. */
export async function awaited(action: Action, started: Promise<Ref<"task">>): Promise<TaskRecord> {
  const task = await started
  return awaitTask(action, task)
}

export async function awaitTask(action: Action, task: Ref<"task">): Promise<TaskRecord> {
  const { api } = signedIn()
  action.task = task
  // Whoever looks at the tasks later sees what it was for; where the role may not say so, they see its call.
  if (action.title) void api.task.add_to_other_config(task, taskTitleKey, action.title).catch(() => undefined)
  action.cancel = () => void api.task.cancel(task).catch(() => undefined)
  const ended = await store.taskEnded(task, (record) => {
    action.progress = record.progress > 0 ? record.progress : undefined
  })
  action.cancel = undefined
  // A part of something larger is of no use to anybody; the others stay for a while, as the server keeps them.
  if (!action.title) void api.task.destroy(task).catch(() => undefined)
  if (!ended) throw new XenApiError("task.get_record", "HANDLE_INVALID", ["task", task])
  if (ended.status === "success") return ended
  const [code = "INTERNAL_ERROR", ...params] = ended.error_info
  const name = ended.status === "cancelled" ? "TASK_CANCELLED" : code
  throw new XenApiError(ended.name_label, name as ErrorCode, params as never)
}

/** An action that is one task: the server goes on with it when the page is gone. */
export function performTask(title: string, start: () => Promise<Ref<"task">>) {
  return perform(title, (action) => awaited(action, start()), false)
}

/** The same for many objects, four at a time; one failure does not stop the others. */
export async function performEach<T>(
  title: string,
  items: readonly T[],
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  await perform(title, async (action) => {
    const waiting = [...items]
    const failures: unknown[] = []
    let ended = 0
    const worker = async () => {
      for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
        try {
          await work(item)
        } catch (error) {
          failures.push(error)
        }
        ended += 1
        action.progress = ended / items.length
        action.note = `${ended} / ${items.length}`
      }
    }
    await Promise.all(Array.from({ length: Math.min(4, items.length) }, worker))
    if (failures.length > 0) throw failures[0]
  })
}

/** Whether something would break off with the page. */
export function endsWithPage(): boolean {
  return actions.some(({ here, state }) => here && state === "running")
}

globalThis.addEventListener?.("beforeunload", (event) => {
  // The browser asks in its own words.
  if (endsWithPage()) event.preventDefault()
})
