// Sending a large file in segments, so that a broken connection costs one of them and not the file.

/** Bytes that are sent at once: what is lost at most when the connection breaks. */
export const segmentBytes = 64 * 2 ** 20

/** What the server is told of one segment: its offset and length, its bytes, and that it was the last. */
export function segmentBody(file: Blob, from: number, to: number): Blob {
  return new Blob([headOf(from, to - from), file.slice(from, to), headOf(0, 0)])
}

function headOf(offset: number, length: number): ArrayBuffer {
  const head = new DataView(new ArrayBuffer(12))
  head.setBigInt64(0, BigInt(offset), true)
  head.setInt32(8, length, true)
  return head.buffer
}

export interface SegmentSender {
  /** Sends bytes [from, to); rejects when they may not have arrived. */
  send: (from: number, to: number) => Promise<void>
  /** Whether the segment may be sent once more after this error; `tries` counts those that failed. */
  passes: (error: unknown, tries: number) => boolean
  /** Resolves when the host can be asked again; rejects when it is of no use any more. */
  again: (tries: number) => Promise<void>
  /** Told after each segment how much is there for good. */
  arrived: (bytes: number) => Promise<void>
}

export async function sendSegments(size: number, from: number, sender: SegmentSender, length = segmentBytes): Promise<void> {
  for (let at = from; at < size; at += length) {
    const end = Math.min(at + length, size)
    for (let tries = 1; ; ++tries) {
      try {
        await sender.send(at, end)
        break
      } catch (error) {
        if (!sender.passes(error, tries)) throw error
        await sender.again(tries)
      }
    }
    await sender.arrived(end)
  }
}

/** What is noted at a disk that is not whole yet: which file, and how much of it is there. */
export interface UploadNote {
  name: string
  size: number
  /** Milliseconds since the epoch. */
  modified: number
  done: number
}

export const noteKey = "web-upload"

export function noteOf(config: Readonly<Record<string, string>>): UploadNote | undefined {
  try {
    const note = JSON.parse(config[noteKey] ?? "null") as Partial<UploadNote> | null
    const { name, size, modified, done } = note ?? {}
    if (typeof name !== "string" || ![size, modified, done].every((one) => Number.isSafeInteger(one) && one! >= 0)) return undefined
    return done! < size! ? { name, size: size!, modified: modified!, done: done! } : undefined
  } catch {
    return undefined // others may write there, too
  }
}

export function isSameFile(note: UploadNote, file: Pick<File, "name" | "size" | "lastModified">): boolean {
  return note.name === file.name && note.size === file.size && note.modified === file.lastModified
}
