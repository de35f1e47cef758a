// Names and descriptions that somebody made to do harm, on every class that a page lists.
import { go } from "./browser.mjs"

const hostile = `<img src=x onerror="window.owned=1"><script>window.owned=2</script>{{constructor}}\u202e"'&`

/** Sets the texts of objects and returns what sets them back. */
async function disguise(other, objects) {
  const before = []
  for (const [cls, ref] of objects)
    for (const field of ["name_label", "name_description"]) {
      before.push([cls, ref, field, await other.call(`${cls}.get_${field}`, ref)])
      await other.call(`${cls}.set_${field}`, ref, hostile)
    }
  return async () => {
    for (const [cls, ref, field, text] of before) await other.call(`${cls}.set_${field}`, ref, text)
  }
}

export async function everywhere(visit) {
  const { page, other, demand } = visit
  const [vm] = await other.call("VM.get_by_name_label", visit.name)
  const uuid = await other.call("VM.get_uuid", vm)
  const [host] = await other.call("host.get_all")
  const [sr] = await other.call("SR.get_by_name_label", "Local storage")
  const [iso] = await other.call("SR.get_by_name_label", "Local ISOs")
  const [pool] = await other.call("pool.get_all")
  const [template] = await other.call("VM.get_by_name_label", "Other install media")
  const [snapshot] = await other.call("VM.get_snapshots", vm)
  const vbds = await Promise.all((await other.call("VM.get_VBDs", vm)).map((vbd) => other.call("VBD.get_record", vbd)))
  const disks = vbds.filter(({ type }) => type === "Disk").map(({ VDI }) => ["VDI", VDI])
  const networks = (await other.call("network.get_all")).map((network) => ["network", network])
  const paths = {
    sr: await other.call("SR.get_uuid", sr), host: await other.call("host.get_uuid", host),
  }
  const schedule = await other.call("VMSS.create", { name_label: hostile, name_description: hostile, enabled: false, type: "snapshot", frequency: "daily", retained_snapshots: 1, schedule: {} })
  const undress = await disguise(other, [["VM", vm], ["host", host], ["SR", sr], ["SR", iso], ["pool", pool], ["VM", template], ["VM", snapshot], ...disks, ...networks])
  const task = await other.call("task.create", hostile, hostile)
  const message = await other.call("message.create", "E2E", 1, "VM", uuid, hostile)
  await other.call("VM.set_tags", vm, [hostile])
  const shown = ["/", "/vms", "/vms?show=templates", "/vms/new", "/storage", "/network", "/schedules", "/tasks", "/events", "/settings", "/access", `/sr/${paths.sr}`]
  for (const tab of ["", "/disks", "/network", "/snapshots", "/advanced", "/cloudInit", "/console"]) shown.push(`/vm/${uuid}${tab}`)
  for (const tab of ["", "/vms", "/storage", "/network", "/certificates", "/settings"]) shown.push(`/host/${paths.host}${tab}`)
  try {
    for (const path of shown) {
      await go(page, path)
      await page.waitForTimeout(200)
      demand(!(await page.evaluate(() => window.owned)), `${path}: a name ran as a script`)
      demand((await page.locator('img[src="x"], main script').count()) === 0, `${path}: a name became an element`)
    }
    for (const [path, where] of [["/storage", ".table"], ["/tasks", "table"], ["/schedules", "table"], ["/events", ".table"], ["/network", "table"], [`/sr/${paths.sr}`, ".table"], [`/vm/${uuid}/snapshots`, ".snapshots"], ["/vms/new", ".templates"]]) {
      await go(page, path)
      await page.locator(`main ${where}`).getByText("<script>window.owned=2</script>").first().waitFor({ timeout: 5000 })
    }
    await page.keyboard.press("Control+k")
    await page.getByRole("combobox").fill("<img")
    await page.getByRole("option").first().waitFor()
    await page.keyboard.press("Escape")
    demand(!(await page.evaluate(() => window.owned)), "a name ran as a script")
  } finally {
    await undress()
    await other.call("VM.set_tags", vm, ["test"])
    await other.call("message.destroy", message)
    await other.call("task.destroy", task)
    await other.call("VMSS.destroy", schedule)
  }
}
