// A new VM out of a template: what was chosen, what stands against it, and the calls that make it.
import { resultRef, type Api, type AsyncApi, type Ref, type TaskRecord, type VMRecord } from "@basalt/xenapi"
import type { Store } from "@/api/store.js"
import { capacityOf, drivesOf, isAttached } from "@/lib/objects.js"
import { cloudConfig, setCloudTexts, simpleProblem, textProblem, type CloudFile, type SimpleCloud, type WantedText } from "./cloudInit.js"
import { memoryLeast, vcpuProblem } from "./size.js"

const MIB = 2 ** 20

export interface ChosenDisk {
  name: string
  sr: Ref<"SR"> | undefined
  size: number
}

export interface CloudChoice extends SimpleCloud {
  /** none: as the template has it. */
  mode: "none" | "simple" | "own"
  userData: string
  network: string
  /** Whether secrets hold the person's own texts. */
  secret: boolean
}

export const noCloud: CloudChoice = { mode: "none", user: "", password: "", keys: "", userData: "", network: "", secret: false }

/** A disk of which it gets a copy to start from, such as a cloud image. */
export interface ChosenImage {
  vdi: Ref<"VDI">
  /** Bytes of the copy: as many as the image has, or more. */
  size: number
}

export interface NewVm {
  template: Ref<"VM"> | undefined
  name: string
  description: string
  vcpus: number
  memory: number
  disks: ChosenDisk[]
  networks: (Ref<"network"> | undefined)[]
  disc: Ref<"VDI"> | undefined
  image: ChosenImage | undefined
  cloud: CloudChoice
  start: boolean
}

export interface Objection {
  key: "noTemplate" | "noName" | "vcpus" | "memory" | "hostMemory" | "noStore" | "diskSize" | "storeFull" | "storeAway" | "noNetwork" | "noBoot" | "imageGone" | "imageSize" | "cloud"
  /** A thing that it is about; of `cloud` a key of cloud.problem. */
  name?: string
  /** Bytes: wanted and there. */
  wanted?: number
  there?: number
  /** Whether the VM can be made in spite of it. */
  warning?: boolean
}

/** Disks that a template wants made, from its `disks` of other_config. */
export function wantedDisks(template: VMRecord): number[] {
  const sizes: number[] = []
  for (const [, size] of (template.other_config.disks ?? "").matchAll(/<disk\b[^>]*\bsize="(\d+)"/g))
    sizes.push(Number(size))
  return sizes
}

/** Why it cannot be made as it was chosen, or what would be wrong with it. */
export function objections(store: Store, plan: NewVm): Objection[] {
  const found: Objection[] = []
  const template = store.get("VM", plan.template)
  if (!template) found.push({ key: "noTemplate" })
  if (!plan.name.trim()) found.push({ key: "noName" })
  if (vcpuProblem(plan.vcpus)) found.push({ key: "vcpus" })
  if (plan.memory < memoryLeast) found.push({ key: "memory", wanted: plan.memory, there: memoryLeast })
  found.push(...diskObjections(store, plan, template))
  for (const network of plan.networks)
    if (!store.get("network", network)) found.push({ key: "noNetwork" })
  found.push(...imageObjections(store, plan))
  const cloud = cloudProblem(plan.cloud)
  if (cloud) found.push({ key: "cloud", name: cloud })
  if (plan.start) found.push(...memoryObjections(store, plan))
  const copied = template ? copiedDisks(store, template) : []
  if (template && copied.length === 0 && !plan.disc && !plan.image) found.push({ key: "noBoot", warning: true })
  return found
}

/** Disks that come with the template's clone. */
export function copiedDisks(store: Store, template: VMRecord) {
  return drivesOf(store, template).filter(({ vbd, vdi }) => vbd.type === "Disk" && vdi !== undefined)
}

function diskObjections(store: Store, plan: NewVm, template: VMRecord | undefined): Objection[] {
  const found: Objection[] = []
  const wanted = new Map<Ref<"SR">, number>()
  for (const disk of plan.disks) {
    if (disk.size <= 0) found.push({ key: "diskSize", name: disk.name })
    if (!disk.sr || !store.get("SR", disk.sr)) found.push({ key: "noStore", name: disk.name })
    else wanted.set(disk.sr, (wanted.get(disk.sr) ?? 0) + disk.size)
  }
  for (const [ref, size] of wanted) {
    const sr = store.get("SR", ref)!
    const there = sr.physical_size - sr.physical_utilisation
    // Disks grow as they are written to: more than there is can be promised, but not kept.
    if (size > there) found.push({ key: "storeFull", name: sr.name_label, wanted: size, there, warning: true })
  }
  for (const { sr } of template ? copiedDisks(store, template) : [])
    if (sr && !isAttached(store, sr)) found.push({ key: "storeAway", name: sr.name_label })
  return found
}

function imageObjections(store: Store, { image }: NewVm): Objection[] {
  if (!image) return []
  const vdi = store.get("VDI", image.vdi)
  if (!vdi) return [{ key: "imageGone" }]
  return image.size < vdi.virtual_size ? [{ key: "imageSize", name: vdi.name_label, there: vdi.virtual_size }] : []
}

function cloudProblem(cloud: CloudChoice) {
  if (cloud.mode === "none") return undefined
  if (cloud.mode === "simple") return simpleProblem(cloud)
  return textProblem(new Map<CloudFile, string>([["user-data", cloud.userData], ["network-config", cloud.network]]))
}

/** The files that were chosen; a password goes into a secret where the role may make one. */
export function cloudWanted(cloud: CloudChoice, mayHide: boolean): Map<CloudFile, WantedText> {
  const wanted = new Map<CloudFile, WantedText>()
  if (cloud.mode === "simple")
    wanted.set("user-data", { text: cloudConfig(cloud), secret: mayHide && cloud.password !== "" })
  if (cloud.mode === "own") {
    wanted.set("user-data", { text: cloud.userData, secret: cloud.secret })
    if (cloud.network.trim()) wanted.set("network-config", { text: cloud.network, secret: cloud.secret })
  }
  return wanted
}

function memoryObjections(store: Store, plan: NewVm): Objection[] {
  let most = 0
  for (const host of store.table("host").values())
    if (host.enabled) most = Math.max(most, capacityOf(store, host).memoryFree)
  return plan.memory > most ? [{ key: "hostMemory", wanted: plan.memory, there: most, warning: true }] : []
}

/** What the assistant calls; injected, so that it can be tested without a host. */
export interface Maker {
  api: Api
  async: AsyncApi
  /** Waits for a task. */
  wait: (task: Promise<Ref<"task">>) => Promise<TaskRecord>
  addDisk: (vm: Ref<"VM">, disk: { sr: Ref<"SR">; name: string; size: number; bootable: boolean }) => Promise<void>
  /** Gives it a copy of an image, from which it starts. */
  addImage: (vm: Ref<"VM">, image: ChosenImage, name: string) => Promise<void>
  addNic: (vm: Ref<"VM">, network: Ref<"network">) => Promise<unknown>
  addDisc: (vm: Ref<"VM">, disc: Ref<"VDI">) => Promise<void>
  /** Whether secrets may be made. */
  mayHide: boolean
  /** Takes the half-made VM away, with its disks. */
  destroy: (vm: Ref<"VM">) => Promise<void>
  /** Told before each step with its name and the share that is done. */
  step: (key: string, share: number) => void
}

/** Makes the VM and returns it; what was made is gone again when a step fails. */
export async function create(maker: Maker, plan: NewVm): Promise<Ref<"VM">> {
  const { api } = maker
  maker.step("clone", 0.05)
  const vm = resultRef<"VM">(await maker.wait(maker.async.VM.clone(plan.template!, plan.name.trim())))
  try {
    maker.step("configure", 0.35)
    await configure(api, vm, plan)
    const cloud = cloudWanted(plan.cloud, maker.mayHide)
    if (cloud.size > 0) await setCloudTexts(api, vm, cloud)
    maker.step("provision", 0.45)
    await maker.wait(maker.async.VM.provision(vm))
    maker.step("disks", 0.55)
    const copied = (await api.VM.get_VBDs(vm)).length > 0
    if (plan.image) await maker.addImage(vm, plan.image, plan.name.trim())
    for (const [index, disk] of plan.disks.entries())
      await maker.addDisk(vm, { sr: disk.sr!, name: disk.name, size: disk.size, bootable: index === 0 && !copied && !plan.image })
    maker.step("network", 0.75)
    for (const vif of await api.VM.get_VIFs(vm)) await api.VIF.destroy(vif)
    for (const network of plan.networks) await maker.addNic(vm, network!)
    if (plan.disc) await maker.addDisc(vm, plan.disc)
  } catch (error) {
    await maker.destroy(vm).catch(() => undefined)
    throw error
  }
  if (plan.start) {
    // A VM that does not start is there all the same, to be looked at.
    maker.step("start", 0.85)
    await maker.wait(maker.async.VM.start(vm, false, false))
  }
  return vm
}

async function configure(api: Api, vm: Ref<"VM">, plan: NewVm): Promise<void> {
  const record = await api.VM.get_record(vm)
  await api.VM.set_name_description(vm, plan.description)
  // Its disks are made by us, in the places that were chosen.
  const { disks: _, ...config } = record.other_config
  await api.VM.set_other_config(vm, config)
  if (plan.vcpus > record.VCPUs_max) await api.VM.set_VCPUs_max(vm, plan.vcpus)
  await api.VM.set_VCPUs_at_startup(vm, plan.vcpus)
  if (plan.vcpus < record.VCPUs_max) await api.VM.set_VCPUs_max(vm, plan.vcpus)
  const memory = Math.floor(plan.memory / MIB) * MIB
  const least = Math.min(record.memory_static_min, memory)
  await api.VM.set_memory_limits(vm, least, memory, memory, memory)
  if (plan.disc) await api.VM.set_HVM_boot_params(vm, { ...record.HVM_boot_params, order: "dc" })
}
