// Repositories that can be made here: what each driver wants to know.
export interface SrField {
  key: string
  /** Of the catalogue: storage.field.KEY. */
  label: string
  placeholder: string
  optional?: boolean
}

export interface SrKind {
  key: string
  /** Of the driver. */
  type: string
  content: "user" | "iso"
  shared: boolean
  fields: readonly SrField[]
}

const server: SrField = { key: "server", label: "server", placeholder: "10.0.0.5" }

const kinds: readonly SrKind[] = [
  { key: "nfs", type: "nfs", content: "user", shared: true, fields: [server, { key: "serverpath", label: "path", placeholder: "/exports/vms" }] },
  { key: "nfsIso", type: "nfs_iso", content: "iso", shared: true, fields: [{ key: "location", label: "location", placeholder: "10.0.0.5:/exports/iso" }] },
  { key: "iso", type: "iso", content: "iso", shared: false, fields: [{ key: "location", label: "path", placeholder: "/srv/iso" }] },
  { key: "file", type: "file", content: "user", shared: false, fields: [{ key: "location", label: "path", placeholder: "/srv/vms" }] },
  { key: "ext", type: "ext", content: "user", shared: false, fields: [{ key: "device", label: "device", placeholder: "/dev/sdb" }] },
  { key: "xfs", type: "xfs", content: "user", shared: false, fields: [{ key: "device", label: "device", placeholder: "/dev/sdb" }] },
  { key: "lvm", type: "lvm", content: "user", shared: false, fields: [{ key: "device", label: "device", placeholder: "/dev/sdb" }] },
]

/** Those whose driver the server has. */
export function kindsFor(supported: readonly string[]): SrKind[] {
  return kinds.filter(({ type }) => supported.includes(type))
}

export interface FoundSr {
  uuid: string
  /** What the probe says beside it, as text. */
  about: string
}

/** Repositories that SR.probe's XML names. Text of a server elsewhere: parsed, never shown as markup. */
export function foundByProbe(xml: string): FoundSr[] {
  const parsed = new DOMParser().parseFromString(xml, "text/xml")
  if (parsed.querySelector("parsererror")) return []
  return [...parsed.querySelectorAll("SR")]
    .map((node) => ({
      uuid: node.querySelector("UUID")?.textContent?.trim() ?? "",
      about: [...node.children]
        .filter(({ tagName }) => tagName !== "UUID")
        .map(({ textContent }) => textContent?.trim() ?? "")
        .filter(Boolean)
        .join(" · "),
    }))
    .filter(({ uuid }) => /^[0-9a-f-]{36}$/i.test(uuid))
}
