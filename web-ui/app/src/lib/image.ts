// What an image file holds, by its first bytes: the disk it goes into must be made large enough.
export const imageFormats = ["raw", "vhd", "qcow2"] as const
export type ImageFormat = (typeof imageFormats)[number]

export interface Image {
  /** xva: not a disk, but a virtual machine with its disks. */
  format: ImageFormat | "xva"
  /** Bytes of the disk inside. */
  virtualSize: number
  /** Whether it is a disc (ISO 9660). */
  disc: boolean
}

const footer = 512 // bytes of a VHD's last sector
const discAt = 32769

/** What is compressed is known by its name only. */
export async function readImage(file: Blob, name = ""): Promise<Image> {
  const head = new DataView(await file.slice(0, 64).arrayBuffer())
  const packed = text(head, 0, 2) === "\x1f\x8b" || text(head, 0, 4) === "(\xb5/\xfd"
  if (text(head, 0, 8) === "ova.xml\0" || (packed && /\.xva(\.\w+)?$/i.test(name)))
    return { format: "xva", virtualSize: file.size, disc: false }
  if (text(head, 0, 4) === "QFI\xfb" && head.byteLength >= 32)
    return { format: "qcow2", virtualSize: Number(head.getBigUint64(24)), disc: false }
  const vhd = await vhdSize(file, head)
  if (vhd !== undefined) return { format: "vhd", virtualSize: vhd, disc: false }
  const mark = new DataView(await file.slice(discAt, discAt + 5).arrayBuffer())
  return { format: "raw", virtualSize: file.size, disc: text(mark, 0, 5) === "CD001" }
}

/** Dynamic ones begin with a copy of the footer, fixed ones have it at their end only. */
async function vhdSize(file: Blob, head: DataView): Promise<number | undefined> {
  if (text(head, 0, 8) === "conectix") return Number(head.getBigUint64(48))
  if (file.size < footer) return undefined
  const tail = new DataView(await file.slice(file.size - footer, file.size - footer + 64).arrayBuffer())
  return text(tail, 0, 8) === "conectix" ? Number(tail.getBigUint64(48)) : undefined
}

function text(view: DataView, at: number, length: number): string {
  let out = ""
  for (let index = at; index < at + length && index < view.byteLength; ++index)
    out += String.fromCharCode(view.getUint8(index))
  return out
}

/** The name of a download, safe as a file's. */
export function fileName(name: string, format: ImageFormat | "xva" | "tar"): string {
  const plain = name.replace(/[^\p{L}\p{N}._ -]+/gu, "_").replace(/^[.\s]+/, "").trim()
  return `${plain || "disk"}.${format === "raw" ? "img" : format}`
}
