// Schedules that take snapshots of virtual machines (class VMSS): what they say, and how they change.
import type { Api, Records, Ref, VMRecord, VMSSRecord } from "@basalt/xenapi"
import type { Store } from "@/api/store.js"
import { allOrNothing, type Step } from "@/lib/steps.js"

export type Frequency = VMSSRecord["frequency"]
export type Kind = VMSSRecord["type"]

export const frequencies: readonly Frequency[] = ["hourly", "daily", "weekly"]
/** The server takes no others. */
export const kinds: readonly Kind[] = ["snapshot", "checkpoint"]
export const minutes: readonly number[] = [0, 15, 30, 45]
export const weekdays = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"] as const
export type Weekday = (typeof weekdays)[number]
export const keptMost = 10

/** What a person sets. Hours and minutes are those of the coordinator's clock. */
export interface Wanted {
  name: string
  enabled: boolean
  kind: Kind
  frequency: Frequency
  minute: number
  hour: number
  days: readonly Weekday[]
  /** Of each virtual machine. */
  kept: number
  vms: ReadonlySet<Ref<"VM">>
}

export function fresh(): Wanted {
  return { name: "", enabled: true, kind: "snapshot", frequency: "daily", minute: 0, hour: 3, days: ["Monday"], kept: 7, vms: new Set() }
}

/** Keys that are not there count as the server counts them: 0, and Monday. */
export function wantedOf(record: VMSSRecord): Wanted {
  const { schedule } = record
  const named = (schedule.days ?? "").toLowerCase().split(",").map((day) => day.trim())
  const days = weekdays.filter((day) => named.includes(day.toLowerCase()))
  return {
    name: record.name_label, enabled: record.enabled, kind: record.type, frequency: record.frequency,
    minute: Number(schedule.min ?? 0), hour: Number(schedule.hour ?? 0), days: days.length ? days : ["Monday"],
    kept: record.retained_snapshots, vms: new Set(record.VMs),
  }
}

export function scheduleOf({ frequency, minute, hour, days }: Wanted): Record<string, string> {
  const min = String(minute)
  if (frequency === "hourly") return { min }
  if (frequency === "daily") return { min, hour: String(hour) }
  return { min, hour: String(hour), days: weekdays.filter((day) => days.includes(day)).join(",") }
}

export type Problem = "name" | "days" | "kept"

export function problemOf(wanted: Wanted): Problem | undefined {
  if (!wanted.name.trim()) return "name"
  if (wanted.frequency === "weekly" && wanted.days.length === 0) return "days"
  if (!Number.isInteger(wanted.kept) || wanted.kept < 1 || wanted.kept > keptMost) return "kept"
  return undefined
}

/** Virtual machines come and go; each is in one schedule at most, so joining one leaves another. */
function membership(api: Api, self: Ref<"VMSS">, wanted: Wanted, before: ReadonlySet<Ref<"VM">>, scheduleOfVm: (vm: Ref<"VM">) => Ref<"VMSS">): Step[] {
  const none = "OpaqueRef:NULL" as Ref<"VMSS">
  const set = (vm: Ref<"VM">, to: Ref<"VMSS">, from: Ref<"VMSS">): Step => ({
    act: () => api.VM.set_snapshot_schedule(vm, to), back: () => api.VM.set_snapshot_schedule(vm, from),
  })
  return [
    ...[...before].filter((vm) => !wanted.vms.has(vm)).map((vm) => set(vm, none, self)),
    ...[...wanted.vms].filter((vm) => !before.has(vm)).map((vm) => set(vm, self, scheduleOfVm(vm))),
  ]
}

/** All or nothing. */
export async function makeSchedule(api: Api, wanted: Wanted, scheduleOfVm: (vm: Ref<"VM">) => Ref<"VMSS">): Promise<void> {
  const self = await api.VMSS.create({
    name_label: wanted.name.trim(), name_description: "", enabled: wanted.enabled, type: wanted.kind,
    frequency: wanted.frequency, retained_snapshots: wanted.kept, schedule: scheduleOf(wanted),
  })
  try {
    await allOrNothing(membership(api, self, wanted, new Set(), scheduleOfVm))
  } catch (error) {
    await api.VMSS.destroy(self).catch(() => undefined)
    throw error
  }
}

/** All or nothing; what is as it was is not set. */
export function changeSchedule(api: Api, self: Ref<"VMSS">, record: VMSSRecord, wanted: Wanted, scheduleOfVm: (vm: Ref<"VM">) => Ref<"VMSS">): Promise<void> {
  const steps: Step[] = []
  const change = <T>(to: T, from: T, set: (value: T) => Promise<unknown>) => {
    if (JSON.stringify(to) !== JSON.stringify(from)) steps.push({ act: () => set(to), back: () => set(from) })
  }
  const before = wantedOf(record)
  change(wanted.name.trim(), record.name_label, (value) => api.VMSS.set_name_label(self, value))
  change(wanted.kind, record.type, (value) => api.VMSS.set_type(self, value))
  change(wanted.frequency, record.frequency, (value) => api.VMSS.set_frequency(self, value))
  if (JSON.stringify(scheduleOf(wanted)) !== JSON.stringify(scheduleOf(before)))
    steps.push({ act: () => api.VMSS.set_schedule(self, scheduleOf(wanted)), back: () => api.VMSS.set_schedule(self, record.schedule) })
  change(wanted.kept, record.retained_snapshots, (value) => api.VMSS.set_retained_snapshots(self, value))
  steps.push(...membership(api, self, wanted, before.vms, scheduleOfVm))
  // Last: what is switched on is whole by then.
  change(wanted.enabled, record.enabled, (value) => api.VMSS.set_enabled(self, value))
  return allOrNothing(steps)
}

/** Those that a schedule can hold, by name. */
export function schedulable(store: Store): [Ref<"VM">, VMRecord][] {
  return [...store.table("VM")]
    .filter(([, vm]) => !vm.is_a_template && !vm.is_a_snapshot && !vm.is_control_domain)
    .sort(([, a], [, b]) => a.name_label.localeCompare(b.name_label))
}

export type ScheduleEntry = { ref: Ref<"VMSS">; record: Records["VMSS"] }
