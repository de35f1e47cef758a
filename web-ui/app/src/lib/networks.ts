// Making and removing networks in several calls, undone when one of them fails.
import type { Api, BondMode, PIFRecord, Ref } from "@basalt/xenapi"
import type { Store } from "@/api/store.js"

export const tagMax = 4094

export function tagProblem(tag: number, used: ReadonlySet<number>): "range" | "used" | undefined {
  if (!Number.isInteger(tag) || tag < 0 || tag > tagMax) return "range"
  return used.has(tag) ? "used" : undefined
}

export interface NewVlan {
  name: string
  description: string
  pif: Ref<"PIF">
  tag: number
}

/** A network for the VLAN, and the VLAN on a port; the network goes again if the VLAN fails. */
export async function createVlan(api: Api, vlan: NewVlan): Promise<void> {
  const network = await api.network.create({
    name_label: vlan.name, name_description: vlan.description, MTU: 1500, other_config: {},
    bridge: "", managed: true, tags: [],
  })
  try {
    await api.VLAN.create(vlan.pif, vlan.tag, network)
  } catch (error) {
    await api.network.destroy(network).catch(() => undefined)
    throw error
  }
}

export const bondModes = ["balance-slb", "active-backup", "lacp"] as const satisfies readonly BondMode[]

export interface NewBond {
  name: string
  description: string
  members: Ref<"PIF">[]
  mode: BondMode
}

/** Whether a port can become part of a bond. */
export function isFreePort(pif: PIFRecord): boolean {
  return pif.physical && pif.managed && pif.bond_slave_of === "OpaqueRef:NULL"
}

/** Why these ports make no bond. */
export function bondProblem(members: readonly PIFRecord[]): "few" | "hosts" | undefined {
  if (members.length < 2) return "few"
  return new Set(members.map(({ host }) => host)).size > 1 ? "hosts" : undefined
}

/** A network for the bond, and the bond of ports of one host; the network goes again if it fails. */
export async function createBond(api: Api, bond: NewBond): Promise<void> {
  const network = await api.network.create({
    name_label: bond.name, name_description: bond.description, MTU: 1500, other_config: {},
    bridge: "", managed: true, tags: [],
  })
  try {
    await api.Bond.create(network, bond.members, "", bond.mode, {})
  } catch (error) {
    await api.network.destroy(network).catch(() => undefined)
    throw error
  }
}

/** VLANs and bonds that end on the network first: the server keeps a network while a port is on it. */
export async function destroyNetwork(api: Api, store: Store, network: Ref<"network">): Promise<void> {
  const record = store.get("network", network)
  for (const [, pif] of store.some("PIF", record?.PIFs ?? [])) {
    if (pif.VLAN >= 0) await api.VLAN.destroy(pif.VLAN_master_of)
    for (const bond of pif.bond_master_of) await api.Bond.destroy(bond)
  }
  await api.network.destroy(network)
}
