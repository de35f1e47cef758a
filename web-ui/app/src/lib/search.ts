// Finding objects by name, tag, address or uuid.
import type { Store } from "@/api/store.js"
import { addressesOf, isGuest, isTemplate } from "./objects.js"
import { compareText } from "./table.js"

export type FoundKind = "vm" | "template" | "host" | "sr" | "network" | "vdi"

export interface Found {
  key: string
  kind: FoundKind
  name: string
  /** What matched when it was not the name. */
  because: string
  to: string
}

interface Candidate extends Found {
  uuid: string
  tags: readonly string[]
  addresses: readonly string[]
}

/** The best matches first: whole name, its beginning, a word's beginning, anywhere, then the rest. */
export function search(store: Store, query: string, limit = 40): Found[] {
  const wanted = query.trim().toLowerCase()
  if (!wanted) return []
  const ranked: { rank: number; found: Candidate }[] = []
  for (const candidate of candidates(store)) {
    const rank = rankOf(candidate, wanted)
    if (rank < 0) continue
    ranked.push({ rank, found: { ...candidate, because: reason(candidate, wanted, rank) } })
  }
  ranked.sort((a, b) => a.rank - b.rank || compareText(a.found.name, b.found.name))
  return ranked.slice(0, limit).map(({ found }) => found)
}

const byTag = 4
const byAddress = 5
const byUuid = 6

function rankOf(candidate: Candidate, wanted: string): number {
  const name = candidate.name.toLowerCase()
  if (name === wanted) return 0
  if (name.startsWith(wanted)) return 1
  if (name.split(/[\s._-]+/).some((word) => word.startsWith(wanted))) return 2
  if (name.includes(wanted)) return 3
  if (candidate.tags.some((tag) => tag.toLowerCase().includes(wanted))) return byTag
  if (candidate.addresses.some((address) => address.startsWith(wanted))) return byAddress
  if (wanted.length >= 4 && candidate.uuid.startsWith(wanted)) return byUuid
  return -1
}

function reason(candidate: Candidate, wanted: string, rank: number): string {
  if (rank === byTag) return candidate.tags.find((tag) => tag.toLowerCase().includes(wanted)) ?? ""
  if (rank === byAddress)
    return candidate.addresses.find((address) => address.startsWith(wanted)) ?? ""
  return rank === byUuid ? candidate.uuid : ""
}

function* candidates(store: Store): Generator<Candidate> {
  for (const [ref, vm] of store.table("VM")) {
    const kind = isGuest(vm) ? "vm" : isTemplate(vm) ? "template" : undefined
    if (!kind) continue
    const addresses = kind === "vm" ? addressesOf(store, vm) : []
    yield candidate(ref, kind, vm, `/vm/${vm.uuid}`, addresses)
  }
  for (const [ref, host] of store.table("host"))
    yield candidate(ref, "host", host, `/host/${host.uuid}`, [host.address])
  for (const [ref, sr] of store.table("SR")) yield candidate(ref, "sr", sr, `/sr/${sr.uuid}`, [])
  for (const [ref, network] of store.table("network"))
    yield candidate(ref, "network", network, "/network", [])
  for (const [ref, vdi] of store.table("VDI")) {
    const sr = store.get("SR", vdi.SR)
    if (sr && vdi.managed) yield candidate(ref, "vdi", vdi, `/sr/${sr.uuid}`, [])
  }
}

function candidate(
  key: string,
  kind: FoundKind,
  record: { name_label: string; uuid: string; tags: string[] },
  to: string,
  addresses: readonly string[],
): Candidate {
  const { name_label: name, uuid, tags } = record
  return { key, kind, name: name || uuid, because: "", to, uuid, tags, addresses }
}
