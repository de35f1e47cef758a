// The logs of a host, and those of who did what in the pool.
import type { Ref } from "@basalt/xenapi"
import { calls, signedIn } from "./session.js"

export type LogKind = "daemons" | "kernel" | "audit"

const day = 86_400_000

/** Of the pool's own log of who did what: the last day. Throws when the host does not answer. */
export async function fetchLog(kind: LogKind, host: Ref<"host">, signal?: AbortSignal): Promise<string> {
  if (kind === "daemons") return calls().host.get_log(host)
  if (kind === "kernel") return calls().host.dmesg(host)
  const since = new Date(Date.now() - day).toISOString().replaceAll("-", "").replace(/\.\d+/, "")
  const query = new URLSearchParams({ session_id: signedIn().session, since })
  const answer = await fetch(`/audit_log?${query.toString()}`, { credentials: "omit", ...(signal ? { signal } : {}) })
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`)
  return answer.text()
}

/** Where the browser downloads the bundle for those who help: logs and settings, no passwords. */
export function bundlePath(): string {
  const query = new URLSearchParams({ session_id: signedIn().session, output: "tar.bz2" })
  return `/system-status?${query.toString()}`
}
