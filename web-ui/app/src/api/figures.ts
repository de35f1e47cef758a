// Figures over time: each host serves its own, and this page may ask only the host it came from.
import { onScopeDispose, shallowRef, type ShallowRef } from "vue"
import { parseFigures, parseLoads, type Answer, type Figures, type Loads, type Period } from "@/lib/figures.js"
import { signedIn } from "./session.js"

export interface Owner {
  kind: "host" | "vm"
  uuid: string
}

/** Throws Error when the host does not answer, or with something else. */
async function ask(query: Record<string, string>, signal: AbortSignal): Promise<Answer> {
  const all = new URLSearchParams({ session_id: signedIn().session, cf: "AVERAGE", json: "true", ...query })
  const answer = await fetch(`/rrd_updates?${all.toString()}`, { signal, credentials: "omit" })
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`)
  return (await answer.json()) as Answer
}

/** Throws as `ask`. */
export async function fetchFigures(owner: Owner, period: Period, signal: AbortSignal): Promise<Figures> {
  const answer = await ask({
    start: String(-period.seconds),
    interval: String(period.interval),
    host: String(owner.kind === "host"),
    // A host's own figures come without those of its guests: naming one leaves out the others.
    vm_uuid: owner.uuid,
  }, signal)
  return parseFigures(answer, `${owner.kind}:${owner.uuid}`)
}

const every = 10_000 // milliseconds
const newest = 20 // seconds that are asked for: more than lies between two measurements

/**
 * How busy this host and its VMs are, asked again while the page is looked at. Of one VM alone when its
 * uuid is given. Undefined until the host has told, and when it does not tell.
 */
export function useLoads(vm?: string): ShallowRef<Loads | undefined> {
  const loads = shallowRef<Loads>()
  const stop = new AbortController()
  async function load() {
    if (document.visibilityState !== "visible") return
    try {
      loads.value = parseLoads(await ask({ start: String(-newest), interval: "5", host: String(!vm), ...(vm ? { vm_uuid: vm } : {}) }, stop.signal))
    } catch {
      loads.value = undefined // what is not known is not shown
    }
  }
  void load()
  const timer = setInterval(() => void load(), every)
  onScopeDispose(() => {
    clearInterval(timer)
    stop.abort()
  })
  return loads
}
