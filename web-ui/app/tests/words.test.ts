// Errors in words, numbers, and strings that somebody made to do harm.
import { TransportError, XenApiError } from "@basalt/xenapi"
import { describe, expect, it } from "vitest"
import { errorWords } from "@generated/errors"
import { inWords } from "@/api/errors.js"
import { formatAgo, formatBytes, formatSpan, formatTick, formatTime, regional } from "@/lib/format.js"
import { fileName, readImage } from "@/lib/image.js"
import de from "@/i18n/de.js"
import en from "@/i18n/en.js"
import { errors as german } from "@/i18n/errors.de.js"
import { ways } from "@/i18n/ways.en.js"
import { consoleUrl } from "@/vm/consoleUrl.js"
import { keysymOf } from "@/vm/keysym.js"

const hostile = [
  '<img src=x onerror="alert(1)">', "<script>alert(1)</script>", "{{ constructor }}", "javascript:alert(1)", "../../etc/passwd",
  "a\u202etxt.exe", "\u0000\r\nSet-Cookie: x=1", "'; DROP TABLE vm; --", "%2e%2e%2f", "x".repeat(100_000), "@:common.cancel", "a | b", "{name}", "\ud800",
]
const catalogue = { words: {}, ways, unknown: "unknown", noAnswer: "no answer", noAnswerWay: "look", driver: "The driver failed." }
const error = (code: string, ...params: string[]) => new XenApiError("VM.start", code as never, params as never)

describe("errors", () => {
  it("have a sentence, the code, what it is about and a way out", () => {
    expect(inWords(error("HOST_NOT_ENOUGH_FREE_MEMORY", "100", "50"), catalogue)).toMatchObject({
      text: errorWords.HOST_NOT_ENOUGH_FREE_MEMORY, code: "HOST_NOT_ENOUGH_FREE_MEMORY", wayOut: ways.HOST_NOT_ENOUGH_FREE_MEMORY,
      details: [["needed", "100"], ["available", "50"]],
    })
  })
  it("of drivers say what the driver said", () => {
    expect(inWords(error("SR_BACKEND_FAILURE_73", "", "no such server", ""), catalogue).text).toBe("The driver failed. no such server")
  })
  it("that nobody knows are told with their code", () => {
    expect(inWords(error("MADE_UP", "a"), catalogue)).toMatchObject({ text: "unknown", code: "MADE_UP" })
    expect(inWords(new TransportError("x", "y"), catalogue)).toMatchObject({ text: "no answer", wayOut: "look" })
    expect(inWords("text", catalogue).text).toBe("text")
  })
  it("are told in German too, each of them, and so are the ways out", () => {
    const own = Object.keys(errorWords).filter((code) => code !== "SR_BACKEND_FAILURE")
    expect(own.filter((code) => !german.words[code])).toEqual([])
    expect(Object.keys(german.words).filter((code) => !(code in errorWords))).toEqual([])
    expect(Object.keys(german.ways).sort()).toEqual(Object.keys(ways).sort())
  })
})

function leaves(node: object, path = ""): [string, string][] {
  return Object.entries(node).flatMap(([key, value]) =>
    typeof value === "string" ? [[path + key, value] as [string, string]] : leaves(value as object, `${path}${key}.`),
  )
}
const sources = Object.entries(
  import.meta.glob<string>("../src/**/*.{ts,vue}", { query: "?raw", import: "default", eager: true }),
)

describe("the catalogue", () => {
  const english = new Map(leaves(en))
  it("has every string that the pages ask for", () => {
    const asked = sources.flatMap(([, text]) => [...text.matchAll(/\b(?:\$?t|words)\(\s*(["'])([\w.-]+)\1/g)].map(([, , key]) => key!))
    expect(asked.length).toBeGreaterThan(400)
    expect(asked.filter((key) => !english.has(key))).toEqual([])
    // Keys that are put together have something at each place where they can lead.
    const stems = sources.flatMap(([, text]) => [...text.matchAll(/\b(?:\$?t|words)\(`([\w.]+)\.\$\{/g)].map(([, stem]) => stem!))
    expect(stems.filter((stem) => ![...english.keys()].some((key) => key.startsWith(`${stem}.`)))).toEqual([])
  })
  it("has the same places for values in both languages", () => {
    const places = (text: string) => [...new Set([...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name))].sort()
    for (const [key, text] of leaves(de)) expect(places(text), key).toEqual(places(english.get(key) ?? ""))
    expect(leaves(de).length).toBe(english.size)
  })
})

describe("hostile strings", () => {
  it("have no way into markup: the sources never ask for it", () => {
    for (const [name, text] of sources)
      expect(/v-html|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/.test(text), name).toBe(false)
  })
  it("stay one file name in a download", () => {
    for (const name of hostile) {
      const file = fileName(name, "raw")
      expect(file).not.toMatch(/[\\/:<>"'\u0000-\u001f\u202a-\u202e]/)
      expect(file).toMatch(/^[^.].*\.img$/)
    }
    expect(fileName("web 1 disk", "qcow2")).toBe("web 1 disk.qcow2")
    expect(fileName("...", "vhd")).toBe("disk.vhd")
  })
  it("stay one parameter in an address", () => {
    for (const text of hostile.slice(0, -1)) {
      const url = new URL(consoleUrl({ protocol: "https:", host: "h:1" }, text as never, text))
      expect([url.host, url.pathname, [...url.searchParams.keys()].join()]).toEqual(["h:1", "/console", "ref,session_id"])
      expect(url.searchParams.get("ref")).toBe(text)
    }
  })
  it("come through an error as they are, as text", () => {
    for (const text of hostile) expect(inWords(error("MADE_UP", text), catalogue).details).toEqual([["", text]])
  })
})

describe("numbers and times", () => {
  it("are written as people write them", () => {
    expect(formatBytes(2 ** 31, "en")).toBe("2 GiB")
    expect(formatBytes(1536, "de")).toBe("1,5 KiB")
    expect(formatBytes(0, "en")).toBe("0 B")
    expect(formatBytes(-1, "en")).toBe("–")
    expect(formatSpan(90_061_000)).toBe("1 d 1 h")
    expect(formatSpan(59_000)).toBe("59 s")
    expect(formatSpan(-5)).toBe("0 s")
    expect(formatTime("19700101T00:00:00Z", "en")).toBe("–")
    expect(formatTime("nonsense", "en")).toBe("–")
    expect(formatAgo("20260131T23:59:00Z", Date.UTC(2026, 0, 31, 23, 59, 30), "en")).toBe("30 seconds ago")
  })

  it("are written as in the person's country", () => {
    expect(regional("en", ["de-CH", "en-GB", "en"])).toBe("en-GB")
    expect(regional("de", ["de-CH", "en-GB"])).toBe("de-CH")
    expect(regional("en", ["de-CH", "enm"])).toBe("en")
    expect(regional("en", [])).toBe("en")
  })
  it("marks times as exactly as their distance needs, in the reader's language", () => {
    const noon = new Date(2026, 10, 22, 12, 5, 30).getTime() / 1000
    expect(formatTick(noon, 300, "en-GB")).toBe("12:05")
    expect(formatTick(noon, 5, "en-GB")).toBe("12:05:30")
    expect(formatTick(noon, 86_400, "de")).toBe("22. Nov.")
  })
})

describe("images", () => {
  const bytes = (length: number, at: number, text: string, size?: [number, bigint]) => {
    const data = new Uint8Array(length)
    data.set([...text].map((letter) => letter.charCodeAt(0)), at)
    if (size) new DataView(data.buffer).setBigUint64(size[0], size[1])
    return new Blob([data])
  }
  it("are known by their bytes, not by their names", async () => {
    expect(await readImage(bytes(100, 0, "QFI\xfb", [24, 2n ** 31n]))).toEqual({ format: "qcow2", virtualSize: 2 ** 31, disc: false })
    expect(await readImage(bytes(2048, 0, "conectix", [48, 4096n]))).toEqual({ format: "vhd", virtualSize: 4096, disc: false })
    expect(await readImage(bytes(2048, 1536, "conectix", [1536 + 48, 1536n]))).toEqual({ format: "vhd", virtualSize: 1536, disc: false })
    expect(await readImage(bytes(40_000, 32_769, "CD001"))).toEqual({ format: "raw", virtualSize: 40_000, disc: true })
    expect((await readImage(bytes(600, 0, "ova.xml\0"))).format).toBe("xva")
    expect((await readImage(bytes(600, 0, "\x1f\x8b"), "web.xva.gz")).format).toBe("xva")
    expect((await readImage(bytes(600, 0, "\x1f\x8b"), "web.img.gz")).format).toBe("raw")
    expect(await readImage(new Blob(["x"]))).toEqual({ format: "raw", virtualSize: 1, disc: false })
    expect(await readImage(new Blob([]))).toEqual({ format: "raw", virtualSize: 0, disc: false })
  })
})

describe("keys", () => {
  it("are those of the protocol", () => {
    expect([keysymOf("a"), keysymOf("\n"), keysymOf("ä"), keysymOf("€"), keysymOf("😀")]).toEqual([0x61, 0xff0d, 0xe4, 0x10020ac, 0x101f600])
  })
})
