// Disks over HTTP: bytes in, with progress, and out, as a download of the browser's own.
import { TransportError, type Ref } from "@basalt/xenapi"
import type { ImageFormat } from "@/lib/image.js"
import { awaitTask, type Action } from "./actions.js"
import { calls, signedIn } from "./session.js"

function path(name: string, query: Record<string, string>): string {
  return `/${name}?${new URLSearchParams(query).toString()}`
}

/** Sends a file into a disk. The task tells the end: the answer's head leaves before the bytes. */
export async function uploadDisk(
  action: Action,
  file: Blob,
  vdi: Ref<"VDI">,
  format: ImageFormat,
  label: string,
): Promise<void> {
  const { session } = signedIn()
  const task = await calls().task.create(label, "")
  const request = new XMLHttpRequest()
  let stopped = false
  const sent = new Promise<void>((resolve) => {
    request.upload.onprogress = ({ loaded, total }) => (action.progress = loaded / total)
    request.onloadend = () => resolve()
    request.open("PUT", path("import_raw_vdi", { session_id: session, task_id: task, vdi, format }))
    request.setRequestHeader("content-type", "application/octet-stream")
    request.send(file)
  })
  const ended = awaitTask(action, task)
  action.cancel = () => {
    stopped = true
    void calls().task.cancel(task).catch(() => undefined)
    request.abort()
  }
  const broken = sent.then(async () => {
    if (stopped || (request.status >= 200 && request.status < 300)) return ended
    // The server's own word is better than "it broke": it gets the time to say it.
    await new Promise((resolve) => setTimeout(resolve, 1500))
    throw new TransportError("import_raw_vdi", `HTTP ${request.status}`)
  })
  await Promise.race([ended, broken])
}

/** The address under which the browser downloads a disk. */
export function exportPath(vdi: Ref<"VDI">, format: ImageFormat): string {
  return path("export_raw_vdi", { session_id: signedIn().session, vdi, format })
}

export function download(url: string, name: string): void {
  const link = document.createElement("a")
  link.href = url
  link.download = name
  link.click()
}
