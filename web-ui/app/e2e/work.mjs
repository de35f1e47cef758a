// Steps of daily work: many VMs at once, finding one, snapshots with memory, tasks, messages, storage.
import { go } from "./browser.mjs"

async function menuOf(page, name, item) {
  await page.getByRole("button", { name: `Actions for ${name}`, exact: true }).click()
  await page.getByRole("menuitem", { name: item, exact: true }).click()
}

async function inDialog(page, button) {
  await page.getByRole("dialog").getByRole("button", { name: button, exact: true }).click()
}

async function powerOf(other, vms) {
  return Promise.all(vms.map((vm) => other.call("VM.get_power_state", vm)))
}

/** Two VMs without a disk are started, one shutdown is given up, and both are taken away. */
export async function manyAtOnce(visit) {
  const { page, other, demand } = visit
  const label = `${visit.name}-bulk`
  const [template] = await other.call("VM.get_by_name_label", "Other install media")
  const vms = []
  for (const number of [1, 2]) {
    const vm = await other.call("VM.clone", template, `${label} ${number}`)
    await other.call("VM.provision", vm)
    await other.call("VM.set_memory", vm, 2 ** 27)
    vms.push(vm)
  }
  const states = (wanted) => visit.until(async () => (await powerOf(other, vms)).every((state) => state === wanted), 60, `they are not ${wanted}`)
  await go(page, `/vms?filter=name:${label}`)
  await page.locator('.table.fill[aria-rowcount="3"]').waitFor()
  await page.getByRole("button", { name: "Columns" }).click()
  await page.getByRole("menuitem", { name: "UUID" }).click()
  await page.getByRole("cell", { name: await other.call("VM.get_uuid", vms[0]) }).waitFor()
  await page.getByRole("button", { name: "Columns" }).click()
  await page.getByRole("menuitem", { name: "UUID" }).click()
  await page.getByLabel("Select all").check()
  await page.getByText("2 selected").waitFor()
  await menuOfMany(page, "Start")
  await states("Running")
  await page.locator(".notice.done", { hasText: "Starting 2 virtual machines" }).waitFor({ timeout: 20_000 })

  // Nobody in it hears that it should shut down.
  await go(page, `/vm/${await other.call("VM.get_uuid", vms[0])}`)
  await page.locator(".page > header").getByRole("button", { name: "Shut down" }).click()
  await go(page, "/tasks")
  const row = page.getByRole("row", { name: new RegExp(`Shutting down ${label} 1`) })
  await row.getByRole("button", { name: "Cancel" }).click()
  await row.getByText("Cancelled", { exact: true }).waitFor({ timeout: 30_000 })
  demand((await other.call("VM.get_power_state", vms[0])) === "Running", "it is off after all")
  await page.getByRole("row", { name: new RegExp(`Starting ${label} 2 .*Done`) }).waitFor()

  await go(page, `/vms?filter=name:${label}`)
  await page.getByLabel("Select all").check()
  await menuOfMany(page, "Power off")
  for (const number of [1, 2]) await page.getByRole("dialog").getByText(`${label} ${number}`).waitFor()
  await inDialog(page, "Power off")
  await states("Halted")
  await page.getByRole("button", { name: "Delete", exact: true }).click()
  await inDialog(page, "Delete")
  await page.getByText("No virtual machine matches the filter.").waitFor({ timeout: 30_000 })
  demand((await other.call("VM.get_by_name_label", `${label} 1`)).length === 0, "one is still there")
}

async function menuOfMany(page, item) {
  await page.getByRole("button", { name: "Do with them" }).click()
  await page.getByRole("menuitem", { name: new RegExp(`^${item}`) }).click()
}

/** Copies of both kinds, under names of their own. */
export async function copies(visit) {
  const { page, other, demand } = visit
  const [template] = await other.call("VM.get_by_name_label", "Other install media")
  const [sr] = await other.call("SR.get_by_name_label", "Local storage")
  const vm = await other.call("VM.clone", template, `${visit.name}-source`)
  await other.call("VM.provision", vm)
  const disk = await other.call("VDI.create", {
    name_label: "e2e source", name_description: "", SR: sr, virtual_size: 2 ** 24, type: "user", sharable: false, read_only: false,
    other_config: {}, xenstore_data: {}, sm_config: {}, tags: [],
  })
  await other.call("VBD.create", { VM: vm, VDI: disk, userdevice: "0", bootable: true, mode: "RW", type: "Disk", unpluggable: true, empty: false, other_config: {}, qos_algorithm_type: "", qos_algorithm_params: {} })
  await go(page, `/vm/${await other.call("VM.get_uuid", vm)}`)
  const made = [vm]
  for (const kind of ["Quick", "Whole"]) {
    const label = `${visit.name}-${kind}`
    await menuOf(page, `${visit.name}-source`, "Copy")
    const dialog = page.getByRole("dialog")
    demand((await dialog.getByLabel("Name").inputValue()) === `Copy of ${visit.name}-source`, "it suggests no name")
    await dialog.getByLabel("Name").fill("")
    await dialog.getByRole("radio", { name: kind }).check()
    demand(await dialog.getByRole("button", { name: "Make the copy" }).isDisabled(), "a copy needs no name")
    await dialog.getByLabel("Name").fill(label)
    if (kind === "Whole") {
      await dialog.getByLabel("Storage", { exact: true }).selectOption(sr)
      await page.screenshot({ path: `${visit.pictures}/copy.png` })
      await visit.accessible("copying")
    }
    await dialog.getByRole("button", { name: "Make the copy" }).click()
    let copy
    await visit.until(async () => ([copy] = await other.call("VM.get_by_name_label", label)) && copy, 30, `no ${label}`)
    await page.getByRole("treeitem", { name: label }).waitFor({ timeout: 10_000 })
    made.push(copy)
  }
  for (const one of made) {
    const vbds = await Promise.all((await other.call("VM.get_VBDs", one)).map((vbd) => other.call("VBD.get_record", vbd)))
    const disks = vbds.filter(({ type }) => type === "Disk")
    demand(disks.length === 1, `${disks.length} disks`)
    await other.call("VM.destroy", one)
    await other.call("VDI.destroy", disks[0].VDI)
  }
}

/** By the address that its guest tells. */
export async function byAddress(visit) {
  const { page, other } = visit
  const [vm] = await other.call("VM.get_by_name_label", visit.name)
  let address = ""
  await visit.until(async () => {
    const guest = await other.call("VM.get_guest_metrics", vm)
    const told = guest === "OpaqueRef:NULL" ? {} : await other.call("VM_guest_metrics.get_networks", guest)
    address = told["0/ip"] ?? told["0/ipv4/0"] ?? ""
    return address !== ""
  }, 120, "its guest tells no address")
  await go(page, "/")
  await page.keyboard.press("Control+k")
  await page.getByRole("combobox").fill(address)
  await page.getByRole("option", { name: new RegExp(`${visit.name}.*${address.replaceAll(".", "\\.")}`) }).waitFor()
  await page.keyboard.press("Enter")
  await page.getByRole("heading", { name: visit.name }).waitFor()
  await go(page, `/vms?filter=ip:${address}`)
  await page.getByRole("link", { name: visit.name, exact: true }).waitFor()
}

/** A snapshot that keeps the memory, below the one it came after; going back to it goes on from there. */
export async function withMemory(visit) {
  const { page, other, demand } = visit
  const [vm] = await other.call("VM.get_by_name_label", visit.name)
  const header = page.locator(".page > header")
  await go(page, `/vm/${await other.call("VM.get_uuid", vm)}/snapshots`)
  await page.getByRole("button", { name: "Take a snapshot" }).first().click()
  await page.getByRole("textbox", { name: "Name" }).fill("e2e with memory")
  await page.getByLabel("With its memory").check()
  await inDialog(page, "Take a snapshot")
  const row = page.locator(".snapshots li", { hasText: "e2e with memory" })
  await row.getByText("with memory", { exact: true }).waitFor({ timeout: 120_000 })
  await header.getByText("Running", { exact: true }).waitFor({ timeout: 60_000 })
  const [outer, inner] = await page.locator(".snapshots li").evaluateAll((list) => list.map((one) => Number.parseFloat(getComputedStyle(one).paddingLeft)))
  demand(inner > outer, "it does not stand below the one before")
  await row.getByRole("button", { name: "Revert" }).click()
  await inDialog(page, "Revert")
  await header.getByText("Suspended", { exact: true }).waitFor({ timeout: 90_000 })
  await header.getByRole("button", { name: "Resume" }).click()
  await header.getByText("Running", { exact: true }).waitFor({ timeout: 90_000 })
  await row.getByRole("button", { name: "Delete e2e with memory" }).click()
  await inDialog(page, "Delete")
  await row.waitFor({ state: "detached", timeout: 60_000 })
}

/** An alarm of another client is seen on the overview and among the messages, and is deleted there. */
export async function alarms(visit) {
  const { page, other, demand } = visit
  const [vm] = await other.call("VM.get_by_name_label", visit.name)
  await go(page, "/")
  const message = await other.call("message.create", "E2E_ALARM", 2, "VM", await other.call("VM.get_uuid", vm), "too warm in here")
  await page.locator(".card", { hasText: "Alarms" }).getByText("e2e alarm: too warm in here").waitFor({ timeout: 5000 })
  await go(page, "/events")
  const row = page.getByRole("row", { name: /e2e alarm/ })
  await row.getByRole("link", { name: visit.name }).waitFor()
  await row.getByRole("checkbox").check()
  await page.getByRole("button", { name: "Delete 1" }).click()
  await row.waitFor({ state: "detached", timeout: 10_000 })
  demand(!(message in (await other.call("message.get_all_records"))), "it is still there")
}

/** Storage is made, forgotten, found again by looking for it, and deleted. */
export async function storage(visit) {
  const { page, other, demand } = visit
  const label = "e2e storage"
  const [pbd] = Object.values(await other.call("PBD.get_all_records")).filter(({ device_config }) => device_config.location?.endsWith("/sr/local"))
  const location = pbd.device_config.location.replace(/local$/, `e2e-${Math.floor(Math.random() * 1e9)}`)
  const fill = async () => {
    await go(page, "/storage")
    await page.getByRole("button", { name: "Add storage" }).click()
    const dialog = page.getByRole("dialog")
    await dialog.getByLabel("Type").selectOption({ label: "Folder of the host, for disks" })
    await dialog.getByLabel("Name").fill(label)
    await dialog.getByLabel("Path").fill(location)
    await dialog.getByRole("button", { name: "Look there" }).click()
    return dialog
  }
  let dialog = await fill()
  await dialog.getByText("Nothing of ours is there.").waitFor({ timeout: 20_000 })
  await dialog.getByRole("button", { name: "Make", exact: true }).click()
  await page.getByRole("link", { name: label }).waitFor({ timeout: 30_000 })
  const [made] = await other.call("SR.get_by_name_label", label)
  const uuid = await other.call("SR.get_uuid", made)

  await page.getByRole("link", { name: label }).click()
  await menuOf(page, label, "Detach")
  await inDialog(page, "Detach")
  await page.locator(".page > header").getByText("Not attached", { exact: true }).waitFor({ timeout: 20_000 })
  await menuOf(page, label, "Forget")
  await inDialog(page, "Forget")
  await page.getByRole("heading", { name: "Storage" }).waitFor({ timeout: 20_000 })
  demand((await other.call("SR.get_by_name_label", label)).length === 0, "it is not forgotten")

  dialog = await fill()
  await dialog.getByRole("radio", { name: new RegExp(uuid) }).check({ timeout: 20_000 })
  await dialog.getByRole("button", { name: "Attach", exact: true }).click()
  await page.locator(".notice.done", { hasText: `Making the storage ${label}` }).first().waitFor({ timeout: 20_000 })
  await go(page, `/sr/${uuid}`)
  await page.locator(".page > header").getByText("Attached", { exact: true }).waitFor({ timeout: 20_000 })
  await page.getByRole("button", { name: "New disk" }).click()
  await page.getByRole("dialog").getByLabel("Name").fill("e2e disk")
  await page.getByRole("dialog").locator('button[type="submit"]').click()
  await page.getByRole("row", { name: /e2e disk/ }).waitFor({ timeout: 20_000 })
  await page.getByLabel("Select e2e disk").check()
  await page.getByRole("button", { name: "Delete", exact: true }).click()
  await inDialog(page, "Delete")
  await page.getByRole("row", { name: /e2e disk/ }).waitFor({ state: "detached", timeout: 20_000 })
  await menuOf(page, label, "Detach")
  await inDialog(page, "Detach")
  await page.locator(".page > header").getByText("Not attached", { exact: true }).waitFor({ timeout: 20_000 })
  await menuOf(page, label, "Attach")
  await page.locator(".page > header").getByText("Attached", { exact: true }).waitFor({ timeout: 20_000 })
  await other.call("PBD.unplug", (await other.call("SR.get_PBDs", (await other.call("SR.get_by_name_label", label))[0]))[0])
  await menuOf(page, label, "Delete")
  await inDialog(page, "Delete")
  await page.getByRole("link", { name: label }).waitFor({ state: "detached", timeout: 20_000 })
}

/** The pool's own settings, and another client's change of them. */
export async function poolSettings(visit) {
  const { page, other } = visit
  const [pool] = await other.call("pool.get_all")
  await go(page, "/settings")
  await page.getByLabel("Name", { exact: true }).fill("e2e pool")
  await page.getByRole("button", { name: "Save" }).click()
  await visit.until(async () => (await other.call("pool.get_name_label", pool)) === "e2e pool", 10, "the name stays")
  await visit.until(async () => (await page.title()).includes("e2e pool"), 5, "the window has the old title")
  await other.call("pool.set_name_label", pool, "")
  await visit.until(async () => (await page.getByLabel("Name", { exact: true }).inputValue()) === "", 5, "the form keeps what is old")
}

/** A schedule of snapshots: made, run at once, changed, and gone. */
export async function schedules(visit) {
  const { page, other, demand } = visit
  const [vm] = await other.call("VM.get_by_name_label", visit.name)
  await go(page, "/schedules")
  await page.getByText("nothing takes snapshots by itself").waitFor()
  await page.getByRole("button", { name: "New schedule" }).click()
  const dialog = page.getByRole("dialog")
  await dialog.getByLabel("How often").selectOption("weekly")
  await dialog.getByLabel("Mon").uncheck()
  demand(await dialog.getByRole("button", { name: "Make the schedule" }).isDisabled(), "it needs no name")
  await dialog.getByLabel("Name").fill("e2e schedule")
  demand(await dialog.getByRole("button", { name: "Make the schedule" }).isDisabled(), "it needs no day")
  for (const day of ["Tue", "Sun"]) await dialog.getByLabel(day).check()
  await dialog.getByLabel("Hour").selectOption("4")
  await dialog.getByLabel("Minute").selectOption("30")
  await dialog.getByPlaceholder("Search").fill(visit.name)
  await dialog.getByLabel(visit.name, { exact: true }).check()
  await page.screenshot({ path: `${visit.pictures}/new-schedule.png` })
  await visit.accessible("a new schedule")
  await dialog.getByRole("button", { name: "Make the schedule" }).click()
  const row = page.getByRole("row", { name: /e2e schedule/ })
  await row.getByText("Tue, Sun at 04:30").waitFor({ timeout: 10_000 })
  await row.getByRole("link", { name: visit.name }).waitFor()
  const [[self, made]] = Object.entries(await other.call("VMSS.get_all_records"))
  demand(made.frequency === "weekly" && made.schedule.days === "Tuesday,Sunday" && made.enabled && String(made.VMs) === vm, JSON.stringify(made))

  const taken = async () => {
    const all = await Promise.all((await other.call("VM.get_snapshots", vm)).map(async (one) => [one, await other.call("VM.get_record", one)]))
    return all.filter(([, { is_vmss_snapshot }]) => is_vmss_snapshot)
  }
  await menuOf(page, "e2e schedule", "Take snapshots now")
  await page.locator(".notice.done", { hasText: "Taking snapshots of e2e schedule" }).waitFor({ timeout: 60_000 })
  demand((await taken()).length === 1, `${(await taken()).length} snapshots`)
  await row.getByRole("link", { name: visit.name }).click()
  await page.getByRole("link", { name: "e2e schedule" }).click()

  await menuOf(page, "e2e schedule", "Change")
  await dialog.getByLabel("How often").selectOption("hourly")
  await dialog.getByLabel("Kept").fill("2")
  await dialog.getByLabel(visit.name, { exact: true }).uncheck()
  await dialog.getByRole("button", { name: "Save" }).click()
  await row.getByText("every hour, at minute 30").waitFor({ timeout: 10_000 })
  await visit.until(async () => (await other.call("VMSS.get_VMs", self)).length === 0, 10, "the virtual machine is still in it")
  demand((await other.call("VMSS.get_retained_snapshots", self)) === 2, "another number is kept")
  await menuOf(page, "e2e schedule", "Switch off")
  await visit.until(async () => !(await other.call("VMSS.get_enabled", self)), 10, "it is still in force")
  await menuOf(page, "e2e schedule", "Delete")
  await inDialog(page, "Delete")
  await row.waitFor({ state: "detached", timeout: 10_000 })
  for (const [snapshot, { VBDs }] of await taken()) {
    const drives = await Promise.all(VBDs.map((vbd) => other.call("VBD.get_record", vbd)))
    await other.call("VM.destroy", snapshot)
    for (const { type, VDI } of drives) if (type === "Disk") await other.call("VDI.destroy", VDI)
  }
}
