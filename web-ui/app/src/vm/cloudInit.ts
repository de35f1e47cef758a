// What cloud-init in a guest is told: texts in the VM's other_config, or in secrets that it names.
import type { Api, Ref, VMRecord } from "@basalt/xenapi"
import type { Store } from "@/api/store.js"

export const cloudFiles = ["user-data", "network-config", "vendor-data", "meta-data"] as const
export type CloudFile = (typeof cloudFiles)[number]

/** Bytes that the files may have together. */
export const cloudBytesMost = 256 * 1024

const prefix = "cloud-init:"
const suffix = "_secret"
type Config = Readonly<Record<string, string>>

export interface CloudText {
  text: string
  /** Uuid of the secret that holds the text instead. */
  secret: string | undefined
}

/** Of each file that the VM has; the text of a secret is not there. */
export function cloudTexts(config: Config): Map<CloudFile, CloudText> {
  const found = new Map<CloudFile, CloudText>()
  for (const file of cloudFiles) {
    const text = config[prefix + file]
    const secret = config[prefix + file + suffix]
    if (text !== undefined) found.set(file, { text, secret: undefined })
    else if (secret !== undefined) found.set(file, { text: "", secret })
  }
  return found
}

/** Uuids of the secrets that only these VMs name. */
export function ownSecrets(store: Store, vms: readonly (readonly [Ref<"VM">, VMRecord])[]): string[] {
  const own = new Set(vms.map(([ref]) => ref))
  const named = new Set(vms.flatMap(([, { other_config }]) => [...cloudTexts(other_config).values()].flatMap(({ secret }) => secret ?? [])))
  if (named.size === 0) return []
  for (const [ref, { other_config }] of store.table("VM"))
    if (!own.has(ref)) for (const { secret } of cloudTexts(other_config).values()) if (secret) named.delete(secret)
  return [...named]
}

/** Removes secrets that nobody names any more; those that the role may not remove stay. */
export async function destroySecrets(api: Api, uuids: readonly string[]): Promise<void> {
  for (const uuid of uuids)
    await api.secret.get_by_uuid(uuid).then((secret) => api.secret.destroy(secret)).catch(() => undefined)
}

export async function secretText(api: Api, uuid: string): Promise<string> {
  return api.secret.get_value(await api.secret.get_by_uuid(uuid))
}

export interface WantedText {
  /** Empty: without that file. */
  text: string
  /** Whether a secret is to hold it: other_config can be read by every role. */
  secret: boolean
}

/** Sets the files that are named; the others stay. Secrets that it made go again when it fails. */
export async function setCloudTexts(api: Api, vm: Ref<"VM">, wanted: ReadonlyMap<CloudFile, WantedText>): Promise<void> {
  const made: Ref<"secret">[] = []
  try {
    const config = { ...(await api.VM.get_other_config(vm)) }
    for (const [file, { text, secret }] of wanted) {
      delete config[prefix + file]
      delete config[prefix + file + suffix]
      if (!text.trim()) continue
      if (!secret) {
        config[prefix + file] = text
        continue
      }
      const ref = await api.secret.create({ value: text, other_config: {} })
      made.push(ref)
      config[prefix + file + suffix] = await api.secret.get_uuid(ref)
    }
    await api.VM.set_other_config(vm, config)
  } catch (error) {
    for (const ref of made) await api.secret.destroy(ref).catch(() => undefined)
    throw error
  }
}

export interface SimpleCloud {
  /** Empty: the image's own. */
  user: string
  password: string
  /** Public keys for SSH, a line each. */
  keys: string
}

/** As JSON, which is YAML too: nothing in a value can become something else than a value. */
export function cloudConfig({ user, password, keys }: SimpleCloud): string {
  const lines = keyLines(keys)
  const config: Record<string, unknown> = {}
  if (user.trim()) config.user = user.trim()
  if (password) Object.assign(config, { password, chpasswd: { expire: false }, ssh_pwauth: true })
  if (lines.length > 0) config.ssh_authorized_keys = lines
  return `#cloud-config\n${JSON.stringify(config, null, 2)}\n`
}

function keyLines(keys: string): string[] {
  return keys.split("\n").map((line) => line.trim()).filter((line) => line && !line.startsWith("#"))
}

export type CloudProblem = "user" | "nobody" | "keys" | "size" | "header"

export function simpleProblem(simple: SimpleCloud): CloudProblem | undefined {
  const user = simple.user.trim()
  if (user && !/^[a-z_][a-z0-9_-]{0,31}$/.test(user)) return "user"
  const keys = keyLines(simple.keys)
  if (!keys.every((key) => /^(?:ssh-|ecdsa-|sk-)[\w@.-]+ [A-Za-z0-9+/]{16,}={0,3}(?: .*)?$/.test(key))) return "keys"
  return simple.password || keys.length > 0 ? undefined : "nobody"
}

/** Of texts that a person wrote: what cloud-init would not take. */
export function textProblem(texts: ReadonlyMap<CloudFile, string>): CloudProblem | undefined {
  const encoder = new TextEncoder()
  let bytes = 0
  for (const text of texts.values()) bytes += encoder.encode(text).length
  if (bytes > cloudBytesMost) return "size"
  for (const file of ["user-data", "vendor-data"] as const) {
    const text = texts.get(file)?.trim() ?? ""
    if (text && !/^(?:#(?:cloud-|!|include|upstart|part-handler|# template:)|content-type:|mime-version:)/i.test(text)) return "header"
  }
  return undefined
}
