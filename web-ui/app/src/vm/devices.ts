// Devices of a VM: free places, and making one with its undo.
import type { Ref } from "@basalt/xenapi"
import { calls, tasks } from "@/api/session.js"
import { quietly } from "./actions.js"

export { quietly }

/** The first free place for a drive. */
export async function freeDevice(vm: Ref<"VM">): Promise<string> {
  const free = await calls().VM.get_allowed_VBD_devices(vm)
  return free[0] ?? ""
}

/** Joins a disk with a VM, at once if the VM runs. */
export async function attachDisk(vm: Ref<"VM">, vdi: Ref<"VDI">, options: { bootable?: boolean; readOnly?: boolean } = {}) {
  const vbd = await calls().VBD.create({
    VM: vm, VDI: vdi, userdevice: await freeDevice(vm), bootable: options.bootable ?? false,
    mode: options.readOnly ? "RO" : "RW", type: "Disk", unpluggable: true, empty: false,
    other_config: {}, qos_algorithm_type: "", qos_algorithm_params: {},
  })
  try {
    if ((await calls().VM.get_power_state(vm)) === "Running") await quietly(tasks().VBD.plug(vbd))
  } catch (error) {
    await calls().VBD.destroy(vbd).catch(() => undefined)
    throw error
  }
  return vbd
}

export interface NewDisk {
  sr: Ref<"SR">
  name: string
  description?: string
  size: number
}

export function createDisk(disk: NewDisk): Promise<Ref<"VDI">> {
  return calls().VDI.create({
    name_label: disk.name, name_description: disk.description ?? "", SR: disk.sr, virtual_size: disk.size,
    type: "user", sharable: false, read_only: false, other_config: {}, xenstore_data: {}, sm_config: {}, tags: [],
  })
}

/** A new disk for a VM; gone again if it cannot be attached. */
export async function addDisk(vm: Ref<"VM">, disk: NewDisk): Promise<void> {
  const vdi = await createDisk(disk)
  try {
    await attachDisk(vm, vdi)
  } catch (error) {
    await calls().VDI.destroy(vdi).catch(() => undefined)
    throw error
  }
}
