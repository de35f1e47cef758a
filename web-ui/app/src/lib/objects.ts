// Objects of the store as the console groups them.
import type { HostRecord, PIFRecord, Ref, SRRecord, TaskRecord, VBDRecord, VDIRecord, VIFRecord, VMRecord } from "@basalt/xenapi"
import type { Store } from "@/api/store.js"

export type Entry<C extends "VM" | "host" | "SR" | "network" | "VDI", R> = { ref: Ref<C>; record: R }
export type VmEntry = Entry<"VM", VMRecord>

export function isGuest(vm: VMRecord): boolean {
  return !vm.is_a_template && !vm.is_control_domain && !vm.is_a_snapshot
}

export function isTemplate(vm: VMRecord): boolean {
  return vm.is_a_template && !vm.is_a_snapshot && !vm.is_control_domain
}

/** The same entry as long as the record is the same, so that a row whose VM has not changed is left alone. */
const entries = new WeakMap<VMRecord, VmEntry>()

function vmEntries(store: Store, wanted: (vm: VMRecord) => boolean): VmEntry[] {
  const found: VmEntry[] = []
  for (const [ref, record] of store.table("VM")) {
    if (!wanted(record)) continue
    let entry = entries.get(record)
    if (!entry) entries.set(record, (entry = { ref, record }))
    found.push(entry)
  }
  return found
}

export function guests(store: Store): VmEntry[] {
  return vmEntries(store, isGuest)
}

export function templates(store: Store): VmEntry[] {
  return vmEntries(store, isTemplate)
}

export type Tone = "ok" | "warn" | "bad" | "busy" | "off"

/** What a VM does now: an operation under way says more than the power state. */
export function vmTone(vm: VMRecord): Tone {
  if (Object.keys(vm.current_operations).length > 0) return "busy"
  if (vm.power_state === "Running") return "ok"
  return vm.power_state === "Halted" ? "off" : "warn"
}

/** Addresses that the guest tells, of one interface or of all; text of a guest, to be shown as text only. */
export function addressesOf(store: Store, vm: VMRecord, device?: string): string[] {
  const told = store.get("VM_guest_metrics", vm.guest_metrics)?.networks ?? {}
  const found = new Set<string>()
  for (const key of Object.keys(told).sort()) {
    const address = told[key]!.trim()
    if (device !== undefined && !key.startsWith(`${device}/`)) continue
    if (/\/ip(v[46])?(\/\d+)?$/.test(key) && address && !address.startsWith("fe80:")) found.add(address)
  }
  return [...found]
}

export interface Drive {
  ref: Ref<"VBD">
  vbd: VBDRecord
  vdi: VDIRecord | undefined
  sr: SRRecord | undefined
}

/** The drives of a VM by their place. */
export function drivesOf(store: Store, vm: VMRecord): Drive[] {
  return store
    .some("VBD", vm.VBDs)
    .map(([ref, vbd]) => {
      const vdi = store.get("VDI", vbd.VDI)
      return { ref, vbd, vdi, sr: vdi && store.get("SR", vdi.SR) }
    })
    .sort((a, b) => Number(a.vbd.userdevice) - Number(b.vbd.userdevice))
}

export interface Nic {
  ref: Ref<"VIF">
  vif: VIFRecord
}

export function nicsOf(store: Store, vm: VMRecord): Nic[] {
  return store
    .some("VIF", vm.VIFs)
    .map(([ref, vif]) => ({ ref, vif }))
    .sort((a, b) => Number(a.vif.device) - Number(b.vif.device))
}

/** Disks that would go with the VM: those that no other VM has. */
export function ownDisks(store: Store, vm: VMRecord): [Ref<"VDI">, VDIRecord][] {
  const found: [Ref<"VDI">, VDIRecord][] = []
  for (const { vbd, vdi } of drivesOf(store, vm))
    if (vbd.type === "Disk" && vdi && vdi.VBDs.length === 1) found.push([vbd.VDI, vdi])
  return found
}

export interface Capacity {
  memoryTotal: number
  memoryFree: number
  cpus: number
  vcpus: number
}

/** The host that leads the pool, from which this page comes; undefined while the records are read. */
export function coordinatorOf(store: Store): Ref<"host"> | undefined {
  return [...store.table("pool").values()][0]?.master
}

export function capacityOf(store: Store, host: HostRecord): Capacity {
  const metrics = store.get("host_metrics", host.metrics)
  let vcpus = 0
  for (const [, vm] of store.some("VM", host.resident_VMs))
    if (!vm.is_control_domain) vcpus += vm.VCPUs_at_startup
  return {
    memoryTotal: metrics?.memory_total ?? 0,
    memoryFree: metrics?.memory_free ?? 0,
    cpus: Number(host.cpu_info.cpu_count) || host.host_CPUs.length,
    vcpus,
  }
}

export function isIsoStore(sr: SRRecord): boolean {
  return sr.content_type === "iso"
}

export function isAttached(store: Store, sr: SRRecord): boolean {
  return store.some("PBD", sr.PBDs).some(([, pbd]) => pbd.currently_attached)
}

/** "eth0.120" or "eth0" with the host's name where there are several. */
export function pifName(pif: PIFRecord): string {
  return pif.VLAN >= 0 ? `${pif.device} · VLAN ${pif.VLAN}` : pif.device
}

/** Where clients say in words what a task is for, so that others can read it: as XenCenter has it. */
export const taskTitleKey = "XenCenterMeddlingActionTitle"

/** What a task is for, in the words of who began it, or the name of the call. */
export function taskTitle(task: TaskRecord): string {
  return task.other_config[taskTitleKey] || task.name_label.replace(/^Async\./, "")
}

export function isPending(task: TaskRecord): boolean {
  return task.status === "pending" || task.status === "cancelling"
}

const hypervisors = { xen: "Xen", qemu: "QEMU", sim: "Simulator" }

/** Of a host's software_version: each tells its version under a name of its own, and "xen" is always there. */
export function hypervisorOf(version: Readonly<Record<string, string>>): string {
  const [key, name] = Object.entries(hypervisors).find(([key]) => version[key]) ?? []
  return key ? `${name} ${version[key]}` : ""
}
