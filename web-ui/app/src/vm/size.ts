// How many processors and how much memory a VM has, as a form, and the calls that bring it about: they
// are others while it runs.
import type { Api, Ref, VMRecord } from "@basalt/xenapi"
import { allOrNothing, type Step } from "@/lib/steps.js"

export const vcpusMax = 64
/** Bytes. */
export const memoryLeast = 64 * 2 ** 20

export function vcpuProblem(count: number): boolean {
  return !Number.isInteger(count) || count < 1 || count > vcpusMax
}

export interface Size {
  vcpus: number
  /** As many as can be given while it runs. */
  vcpusMost: number
  /** Bytes, as the others: what it is given. */
  memory: number
  /** What it keeps when its host runs short. */
  memoryLeast: number
  /** As much as can be given while it runs. */
  memoryMost: number
}

export function sizeOf(vm: VMRecord): Size {
  return {
    vcpus: vm.VCPUs_at_startup, vcpusMost: vm.VCPUs_max,
    memory: vm.memory_dynamic_max, memoryLeast: vm.memory_dynamic_min, memoryMost: vm.memory_static_max,
  }
}

/** Limits that were the same as the number that they limit stay the same as it. */
export function withVcpus(size: Size, vcpus: number, halted: boolean): Size {
  return { ...size, vcpus, vcpusMost: halted && size.vcpusMost === size.vcpus ? vcpus : size.vcpusMost }
}

export function withMemory(size: Size, memory: number, halted: boolean): Size {
  return {
    ...size, memory,
    memoryLeast: size.memoryLeast === size.memory ? memory : size.memoryLeast,
    memoryMost: halted && size.memoryMost === size.memory ? memory : size.memoryMost,
  }
}

export type SizeProblem = "vcpus" | "vcpusMost" | "memory" | "memoryLeast" | "memoryMost"

/** The first that is wrong, as the server would find it. */
export function sizeProblem(size: Size, vm: VMRecord): SizeProblem | undefined {
  if (vcpuProblem(size.vcpus)) return "vcpus"
  if (vcpuProblem(size.vcpusMost) || size.vcpusMost < size.vcpus) return "vcpusMost"
  if (size.memory < memoryLeast) return "memory"
  // A guest that runs cannot go below what it was started with as its floor.
  const floor = vm.power_state === "Halted" ? memoryLeast : Math.max(memoryLeast, vm.memory_static_min)
  if (size.memoryLeast < floor || size.memoryLeast > size.memory) return "memoryLeast"
  return size.memory > size.memoryMost ? "memoryMost" : undefined
}

/** Takes everything back when a part of it is refused. */
export function changeSize(api: Api, vm: Ref<"VM">, record: VMRecord, wanted: Size): Promise<void> {
  const before = sizeOf(record)
  return allOrNothing(record.power_state === "Halted" ? halted(api, vm, record, before, wanted) : running(api, vm, before, wanted))
}

function halted(api: Api, vm: Ref<"VM">, record: VMRecord, before: Size, wanted: Size): Step[] {
  const steps: Step[] = []
  const most = (count: number) => () => api.VM.set_VCPUs_max(vm, count)
  const raise: Step = { act: most(wanted.vcpusMost), back: most(before.vcpusMost) }
  // The limit is raised before, and lowered after, what it limits.
  if (wanted.vcpusMost > before.vcpusMost) steps.push(raise)
  if (wanted.vcpus !== before.vcpus)
    steps.push({ act: () => api.VM.set_VCPUs_at_startup(vm, wanted.vcpus), back: () => api.VM.set_VCPUs_at_startup(vm, before.vcpus) })
  if (wanted.vcpusMost < before.vcpusMost) steps.push(raise)
  const limits = (size: Size, floor: number) => () => api.VM.set_memory_limits(vm, floor, size.memoryMost, size.memoryLeast, size.memory)
  if (hasOtherMemory(before, wanted) || wanted.memoryMost !== before.memoryMost)
    steps.push({
      act: limits(wanted, Math.min(record.memory_static_min, wanted.memoryLeast)),
      back: limits(before, record.memory_static_min),
    })
  return steps
}

function running(api: Api, vm: Ref<"VM">, before: Size, wanted: Size): Step[] {
  const steps: Step[] = []
  const range = (size: Size) => () => api.VM.set_memory_dynamic_range(vm, size.memoryLeast, size.memory)
  if (hasOtherMemory(before, wanted)) steps.push({ act: range(wanted), back: range(before) })
  const vcpus = (count: number) => () => api.VM.set_VCPUs_number_live(vm, count)
  if (wanted.vcpus !== before.vcpus) steps.push({ act: vcpus(wanted.vcpus), back: vcpus(before.vcpus) })
  return steps
}

function hasOtherMemory(before: Size, wanted: Size): boolean {
  return wanted.memory !== before.memory || wanted.memoryLeast !== before.memoryLeast
}
