// The tree at the side: hosts with their VMs, then VMs that are nowhere, storage, networks.
import type { HostRecord, Ref } from "@basalt/xenapi"
import type { Store } from "@/api/store.js"
import { isAttached, isGuest, vmTone, type Tone } from "./objects.js"
import { compareText } from "./table.js"

export interface TreeRow {
  key: string
  kind: "host" | "vm" | "group" | "sr"
  level: number
  label: string
  tone?: Tone
  to?: string
  /** How many rows are below it, shown or not. */
  count: number
  open?: boolean
}

interface Leaf {
  key: string
  label: string
  to: string
  tone?: Tone
}

export interface TreeWords {
  halted: string
  storage: string
}

/** The rows in sight, given which branches are closed. */
export function treeRows(store: Store, closed: ReadonlySet<string>, words: TreeWords): TreeRow[] {
  const rows: TreeRow[] = []
  const { byHost, nowhere } = vmsByHost(store)
  const hosts = [...store.table("host")].sort(([, a], [, b]) => compareText(a.name_label, b.name_label))
  for (const [ref, host] of hosts) {
    const vms = byHost.get(ref) ?? []
    const tone = hostTone(store, host)
    push(rows, closed, { kind: "host", key: ref, label: host.name_label, to: `/host/${host.uuid}`, tone }, "vm", vms)
  }
  if (nowhere.length > 0)
    push(rows, closed, { kind: "group", key: "halted", label: words.halted, to: "/vms" }, "vm", nowhere)
  const srs = [...store.table("SR")].map(([key, sr]): Leaf => {
    const tone = isAttached(store, sr) ? "ok" : "bad"
    return { key, label: sr.name_label || sr.uuid, to: `/sr/${sr.uuid}`, tone }
  })
  push(rows, closed, { kind: "group", key: "storage", label: words.storage, to: "/storage" }, "sr", srs)
  return rows
}

export function hostTone(store: Store, host: HostRecord): Tone {
  if (!store.get("host_metrics", host.metrics)?.live) return "bad"
  return host.enabled ? "ok" : "warn"
}

function vmsByHost(store: Store) {
  const byHost = new Map<Ref<"host">, Leaf[]>()
  const nowhere: Leaf[] = []
  const hosts = store.table("host")
  for (const [key, vm] of store.table("VM")) {
    if (!isGuest(vm)) continue
    const leaf = { key, label: vm.name_label || vm.uuid, to: `/vm/${vm.uuid}`, tone: vmTone(vm) }
    if (!hosts.has(vm.resident_on)) nowhere.push(leaf)
    else if (byHost.has(vm.resident_on)) byHost.get(vm.resident_on)!.push(leaf)
    else byHost.set(vm.resident_on, [leaf])
  }
  return { byHost, nowhere }
}

function push(
  rows: TreeRow[],
  closed: ReadonlySet<string>,
  branch: Omit<TreeRow, "level" | "count" | "open">,
  kind: TreeRow["kind"],
  leaves: Leaf[],
): void {
  const open = !closed.has(branch.key)
  rows.push({ ...branch, level: 1, count: leaves.length, open })
  if (!open) return
  leaves.sort((a, b) => compareText(a.label, b.label))
  for (const leaf of leaves) rows.push({ ...leaf, kind, level: 2, count: 0 })
}
