// A host is switched off or booted anew: its virtual machines are shut down first, and what was
// done is undone when the host stays up after all.
import { TransportError, type Api, type AsyncApi, type Ref } from "@basalt/xenapi"

export type HostPower = "reboot" | "shutdown"

/** What it calls; injected, so that it can be tested without a host. */
export interface HostPowerCalls {
  api: Api
  async: AsyncApi
  /** Waits for a task. */
  wait: (task: Promise<Ref<"task">>) => Promise<unknown>
  /** Told before each step with the share that is done. */
  step: (key: "disable" | "vms" | "power" | "undo", share: number) => void
}

/** Resolves when the host is on its way down. `guests` are those that run on it. */
export async function takeDown(
  { api, async: tasks, wait, step }: HostPowerCalls,
  host: Ref<"host">,
  how: HostPower,
  guests: readonly Ref<"VM">[],
): Promise<void> {
  const wasEnabled = await api.host.get_enabled(host)
  const stopped: Ref<"VM">[] = []
  try {
    step("disable", 0.05)
    if (wasEnabled) await wait(tasks.host.disable(host))
    step("vms", 0.15)
    // All are waited for, so that the undoing knows which of them have stopped.
    const ends = await Promise.allSettled(
      guests.map(async (vm) => {
        await wait(tasks.VM.clean_shutdown(vm))
        stopped.push(vm)
      }),
    )
    const failed = ends.find((end) => end.status === "rejected")
    if (failed) throw failed.reason
    step("power", 0.9)
    await gone(how === "reboot" ? api.host.reboot(host) : api.host.shutdown(host))
  } catch (error) {
    step("undo", 0.9)
    if (wasEnabled) await wait(tasks.host.enable(host)).catch(() => undefined)
    for (const vm of stopped) await wait(tasks.VM.start(vm, false, false)).catch(() => undefined)
    throw error
  }
}

/** The daemons are started anew; guests run on. */
export async function restartAgent(api: Api, host: Ref<"host">): Promise<void> {
  await gone(api.host.restart_agent(host))
}

/** A host that goes may break the connection before its answer has come. */
async function gone(call: Promise<unknown>): Promise<void> {
  try {
    await call
  } catch (error) {
    if (!(error instanceof TransportError)) throw error
  }
}
