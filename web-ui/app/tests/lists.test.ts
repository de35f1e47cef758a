// Filtering, sorting and finding, also among five thousand.
import { describe, expect, it } from "vitest"
import { parseFilter, vmFilter } from "@/lib/filter.js"
import { addressesOf, guests, taskTitle, taskTitleKey } from "@/lib/objects.js"
import { rememberingSort } from "@/lib/order.js"
import { search } from "@/lib/search.js"
import { compareText, rowSorter, type Column } from "@/lib/table.js"
import { treeMaker } from "@/lib/tree.js"
import { NULL, storeWith } from "./fixtures.js"

/** Of Node.js, in which the tests run. */
declare const process: { cpuUsage(): { user: number } }

const house = storeWith({
  host: { h1: { name_label: "alpha", metrics: "hm", address: "10.0.0.1" } },
  host_metrics: { hm: { live: true } },
  VM_guest_metrics: { g: { networks: { "0/ip": "10.9.8.7", "0/ipv4/0": "10.9.8.7", "0/ipv6/0": "fe80::1", "1/ip": "10.1.1.1" }, os_version: {} } },
  VM: {
    web1: { name_label: "web 1", power_state: "Running", resident_on: "h1", tags: ["prod"], guest_metrics: "g" },
    web10: { name_label: "web 10", tags: ["old"] },
    web2: { name_label: "web 2", name_description: "the second" },
    tpl: { name_label: "web template", is_a_template: true },
    snap: { name_label: "web snapshot", is_a_snapshot: true, is_a_template: true },
    dom0: { name_label: "web control", is_control_domain: true },
  },
})
const names = (line: string) => guests(house).filter(vmFilter(house, line)).map(({ record }) => record.name_label)

describe("the entries of VMs", () => {
  it("stay the same as long as the records do", () => {
    expect(guests(house)[0]).toBe(guests(house)[0])
  })
})

describe("the addresses of a VM", () => {
  const of = (device?: string) => addressesOf(house, house.get("VM", "web1" as never)!, device)
  it("are told once each, without those of the link, of all interfaces or of one", () => {
    expect([of(), of("0"), of("1"), of("2")]).toEqual([["10.9.8.7", "10.1.1.1"], ["10.9.8.7"], ["10.1.1.1"], []])
  })
})

describe("a task", () => {
  const task = (name_label: string, title?: string) => taskTitle({ name_label, other_config: title ? { [taskTitleKey]: title } : {} } as never)
  it("is called as who began it said, or after its call", () => {
    expect([task("Async.VM.start", "Starting web"), task("Async.VM.start"), task("SR.scan")]).toEqual(["Starting web", "VM.start", "SR.scan"])
  })
})

describe("the filter", () => {
  it("takes words, fields, quotes and exclusions", () => {
    expect(parseFilter('web state:Running -tag:old "two words" http://x')).toEqual([
      { field: "", text: "web", not: false },
      { field: "state", text: "running", not: false },
      { field: "tag", text: "old", not: true },
      { field: "", text: "two words", not: false },
      { field: "", text: "http://x", not: false },
    ])
    expect(names("")).toHaveLength(3)
    expect(names("state:running")).toEqual(["web 1"])
    expect(names("-tag:old")).toEqual(["web 1", "web 2"])
    expect(names("second")).toEqual(["web 2"])
    expect(names("ip:10.9")).toEqual(["web 1"])
    expect(names('name:"web 1"')).toEqual(["web 1", "web 10"])
    expect(names("host:alp tag:prod")).toEqual(["web 1"])
    expect(names("host:alp tag:none")).toEqual([])
  })

  it("takes anything for text: it is no pattern", () => {
    for (const line of ["(", "[", "*", "\\", '"', "-", "::", "name:", "a".repeat(10000)]) expect(() => names(line)).not.toThrow()
  })
})

describe("sorting", () => {
  const columns: Column<{ name: string; size: number }>[] = [
    { key: "name", label: "", value: ({ name }) => name },
    { key: "size", label: "", value: ({ size }) => size },
  ]
  const rows = [{ name: "web 10", size: 5 }, { name: "Web 2", size: 40 }, { name: "web 1", size: 300 }]

  it("counts as people do, and leaves its input alone", () => {
    const sorted = rowSorter<(typeof rows)[number]>(({ name }) => name)
    expect(sorted(rows, columns, { key: "name", down: false }).map(({ name }) => name)).toEqual(["web 1", "Web 2", "web 10"])
    expect(sorted(rows, columns, { key: "size", down: true }).map(({ size }) => size)).toEqual([300, 40, 5])
    expect(sorted(rows, columns, { key: "gone", down: true })).toEqual(rows)
    expect(rows[0]!.name).toBe("web 10")
  })

  it("begins with the order that it found last time", () => {
    const sort = rememberingSort<string>((item) => item)
    let compared = 0
    const compare = (a: string, b: string) => {
      compared += 1
      return compareText(a, b)
    }
    const names = Array.from({ length: 1000 }, (_, index) => `machine ${(index * 617) % 1000}`)
    const first = sort(names, compare)
    expect(first.slice(0, 3)).toEqual(["machine 0", "machine 1", "machine 2"])
    expect(compared).toBeGreaterThan(5000)
    compared = 0
    expect(sort(names, compare)).toEqual(first)
    expect(compared).toBeLessThan(1000)
    // One is gone, one is new, one is there twice.
    const now = sort([...names.filter((name) => name !== "machine 1"), "machine 0b", "machine 2"], compare)
    expect(now.slice(0, 4)).toEqual(["machine 0", "machine 0b", "machine 2", "machine 2"])
    expect(now).toHaveLength(1001)
  })
})

describe("search", () => {
  it("puts whole names first, then their beginnings", () => {
    expect(search(house, "web 1").map(({ name }) => name)).toEqual(["web 1", "web 10"])
  })
  it("finds by tag, address and uuid, and says why", () => {
    expect(search(house, "prod")[0]).toMatchObject({ name: "web 1", because: "prod" })
    expect(search(house, "10.9.8")[0]).toMatchObject({ name: "web 1", because: "10.9.8.7" })
    expect(search(house, "web10")[0]).toMatchObject({ name: "web 10", because: "web10" })
    expect(search(house, "10.0.0.1")[0]).toMatchObject({ kind: "host", name: "alpha" })
  })
  it("neither shows snapshots nor the control domain", () => {
    expect(search(house, "web").map(({ kind }) => kind).sort()).toEqual(["template", "vm", "vm", "vm"])
  })
})

describe("the tree", () => {
  it("puts VMs under their host and the others together", () => {
    const rows = treeMaker()(house, new Set(), { halted: "Off", storage: "Storage" })
    expect(rows.map(({ level, label, count }) => `${level} ${label} ${count}`)).toEqual([
      "1 alpha 1", "2 web 1 0", "1 Off 2", "2 web 2 0", "2 web 10 0", "1 Storage 0",
    ])
  })
  it("leaves closed branches closed", () => {
    const rows = treeMaker()(house, new Set(["h1", "halted"]), { halted: "Off", storage: "Storage" })
    expect(rows.map(({ label }) => label)).toEqual(["alpha", "Off", "Storage"])
  })
})

describe("five thousand VMs", () => {
  const many = storeWith({
    VM: Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`v${index}`, { name_label: `machine ${index}`, resident_on: NULL }])),
  })
  it("are filtered, sorted, laid out and searched in less than a frame's worth of patience", () => {
    // Of the processor, in microseconds: the clock tells how busy the machine is with other things.
    const worked = () => process.cpuUsage().user
    const began = worked()
    expect(guests(many).filter(vmFilter(many, 'name:"machine 49"'))).toHaveLength(111)
    const columns: Column<(typeof all)[number]>[] = [{ key: "name", label: "", value: ({ record }) => record.name_label }]
    const all = guests(many)
    const sorted = rowSorter<(typeof all)[number]>(({ ref }) => ref)
    expect(sorted(all, columns, { key: "name", down: true })[0]!.record.name_label).toBe("machine 4999")
    expect(treeMaker()(many, new Set(), { halted: "", storage: "" })).toHaveLength(5002)
    expect(search(many, "machine 4999")).toHaveLength(1)
    // A person notices from about 100 ms on; without warm code it takes some times that.
    expect(worked() - began).toBeLessThan(500_000)
  })
})
