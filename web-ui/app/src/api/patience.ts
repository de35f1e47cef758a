// What transfers do that outlast their connections: they wait, and keep the server's tasks tidy.
import { TransportError, XenApiError, type Ref } from "@basalt/xenapi"
import { watch } from "vue"
import { isConnectionLoss, isSessionEnd } from "./live.js"
import { calls, client, endReason, link, tasksOfPage } from "./session.js"

/** Whether something broke off because the host, or the session, went away. */
export function isLoss(error: unknown): boolean {
  return isConnectionLoss(error) || isSessionEnd(error) || link.value === "signed-out"
}

export function cancelled(method: string): XenApiError {
  return new XenApiError(method, "TASK_CANCELLED", [""] as never)
}

/** Resolves after so many milliseconds; rejects with the signal's reason. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds)
    signal.addEventListener("abort", () => {
      clearTimeout(timer)
      reject(signal.reason as Error)
    }, { once: true })
  })
}

/**
 * Resolves when somebody is signed in at a host that answers: sessions end when a host's daemons start
 * anew, and whoever signs in again on this page goes on. Rejects when the person has signed out.
 */
export function hostAnswers(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (end: () => void) => {
      queueMicrotask(() => unwatch())
      end()
    }
    const unwatch = watch(link, (now) => {
      if (now === "live") settle(resolve)
      else if (now === "signed-out" && !endReason.value) settle(() => reject(cancelled("session.logout")))
    }, { immediate: true })
    signal.addEventListener("abort", () => settle(() => reject(signal.reason as Error)), { once: true })
  })
}

/** A task that is cancelled when the page goes before it has ended. */
export async function begun(label: string): Promise<Ref<"task">> {
  if (!client.value) throw new TransportError("task.create", "nobody is signed in")
  const task = await calls().task.create(label, "")
  tasksOfPage.add(task)
  return task
}

/** Its record stays: a server that has not noticed the loss looks there whether to go on. */
export async function endTask(task: Ref<"task">): Promise<void> {
  await client.value?.api.task.cancel(task).catch(() => undefined)
  tasksOfPage.delete(task)
}
