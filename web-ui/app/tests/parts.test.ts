import { TransportError } from "@basalt/xenapi"
import { describe, expect, it } from "vitest"
import { rangeOf, receiveParts, type Part, type PartReader } from "@/lib/parts.js"

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

/** Answers in turn; `null`: nobody answers. A "!" within what it sends is where the connection breaks. */
function reader(answers: (Partial<Part> & { sends: string } | null)[], more: Partial<PartReader> = {}) {
  let file = ""
  const asked: string[] = []
  const waited: number[] = []
  async function* sent(what: string) {
    for (const piece of what.split(/(?=!)|(?<=!)/)) {
      if (piece === "!") throw new TransportError("GET", "broken")
      yield new TextEncoder().encode(piece)
    }
  }
  const parts: PartReader = {
    ask: async (from, mark) => {
      asked.push(`${from} ${mark}`)
      const answer = answers.shift()
      if (!answer) throw new TransportError("GET", "nobody")
      return { from: 0, size: 10, mark: "a", bytes: sent(answer.sends), ...answer }
    },
    write: async (bytes) => void (file += text(bytes)),
    restart: async () => void (file = ""),
    passes: (error) => error instanceof TransportError,
    again: async (tries) => void waited.push(tries),
    arrived: () => undefined,
    ...more,
  }
  return { parts, asked, waited, file: () => file }
}

describe("receiving in parts", () => {
  it("asks for the rest only, of the same contents", async () => {
    const one = reader([{ sends: "0123!" }, null, null, { from: 4, sends: "45" }, { from: 6, sends: "6789" }])
    await receiveParts(one.parts)
    expect(one.file()).toBe("0123456789")
    expect(one.asked).toEqual(["0 ", "4 a", "4 a", "4 a", "6 a"])
    expect(one.waited).toEqual([1, 2, 3, 1]) // what arrives proves that it goes on
  })

  it("begins anew when the contents are others, or may be", async () => {
    const other = reader([{ sends: "0123!" }, { mark: "b", sends: "abcd!" }, { from: 4, mark: "b", sends: "efghij" }])
    await receiveParts(other.parts)
    expect([other.file(), other.asked]).toEqual(["abcdefghij", ["0 ", "4 a", "4 b"]])
    const unmarked = reader([{ mark: "", sends: "0123!" }, { mark: "", sends: "0123456789" }])
    await receiveParts(unmarked.parts)
    expect([unmarked.file(), unmarked.asked]).toEqual(["0123456789", ["0 ", "0 "]])
  })

  it("takes an answer of unknown length to its end", async () => {
    const one = reader([{ size: undefined, sends: "012" }])
    await receiveParts(one.parts)
    expect(one.file()).toBe("012")
  })

  it("gives up when nothing comes any more, and at errors that do not pass", async () => {
    const away = reader([{ sends: "01!" }])
    await expect(receiveParts(away.parts)).rejects.toThrow("nobody")
    expect(away.waited).toHaveLength(8)
    const full = reader([{ sends: "01" }], { write: () => Promise.reject(new Error("no space")) })
    await expect(receiveParts(full.parts)).rejects.toThrow("no space")
    const wrong = reader([{ sends: "0123!" }, { from: 2, sends: "23456789" }])
    await expect(receiveParts(wrong.parts)).rejects.toThrow("what follows 2")
  })

  it("reads where a part begins", () => {
    expect(rangeOf("bytes 5-9/10")).toEqual({ from: 5, size: 10 })
    for (const text of [null, "", "bytes */10", "bytes 5-9/*"]) expect(rangeOf(text)).toBeUndefined()
  })
})
