// Snapshots of a VM as the tree that they grew in.
import type { Ref, VMRecord } from "@basalt/xenapi"
import type { Store } from "@/api/store.js"
import type { VmEntry } from "./objects.js"

export interface SnapshotRow {
  entry: VmEntry
  level: number
  /** Whether the VM's present state comes from it. */
  current: boolean
}

/** Roots first, each followed by its children; the oldest first among equals. */
export function snapshotRows(store: Store, vm: VMRecord): SnapshotRow[] {
  const own = new Map<Ref<"VM">, VMRecord>(store.some("VM", vm.snapshots))
  const children = new Map<Ref<"VM"> | undefined, Ref<"VM">[]>()
  for (const [ref, record] of own) {
    const parent = own.has(record.parent) ? record.parent : undefined
    children.set(parent, [...(children.get(parent) ?? []), ref])
  }
  const rows: SnapshotRow[] = []
  const seen = new Set<Ref<"VM">>()
  const walk = (parent: Ref<"VM"> | undefined, level: number) => {
    const here = (children.get(parent) ?? []).toSorted((a, b) =>
      own.get(a)!.snapshot_time.localeCompare(own.get(b)!.snapshot_time),
    )
    for (const ref of here) {
      if (seen.has(ref)) continue // records that name each other as parents
      seen.add(ref)
      rows.push({ entry: { ref, record: own.get(ref)! }, level, current: vm.parent === ref })
      walk(ref, level + 1)
    }
  }
  walk(undefined, 0)
  for (const [ref, record] of own)
    if (!seen.has(ref)) rows.push({ entry: { ref, record }, level: 0, current: false })
  return rows
}
