// Waiting for the end of tasks.
import type { Client } from "./client.js"
import { XenApiError } from "./errors.js"
import type { EventBatch, Ref } from "./values.js"
import type { ClassName, ErrorCode, TaskRecord } from "./xenapi.js"

export interface WaitOptions {
  /** Called with the share that is done, 0 to 1, whenever it changes. */
  onProgress?: (progress: number) => void
  signal?: AbortSignal
}

const waitSeconds = 30

/**
 * Waits until a task has ended and returns its record. Throws the XenApiError of one that failed or
 * was cancelled, and HANDLE_INVALID when the task is gone.
 */
export async function ended(
  client: Client,
  task: Ref<"task">,
  options: WaitOptions = {},
): Promise<TaskRecord> {
  const call = options.signal ? { signal: options.signal } : {}
  let token = ""
  let progress = -1
  for (;;) {
    const params = [client.session, [`task/${task}`], token, waitSeconds]
    const batch = (await client.transport("event.from", params, call)) as EventBatch<"task">
    // A task that is not there has no events: its record tells so, by HANDLE_INVALID.
    if (token === "" && batch.events.length === 0) await client.api.task.get_record(task)
    token = batch.token
    for (const event of batch.events) {
      if (event.operation === "del") throw gone(task)
      if (event.snapshot.progress !== progress) options.onProgress?.(event.snapshot.progress)
      progress = event.snapshot.progress
      if (isEnded(event.snapshot)) return resultOf(event.snapshot)
    }
  }
}

function isEnded(task: TaskRecord): boolean {
  return task.status !== "pending" && task.status !== "cancelling"
}

function resultOf(task: TaskRecord): TaskRecord {
  if (task.status === "success") return task
  const [code = "INTERNAL_ERROR", ...params] = task.error_info
  throw new XenApiError(task.name_label, code as ErrorCode, params as never)
}

function gone(task: Ref<"task">): XenApiError {
  return new XenApiError("task.get_record", "HANDLE_INVALID", ["task", task])
}

const value = /^<value>(?:<string>)?([^<]*)(?:<\/string>)?<\/value>$/

/** The reference that a successful task of a message with such a result holds, as text of XML. */
export function resultRef<C extends ClassName>(task: TaskRecord): Ref<C> {
  const ref = value.exec(task.result)?.[1] ?? task.result
  if (!ref.startsWith("OpaqueRef:")) throw new TypeError(`no reference: ${task.result}`)
  return ref as Ref<C>
}
