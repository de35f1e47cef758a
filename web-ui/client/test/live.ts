// One visit to a running host: node live.js URL PASSWORD TEMPLATE. Prints what it saw as JSON.
import { Client, ended, entries, isError, nullRef, resultRef, watch, type Ref } from "../src/index.js"

declare const process: { argv: string[] }

const [, , url = "", password = "", template = ""] = process.argv
const client = await Client.login({ url, user: "root", password, originator: "live.ts" })
const { api } = client

const hosts = await api.host.get_all_records()
const names = entries(hosts).map(([, host]) => host.name_label)
const [source] = await api.VM.get_by_name_label(template)
if (!source) throw new Error(`no template ${template}`)

// A copy as a task: progress, end, result.
const shares: number[] = []
const task = await client.async.VM.clone(source, "made by live.ts")
const done = await ended(client, task, { onProgress: (share) => shares.push(share) })
const copy: Ref<"VM"> = resultRef(done)

// What changes is seen once, with its type.
const stop = new AbortController()
let seen = ""
for await (const batch of watch(client, ["VM"], { signal: stop.signal, seconds: 10 })) {
  for (const event of batch.events) {
    if (event.operation === "del" || event.ref !== copy) continue
    if (event.snapshot.name_label === "seen by live.ts") {
      seen = event.snapshot.power_state
      stop.abort()
    } else if (event.operation === "add") {
      await api.VM.set_name_label(copy, "seen by live.ts")
    }
  }
}

let refusal: readonly string[] = []
try {
  await api.VM.clean_shutdown(copy)
} catch (error) {
  if (!isError(error, "VM_IS_TEMPLATE") && !isError(error, "VM_BAD_POWER_STATE")) throw error
  refusal = [error.code, ...error.params]
}

const free = await api.VM.get_allowed_VIF_devices(copy)
const [network] = await api.network.get_all()
const vif = await api.VIF.create({
  VM: copy, network: network ?? nullRef(), device: free.at(-1) ?? "0", MAC: "", MTU: 0,
  other_config: {}, qos_algorithm_type: "", qos_algorithm_params: {},
})
const mac = await api.VIF.get_MAC(vif)
const disks = await Promise.all((await api.VM.get_VBDs(copy)).map((vbd) => api.VBD.get_VDI(vbd)))
await api.VM.destroy(copy)
for (const disk of disks) await api.VDI.destroy(disk)

const again = await Client.resume({ url, session: client.session })
await again.logout()
let ending = ""
try {
  await Client.resume({ url, session: client.session })
} catch (error) {
  if (!isError(error, "SESSION_INVALID")) throw error
  ending = error.code
}
console.log(JSON.stringify({ names, shares, seen, refusal, mac, ending }))
