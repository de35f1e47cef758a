// What can be changed of an interface that is there: its network, and the VLANs that its guest may use.
import type { Api, Ref, VIFRecord } from "@basalt/xenapi"
import type { Store } from "@/api/store.js"
import { allOrNothing, type Step } from "@/lib/steps.js"

/** Tags as a person writes them; undefined where something else stands among them. */
export function parseTags(text: string): number[] | undefined {
  const words = text.split(/[\s,;]+/).filter(Boolean)
  const tags = words.map(Number)
  const good = tags.every((tag, at) => /^\d+$/.test(words[at]!) && tag >= 1 && tag <= 4094)
  return good ? [...new Set(tags)].sort((a, b) => a - b) : undefined
}

/** Whether the network is a VLAN: then its guests cannot have tags of their own. */
export function isVlan(store: Store, network: Ref<"network"> | undefined): boolean {
  return store.some("PIF", store.get("network", network)?.PIFs ?? []).some(([, pif]) => pif.VLAN >= 0)
}

export interface NicChange {
  network: Ref<"network">
  /** VLANs that the guest may tag its frames with; none: it may use any. */
  tags: number[]
}

/** Both or neither. `ontoVlan`: whether the new network is a VLAN, onto which no interface with tags goes. */
export function changeNic(api: Api, vif: Ref<"VIF">, before: VIFRecord, wanted: NicChange, ontoVlan: boolean): Promise<void> {
  const steps: Step[] = []
  const move = (network: Ref<"network">) => () => api.VIF.move(vif, network)
  const set = (tags: readonly number[]) => () => api.VIF.set_trunks(vif, [...tags])
  if (wanted.network !== before.network) steps.push({ act: move(wanted.network), back: move(before.network) })
  if (String(wanted.tags) !== String(before.trunks.toSorted((a, b) => a - b)))
    steps.push({ act: set(wanted.tags), back: set(before.trunks) })
  return allOrNothing(ontoVlan ? steps.toReversed() : steps)
}
