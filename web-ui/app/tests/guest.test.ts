// What a guest is told by cloud-init, what its keyboard writes, and files that come in segments.
import { TransportError } from "@basalt/xenapi"
import { describe, expect, it } from "vitest"
import { isSameFile, noteKey, noteOf, segmentBody, sendSegments, type SegmentSender } from "@/lib/pieces.js"
import { cloudConfig, cloudTexts, destroySecrets, ownSecrets, setCloudTexts, simpleProblem, textProblem, type CloudFile } from "@/vm/cloudInit.js"
import { combinations, movesOfKeys } from "@/vm/combinations.js"
import { cloudWanted, noCloud } from "@/vm/create.js"
import { layouts, movesOf, strokesOf, unwritable, type Layout } from "@/vm/layouts.js"
import { storeWith } from "./fixtures.js"

const key = `ssh-ed25519 ${"A".repeat(40)} me@here`
const simple = (changes: object) => ({ user: "", password: "", keys: "", ...changes })

describe("cloud-init", () => {
  it("is told in a form in which a value stays a value", () => {
    const text = cloudConfig(simple({ user: "anna", password: 'a: "b"\n- c', keys: `# mine\n${key}\n\n` }))
    expect(text.startsWith("#cloud-config\n")).toBe(true)
    expect(JSON.parse(text.slice(14))).toEqual({
      user: "anna", password: 'a: "b"\n- c', chpasswd: { expire: false }, ssh_pwauth: true, ssh_authorized_keys: [key],
    })
  })
  it("refuses what would lock everybody out", () => {
    expect(simpleProblem(simple({ keys: key }))).toBeUndefined()
    expect(simpleProblem(simple({ password: "x", user: "anna" }))).toBeUndefined()
    expect(simpleProblem(simple({}))).toBe("nobody")
    expect(simpleProblem(simple({ password: "x", user: "An na" }))).toBe("user")
    expect(simpleProblem(simple({ keys: `${key}\nsecond key` }))).toBe("keys")
    expect(simpleProblem(simple({ keys: "-----BEGIN OPENSSH PRIVATE KEY-----" }))).toBe("keys")
  })
  it("tells of texts that it would not read", () => {
    const texts = (text: string) => textProblem(new Map<CloudFile, string>([["user-data", text]]))
    expect(["", "#cloud-config\n", "#!/bin/sh", "## template: jinja\n#cloud-config", "Content-Type: multipart/mixed"].map(texts)).toEqual(Array(5).fill(undefined))
    expect(texts("users: []")).toBe("header")
    expect(texts(`#cloud-config\n${"ä".repeat(140_000)}`)).toBe("size")
  })
  it("puts passwords into a secret where it may", () => {
    const wanted = (changes: object, may: boolean) => [...cloudWanted({ ...noCloud, ...changes } as never, may)].map(([file, { secret }]) => [file, secret])
    expect(wanted({}, true)).toEqual([])
    expect(wanted({ mode: "simple", password: "x" }, true)).toEqual([["user-data", true]])
    expect(wanted({ mode: "simple", password: "x" }, false)).toEqual([["user-data", false]])
    expect(wanted({ mode: "simple", keys: key }, true)).toEqual([["user-data", false]])
    expect(wanted({ mode: "own", userData: "#!", network: "x", secret: true }, true)).toEqual([["user-data", true], ["network-config", true]])
  })

  function vmWith(config: Record<string, string>, failing = "") {
    const log: string[] = []
    let set: Record<string, string> | undefined
    const api = {
      VM: {
        get_other_config: async () => config,
        set_other_config: async (_: string, now: Record<string, string>) => {
          if (failing === "set") throw new Error("no")
          set = now
        },
      },
      secret: {
        create: async ({ value }: { value: string }) => (log.push(`create ${value}`), `ref ${value}`),
        get_uuid: async (ref: string) => `uuid of ${ref}`,
        get_by_uuid: async (uuid: string) => `by ${uuid}`,
        destroy: async (ref: string) => {
          log.push(`destroy ${ref}`)
          if (failing === "destroy") throw new Error("no")
        },
      },
    } as never
    return { api, log, now: () => set }
  }
  it("keeps what it is not asked to change, and one place for each text", async () => {
    const { api, now, log } = vmWith({ other: "1", "cloud-init:user-data_secret": "old", "cloud-init:meta-data": "m" })
    await setCloudTexts(api, "vm" as never, new Map([["user-data", { text: "u", secret: false }], ["network-config", { text: "n", secret: true }]]))
    expect(now()).toEqual({ other: "1", "cloud-init:meta-data": "m", "cloud-init:user-data": "u", "cloud-init:network-config_secret": "uuid of ref n" })
    expect(log).toEqual(["create n"])
    await setCloudTexts(api, "vm" as never, new Map([["meta-data", { text: " ", secret: true }]]))
    expect(now()).toEqual({ other: "1", "cloud-init:user-data_secret": "old" })
  })
  it("leaves no secret behind that failed", async () => {
    const { api, log } = vmWith({}, "set")
    await expect(setCloudTexts(api, "vm" as never, new Map([["user-data", { text: "u", secret: true }]]))).rejects.toThrow("no")
    expect(log).toEqual(["create u", "destroy ref u"])
  })
  it("removes secrets that nobody else names, and does not mind when it may not", async () => {
    const config = (uuid: string) => ({ other_config: { "cloud-init:user-data_secret": uuid } })
    const store = storeWith({ VM: { a: config("shared"), b: config("shared"), c: config("own"), snap: config("own") } })
    const of = (...refs: string[]) => ownSecrets(store, refs.map((ref) => [ref as never, store.get("VM", ref as never)!]))
    expect([of("a"), of("a", "b"), of("c"), of("c", "snap")]).toEqual([[], ["shared"], [], ["own"]])
    const { api, log } = vmWith({}, "destroy")
    await destroySecrets(api, ["x"])
    expect(log).toEqual(["destroy by x"])
  })
  it("finds the texts of a VM, and no others", () => {
    const texts = cloudTexts({ "cloud-init:user-data": "a", "cloud-init:meta-data_secret": "s", "cloud-init:other": "x", disks: "y" })
    expect([...texts]).toEqual([["user-data", { text: "a", secret: undefined }], ["meta-data", { text: "", secret: "s" }]])
  })
})

describe("keyboards", () => {
  const press = (layout: Layout, character: string) =>
    strokesOf(layout, character)?.map(({ code, shift, altGr }) => `${shift ? "⇧" : ""}${altGr ? "⌥" : ""}${code}`).join(" ")
  it("write every character of ASCII, but what a layout really lacks", () => {
    const ascii = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index)).join("")
    expect(layouts.map((layout) => `${layout} ${unwritable(layout, `${ascii}\n\t`).join("")}`)).toEqual(layouts.map((layout) => `${layout} `))
  })
  it("have their characters where they stand on them", () => {
    expect(["z", "Z", "@", "ß", "{", "^", "é", "|"].map((one) => press("de", one))).toEqual([
      "KeyY", "⇧KeyY", "⌥KeyQ", "Minus", "⌥Digit7", "Backquote Space", "Equal KeyE", "⌥IntlBackslash",
    ])
    expect(["@", "~", "è", "Ä", "$"].map((one) => press("ch", one))).toEqual(["⌥Digit2", "⌥Equal Space", "⇧BracketLeft", "BracketRight ⇧KeyA", "Backslash"])
    expect(["a", "1", "ê", "M", "."].map((one) => press("fr", one))).toEqual(["KeyQ", "⇧Digit1", "BracketLeft KeyE", "⇧Semicolon", "⇧Comma"])
    expect(["ñ", "Ü", "¿"].map((one) => press("es", one))).toEqual(["Semicolon", "⇧Quote ⇧KeyU", "⇧Equal"])
    expect([press("it", "@"), press("gb", "€"), press("us", '"')]).toEqual(["⌥Semicolon", "⌥Digit4", "⇧Quote"])
  })
  it("say what they cannot write", () => {
    expect(unwritable("us", "naïve € 😀é")).toEqual(["ï", "€", "😀", "é"])
    expect(unwritable("de", "e\u0301\r\n")).toEqual([])
    expect(strokesOf("it", "ñ")).toBeUndefined()
  })
  it("move modifiers out of the way and back again", () => {
    const moves = (stroke: object, held: string[], caps = false) =>
      movesOf({ code: "KeyQ", shift: false, altGr: false, ...stroke }, new Set(held), caps).map(({ code, down }) => `${down ? "+" : "-"}${code}`).join(" ")
    expect(moves({}, [])).toBe("+KeyQ -KeyQ")
    expect(moves({ shift: true }, [])).toBe("+ShiftLeft +KeyQ -KeyQ -ShiftLeft")
    expect(moves({ shift: true }, ["ShiftRight"])).toBe("+KeyQ -KeyQ")
    expect(moves({ altGr: true }, ["ShiftLeft"])).toBe("-ShiftLeft +AltRight +KeyQ -KeyQ -AltRight +ShiftLeft")
    expect(moves({}, ["AltRight"])).toBe("-AltRight +KeyQ -KeyQ +AltRight")
    expect(moves({ shift: true }, [], true)).toBe("+KeyQ -KeyQ")
    expect(moves({ code: "Digit1", shift: true }, [], true)).toBe("+ShiftLeft +Digit1 -Digit1 -ShiftLeft")
  })
})

describe("combinations of keys", () => {
  it("go down in order and up in the other", () => {
    const moves = (name: string) => movesOfKeys(combinations[name]!).map(({ key: [keysym, code], down }) => `${down ? "+" : "-"}${code} ${keysym.toString(16)}`)
    expect(moves("Ctrl+Alt+Del")).toEqual(["+ControlLeft ffe3", "+AltLeft ffe9", "+Delete ffff", "-Delete ffff", "-AltLeft ffe9", "-ControlLeft ffe3"])
    expect(moves("F12")).toEqual(["+F12 ffc9", "-F12 ffc9"])
  })
})

describe("files in segments", () => {
  const lost = new TransportError("put", "gone")
  async function run(size: number, from: number, failures: Record<number, unknown[]> = {}, passes: SegmentSender["passes"] = (error) => error === lost) {
    const log: string[] = []
    const sender: SegmentSender = {
      send: async (at, to) => {
        log.push(`${at}-${to}`)
        const wrong = failures[at]?.shift()
        if (wrong) throw wrong
      },
      passes,
      again: async (tries) => void log.push(`again ${tries}`),
      arrived: async (bytes) => void log.push(`have ${bytes}`),
    }
    await sendSegments(size, from, sender, 10).catch((error: unknown) => log.push(String(error)))
    return log.join(", ")
  }
  it("go on where they stopped", async () => {
    expect(await run(25, 0)).toBe("0-10, have 10, 10-20, have 20, 20-25, have 25")
    expect(await run(25, 20)).toBe("20-25, have 25")
    expect(await run(0, 0)).toBe("")
  })
  it("are sent again after a loss, as often as it takes, and given up after a refusal", async () => {
    expect(await run(12, 0, { 10: [lost, lost] })).toBe("0-10, have 10, 10-12, again 1, 10-12, again 2, 10-12, have 12")
    expect(await run(12, 0, { 0: [lost, new Error("full")] })).toBe("0-10, again 1, 0-10, Error: full")
  })
  it("tell the server where their bytes belong, and where they end", async () => {
    const body = new DataView(await segmentBody(new Blob(["abcdefgh"]), 3, 6).arrayBuffer())
    expect(body.byteLength).toBe(12 + 3 + 12)
    expect([body.getBigInt64(0, true), body.getInt32(8, true)]).toEqual([3n, 3])
    expect(String.fromCharCode(body.getUint8(12), body.getUint8(13), body.getUint8(14))).toBe("def")
    expect([body.getBigInt64(15, true), body.getInt32(23, true)]).toEqual([0n, 0])
  })
  it("are known again by name, size and time, and not by what others wrote", () => {
    const note = { name: "a.iso", size: 100, modified: 7, done: 64 }
    expect(noteOf({ [noteKey]: JSON.stringify(note) })).toEqual(note)
    const others = ["", "null", "{", "[]", '"x"', JSON.stringify({ ...note, done: 100 }), JSON.stringify({ ...note, done: -1 }), JSON.stringify({ ...note, size: "9" })]
    for (const text of others) expect(noteOf({ [noteKey]: text }), text).toBeUndefined()
    const file = { name: "a.iso", size: 100, lastModified: 7 }
    expect([isSameFile(note, file), isSameFile(note, { ...file, lastModified: 8 }), isSameFile(note, { ...file, size: 101 })]).toEqual([true, false, false])
  })
})
