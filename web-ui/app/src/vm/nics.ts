// Interfaces of VMs.
import type { Ref } from "@basalt/xenapi"
import { calls, tasks } from "@/api/session.js"
import { quietly } from "./actions.js"

export function isMac(text: string): boolean {
  return /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text.trim())
}

/** A new interface, at once in a running VM; without a MAC the server makes one. */
export async function addNic(vm: Ref<"VM">, network: Ref<"network">, mac = ""): Promise<Ref<"VIF">> {
  const [device = ""] = await calls().VM.get_allowed_VIF_devices(vm)
  const vif = await calls().VIF.create({
    VM: vm, network, device, MAC: mac, MTU: 1500, other_config: {}, qos_algorithm_type: "", qos_algorithm_params: {},
  })
  try {
    if ((await calls().VM.get_power_state(vm)) === "Running") await quietly(tasks().VIF.plug(vif))
  } catch (error) {
    await calls().VIF.destroy(vif).catch(() => undefined)
    throw error
  }
  return vif
}
