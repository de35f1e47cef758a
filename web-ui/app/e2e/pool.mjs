// A simulated pool, large and at once there: it serves the built console, lets anybody sign in, tells
// its records by event.from, and changes some of them when asked. For what lists cost, not for what a
// host does.
import { createReadStream, existsSync } from "node:fs"
import { createServer } from "node:http"
import { extname, join, normalize } from "node:path"

const NULL = "OpaqueRef:NULL"
const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" }

const idOf = (cls, index) => `${cls}-0000-4000-8000-${String(index).padStart(12, "0")}`
const refOf = (cls, index) => `OpaqueRef:${idOf(cls, index)}`

function hostRecord(index, vms) {
  return {
    uuid: idOf("host", index), name_label: `host ${index}`, name_description: "", hostname: `host${index}`, address: `10.0.${index}.1`, enabled: true,
    metrics: refOf("hmet", index), resident_VMs: vms, host_CPUs: [], PIFs: [], PBDs: [refOf("pbd", index)], cpu_info: { cpu_count: "64", modelname: "simulated" },
    software_version: { product_brand: "Basalt", product_version: "0.1" }, tags: [], other_config: {}, timezone: "UTC", allowed_operations: [], current_operations: {},
  }
}

function vmRecord(index, host) {
  const running = index % 4 !== 3
  return {
    uuid: idOf("vm", index), name_label: `machine ${index}`, name_description: `number ${index} of many`, power_state: running ? "Running" : "Halted",
    is_a_template: false, is_a_snapshot: false, is_control_domain: false, resident_on: running ? host : NULL, affinity: NULL, tags: [`team ${index % 17}`, index % 2 ? "prod" : "test"],
    allowed_operations: running ? ["clean_shutdown", "clean_reboot", "hard_shutdown", "hard_reboot", "suspend", "pause", "snapshot"] : ["start", "clone", "export", "destroy", "snapshot"],
    current_operations: {}, VBDs: [refOf("vbd", index)], VIFs: [], snapshots: [], parent: NULL, snapshot_time: "19700101T00:00:00Z", metrics: refOf("vmet", index),
    guest_metrics: running ? refOf("vgm", index) : NULL, VCPUs_at_startup: 1 + (index % 8), VCPUs_max: 8, memory_static_max: 2 ** 30 * (1 + (index % 16)),
    memory_static_min: 2 ** 28, memory_dynamic_max: 2 ** 30, memory_dynamic_min: 2 ** 30, other_config: {}, HVM_boot_params: {}, platform: {}, consoles: [],
  }
}

/** Every record by class and reference, of so many VMs on so many hosts. */
function recordsOf(vms, hosts) {
  const records = { VM: {}, host: {}, host_metrics: {}, VM_metrics: {}, VM_guest_metrics: {}, VBD: {}, VDI: {}, SR: {}, PBD: {}, pool: {} }
  const resident = Array.from({ length: hosts }, () => [])
  for (let index = 0; index < vms; ++index) {
    const at = index % hosts
    const record = (records.VM[refOf("vm", index)] = vmRecord(index, refOf("host", at)))
    if (record.power_state === "Running") resident[at].push(refOf("vm", index))
    records.VM_metrics[refOf("vmet", index)] = { uuid: idOf("vmet", index), memory_actual: record.memory_static_max, start_time: "20260101T00:00:00Z", install_time: "20260101T00:00:00Z" }
    records.VM_guest_metrics[refOf("vgm", index)] = { uuid: idOf("vgm", index), networks: { "0/ip": `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}` }, os_version: { name: "Debian GNU/Linux 13" }, live: true }
    records.VBD[refOf("vbd", index)] = { uuid: idOf("vbd", index), VM: refOf("vm", index), VDI: refOf("vdi", index), type: "Disk", userdevice: "0", device: "vda", mode: "RW", empty: false, currently_attached: true, allowed_operations: [] }
    records.VDI[refOf("vdi", index)] = { uuid: idOf("vdi", index), name_label: `machine ${index} disk`, name_description: "", SR: refOf("sr", 0), VBDs: [refOf("vbd", index)], virtual_size: 2 ** 33, physical_utilisation: 2 ** 31, managed: true, missing: false, is_a_snapshot: false, type: "user", tags: [], other_config: {}, allowed_operations: [], sharable: false, read_only: false }
  }
  for (let index = 0; index < hosts; ++index) {
    records.host[refOf("host", index)] = hostRecord(index, resident[index])
    records.host_metrics[refOf("hmet", index)] = { uuid: idOf("hmet", index), live: true, memory_total: 2 ** 39, memory_free: 2 ** 38, last_updated: "20260101T00:00:00Z" }
    records.PBD[refOf("pbd", index)] = { uuid: idOf("pbd", index), host: refOf("host", index), SR: refOf("sr", 0), currently_attached: true }
  }
  records.SR[refOf("sr", 0)] = {
    uuid: idOf("sr", 0), name_label: "shared", name_description: "", type: "nfs", content_type: "user", shared: true, PBDs: Object.keys(records.PBD), VDIs: Object.keys(records.VDI), tags: [],
    physical_size: 2 ** 46, physical_utilisation: 2 ** 44, virtual_allocation: 2 ** 45, allowed_operations: ["vdi_create"], other_config: {},
  }
  records.pool[refOf("pool", 0)] = { uuid: idOf("pool", 0), name_label: "simulated", name_description: "", master: refOf("host", 0), default_SR: refOf("sr", 0), suspend_image_SR: NULL, tags: [], other_config: {} }
  return records
}

const eventOf = (cls, operation, ref, snapshot) => ({ id: "1", timestamp: "0.0", class: cls.toLowerCase(), operation, ref, snapshot })

/** Serves `folder` and a pool of `vms` on `hosts` at a free port of this machine. */
export async function startPool(folder, vms, hosts) {
  const records = recordsOf(vms, hosts)
  let changes = []
  let wake = () => undefined
  const session = { uuid: idOf("session", 0), is_local_superuser: true, pool: false, subject: NULL, auth_user_name: "root", validation_time: "20260101T00:00:00Z", originator: "" }

  const everything = () => Object.entries(records).flatMap(([cls, rows]) => Object.entries(rows).map(([ref, record]) => eventOf(cls, "add", ref, record)))
  const changed = async () => {
    if (changes.length === 0) await new Promise((resolve) => { wake = resolve; setTimeout(resolve, 30_000).unref() })
    return changes.splice(0)
  }
  const answers = {
    "session.login_with_password": () => "OpaqueRef:session",
    "session.get_record": () => session,
    "session.logout": () => "",
    "event.from": async ([, , token]) => ({ events: token ? await changed() : everything(), token: String(Date.now()), valid_ref_counts: {} }),
    "message.get_all_records": () => ({}),
  }

  async function rpc(request, response) {
    let text = ""
    for await (const piece of request) text += piece
    const { id, method, params } = JSON.parse(text)
    const answer = answers[method]
    const body = answer ? { jsonrpc: "2.0", id, result: await answer(params) } : { jsonrpc: "2.0", id, error: { code: 1, message: "MESSAGE_METHOD_UNKNOWN", data: [method] } }
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body))
  }
  function file(path, response) {
    const wanted = join(folder, normalize(path))
    const found = extname(path) && existsSync(wanted) ? wanted : join(folder, "index.html")
    response.writeHead(200, { "content-type": types[extname(found)] ?? "application/octet-stream" })
    createReadStream(found).pipe(response)
  }

  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://pool")
    if (request.method === "POST") return void rpc(request, response)
    return file(pathname, response)
  })
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** One batch of events: VMs that others work with. */
    change(count, edit) {
      const refs = Object.keys(records.VM)
      for (let index = 0; index < count; ++index) {
        const ref = refs[Math.floor((index * refs.length) / count)]
        records.VM[ref] = { ...records.VM[ref], ...edit(records.VM[ref], index) }
        changes.push(eventOf("VM", "mod", ref, records.VM[ref]))
      }
      wake()
    },
    close: () => new Promise((resolve) => { wake(); server.closeAllConnections(); server.close(resolve) }),
  }
}
