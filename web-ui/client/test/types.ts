// What the types let through and what they stop. Compiled, never run: a line under ts-expect-error
// that compiles after all is an error itself.
import {
  entries, isError, isOf, type Api, type AsyncApi, type EventBatch, type HostRecord, type Ref,
  type VMCreation, type VmPowerState,
} from "../src/index.js"

declare const api: Api
declare const tasks: AsyncApi
declare const vm: Ref<"VM">
declare const disk: Ref<"VDI">
declare const batch: EventBatch

export async function references(): Promise<void> {
  await api.VM.start(vm, false, false)
  // @ts-expect-error a disk is no VM
  await api.VM.start(disk, false, false)
  // @ts-expect-error text is no reference
  await api.VM.start("OpaqueRef:1", false, false)
  // @ts-expect-error two parameters are missing
  await api.VM.start(vm)
  // @ts-expect-error there is no such message
  await api.VM.begin(vm)
  const hosts: Record<Ref<"host">, HostRecord> = await api.host.get_all_records()
  for (const [ref, host] of entries(hosts)) {
    await api.host.get_enabled(ref)
    await api.VM.get_domid(host.control_domain)
    // @ts-expect-error the key is a host
    await api.VM.get_domid(ref)
  }
}

export async function fields(): Promise<void> {
  const record = await api.VM.get_record(vm)
  const bytes: number = record.memory_static_max
  const on: Ref<"host"> = record.resident_on
  const state: VmPowerState = record.power_state
  // @ts-expect-error no VM is asleep
  const wrong: VmPowerState = "Asleep"
  // @ts-expect-error an operation is no power state
  const mixed: VmPowerState = record.allowed_operations[0]
  await api.VM.set_name_label(vm, "web")
  // @ts-expect-error a name is text
  await api.VM.set_name_label(vm, 7)
  // @ts-expect-error nobody sets where a VM runs
  await api.VM.set_resident_on(vm, on)
  const blocked: string | undefined = record.blocked_operations.start
  // @ts-expect-error an entry of an enumeration may be missing
  const surely: string = record.blocked_operations.start
  void [bytes, state, wrong, mixed, blocked, surely]
}

export async function creation(network: Ref<"network">): Promise<void> {
  const args = {
    VM: vm, network, device: "0", MAC: "", MTU: 1500, other_config: {}, qos_algorithm_type: "",
    qos_algorithm_params: {},
  }
  const vif: Ref<"VIF"> = await api.VIF.create(args)
  // @ts-expect-error a field without a default is missing
  const partial: VMCreation = { name_label: "web" }
  // @ts-expect-error what only the server knows is not given
  const known: VMCreation["resident_on"] = undefined
  void [vif, partial, known]
}

export async function work(): Promise<void> {
  const task: Ref<"task"> = await tasks.VM.start(vm, false, false)
  // @ts-expect-error this message makes no task
  await tasks.VM.get_record(vm)
  void task
}

export function events(): void {
  for (const event of batch.events) {
    if (event.class === "vm" && event.operation !== "del") {
      const state: string = event.snapshot.power_state
      // @ts-expect-error a VM has no bridge
      void event.snapshot.bridge
      void state
    }
    if (isOf(event, "network") && event.operation === "del") {
      const ref: Ref<"network"> = event.ref
      // @ts-expect-error nothing is left of it
      void event.snapshot.uuid
      void ref
    }
  }
}

export function errors(error: unknown): string {
  if (isError(error, "VM_BAD_POWER_STATE")) {
    const [, expected, actual] = error.params
    return `${expected} ${actual}`
  }
  if (isError(error, "SR_BACKEND_FAILURE_46")) return error.params[1]
  // @ts-expect-error there is no such code
  return isError(error, "VM_IS_SAD") ? "" : String(error)
}
