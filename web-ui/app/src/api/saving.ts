// A raw disk becomes a file of this computer. The page receives it, so that what breaks off goes on
// where it was: also after the host's daemons were started anew, when somebody signs in again.
import { TransportError, XenApiError, type ErrorCode, type Ref, type TaskRecord } from "@basalt/xenapi"
import { watch } from "vue"
import { rangeOf, receiveParts, type Part } from "@/lib/parts.js"
import type { Action } from "./actions.js"
import { begun, cancelled, endTask, hostAnswers, isLoss, pause } from "./patience.js"
import { client, link, signedIn, tasksOfPage } from "./session.js"
import { store } from "./store.js"

const path = "export_raw_vdi"

/** What a host says that will say the same when it is asked again. */
const lasting: ReadonlySet<string> = new Set(["TASK_CANCELLED", "RBAC_PERMISSION_DENIED", "HANDLE_INVALID"])

export interface Saving {
  vdi: Ref<"VDI">
  /** Title of the tasks. */
  label: string
  /** What is said while the host is away, */
  waiting: string
  /** and when the disk has been written to meanwhile. */
  changed: string
}

/** Another host has the bytes, with which a page of this one may not speak. */
export class ElsewhereError extends Error {}

/** Where a file shall be; undefined: the person wants none; "browser": it lets no page write one. */
export async function chooseFile(name: string): Promise<FileSystemFileHandle | "browser" | undefined> {
  if (!window.showSaveFilePicker) return "browser"
  try {
    return await window.showSaveFilePicker({ suggestedName: name })
  } catch (error) {
    return error instanceof DOMException && error.name === "AbortError" ? undefined : "browser"
  }
}

/** Rejects with TASK_CANCELLED when the person has given it up; the file is then what it was before. */
export async function saveDisk(action: Action, what: Saving, target: FileSystemFileHandle): Promise<void> {
  const stop = new AbortController()
  action.cancel = () => stop.abort(cancelled(path))
  const file = await target.createWritable()
  let task: Ref<"task"> | undefined
  let begunToCome = false
  try {
    await receiveParts({
      ask: async (from, mark) => {
        task = await begun(what.label)
        return partOf(await request(what.vdi, task, { from, mark }, stop.signal), task, stop.signal)
      },
      write: (bytes) => file.write(bytes),
      restart: async () => {
        action.note = what.changed
        await file.truncate(0)
        await file.seek(0)
      },
      // A host that has just started may refuse what it did before: its storage comes back a moment later.
      passes: (error) => !stop.signal.aborted && (isLoss(error) || (begunToCome && error instanceof XenApiError && !lasting.has(error.code))),
      again: async (tries) => {
        action.note = what.waiting
        await pause(Math.min(500 * tries, 5000), stop.signal)
        await hostAnswers(stop.signal)
        if (task) await forgetTask(task)
        task = undefined
      },
      arrived: (bytes, size) => {
        begunToCome = true
        if (action.note === what.waiting) action.note = ""
        action.progress = size ? bytes / size : undefined
      },
    })
    await file.close()
    if (task) tasksOfPage.delete(task)
  } catch (error) {
    if (task) void endTask(task)
    await file.abort().catch(() => undefined)
    throw error
  }
}

async function request(vdi: Ref<"VDI">, task: Ref<"task">, have: { from: number; mark: string }, signal: AbortSignal): Promise<Response> {
  const query = new URLSearchParams({ vdi, format: "raw", session_id: signedIn().session, task_id: task })
  const headers: Record<string, string> = have.from > 0 ? { Range: `bytes=${have.from}-`, "If-Range": have.mark } : {}
  const response = await lossOf(signal, fetch(`/${path}?${query.toString()}`, { headers, signal, cache: "no-store", redirect: "manual" }))
  if (response.type === "opaqueredirect") throw new ElsewhereError(path)
  if (response.ok) return response
  throw (await verdict(task, signal)) ?? new TransportError(path, `HTTP ${response.status}`)
}

function partOf(response: Response, task: Ref<"task">, signal: AbortSignal): Part {
  const range = response.status === 206 ? rangeOf(response.headers.get("content-range")) : undefined
  const length = response.headers.get("content-length")
  const size = range?.size ?? (length ? Number(length) : undefined)
  return { from: range?.from ?? 0, size, mark: response.headers.get("etag") ?? "", bytes: bytesOf(response, task, signal) }
}

async function* bytesOf(response: Response, task: Ref<"task">, signal: AbortSignal) {
  const reader = response.body!.getReader()
  // Bytes from a host that is away would be waited for until the network gives up.
  const unwatch = watch(link, (now) => (now === "lost" || now === "signed-out") && void reader.cancel().catch(() => undefined))
  try {
    for (;;) {
      let piece
      try {
        piece = await lossOf(signal, reader.read())
      } catch (error) {
        signal.throwIfAborted()
        throw (await verdict(task, signal)) ?? error
      }
      if (piece.done) return
      yield piece.value
    }
  } finally {
    unwatch()
    void reader.cancel().catch(() => undefined)
  }
}

/** What the network refuses is a loss, unless the person has given up. */
async function lossOf<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    signal.throwIfAborted()
    throw new TransportError(path, String(error), { cause: error })
  }
}

/** Why the server has broken it off, if it says so soon. */
async function verdict(task: Ref<"task">, signal: AbortSignal): Promise<XenApiError | undefined> {
  const enough = new AbortController()
  const ended = store.taskEnded(task, () => undefined, enough.signal).catch(() => undefined)
  const record = await Promise.race([ended, pause(1500, signal).then(() => undefined)]).finally(() => enough.abort())
  return record && errorOf(record)
}

function errorOf(record: TaskRecord): XenApiError | undefined {
  if (record.status === "success") return undefined
  if (record.status === "cancelled") return cancelled(path)
  const [code = "INTERNAL_ERROR", ...params] = record.error_info
  // A server that is going down says this of all that it breaks off.
  return code === "TASK_CANCELLED" ? undefined : new XenApiError(path, code as ErrorCode, params as never)
}

/** Of a request that broke off: nobody wants to read of it. */
async function forgetTask(task: Ref<"task">): Promise<void> {
  await endTask(task)
  await client.value?.api.task.destroy(task).catch(() => undefined)
}
