// Records with just what a test looks at, and a server that only writes down what it is asked.
import type { EventBatch } from "@basalt/xenapi"
import { Store, type Followed } from "@/api/store.js"

export const NULL = "OpaqueRef:NULL"

const defaults: Partial<Record<Followed, Record<string, unknown>>> = {
  VM: {
    name_label: "", name_description: "", power_state: "Halted", is_a_template: false, is_a_snapshot: false,
    is_control_domain: false, current_operations: {}, allowed_operations: [], resident_on: NULL, tags: [], VBDs: [],
    VIFs: [], snapshots: [], parent: NULL, snapshot_time: "19700101T00:00:00Z", guest_metrics: NULL, metrics: NULL,
    other_config: {}, HVM_boot_params: {}, VCPUs_at_startup: 1, VCPUs_max: 1, memory_static_min: 0, memory_static_max: 2 ** 30,
  },
  host: { name_label: "", enabled: true, resident_VMs: [], host_CPUs: [], cpu_info: {}, address: "", tags: [], metrics: NULL },
  SR: { name_label: "", content_type: "user", PBDs: [], VDIs: [], physical_size: 0, physical_utilisation: 0, allowed_operations: [], tags: [] },
  VDI: { name_label: "", managed: true, missing: false, is_a_snapshot: false, VBDs: [], tags: [], virtual_size: 0, sharable: false },
  VBD: { type: "Disk", userdevice: "0", empty: false, currently_attached: false, allowed_operations: [] },
  network: { name_label: "", PIFs: [], VIFs: [], other_config: {}, tags: [] },
  PIF: { VLAN: -1, physical: true, management: false, bond_master_of: [] },
}

type Rows = Partial<Record<Followed, Record<string, Record<string, unknown>>>>

export function event(cls: Followed, ref: string, snapshot?: Record<string, unknown>) {
  const operation = snapshot ? "add" : "del"
  return { id: "1", timestamp: "0.", class: cls.toLowerCase(), operation, ref, snapshot: snapshot && { uuid: ref, ...defaults[cls], ...snapshot } }
}

export function batch(events: ReturnType<typeof event>[], token = "1"): EventBatch<Followed> {
  return { events, token, valid_ref_counts: {} } as unknown as EventBatch<Followed>
}

export function storeWith(rows: Rows): Store {
  const store = new Store()
  const events = Object.entries(rows).flatMap(([cls, records]) =>
    Object.entries(records).map(([ref, record]) => event(cls as Followed, ref, record)),
  )
  store.reset(batch(events))
  return store
}

/** Calls are written down; those named in `failing` throw what stands there. */
export function recorder(answers: Record<string, unknown> = {}, failing: Record<string, unknown> = {}) {
  const log: string[] = []
  const cls = (name: string) =>
    new Proxy({}, {
      get: (_, message: string) => async (...params: unknown[]) => {
        const call = [`${name}.${message}`, ...params.map((one) => (typeof one === "string" ? one : JSON.stringify(one)))].join(" ")
        if (!message.startsWith("get_")) log.push(call)
        const wrong = failing[call] ?? failing[`${name}.${message}`]
        if (wrong) throw wrong
        return answers[`${name}.${message}`] ?? ""
      },
    })
  const api = new Proxy({}, { get: (_, name: string) => cls(name) }) as never
  return { api, log }
}
