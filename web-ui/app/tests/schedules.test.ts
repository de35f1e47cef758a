// Schedules of snapshots: what the form makes of them, and what is called.
import type { Ref, VMSSRecord } from "@basalt/xenapi"
import { describe, expect, it } from "vitest"
import { formatWeekday } from "@/lib/format.js"
import { changeSchedule, fresh, makeSchedule, problemOf, schedulable, scheduleOf, wantedOf, type Wanted } from "@/vm/schedules.js"
import { NULL, recorder, storeWith } from "./fixtures.js"

const self = "s" as Ref<"VMSS">
const vms = (...names: string[]) => new Set(names) as unknown as Set<Ref<"VM">>
const nowhere = () => NULL as Ref<"VMSS">
const record = {
  uuid: "u", name_label: "nightly", name_description: "", enabled: true, type: "snapshot", frequency: "weekly", retained_snapshots: 3,
  schedule: { min: "15", hour: "4", days: "friday, Monday" }, VMs: ["a", "b"],
} as unknown as VMSSRecord

describe("a schedule", () => {
  it("is read as the server reads it", () => {
    expect(wantedOf(record)).toMatchObject({ minute: 15, hour: 4, days: ["Monday", "Friday"], kept: 3, vms: vms("a", "b") })
    expect(wantedOf({ ...record, schedule: {} })).toMatchObject({ minute: 0, hour: 0, days: ["Monday"] })
  })
  it("says what its frequency needs", () => {
    const wanted: Wanted = { ...fresh(), minute: 30, hour: 5, days: ["Sunday", "Tuesday"] }
    expect(scheduleOf({ ...wanted, frequency: "hourly" })).toEqual({ min: "30" })
    expect(scheduleOf({ ...wanted, frequency: "daily" })).toEqual({ min: "30", hour: "5" })
    expect(scheduleOf({ ...wanted, frequency: "weekly" })).toEqual({ min: "30", hour: "5", days: "Tuesday,Sunday" })
  })
  it("is not made without what it needs", () => {
    const good: Wanted = { ...fresh(), name: "x" }
    expect(problemOf(good)).toBeUndefined()
    expect(problemOf({ ...good, name: " " })).toBe("name")
    expect(problemOf({ ...good, frequency: "weekly", days: [] })).toBe("days")
    for (const kept of [0, 11, 1.5, NaN]) expect(problemOf({ ...good, kept })).toBe("kept")
  })
  it("is made whole, or not at all", async () => {
    const wanted: Wanted = { ...fresh(), name: " nightly ", vms: vms("a", "b") }
    const made = recorder({ "VMSS.create": "s" })
    await makeSchedule(made.api, wanted, nowhere)
    expect(made.log).toEqual([
      'VMSS.create {"name_label":"nightly","name_description":"","enabled":true,"type":"snapshot","frequency":"daily","retained_snapshots":7,"schedule":{"min":"0","hour":"3"}}',
      "VM.set_snapshot_schedule a s", "VM.set_snapshot_schedule b s",
    ])
    const refused = recorder({ "VMSS.create": "s" }, { "VM.set_snapshot_schedule b s": new Error("no") })
    await expect(makeSchedule(refused.api, wanted, (vm) => (vm === ("a" as never) ? "old" : NULL) as Ref<"VMSS">)).rejects.toThrow("no")
    expect(refused.log.slice(1)).toEqual(["VM.set_snapshot_schedule a s", "VM.set_snapshot_schedule b s", "VM.set_snapshot_schedule a old", "VMSS.destroy s"])
  })
  it("changes in what differs, and is as it was when that fails", async () => {
    const same = recorder()
    await changeSchedule(same.api, self, record, wantedOf(record), nowhere)
    expect(same.log).toEqual([])
    const wanted: Wanted = { ...wantedOf(record), hour: 6, enabled: false, vms: vms("b", "c") }
    const changed = recorder()
    await changeSchedule(changed.api, self, record, wanted, nowhere)
    expect(changed.log).toEqual([
      'VMSS.set_schedule s {"min":"15","hour":"6","days":"Monday,Friday"}', `VM.set_snapshot_schedule a ${NULL}`, "VM.set_snapshot_schedule c s", "VMSS.set_enabled s false",
    ])
    const refused = recorder({}, { "VMSS.set_enabled": new Error("no") })
    await expect(changeSchedule(refused.api, self, record, wanted, nowhere)).rejects.toThrow("no")
    expect(refused.log.slice(4)).toEqual([
      `VM.set_snapshot_schedule c ${NULL}`, "VM.set_snapshot_schedule a s", 'VMSS.set_schedule s {"min":"15","hour":"4","days":"friday, Monday"}',
    ])
  })
  it("holds machines, not templates or snapshots of them", () => {
    const store = storeWith({ VM: { b: { name_label: "b" }, a: { name_label: "a" }, t: { is_a_template: true }, s: { is_a_snapshot: true }, d: { is_control_domain: true } } })
    expect(schedulable(store).map(([ref]) => ref)).toEqual(["a", "b"])
  })
  it("has days as people call them", () => {
    expect([0, 6].map((day) => formatWeekday(day, "en-GB"))).toEqual(["Mon", "Sun"])
    expect(formatWeekday(2, "de")).toBe("Mi")
  })
})
