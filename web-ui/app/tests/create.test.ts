// The assistant: what stands against a VM, what it calls, and that nothing stays of what failed.
import { describe, expect, it } from "vitest"
import { create, noCloud, objections, wantedDisks, type Maker, type NewVm } from "@/vm/create.js"
import { bondProblem, createBond, createVlan, destroyNetwork, isFreePort, tagProblem } from "@/lib/networks.js"
import { snapshotRows } from "@/lib/snapshots.js"
import { healthOf } from "@/lib/health.js"
import { storeWith } from "./fixtures.js"

const GIB = 2 ** 30
const house = storeWith({
  host: { h: { metrics: "m" } },
  host_metrics: { m: { live: true, memory_total: 8 * GIB, memory_free: 2 * GIB } },
  SR: { sr: { name_label: "Disks", physical_size: 100 * GIB, physical_utilisation: 90 * GIB, PBDs: ["pbd"] }, away: { name_label: "Away", PBDs: ["gone"] } },
  PBD: { pbd: { currently_attached: true }, gone: { currently_attached: false } },
  network: { net: { name_label: "LAN" } },
  VM: { tpl: { is_a_template: true, VBDs: ["b"] }, blank: { is_a_template: true }, far: { is_a_template: true, VBDs: ["f"] } },
  VBD: { b: { VDI: "d" }, f: { VDI: "e" } },
  VDI: { d: { SR: "sr" }, e: { SR: "away" }, img: { SR: "sr", virtual_size: 10 } },
})
const plan = (changes: Partial<Record<keyof NewVm, unknown>> = {}) =>
  ({ template: "tpl", name: "web", description: "", vcpus: 2, memory: GIB, disks: [], networks: ["net"], disc: undefined, image: undefined, cloud: noCloud, start: true, ...changes }) as NewVm
const keys = (changes: Parameters<typeof plan>[0]) => objections(house, plan(changes)).map(({ key, warning }) => (warning ? `(${key})` : key))

describe("objections", () => {
  it("are none where all is well", () => expect(keys({})).toEqual([]))
  it("name each thing that is wrong", () => {
    expect(keys({ template: undefined })).toEqual(["noTemplate"])
    expect(keys({ name: "  " })).toEqual(["noName"])
    expect(keys({ vcpus: 0 })).toEqual(["vcpus"])
    expect(keys({ vcpus: 1.5 })).toEqual(["vcpus"])
    expect(keys({ memory: 1 })).toEqual(["memory"])
    expect(keys({ networks: ["none"] })).toEqual(["noNetwork"])
    expect(keys({ disks: [{ name: "d", sr: undefined, size: 0 }] })).toEqual(["diskSize", "noStore"])
    expect(keys({ template: "far" })).toEqual(["storeAway"])
    expect(keys({ image: { vdi: "gone", size: 1 } })).toEqual(["imageGone"])
    expect(keys({ image: { vdi: "img", size: 9 } })).toEqual(["imageSize"])
    expect(keys({ template: "blank", image: { vdi: "img", size: 10 } })).toEqual([])
    expect(keys({ cloud: { ...noCloud, mode: "simple" } })).toEqual(["cloud"])
    expect(keys({ cloud: { ...noCloud, mode: "own", userData: "users: []" } })).toEqual(["cloud"])
  })
  it("only warn of what may still go well", () => {
    expect(keys({ memory: 3 * GIB })).toEqual(["(hostMemory)"])
    expect(keys({ memory: 3 * GIB, start: false })).toEqual([])
    expect(keys({ template: "blank" })).toEqual(["(noBoot)"])
    const disk = { name: "d", sr: "sr", size: 6 * GIB }
    expect(keys({ disks: [disk] })).toEqual([])
    expect(keys({ disks: [disk, disk] })).toEqual(["(storeFull)"])
  })
  it("know the disks that a template asks for", () => {
    const disks = '<provision><disk device="0" size="10" sr=""/><disk device="1" size="20"/></provision>'
    expect(wantedDisks({ other_config: { disks } } as never)).toEqual([10, 20])
    expect(wantedDisks({ other_config: {} } as never)).toEqual([])
  })
})

function maker(failing = "") {
  const log: string[] = []
  const record = { VCPUs_max: 1, memory_static_min: 2 * GIB, HVM_boot_params: { order: "c" }, other_config: { disks: "<x/>", keep: "1" } }
  const said = (name: string, ...params: unknown[]) => {
    log.push([name, ...params.map((one) => JSON.stringify(one))].join(" "))
    if (name === failing) throw new Error(name)
  }
  const answers: Record<string, unknown> = { get_record: record, get_other_config: record.other_config, get_VBDs: [], get_VIFs: ["old"] }
  const cls = new Proxy({}, {
    get: (_, name: string) => async (...params: unknown[]) => {
      if (name in answers) return answers[name]
      said(name, ...params)
      return ""
    },
  })
  const api = new Proxy({}, { get: () => cls })
  const made: Maker = {
    api: api as never,
    async: api as never,
    wait: async (task) => (await task, { result: "<value>OpaqueRef:new</value>" }) as never,
    addDisk: async (_, { size, bootable }) => said("addDisk", size, bootable),
    addImage: async (_, { vdi, size }, name) => said("addImage", vdi, size, name),
    addNic: async (_, network) => said("addNic", network),
    addDisc: async (_, disc) => said("addDisc", disc),
    mayHide: true,
    destroy: async () => said("destroyAll"),
    step: () => undefined,
  }
  return { made, log }
}

describe("create", () => {
  it("raises limits before what they limit, and starts last", async () => {
    const { made, log } = maker()
    const disks = [{ name: "d", sr: "sr", size: 5 }, { name: "e", sr: "sr", size: 6 }]
    expect(await create(made, plan({ disks, disc: "iso" }))).toBe("OpaqueRef:new")
    expect(log).toEqual([
      'clone "tpl" "web"', 'set_name_description "OpaqueRef:new" ""', 'set_other_config "OpaqueRef:new" {"keep":"1"}',
      'set_VCPUs_max "OpaqueRef:new" 2', 'set_VCPUs_at_startup "OpaqueRef:new" 2',
      `set_memory_limits "OpaqueRef:new" ${GIB} ${GIB} ${GIB} ${GIB}`, 'set_HVM_boot_params "OpaqueRef:new" {"order":"dc"}',
      'provision "OpaqueRef:new"', "addDisk 5 true", "addDisk 6 false", 'destroy "old"', 'addNic "net"', 'addDisc "iso"',
      'start "OpaqueRef:new" false false',
    ])
  })
  it("tells cloud-init before anything is started, and beside what the template says", async () => {
    const { made, log } = maker()
    const cloud = { ...noCloud, mode: "own", userData: "#!/bin/sh", secret: false }
    await create(made, plan({ cloud }))
    const set = log.filter((line) => line.startsWith("set_other_config"))
    expect(set.at(-1)).toContain('"cloud-init:user-data":"#!/bin/sh"')
    expect(log.indexOf(set.at(-1)!)).toBeLessThan(log.findIndex((line) => line.startsWith("provision")))
  })
  it("starts from the copy of an image, and from no other disk", async () => {
    const { made, log } = maker()
    await create(made, plan({ image: { vdi: "img", size: 7 }, disks: [{ name: "d", sr: "sr", size: 5 }] }))
    expect(log.filter((line) => line.startsWith("add"))).toEqual(['addImage "img" 7 "web"', "addDisk 5 false", 'addNic "net"'])
  })
  it("takes away what it made when a step fails", async () => {
    for (const step of ["set_memory_limits", "provision", "addImage", "addDisk", "addNic"]) {
      const { made, log } = maker(step)
      await expect(create(made, plan({ image: { vdi: "img", size: 7 }, disks: [{ name: "d", sr: "sr", size: 5 }] }))).rejects.toThrow(step)
      expect(log.at(-1)).toBe("destroyAll")
    }
  })
  it("keeps a VM that only did not start", async () => {
    const { made, log } = maker("start")
    await expect(create(made, plan())).rejects.toThrow("start")
    expect(log).not.toContain("destroyAll")
  })
})

describe("VLANs", () => {
  it("have numbers from 0 to 4094, once a port", () => {
    expect([-1, 0, 7, 4094, 4095, 1.5, Number.NaN].map((tag) => tagProblem(tag, new Set([7])))).toEqual([
      "range", undefined, "used", undefined, "range", "range", "range",
    ])
  })
  it("leave no network behind that failed", async () => {
    const { made, log } = maker()
    const api = { network: made.api.network, VLAN: { create: async () => { throw new Error("no") } } }
    await expect(createVlan(api as never, { name: "n", description: "", pif: "p" as never, tag: 5 })).rejects.toThrow("no")
    expect(log.at(-1)).toBe('destroy ""')
  })
})

describe("bonds", () => {
  const port = (changes: object) => ({ physical: true, managed: true, bond_slave_of: "OpaqueRef:NULL", host: "h", ...changes }) as never
  it("are of two free ports or more of one host", () => {
    expect([{}, { physical: false }, { managed: false }, { bond_slave_of: "bond" }].map((one) => isFreePort(port(one)))).toEqual([true, false, false, false])
    expect([bondProblem([]), bondProblem([port({})]), bondProblem([port({}), port({})]), bondProblem([port({}), port({ host: "i" })])]).toEqual(["few", "few", undefined, "hosts"])
  })
  it("leave no network behind that failed, and go before their network does", async () => {
    const { made, log } = maker()
    const wanted = { name: "n", description: "", members: ["p", "q"] as never[], mode: "lacp" as const }
    await createBond(made.api, wanted)
    expect(log.at(-1)).toBe('create "" ["p","q"] "" "lacp" {}')
    const api = { network: made.api.network, Bond: { create: async () => { throw new Error("no") } } }
    await expect(createBond(api as never, wanted)).rejects.toThrow("no")
    expect(log.at(-1)).toBe('destroy ""')
    const store = storeWith({ network: { n: { PIFs: ["b"] } }, PIF: { b: { bond_master_of: ["bond"] } } })
    await destroyNetwork(made.api, store, "n" as never)
    expect(log.slice(-2)).toEqual(['destroy "bond"', 'destroy "n"'])
  })
})

describe("snapshots", () => {
  it("are a tree, also where records name each other as parents", () => {
    const store = storeWith({
      VM: {
        vm: { snapshots: ["b", "a", "c", "x", "y"], parent: "b" },
        a: { name_label: "a", snapshot_time: "20260101T00:00:00Z" }, b: { name_label: "b", parent: "a", snapshot_time: "20260102T00:00:00Z" },
        c: { name_label: "c", parent: "a", snapshot_time: "20260103T00:00:00Z" }, x: { name_label: "x", parent: "y" }, y: { name_label: "y", parent: "x" },
      },
    })
    const rows = snapshotRows(store, store.get("VM", "vm" as never)!)
    expect(rows.map(({ entry, level, current }) => `${level}${entry.record.name_label}${current ? "*" : ""}`)).toEqual(["0a", "1b*", "1c", "0x", "0y"])
  })
})

describe("health", () => {
  it("tells the worst first", () => {
    const store = storeWith({
      host: { h1: { name_label: "up", enabled: false, metrics: "m1" }, h2: { name_label: "away", metrics: "m2" } },
      host_metrics: { m1: { live: true, memory_total: 100, memory_free: 1 }, m2: { live: false, memory_total: 0, memory_free: 0 } },
      SR: { s: { name_label: "full", PBDs: ["p"], physical_size: 100, physical_utilisation: 92 } },
      PBD: { p: { currently_attached: true } },
    })
    expect(healthOf(store).map(({ key }) => key)).toEqual(["hostAway", "hostDisabled", "memoryLow", "srFull"])
    expect(healthOf(storeWith({}))).toEqual([])
  })
})
