// What leaves the host: raw disks by way of the page where the browser can, all else as a download of
// the browser's own.
import type { Ref } from "@basalt/xenapi"
import type { ImageFormat } from "@/lib/image.js"
import { awaitTask, perform, type Action } from "./actions.js"
import { ElsewhereError, chooseFile, saveDisk, type Saving } from "./saving.js"
import { calls, signedIn } from "./session.js"

/** Resolves when the last byte has left the host: its task shows the progress, and can be cancelled. */
async function downloaded(action: Action, path: string, query: Record<string, string>, name: string): Promise<void> {
  action.here = false // the browser goes on with it when the page is gone
  const task = await calls().task.create(action.title, "")
  download(`/${path}?${new URLSearchParams({ ...query, session_id: signedIn().session, task_id: task }).toString()}`, name)
  await awaitTask(action, task)
}

/** To a file that the person chooses, or as the browser's own: then a raw one can be resumed there. */
export async function downloadDisk(what: Saving, format: ImageFormat, name: string): Promise<void> {
  const byBrowser = (action: Action) => downloaded(action, "export_raw_vdi", { vdi: what.vdi, format }, name)
  const target = format === "raw" ? await chooseFile(name) : "browser"
  if (!target) return
  await perform(what.label, async (action) => {
    if (target === "browser") return byBrowser(action)
    try {
      await saveDisk(action, what, target)
    } catch (error) {
      if (!(error instanceof ElsewhereError)) throw error
      await byBrowser(action)
    }
  })
}

/** A virtual machine with its disks, as an archive (XVA). */
export function downloadVm(action: Action, vm: Ref<"VM">, name: string): Promise<void> {
  return downloaded(action, "export", { ref: vm }, name)
}

/** What the host keeps of itself and the pool: records, certificate, settings. Not the disks. */
export function downloadBackup(action: Action, name: string): Promise<void> {
  return downloaded(action, "host_backup", {}, name)
}

export function download(url: string, name: string): void {
  const link = document.createElement("a")
  link.href = url
  link.download = name
  link.click()
}

/** Gives a text to the person as a file, without asking the host for it. */
export function saveText(text: string, name: string, type = "text/plain"): void {
  const url = URL.createObjectURL(new Blob([text], { type }))
  download(url, name)
  // The browser has begun to read by then.
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}
