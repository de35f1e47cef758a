// A file becomes the bytes of a disk. Raw ones go in segments: when the connection breaks, the last
// segment is sent again, and who had to leave goes on later where it stopped.
import { TransportError, isError, type Ref } from "@basalt/xenapi"
import { watch } from "vue"
import type { ImageFormat } from "@/lib/image.js"
import { noteKey, segmentBody, sendSegments, type UploadNote } from "@/lib/pieces.js"
import { awaitTask, type Action } from "./actions.js"
import { begun, cancelled, endTask, hostAnswers, isLoss, pause } from "./patience.js"
import { calls, link, signedIn, tasksOfPage } from "./session.js"

export interface Upload {
  vdi: Ref<"VDI">
  format: ImageFormat
  file: File
  /** Title of the tasks. */
  label: string
  /** Bytes that are there from an earlier time. */
  from: number
  /** What is said while the host is away. */
  waiting: string
}

/** Rejects with TASK_CANCELLED when the person has given it up. */
export async function uploadDisk(action: Action, upload: Upload): Promise<void> {
  const { file, vdi, format, from } = upload
  const stop = new AbortController()
  action.cancel = () => stop.abort(cancelled("import_raw_vdi"))
  /** Tasks of requests that may not have reached the server: then nobody there ends them. */
  const orphans: Ref<"task">[] = []
  const put = async (body: Blob, query: Record<string, string>, sent: (share: number) => void) => {
    const task = await begun(upload.label)
    try {
      await send("import_raw_vdi", body, { vdi, format, ...query }, task, sent, stop.signal)
      tasksOfPage.delete(task)
    } catch (error) {
      orphans.push(task)
      throw error
    }
  }
  try {
    if (format === "raw") await inSegments()
    else {
      await put(file, {}, (share) => (action.progress = share))
      await note(vdi, undefined)
    }
  } finally {
    void Promise.all(orphans.map(endTask))
  }

  async function inSegments() {
    await sendSegments(file.size, from, {
      send: (at, end) =>
        put(segmentBody(file, at, end), { chunked: "true" }, (share) => {
          action.note = ""
          action.progress = (at + share * (end - at)) / file.size
        }),
      // After a loss the server may not have seen yet that the old connection is gone.
      passes: (error, tries) =>
        !stop.signal.aborted && (isLoss(error) || (tries > 1 && isError(error, "OTHER_OPERATION_IN_PROGRESS"))),
      again: async (tries) => {
        action.note = upload.waiting
        await pause(Math.min(500 * tries, 5000), stop.signal)
        await hostAnswers(stop.signal)
        await Promise.all(orphans.splice(0).map(endTask))
      },
      arrived: (done) => (done < file.size ? note(vdi, { ...fileNote(file), done }) : note(vdi, undefined)),
    })
  }
}

/** A virtual machine with its disks (XVA), as one stream: what breaks off leaves nothing behind. */
export async function uploadVm(action: Action, file: File, sr: Ref<"SR">, label: string): Promise<void> {
  const stop = new AbortController()
  action.cancel = () => stop.abort(cancelled("import"))
  const task = await begun(label)
  try {
    await send("import", file, { sr_id: sr }, task, (share) => (action.progress = share), stop.signal)
    tasksOfPage.delete(task)
  } catch (error) {
    void endTask(task)
    throw error
  }
}

/**
 * The host's own backup goes back to it. Resolves when the host has taken it and starts anew, which ends
 * the session; rejects when the host refuses it.
 */
export async function uploadBackup(action: Action, file: File): Promise<void> {
  const stop = new AbortController()
  const task = await begun(action.title)
  let whole = false
  try {
    await send("host_restore", file, {}, task, (share) => {
      action.progress = share
      whole = share >= 1
    }, stop.signal)
  } catch (error) {
    // A host that starts anew breaks the connection, maybe before its answer has come.
    const gone = error instanceof TransportError || isError(error, "SESSION_INVALID") || isError(error, "HANDLE_INVALID")
    if (!whole || !gone) throw error
  } finally {
    tasksOfPage.delete(task)
  }
}

export function fileNote(file: File): UploadNote {
  return { name: file.name, size: file.size, modified: file.lastModified, done: 0 }
}

/** Leaves at the disk how far it has come; undefined: it is whole. A host that is away is not waited for. */
async function note(vdi: Ref<"VDI">, text: UploadNote | undefined): Promise<void> {
  try {
    const { [noteKey]: _, ...rest } = await calls().VDI.get_other_config(vdi)
    await calls().VDI.set_other_config(vdi, text ? { ...rest, [noteKey]: JSON.stringify(text) } : rest)
  } catch (error) {
    if (!(error instanceof TransportError)) throw error
  }
}

/** One request. Its task tells the end: the head of the answer leaves before the bytes have come. */
async function send(
  path: string,
  body: Blob,
  query: Record<string, string>,
  task: Ref<"task">,
  sent: (share: number) => void,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted()
  const request = new XMLHttpRequest()
  const ended = awaitTask({ progress: undefined, cancel: undefined, task: undefined } as unknown as Action, task)
  ended.catch(() => undefined) // told by who waits, if anybody still does
  const giveUp = () => {
    void calls().task.cancel(task).catch(() => undefined)
    request.abort()
  }
  signal.addEventListener("abort", giveUp)
  // Bytes to a host that is away would be waited for until the network gives up.
  const unwatch = watch(link, (now) => now === "lost" && request.abort())
  try {
    const status = new Promise<number>((resolve) => {
      request.upload.onprogress = ({ loaded, total }) => sent(loaded / total)
      request.onloadend = () => resolve(request.status)
      request.open("PUT", `/${path}?${new URLSearchParams({ ...query, session_id: signedIn().session, task_id: task }).toString()}`)
      request.setRequestHeader("content-type", "application/octet-stream")
      request.send(body)
    })
    const broken = status.then(async (code) => {
      if (code >= 200 && code < 300) return ended
      signal.throwIfAborted()
      // The server's own word is better than "it broke": it gets the time to say it.
      await pause(1500, signal)
      throw new TransportError(path, `HTTP ${code}`)
    })
    await Promise.race([ended, broken])
  } finally {
    unwatch()
    signal.removeEventListener("abort", giveUp)
  }
}
