// Steps on a host's pages: logs, certificates, settings, who may sign in, backups, power.
import { readFileSync, statSync } from "node:fs"
import { breakable } from "./breakable.mjs"
import { client, go, open, signIn } from "./browser.mjs"
import { beginDownload, filledDisk, pageThatSaves, savedDigest } from "./downloads.mjs"

async function hostOf(visit) {
  const [host] = await visit.other.call("host.get_all")
  return { host, uuid: await visit.other.call("host.get_uuid", host), name: await visit.other.call("host.get_name_label", host) }
}

async function downloadBy(page, button) {
  const [download] = await Promise.all([page.waitForEvent("download", { timeout: 60_000 }), button.click()])
  return { name: download.suggestedFilename(), bytes: statSync(await download.path()).size }
}

export async function logs(visit) {
  const { page, demand } = visit
  const { uuid } = await hostOf(visit)
  await go(page, `/host/${uuid}/logs`)
  const lines = page.locator(".log > div")
  await lines.first().waitFor({ timeout: 20_000 })
  demand((await lines.count()) > 5, "hardly any line")
  demand(await page.locator(".log").evaluate((box) => box.scrollTop + box.clientHeight > box.scrollHeight - 40), "it does not show its end")
  await page.locator(".log-card").getByRole("searchbox").fill("no line has this text")
  await page.getByText("No lines.", { exact: true }).waitFor()
  await page.locator(".log-card").getByRole("searchbox").fill("")
  await page.getByLabel("Which log").selectOption("audit")
  await lines.filter({ hasText: "VM.set_name_description" }).first().waitFor({ timeout: 20_000 })
  const saved = await downloadBy(page, page.getByRole("button", { name: "Save", exact: true }))
  demand(saved.name.endsWith("-audit.log") && saved.bytes > 50, JSON.stringify(saved))
  const bundle = await downloadBy(page, page.getByRole("button", { name: "Bundle for support" }))
  demand(bundle.name.endsWith(".tar.bz2") && bundle.bytes > 1000, JSON.stringify(bundle))
}

export async function certificates(visit) {
  const { page, demand, other } = visit
  const { uuid, host } = await hostOf(visit)
  await go(page, `/host/${uuid}/certificates`)
  const saved = await downloadBy(page, page.getByRole("button", { name: "Save the certificate" }))
  demand(saved.name.endsWith(".pem") && saved.bytes > 500, JSON.stringify(saved))
  await page.getByRole("button", { name: "Install a certificate" }).click()
  const dialog = page.getByRole("dialog")
  const certificate = await other.call("host.get_server_certificate", host)
  await dialog.getByLabel("Certificate", { exact: true }).fill(certificate)
  await dialog.getByLabel("Private key", { exact: true }).fill(certificate)
  await dialog.getByText("There is no private key in it").waitFor()
  await dialog.getByLabel("Private key", { exact: true }).fill("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
  await dialog.getByRole("button", { name: "Install a certificate" }).click()
  const notice = page.locator(".notice.failed")
  await notice.getByText("SERVER_CERTIFICATE_KEY_INVALID").waitFor({ timeout: 20_000 })
  await notice.getByRole("button", { name: "Dismiss" }).click()
  const shown = page.locator(".card", { hasText: "Certificate of the host" }).locator("dd.mono")
  const before = await shown.innerText()
  await page.getByRole("button", { name: "Make a new one" }).click()
  await page.getByRole("dialog").getByRole("button", { name: "Make a new one" }).click()
  await visit.until(async () => (await shown.innerText()) !== before, 30, "the fingerprint stays")
}

export async function settings(visit) {
  const { page, demand, other } = visit
  const { uuid, host } = await hostOf(visit)
  const before = await other.call("host.get_timezone", host)
  await go(page, `/host/${uuid}`)
  await page.getByText(/^(QEMU|Xen) \d/).waitFor()
  await go(page, `/host/${uuid}/settings`)
  const hostname = page.getByLabel("Host name")
  const name = await hostname.inputValue()
  await hostname.fill("a b")
  await page.getByText("Letters, digits and hyphens").waitFor()
  demand(await page.getByRole("button", { name: "Save" }).isDisabled(), "a bad name can be saved")
  await hostname.fill(name)
  const zone = page.getByLabel("Time zone")
  await zone.locator('option[value="Europe/Zurich"]').waitFor({ state: "attached", timeout: 20_000 })
  await zone.selectOption("Europe/Zurich")
  await page.getByRole("button", { name: "Save" }).click()
  await visit.until(async () => (await other.call("host.get_timezone", host)) === "Europe/Zurich", 20, "the zone stays")
  // What another client sets is taken over.
  await other.call("host.set_timezone", host, before)
  await visit.until(async () => (await zone.inputValue()) === before, 10, "the form keeps what is old")
}

async function menuOf(page, name, item) {
  await page.getByRole("button", { name: `Actions for ${name}` }).click()
  await page.getByRole("menuitem", { name: item, exact: true }).click()
}

export async function usersAndRoles(visit) {
  const { page } = visit
  const [reader] = visit.reader
  await go(page, "/access")
  await page.getByRole("button", { name: "Let users of the hosts sign in" }).click()
  await page.getByText("Nobody but root is known here yet.").waitFor({ timeout: 10_000 })
  const add = async (name) => {
    await page.getByRole("button", { name: "Add a user or group" }).click()
    const dialog = page.getByRole("dialog")
    await dialog.getByLabel("Name of the user or group").fill(name)
    await dialog.getByRole("radio", { name: /read-only/ }).check()
    await dialog.getByRole("button", { name: "Add", exact: true }).click()
  }
  await add("nobody-has-this-name")
  const notice = page.locator(".notice.failed")
  await notice.getByText("SUBJECT_CANNOT_BE_RESOLVED").waitFor({ timeout: 10_000 })
  await notice.getByRole("button", { name: "Dismiss" }).click()
  await add(reader)
  const row = page.getByRole("row", { name: new RegExp(reader) })
  await row.getByText("read-only", { exact: true }).waitFor({ timeout: 10_000 })
  for (const role of ["vm-operator", "read-only"]) {
    await menuOf(page, reader, "Change the role")
    await page.getByRole("dialog").getByRole("radio", { name: new RegExp(role) }).check()
    await page.getByRole("dialog").getByRole("button", { name: "Save" }).click()
    await row.getByText(role, { exact: true }).waitFor({ timeout: 10_000 })
  }
}

/** What roles see of the pages that make and change things. */
export async function eachRole(visit) {
  const { demand, other, browser, url } = visit
  const [user, password] = visit.reader
  const roles = Object.fromEntries(Object.entries(await other.call("role.get_all_records")).map(([ref, { name_label }]) => [name_label, ref]))
  const subject = Object.entries(await other.call("subject.get_all_records")).find(([, { other_config }]) => other_config["subject-name"] === user)[0]
  const [vm] = await other.call("VM.get_by_name_label", visit.name)
  const uuid = await other.call("VM.get_uuid", vm)
  const offers = [
    { path: `/vm/${uuid}`, name: "Shut down", from: "vm-operator" }, { path: "/vms", link: "New VM", from: "vm-admin" },
    { path: `/vm/${uuid}/disks`, name: "New disk", from: "vm-admin" }, { path: `/vm/${uuid}/snapshots`, name: "Take a snapshot", from: "vm-power-admin" },
    { path: "/storage", name: "Add storage", from: "pool-operator" }, { path: "/network", name: "New network", from: "vm-admin" },
    { path: "/schedules", name: "New schedule", from: "pool-operator" }, { path: "/access", name: "Add a user or group", from: "pool-admin" },
  ]
  const chain = ["read-only", "vm-operator", "vm-admin", "vm-power-admin", "pool-operator", "pool-admin"]
  const become = async (role) => {
    const before = await other.call("subject.get_roles", subject)
    if (!before.includes(roles[role])) await other.call("subject.add_to_roles", subject, roles[role])
    for (const one of before) if (one !== roles[role]) await other.call("subject.remove_from_roles", subject, one)
  }
  await become("read-only")
  const page = await open(browser, url)
  await signIn(page, password, user)
  // An open session follows its user's role.
  for (const role of chain) {
    await become(role)
    await go(page, "/access")
    await page.locator(".card", { hasText: "This session" }).getByText(role, { exact: true }).waitFor({ timeout: 5000 })
    for (const { path, name, link, from } of offers) {
      await go(page, path)
      await page.locator("main h1").waitFor()
      const offered = page.locator("main").getByRole(link ? "link" : "button", { name: link ?? name }).first()
      if (chain.indexOf(role) < chain.indexOf(from)) demand((await offered.count()) === 0, `${role} is offered ${link ?? name}`)
      else await offered.waitFor({ timeout: 5000 }).catch(() => demand(false, `${role} is not offered ${link ?? name}`))
    }
  }
  await page.context().close()
  await become("read-only")
}

/** A user of the machine with the role read-only, in a browser of its own. */
export async function readOnly(visit) {
  const { demand, other, browser, url } = visit
  const [user, password] = visit.reader
  const reader = await open(browser, url)
  await signIn(reader, password, user)
  const [vm] = await other.call("VM.get_by_name_label", visit.name)
  const uuid = await other.call("VM.get_uuid", vm)
  const { uuid: host } = await hostOf(visit)
  const pages = ["/", "/vms", `/vm/${uuid}`, ...["disks", "network", "snapshots", "cloudInit", "advanced"].map((tab) => `/vm/${uuid}/${tab}`), "/storage", "/network", "/schedules", "/settings", "/access"]
  pages.push(...["", "/network", "/logs", "/certificates", "/settings"].map((tab) => `/host/${host}${tab}`))
  for (const path of pages) {
    await go(reader, path)
    await reader.waitForTimeout(150)
    const offered = await reader.locator("main").getByRole("button").allInnerTexts()
    const doing = offered.filter((text) => /\b(New|Add|Start|Shut|Reboot|Suspend|Upload|Delete|Take|Attach|Install|Make|Disable|Bundle|Let)\b|^Save$/.test(text))
    // A log may be saved: that is reading.
    const wrong = doing.filter((text) => !(text === "Save" && path.endsWith("/logs")))
    demand(wrong.length === 0, `${path} offers ${wrong}`)
    demand((await reader.getByRole("link", { name: "New VM" }).count()) === 0, `${path} offers a new VM`)
  }
  demand(reader.complaints.length === 0, reader.complaints.slice(0, 3).join("; "))
  // Who may, sees that somebody is there, and ends it.
  const { page } = visit
  await go(page, "/access")
  const row = page.getByRole("row", { name: new RegExp(user) })
  await row.getByText("signed in", { exact: true }).waitFor({ timeout: 15_000 })
  await menuOf(page, user, "Sign out")
  await page.getByRole("dialog").getByRole("button", { name: "Sign out" }).click()
  await reader.getByText("The session has ended.").waitFor({ timeout: 15_000 })
  await reader.context().close()
  await menuOf(page, user, "Remove")
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click()
  await row.waitFor({ state: "detached", timeout: 10_000 })
  await page.getByRole("button", { name: "Let only root sign in" }).click()
  await page.getByRole("dialog").getByRole("button", { name: "Let only root sign in" }).click()
  await page.getByText("Only root of the hosts can sign in.").first().waitFor({ timeout: 10_000 })
}

/** What the host keeps of itself leaves it, something else is refused, and the former goes back. */
export async function backup(visit) {
  const { page, demand, other } = visit
  const { uuid, name, host } = await hostOf(visit)
  const before = await other.call("host.get_name_description", host)
  await go(page, `/host/${uuid}`)
  const [download] = await Promise.all([page.waitForEvent("download", { timeout: 60_000 }), menuOf(page, name, "Download a backup")])
  const saved = await download.path()
  demand(download.suggestedFilename().endsWith("-backup.tar") && readFileSync(saved).includes("backup.json"), download.suggestedFilename())
  await page.locator(".notice.done", { hasText: "Downloading the backup" }).waitFor({ timeout: 20_000 })
  const restore = async (file) => {
    await menuOf(page, name, "Restore a backup")
    const dialog = page.getByRole("dialog")
    await dialog.getByLabel("File of the backup").setInputFiles(file)
    demand(await dialog.getByRole("button", { name: "Restore a backup" }).isDisabled(), "nobody has to be sure")
    await dialog.getByLabel("I have read what will be lost.").check()
    await dialog.getByRole("button", { name: "Restore a backup" }).click()
  }
  await restore({ name: "not.tar", mimeType: "application/x-tar", buffer: Buffer.alloc(2048) })
  const notice = page.locator(".notice.failed")
  await notice.getByText("IMPORT_ERROR").waitFor({ timeout: 20_000 })
  await notice.getByRole("button", { name: "Dismiss" }).click()
  await other.call("host.set_name_description", host, "said after the backup")
  await restore(saved)
  await whenBack(visit, async (from) => (await from.call("host.get_name_description", host)) === before)
}

async function whenBack(visit, changed) {
  await visit.page.getByText("The session has ended.").waitFor({ timeout: 90_000 })
  let again
  await visit.until(async () => {
    try {
      again = await client(visit.url, visit.password)
      return await changed(again)
    } catch {
      return false // it is still on its way
    }
  }, 90, "the host does not come back")
  visit.other = again
  await signIn(visit.page, visit.password)
}

/** A download that is under way goes on when somebody has signed in again. */
export async function toolstack(visit) {
  const { page, demand } = visit
  const way = await breakable(visit.url)
  const disk = await filledDisk(visit, "e2e survivor", 24)
  const saving = await pageThatSaves(visit, way.url)
  way.holdAfter(9 * 2 ** 20)
  await beginDownload(saving, visit, disk)
  const downloading = (state) => saving.locator(`.notice.${state}`, { hasText: "Downloading e2e survivor" })
  await downloading("running").getByRole("meter").waitFor({ timeout: 20_000 })
  const { uuid, name, host } = await hostOf(visit)
  const started = async (from) => (await from.call("host.get_other_config", host)).agent_start_time
  const before = await started(visit.other)
  demand(before, "the host does not tell when its daemons began")
  await go(page, `/host/${uuid}`)
  await menuOf(page, name, "Restart the toolstack")
  await page.getByRole("dialog").getByRole("button", { name: "Restart the toolstack" }).click()
  await whenBack(visit, async (from) => (await started(from)) !== before)

  await saving.getByText("The session has ended.").waitFor({ timeout: 30_000 })
  way.holdAfter(Infinity)
  way.state.bytes = 0
  await signIn(saving, visit.password)
  await downloading("done").waitFor({ timeout: 60_000 })
  demand((await savedDigest(saving, "e2e survivor.img")) === disk.digest, "other bytes have come")
  demand(way.state.bytes < disk.size * 0.9, `${way.state.bytes} bytes came: it began anew`)
  await saving.context().close()
  await way.close()
  await visit.other.call("VDI.destroy", disk.vdi)
}

export async function reboot(visit) {
  const { page, other } = visit
  const { uuid, name, host } = await hostOf(visit)
  const booted = async (from) => (await from.call("host.get_other_config", host)).boot_time
  const before = await booted(other)
  const [vm] = await other.call("VM.get_by_name_label", visit.name)
  await go(page, `/host/${uuid}`)
  await menuOf(page, name, "Reboot")
  const dialog = page.getByRole("dialog")
  if (vm && (await other.call("VM.get_power_state", vm)) === "Running") await dialog.getByText(`“${visit.name}” stops running`).waitFor()
  await dialog.getByRole("button", { name: "Reboot" }).click()
  await whenBack(visit, async (from) => (await booted(from)) !== before && (await from.call("host.get_enabled", host)))
  await go(page, `/host/${uuid}`)
  await page.locator(".page > header").getByText("On", { exact: true }).waitFor({ timeout: 30_000 })
}
