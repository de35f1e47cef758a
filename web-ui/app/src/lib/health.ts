// What is wrong in the pool, as far as its records tell.
import type { Store } from "@/api/store.js"
import { dateOf } from "./format.js"
import { capacityOf, isAttached, isIsoStore } from "./objects.js"

export interface Problem {
  key: "hostAway" | "hostDisabled" | "memoryLow" | "srDetached" | "srFull" | "linkDown" | "certificateEnds"
  name: string
  to: string
  severe: boolean
  /** How much is used, where that is the problem. */
  share?: number
}

const low = 0.95
const fullAt = 0.9
const certificateDays = 30

export function healthOf(store: Store, now = Date.now()): Problem[] {
  const problems: Problem[] = []
  for (const host of store.table("host").values()) {
    const about = { name: host.name_label, to: `/host/${host.uuid}` }
    const live = store.get("host_metrics", host.metrics)?.live ?? false
    if (!live) problems.push({ ...about, key: "hostAway", severe: true })
    else if (!host.enabled) problems.push({ ...about, key: "hostDisabled", severe: false })
    const { memoryTotal, memoryFree } = capacityOf(store, host)
    const share = memoryTotal > 0 ? 1 - memoryFree / memoryTotal : 0
    if (share > low) problems.push({ ...about, key: "memoryLow", severe: false, share })
  }
  for (const sr of store.table("SR").values()) {
    const about = { name: sr.name_label || sr.uuid, to: `/sr/${sr.uuid}` }
    if (!isAttached(store, sr)) problems.push({ ...about, key: "srDetached", severe: true })
    const share = sr.physical_size > 0 ? sr.physical_utilisation / sr.physical_size : 0
    if (share > fullAt && !isIsoStore(sr)) problems.push({ ...about, key: "srFull", severe: share > low, share })
  }
  for (const pif of store.table("PIF").values()) {
    const metrics = store.get("PIF_metrics", pif.metrics)
    if (pif.physical && pif.currently_attached && metrics && !metrics.carrier)
      problems.push({ key: "linkDown", name: pif.device, to: "/network", severe: pif.management })
  }
  for (const certificate of store.table("Certificate").values()) {
    const end = dateOf(certificate.not_after)
    const host = store.get("host", certificate.host)
    if (end && host && end.getTime() - now < certificateDays * 86400e3)
      problems.push({ key: "certificateEnds", name: host.name_label, to: `/host/${host.uuid}`, severe: end.getTime() < now })
  }
  return problems.sort((a, b) => Number(b.severe) - Number(a.severe))
}
