// Receiving a large body: when the connection breaks, only the rest is asked for.
import { TransportError } from "@basalt/xenapi"

/** What one request brings. */
export interface Part {
  /** Where in the whole it begins. */
  from: number
  /** Bytes of the whole, when the server says. */
  size: number | undefined
  /** Tells these contents from later ones; empty: what is asked for next may have other bytes. */
  mark: string
  bytes: AsyncIterable<Uint8Array<ArrayBuffer>>
}

export interface PartReader {
  /** Asks for what follows `from`, if the contents still are those of `mark`, else for the whole. */
  ask: (from: number, mark: string) => Promise<Part>
  /** Adds to what is there. */
  write: (bytes: Uint8Array<ArrayBuffer>) => Promise<void>
  /** What is there belongs to other contents: it goes, and the next bytes are the first. */
  restart: () => Promise<void>
  /** Whether it may be tried once more after this error. */
  passes: (error: unknown) => boolean
  /** Resolves when the host can be asked again; `tries` brought nothing, one after the other. */
  again: (tries: number) => Promise<void>
  arrived: (bytes: number, size: number | undefined) => void
}

/** Requests in a row that may bring nothing although the host answers. */
const triesMost = 8

export async function receiveParts(reader: PartReader): Promise<void> {
  let at = 0
  let mark = ""
  let tries = 0
  for (;;) {
    try {
      const part = await reader.ask(mark ? at : 0, mark)
      if (part.from !== at) {
        if (part.from !== 0) throw new Error(`asked for what follows ${at}, it sends what follows ${part.from}`)
        await reader.restart()
        at = 0
      }
      mark = part.mark
      for await (const piece of part.bytes) {
        await reader.write(piece)
        at += piece.length
        tries = 0
        reader.arrived(at, part.size)
      }
      if (part.size === undefined || at >= part.size) return
      throw new TransportError("GET", `it ends after ${at} of ${part.size} bytes`)
    } catch (error) {
      if (!reader.passes(error) || tries >= triesMost) throw error
      tries += 1
      await reader.again(tries)
    }
  }
}

/** Of `Content-Range: bytes 5-9/10`. */
export function rangeOf(text: string | null): { from: number; size: number } | undefined {
  const found = /^bytes (\d+)-\d+\/(\d+)$/.exec(text ?? "")
  return found ? { from: Number(found[1]), size: Number(found[2]) } : undefined
}
