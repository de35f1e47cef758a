// What can be done with VMs: offered when the role may, possible when the VM's state allows.
import { resultRef, type Ref, type VMRecord, type VmOperations } from "@basalt/xenapi"
import type { MessageName } from "@generated/messages"
import { Camera, CirclePause, CirclePlay, CopyPlus, Download, Layers, Moon, OctagonX, Play, Power, RotateCcw, RotateCw, Sunrise, Trash2, Unplug } from "@lucide/vue"
import type { Component } from "vue"
import { awaited, performEach, performTask, perform, type Action } from "@/api/actions.js"
import { may, signedIn, tasks } from "@/api/session.js"
import { store } from "@/api/store.js"
import { confirm } from "@/lib/confirm.js"
import { ownDisks, type VmEntry } from "@/lib/objects.js"
import { destroySecrets, ownSecrets } from "./cloudInit.js"

export type Translate = (key: string, named?: Record<string, unknown>) => string

export interface VmAction {
  key: string
  icon: Component
  /** Message that it needs. */
  message: MessageName
  /** What the VM must allow now. */
  operation: VmOperations
  /** Whether it is asked first, with this key of a text. */
  ask?: boolean
  danger?: boolean
  /** Whether many VMs at once make sense. */
  bulk?: boolean
  start: (vm: Ref<"VM">) => Promise<Ref<"task">>
}

export const powerActions: readonly VmAction[] = [
  { key: "start", icon: Play, message: "VM.start", operation: "start", bulk: true, start: (vm) => tasks().VM.start(vm, false, false) },
  { key: "resume", icon: Sunrise, message: "VM.resume", operation: "resume", bulk: true, start: (vm) => tasks().VM.resume(vm, false, false) },
  { key: "unpause", icon: CirclePlay, message: "VM.unpause", operation: "unpause", bulk: true, start: (vm) => tasks().VM.unpause(vm) },
  { key: "shutdown", icon: Power, message: "VM.clean_shutdown", operation: "clean_shutdown", bulk: true, start: (vm) => tasks().VM.clean_shutdown(vm) },
  { key: "reboot", icon: RotateCw, message: "VM.clean_reboot", operation: "clean_reboot", bulk: true, start: (vm) => tasks().VM.clean_reboot(vm) },
  { key: "suspend", icon: Moon, message: "VM.suspend", operation: "suspend", bulk: true, start: (vm) => tasks().VM.suspend(vm) },
  { key: "pause", icon: CirclePause, message: "VM.pause", operation: "pause", bulk: true, start: (vm) => tasks().VM.pause(vm) },
  { key: "hardReboot", icon: RotateCcw, message: "VM.hard_reboot", operation: "hard_reboot", ask: true, danger: true, bulk: true, start: (vm) => tasks().VM.hard_reboot(vm) },
  { key: "hardShutdown", icon: OctagonX, message: "VM.hard_shutdown", operation: "hard_shutdown", ask: true, danger: true, bulk: true, start: (vm) => tasks().VM.hard_shutdown(vm) },
]

export function allowsNow(vm: VMRecord, action: VmAction): boolean {
  return vm.allowed_operations.includes(action.operation)
}

/** The actions that the role may, whatever the VM's state. */
export function offered(): VmAction[] {
  return powerActions.filter(({ message }) => may(message))
}

export async function run(t: Translate, action: VmAction, vms: readonly VmEntry[]): Promise<void> {
  const [only] = vms
  if (!only) return
  const name = vms.length === 1 ? only.record.name_label : t("vm.many", { count: vms.length })
  const title = t(`vmAction.${action.key}.doing`, { name })
  if (action.ask) {
    const yes = await confirm({
      title: t(`vmAction.${action.key}.ask`, { name }),
      text: t(`vmAction.${action.key}.loss`),
      losses: vms.length === 1 ? [] : vms.map(({ record }) => record.name_label),
      yes: t(`vmAction.${action.key}.name`),
      danger: true,
    })
    if (!yes) return
  }
  if (vms.length === 1) await performTask(title, () => action.start(only.ref))
  else await performEach(title, vms, ({ ref, record }) => quietly(action.start(ref), t(`vmAction.${action.key}.doing`, { name: record.name_label })))
}

/** Waits for a task without a notice of its own. With a title it stays among the tasks when it has ended. */
export async function quietly(started: Promise<Ref<"task">>, title = "") {
  const silent = { title, progress: undefined, cancel: undefined, task: undefined } as unknown as Action
  return awaited(silent, started)
}

/** Destroys VMs with the disks that are theirs alone, after telling which. */
export async function destroyVms(t: Translate, vms: readonly VmEntry[]): Promise<boolean> {
  const [only] = vms
  if (!only) return false
  const disks = vms.flatMap(({ record }) => ownDisks(store, record))
  const name = vms.length === 1 ? only.record.name_label : t("vm.many", { count: vms.length })
  const snapshots = vms.reduce((sum, { record }) => sum + record.snapshots.length, 0)
  const yes = await confirm({
    title: t("vmAction.destroy.ask", { name }),
    text: t("vmAction.destroy.loss"),
    losses: [
      ...vms.map(({ record }) => t("vmAction.destroy.vm", { name: record.name_label })),
      ...disks.map(([, disk]) => t("vmAction.destroy.disk", { name: disk.name_label })),
      ...(snapshots ? [t("vmAction.destroy.snapshots", { count: snapshots })] : []),
    ],
    yes: t("vmAction.destroy.name"),
    danger: true,
  })
  if (!yes) return false
  const title = t("vmAction.destroy.doing", { name })
  if (vms.length === 1) return (await perform(title, () => destroyOne(only.ref))) !== undefined
  await performEach(title, vms, ({ ref }) => destroyOne(ref))
  return true
}

/** Snapshots first, so that no disk is left behind as somebody's parent. */
export async function destroyOne(vm: Ref<"VM">): Promise<void> {
  const { api } = signedIn()
  const record = await api.VM.get_record(vm)
  for (const snapshot of record.snapshots) await destroyOne(snapshot)
  const disks = ownDisks(store, record).map(([ref]) => ref)
  const secrets = ownSecrets(store, [[vm, record], ...store.some("VM", record.snapshots)])
  await api.VM.destroy(vm)
  await destroySecrets(api, secrets)
  for (const disk of disks) await quietly(tasks().VDI.destroy(disk))
}

export async function takeSnapshot(t: Translate, vm: VmEntry, name: string, withMemory = false) {
  const title = t("snapshot.taking", { name: vm.record.name_label })
  return performTask(title, () => (withMemory ? tasks().VM.checkpoint(vm.ref, name) : tasks().VM.snapshot(vm.ref, name)))
}

export async function copyVm(t: Translate, vm: VmEntry, name: string, full: Ref<"SR"> | undefined) {
  return perform(t("vmAction.copy.doing", { name: vm.record.name_label }), async (action) => {
    const started = full ? tasks().VM.copy(vm.ref, name, full) : tasks().VM.clone(vm.ref, name)
    return resultRef<"VM">(await awaited(action, started))
  })
}

export const otherIcons = { export: Download, snapshot: Camera, copy: CopyPlus, template: Layers, destroy: Trash2, eject: Unplug }
