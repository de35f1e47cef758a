import { computed, effect } from "vue"
import { describe, expect, it } from "vitest"
import { batch, event, storeWith } from "./fixtures.js"

const ref = (text: string) => text as never

describe("Store", () => {
  it("keeps what events say, and nothing from before a reset", () => {
    const store = storeWith({ VM: { a: { name_label: "one" }, b: { name_label: "two" } } })
    store.apply(batch([event("VM", "a", { name_label: "changed" }), event("VM", "b")]))
    expect([...store.table("VM").values()].map(({ name_label }) => name_label)).toEqual(["changed"])
    store.reset(batch([event("VM", "c", { name_label: "new" })]))
    expect([...store.table("VM").keys()]).toEqual(["c"])
  })

  it("leaves out classes that it does not follow", () => {
    const store = storeWith({})
    expect(() => store.apply(batch([event("blob" as never, "x", {})]))).not.toThrow()
  })

  it("wakes who depends on a class once for a batch, and nobody else", () => {
    const store = storeWith({ VM: { a: {} }, host: { h: {} } })
    let vms = 0
    let hosts = 0
    const names = computed(() => [...store.table("VM").values()].map(({ name_label }) => name_label))
    effect(() => void (names.value, (vms += 1)))
    effect(() => void (store.table("host").size, (hosts += 1)))
    store.apply(batch(Array.from({ length: 100 }, (_, index) => event("VM", `v${index}`, { name_label: `${index}` }))))
    expect(names.value.length).toBe(101)
    expect(vms).toBe(2)
    expect(hosts).toBe(1)
  })

  it("finds what a reference of any class stands for", () => {
    const store = storeWith({ SR: { "OpaqueRef:1": { name_label: "Disks" } }, VBD: { "OpaqueRef:2": { device: "xvda" } } })
    expect(store.nameOf("OpaqueRef:1")).toEqual({ cls: "SR", name: "Disks" })
    expect(store.nameOf("OpaqueRef:2")).toEqual({ cls: "VBD", name: "xvda" })
    expect(store.nameOf("OpaqueRef:3")).toBeUndefined()
  })

  it("waits for the end of a task that it has not heard of yet", async () => {
    const store = storeWith({})
    const seen: number[] = []
    const ended = store.taskEnded(ref("t"), ({ progress }) => seen.push(progress))
    store.apply(batch([event("task", "t", { status: "pending", progress: 0.25 })]))
    store.apply(batch([event("task", "t", { status: "success", progress: 1 })]))
    expect((await ended)?.status).toBe("success")
    expect(seen).toEqual([0.25, 1])
  })

  it("tells when a task is gone before its end was seen", async () => {
    const store = storeWith({ task: { t: { status: "pending", progress: 0 } } })
    const ended = store.taskEnded(ref("t"), () => undefined)
    store.apply(batch([event("task", "t")]))
    expect(await ended).toBeUndefined()
  })
})
