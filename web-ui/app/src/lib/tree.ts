// The tree at the side: hosts with their VMs, then VMs that are nowhere, storage, networks.
import type { HostRecord, Ref, VMRecord } from "@basalt/xenapi"
import type { Store } from "@/api/store.js"
import { isAttached, isGuest, vmTone, type Tone } from "./objects.js"
import { rememberingSort } from "./order.js"
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

/** A maker of the rows in sight, given which branches are closed. It remembers their order. */
export function treeMaker() {
  const sort = rememberingSort<Leaf>(({ key }) => key)
  const sorted = (leaves: Leaf[]) => sort(leaves, (a, b) => compareText(a.label, b.label))
  return (store: Store, closed: ReadonlySet<string>, words: TreeWords): TreeRow[] => {
    const rows: TreeRow[] = []
    const { byHost, nowhere } = vmsByHost(store, sorted)
    const push = (branch: Omit<TreeRow, "level" | "count" | "open">, kind: TreeRow["kind"], leaves: readonly Leaf[]) => {
      const open = !closed.has(branch.key)
      rows.push({ ...branch, level: 1, count: leaves.length, open })
      if (open) for (const leaf of leaves) rows.push({ ...leaf, kind, level: 2, count: 0 })
    }
    const hosts = [...store.table("host")].sort(([, a], [, b]) => compareText(a.name_label, b.name_label))
    for (const [ref, host] of hosts) {
      const tone = hostTone(store, host)
      push({ kind: "host", key: ref, label: host.name_label, to: `/host/${host.uuid}`, tone }, "vm", byHost.get(ref) ?? [])
    }
    if (nowhere.length > 0) push({ kind: "group", key: "halted", label: words.halted, to: "/vms?filter=-state:running" }, "vm", nowhere)
    const srs = [...store.table("SR")].map(([key, sr]): Leaf => {
      const tone = isAttached(store, sr) ? "ok" : "bad"
      return { key, label: sr.name_label || sr.uuid, to: `/sr/${sr.uuid}`, tone }
    })
    srs.sort((a, b) => compareText(a.label, b.label))
    push({ kind: "group", key: "storage", label: words.storage, to: "/storage" }, "sr", srs)
    return rows
  }
}

export function hostTone(store: Store, host: HostRecord): Tone {
  if (!store.get("host_metrics", host.metrics)?.live) return "bad"
  return host.enabled ? "ok" : "warn"
}

/** A VM's leaf is as its record says: as long as that is the same, it is made once. */
const leaves = new WeakMap<VMRecord, Leaf>()

function leafOf(key: Ref<"VM">, vm: VMRecord): Leaf {
  const known = leaves.get(vm)
  if (known) return known
  const leaf = { key, label: vm.name_label || vm.uuid, to: `/vm/${vm.uuid}`, tone: vmTone(vm) }
  leaves.set(vm, leaf)
  return leaf
}

function vmsByHost(store: Store, sorted: (leaves: Leaf[]) => Leaf[]) {
  const byHost = new Map<Ref<"host">, Leaf[]>()
  const nowhere: Leaf[] = []
  const hosts = store.table("host")
  const all: Leaf[] = []
  const places = new Map<string, Ref<"host">>()
  for (const [key, vm] of store.table("VM")) {
    if (!isGuest(vm)) continue
    all.push(leafOf(key, vm))
    if (hosts.has(vm.resident_on)) places.set(key, vm.resident_on)
  }
  for (const leaf of sorted(all)) {
    const host = places.get(leaf.key)
    if (!host) nowhere.push(leaf)
    else if (byHost.has(host)) byHost.get(host)!.push(leaf)
    else byHost.set(host, [leaf])
  }
  return { byHost, nowhere }
}
