// Figures over time: each host serves its own, and this page may ask only the host it came from.
import { parseFigures, type Figures, type Period } from "@/lib/figures.js"
import { signedIn } from "./session.js"

export interface Owner {
  kind: "host" | "vm"
  uuid: string
}

/** Throws Error when the host does not answer, or with something else. */
export async function fetchFigures(owner: Owner, period: Period, signal: AbortSignal): Promise<Figures> {
  const query = new URLSearchParams({
    session_id: signedIn().session,
    start: String(-period.seconds),
    interval: String(period.interval),
    cf: "AVERAGE",
    json: "true",
    host: String(owner.kind === "host"),
    // A host's own figures come without those of its guests: naming one leaves out the others.
    vm_uuid: owner.uuid,
  })
  const answer = await fetch(`/rrd_updates?${query.toString()}`, { signal, credentials: "omit" })
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`)
  return parseFigures(await answer.json(), `${owner.kind}:${owner.uuid}`)
}
