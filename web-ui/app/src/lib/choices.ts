// What can be chosen in forms.
import type { NetworkRecord, Ref, SRRecord, VDIRecord } from "@basalt/xenapi"
import type { Store } from "@/api/store.js"
import { isAttached, isIsoStore } from "./objects.js"
import { noteOf } from "./pieces.js"
import { compareText } from "./table.js"

/** Repositories that take disks, the pool's own choice first, then the roomiest. */
export function diskStores(store: Store): [Ref<"SR">, SRRecord][] {
  const [pool] = store.table("pool").values()
  const free = (sr: SRRecord) => sr.physical_size - sr.physical_utilisation
  return [...store.table("SR")]
    .filter(([, sr]) => !isIsoStore(sr) && sr.allowed_operations.includes("vdi_create") && isAttached(store, sr))
    .sort(([a, x], [b, y]) => Number(b === pool?.default_SR) - Number(a === pool?.default_SR) || free(y) - free(x))
}

export function isoStores(store: Store): [Ref<"SR">, SRRecord][] {
  return [...store.table("SR")].filter(
    ([, sr]) => isIsoStore(sr) && sr.allowed_operations.includes("vdi_create") && isAttached(store, sr),
  )
}

/** Networks for VMs: not those that are the host's own business; those of whole ports first. */
export function vmNetworks(store: Store): [Ref<"network">, NetworkRecord][] {
  const rank = ({ PIFs }: NetworkRecord) => {
    const pifs = store.some("PIF", PIFs)
    return pifs.length === 0 ? 0 : pifs.some(([, pif]) => pif.VLAN < 0) ? 2 : 1
  }
  return [...store.table("network")]
    .filter(([, network]) => network.other_config.is_host_internal_management_network !== "true")
    .sort(([, a], [, b]) => rank(b) - rank(a) || compareText(a.name_label, b.name_label))
}

/** Disks that a new VM may get a copy of: whole ones that nobody uses. */
export function imageDisks(store: Store): [Ref<"VDI">, VDIRecord][] {
  return [...store.table("VDI")]
    .filter(([, vdi]) => {
      const sr = store.get("SR", vdi.SR)
      const whole = vdi.managed && !vdi.missing && !vdi.is_a_snapshot && vdi.type === "user" && !noteOf(vdi.other_config)
      return whole && sr !== undefined && !isIsoStore(sr) && vdi.VBDs.length === 0 && vdi.allowed_operations.includes("clone")
    })
    .sort(([, a], [, b]) => compareText(a.name_label, b.name_label))
}
