// Changes that are several calls: what is called in which order, and that nothing stays of one that failed.
import { describe, expect, it } from "vitest"
import { addressesOf, addressProblem, changeAddresses, changedParts, isCard } from "@/host/addresses.js"
import { isIpv4, isIpv6, isIpv6Cidr, isNetmask, serverList } from "@/lib/addresses.js"
import { allOrNothing } from "@/lib/steps.js"
import { changeNic, isVlan, parseTags } from "@/vm/nicChange.js"
import { changeSize, sizeOf, sizeProblem, withMemory, withVcpus } from "@/vm/size.js"
import { recorder, storeWith } from "./fixtures.js"

const MIB = 2 ** 20

describe("all or nothing", () => {
  it("takes back what was done, newest first, and tells why", async () => {
    const log: string[] = []
    const step = (name: string, fails = false) => ({
      act: async () => {
        log.push(name)
        if (fails) throw new Error(name)
      },
      back: async () => void log.push(`-${name}`),
    })
    await expect(allOrNothing([step("a"), step("b"), step("c", true), step("d")])).rejects.toThrow("c")
    expect(log).toEqual(["a", "b", "c", "-b", "-a"])
  })
})

const machine = (changes: object = {}) =>
  ({
    power_state: "Halted", VCPUs_at_startup: 2, VCPUs_max: 2, memory_static_min: 128 * MIB, memory_dynamic_min: 512 * MIB,
    memory_dynamic_max: 512 * MIB, memory_static_max: 512 * MIB, ...changes,
  }) as never

describe("the size of a VM", () => {
  it("takes along the limits that were the same", () => {
    const size = sizeOf(machine())
    expect(withVcpus(size, 4, true)).toMatchObject({ vcpus: 4, vcpusMost: 4 })
    expect(withVcpus(size, 4, false)).toMatchObject({ vcpus: 4, vcpusMost: 2 })
    expect(withVcpus({ ...size, vcpusMost: 8 }, 4, true)).toMatchObject({ vcpus: 4, vcpusMost: 8 })
    expect(withMemory(size, MIB, true)).toMatchObject({ memory: MIB, memoryLeast: MIB, memoryMost: MIB })
    expect(withMemory({ ...size, memoryLeast: 1 }, MIB, false)).toMatchObject({ memory: MIB, memoryLeast: 1, memoryMost: 512 * MIB })
  })
  it("is refused as the server would", () => {
    const size = sizeOf(machine())
    const wrong = (changes: object, vm: object = {}) => sizeProblem({ ...size, ...changes }, machine(vm))
    expect(wrong({})).toBeUndefined()
    expect(wrong({ vcpus: 0 })).toBe("vcpus")
    expect(wrong({ vcpus: 3 })).toBe("vcpusMost")
    expect(wrong({ vcpusMost: 65 })).toBe("vcpusMost")
    expect(wrong({ memory: 1 })).toBe("memory")
    expect(wrong({ memory: 600 * MIB })).toBe("memoryMost")
    expect(wrong({ memoryLeast: 600 * MIB })).toBe("memoryLeast")
    // What it was started with is its floor while it runs.
    expect(wrong({ memoryLeast: 100 * MIB })).toBeUndefined()
    expect(wrong({ memoryLeast: 100 * MIB }, { power_state: "Running" })).toBe("memoryLeast")
  })
  it("changes within limits that are raised before and lowered after", async () => {
    const vm = machine()
    const size = sizeOf(vm)
    const changed = async (wanted: object, record = vm) => {
      const { api, log } = recorder()
      await changeSize(api, "v" as never, record, { ...sizeOf(record), ...wanted })
      return log
    }
    expect(await changed({})).toEqual([])
    expect(await changed({ vcpus: 4, vcpusMost: 8 })).toEqual(["VM.set_VCPUs_max v 8", "VM.set_VCPUs_at_startup v 4"])
    expect(await changed({ vcpus: 1, vcpusMost: 1 })).toEqual(["VM.set_VCPUs_at_startup v 1", "VM.set_VCPUs_max v 1"])
    expect(await changed({ memoryMost: 1024 * MIB, memoryLeast: 64 * MIB })).toEqual([`VM.set_memory_limits v ${64 * MIB} ${1024 * MIB} ${64 * MIB} ${512 * MIB}`])
    const running = machine({ power_state: "Running", VCPUs_max: 4 })
    expect(await changed({ vcpus: 3, memoryLeast: 256 * MIB }, running)).toEqual([`VM.set_memory_dynamic_range v ${256 * MIB} ${512 * MIB}`, "VM.set_VCPUs_number_live v 3"])
    expect(size).toEqual(sizeOf(vm))
  })
  it("is as it was when a part is refused", async () => {
    const { api, log } = recorder({}, { "VM.set_VCPUs_number_live": new Error("no") })
    const running = machine({ power_state: "Running", VCPUs_max: 4 })
    await expect(changeSize(api, "v" as never, running, { ...sizeOf(running), vcpus: 4, memoryLeast: 256 * MIB })).rejects.toThrow("no")
    expect(log.at(-1)).toBe(`VM.set_memory_dynamic_range v ${512 * MIB} ${512 * MIB}`)
  })
})

describe("the VLANs of an interface", () => {
  it("are numbers from 1 to 4094, each once", () => {
    expect([" ", "20, 10 10;4094", "0", "4095", "1.5", "x", "-1", "1e3"].map(parseTags)).toEqual([[], [10, 20, 4094], undefined, undefined, undefined, undefined, undefined, undefined])
  })
  it("go before it is moved onto a VLAN, and come after it has left one", async () => {
    const changed = async (wanted: object, ontoVlan: boolean, failing = {}) => {
      const { api, log } = recorder({}, failing)
      await changeNic(api, "i" as never, { network: "n", trunks: [20, 10] } as never, { network: "n", tags: [10, 20], ...wanted } as never, ontoVlan).catch(() => log.push("failed"))
      return log
    }
    expect(await changed({}, false)).toEqual([])
    expect(await changed({ network: "m", tags: [] }, true)).toEqual(["VIF.set_trunks i []", "VIF.move i m"])
    expect(await changed({ network: "m", tags: [5] }, false)).toEqual(["VIF.move i m", "VIF.set_trunks i [5]"])
    expect(await changed({ network: "m", tags: [] }, true, { "VIF.move": new Error() })).toEqual(["VIF.set_trunks i []", "VIF.move i m", "VIF.set_trunks i [20,10]", "failed"])
  })
  it("are none on a network that is one", () => {
    const store = storeWith({ network: { plain: { PIFs: ["p"] }, vlan: { PIFs: ["q"] } }, PIF: { p: {}, q: { VLAN: 5 } } })
    expect([isVlan(store, "plain" as never), isVlan(store, "vlan" as never), isVlan(store, undefined)]).toEqual([false, true, false])
  })
})

describe("addresses", () => {
  it("are known from what only looks like one", () => {
    expect(["10.0.0.1", "255.255.255.255", "256.1.1.1", "1.2.3", "01.2.3.4", "1.2.3.4 "].map(isIpv4)).toEqual([true, true, false, false, false, false])
    expect(["255.255.255.0", "255.0.255.0", "0.0.0.0", "255.255.255.255"].map(isNetmask)).toEqual([true, false, false, true])
    expect(["::", "fd00::2", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "::ffff:1.2.3.4", "1::2::3", "1:2:3:4:5:6:7::8", "12345::", "fe80::1%eth0", ""].map(isIpv6)).toEqual([true, true, true, false, true, false, false, false, false, false])
    expect(["fd00::2/64", "fd00::2", "fd00::2/129", "fd00::2/6/4"].map(isIpv6Cidr)).toEqual([true, false, false, false])
    expect(["", "1.1.1.1 ::1", "1.1.1.1,x"].map(serverList)).toEqual(["", "1.1.1.1,::1", undefined])
  })
})

describe("the addresses of a port", () => {
  const pif = (changes: object = {}) =>
    ({
      ip_configuration_mode: "Static", IP: "10.0.0.2", netmask: "255.255.255.0", gateway: "", DNS: "", ipv6_configuration_mode: "None", IPv6: [], ipv6_gateway: "",
      properties: {}, primary_address_type: "IPv4", management: true, physical: true, managed: true, VLAN: -1, bond_slave_of: "OpaqueRef:NULL", ...changes,
    }) as never
  const wrong = (changes: object, of: object = {}) => addressProblem({ ...addressesOf(pif(of)), ...changes }, pif(of))
  it("are refused before they are sent", () => {
    expect(wrong({})).toBeUndefined()
    expect([{ ip: "x" }, { netmask: "x" }, { gateway: "x" }, { dns: "x" }, { mode6: "Static", ip6: "::1" }, { mode6: "Static", ip6: "::1/64", gateway6: "x" }].map((one) => wrong(one))).toEqual(["ip", "netmask", "gateway", "dns", "ip6", "gateway6"])
    // The host must stay within reach by the family that it is reached by.
    expect([wrong({ mode: "None" }), wrong({ mode: "None" }, { management: false }), wrong({ mode: "None", mode6: "Autoconf" }, { primary_address_type: "IPv6" })]).toEqual(["reach", undefined, undefined])
  })
  it("change by what differs, the dangerous one last, or not at all", async () => {
    const before = addressesOf(pif())
    const changed = async (wanted: object, failing = {}) => {
      const { api, log } = recorder({}, failing)
      await changeAddresses(api, "p" as never, before, { ...before, ...wanted }).catch(() => log.push("failed"))
      return log
    }
    expect(changedParts(before, { ...before, gateway6: "x" })).toEqual([])
    expect(await changed({ ip: "10.0.0.3", dns: "1.1.1.1 9.9.9.9", mode6: "Autoconf", joins: "on" })).toEqual([
      "PIF.set_property p gro on", "PIF.reconfigure_ipv6 p Autoconf   ", "PIF.reconfigure_ip p Static 10.0.0.3 255.255.255.0  1.1.1.1,9.9.9.9",
    ])
    expect(await changed({ mode: "DHCP", mode6: "Static", ip6: "fd00::2/64" }, { "PIF.reconfigure_ip": new Error() })).toEqual([
      "PIF.reconfigure_ipv6 p Static fd00::2/64  ", "PIF.reconfigure_ip p DHCP    ", "PIF.reconfigure_ipv6 p None   ", "failed",
    ])
  })
  it("of cards alone have properties", () => {
    expect([{}, { VLAN: 5 }, { bond_slave_of: "b" }, { physical: false }].map((one) => isCard(pif(one)))).toEqual([true, false, false, false])
  })
})
