// Steps with a guest: what cloud-init is told, its console and keyboard, its size, going back to a snapshot.
import { createHash } from "node:crypto"
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { go, open, signIn } from "./browser.mjs"

const MIB = 2 ** 20

async function vmOf({ other, name }) {
  const [vm] = await other.call("VM.get_by_name_label", name)
  return { vm, uuid: await other.call("VM.get_uuid", vm) }
}

export async function cloudInit(visit) {
  const { page, other, demand } = visit
  const { vm, uuid } = await vmOf(visit)
  await go(page, `/vm/${uuid}/cloudInit`)
  const text = page.getByLabel("user-data", { exact: true })
  await text.fill("users: []")
  await page.getByText("cloud-init ignores a text").waitFor()
  await text.fill("#cloud-config\npassword: e2e\n")
  await page.getByLabel("Contains passwords").first().check()
  await page.getByRole("button", { name: "Save" }).click()
  await page.getByText("Kept as a secret.").waitFor({ timeout: 10_000 })
  const secretOf = async () => (await other.call("VM.get_other_config", vm))["cloud-init:user-data_secret"]
  const secret = await secretOf()
  demand(secret, "no secret")
  const value = async (from) => other.call("secret.get_value", await other.call("secret.get_by_uuid", from))
  demand((await value(secret)).includes("password: e2e"), await value(secret))
  await page.getByRole("button", { name: "Show it" }).click()
  await visit.until(async () => (await text.inputValue()).includes("password: e2e"), 10, "it is not shown")
  await text.fill("#cloud-config\npassword: other\n")
  await page.getByRole("button", { name: "Save" }).click()
  await visit.until(async () => (await secretOf()) !== secret, 10, "the secret stays")
  await visit.until(() => value(secret).then(() => false, () => true), 10, "the old secret is left behind")
  await page.getByRole("button", { name: "Replace it" }).click()
  await page.getByRole("button", { name: "Save" }).click()
  await visit.until(async () => (await secretOf()) === undefined, 10, "an emptied text stays")
}

/** A VM of an image that was uploaded, with a first user. */
export async function cloudImage(visit) {
  const { page, other } = visit
  const [sr] = await other.call("SR.get_by_name_label", "Local storage")
  const image = await other.call("VDI.create", {
    name_label: "e2e cloud image", name_description: "", SR: sr, virtual_size: 16 * MIB, type: "user", sharable: false, read_only: false,
    other_config: {}, xenstore_data: {}, sm_config: {}, tags: [],
  })
  await go(page, "/vms/new")
  await page.getByLabel("Name", { exact: true }).fill(`${visit.name}-cloud`)
  await page.getByRole("radio", { name: /Other install media/ }).check()
  await page.getByText("It has nothing to start from").waitFor()
  const choice = page.getByLabel("Start from a copy of the disk")
  await choice.locator("option", { hasText: "e2e cloud image" }).waitFor({ state: "attached", timeout: 10_000 })
  await choice.selectOption(image)
  await page.getByText("It has nothing to start from").waitFor({ state: "detached" })
  await page.getByRole("textbox", { name: "Size of the copy" }).fill("24")
  await page.getByText(/Starts from a copy of the disk e2e cloud image, 24/).waitFor()
  await page.getByRole("radio", { name: "User and keys" }).check()
  await page.getByText("nobody could log in").waitFor()
  await page.getByLabel("Public SSH keys").fill("not a key")
  await page.getByText("Each line must be a public SSH key").waitFor()
  await page.getByLabel("Public SSH keys").fill(`ssh-ed25519 ${"A".repeat(43)} e2e`)
  await page.getByLabel("Password").fill("e2e-password")
  await page.getByText("Tells cloud-init in the guest").waitFor()
  await page.getByLabel("Start it when it is made").uncheck()
  await page.getByRole("button", { name: "New VM" }).click()
  await page.waitForURL(/\/vm\//, { timeout: 60_000 })
  const [vm] = await visit.other.call("VM.get_by_name_label", `${visit.name}-cloud`)
  const config = await visit.other.call("VM.get_other_config", vm)
  const secret = config["cloud-init:user-data_secret"]
  visit.demand(secret && !JSON.stringify(config).includes("e2e-password"), JSON.stringify(config))
  const ref = await visit.other.call("secret.get_by_uuid", secret)
  const told = JSON.parse((await visit.other.call("secret.get_value", ref)).replace("#cloud-config\n", ""))
  visit.demand(told.password === "e2e-password" && told.ssh_authorized_keys.length === 1, "the guest is told something else")
  const drives = await Promise.all((await other.call("VM.get_VBDs", vm)).map((vbd) => other.call("VBD.get_record", vbd)))
  const [drive] = drives.filter(({ type }) => type === "Disk")
  const disk = await other.call("VDI.get_record", drive.VDI)
  visit.demand(drive.bootable && drive.VDI !== image && Number(disk.virtual_size) === 24 * MIB, `${drive.bootable} ${disk.virtual_size}`)
  // Its secret and its copy go with it, and the image stays.
  await page.getByRole("button", { name: `Actions for ${visit.name}-cloud` }).click()
  await page.getByRole("menuitem", { name: "Delete" }).click()
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click()
  await page.waitForURL(/\/vms/, { timeout: 30_000 })
  await visit.until(() => visit.other.call("secret.get_by_uuid", secret).then(() => false, () => true), 15, "its secret is left behind")
  await visit.until(() => other.call("VDI.get_uuid", drive.VDI).then(() => false, () => true), 15, "its disk is left behind")
  await other.call("VDI.destroy", image)
}

/** What the page sends to the screen's server, from now on. */
function sentBy(page) {
  const sent = []
  page.on("websocket", (socket) => {
    if (!socket.url().includes("/console")) return
    socket.on("framesent", ({ payload }) => sent.push(Buffer.from(payload)))
  })
  return sent
}

/** A key with its place, as QEMU's own message has it: down or up, keysym, scan code. */
function keyMove(down, keysym, code) {
  const message = Buffer.alloc(12)
  message.writeUInt8(255, 0)
  message.writeUInt16BE(down ? 1 : 0, 2)
  message.writeUInt32BE(keysym, 4)
  message.writeUInt32BE(code, 8)
  return message
}

export async function keyboard(visit) {
  const { page } = visit
  const { uuid } = await vmOf(visit)
  const sent = sentBy(page)
  await go(page, `/vm/${uuid}`)
  await go(page, `/vm/${uuid}/console`)
  await page.locator(".screen canvas").waitFor({ timeout: 20_000 })
  await page.getByLabel("Keyboard of the guest").selectOption("de")
  await page.locator(".screen canvas").click()
  const seen = (what, ...moves) => visit.until(async () => moves.every((move) => Buffer.concat(sent).includes(move)), 10, what)
  // On a German keyboard z is where y is on this one, and @ is AltGr and q.
  await page.keyboard.press("z")
  await seen("no z of a German keyboard", keyMove(true, 0x7a, 0x15), keyMove(false, 0x7a, 0x15))
  await page.keyboard.down("Shift")
  await page.keyboard.press("@")
  await page.keyboard.up("Shift")
  await seen("no @ of a German keyboard", keyMove(true, 0xfe03, 0xb8), keyMove(true, 0x40, 0x10), keyMove(false, 0xfe03, 0xb8))
  await page.getByRole("button", { name: "Type text" }).click()
  await page.getByRole("textbox", { name: "Type text" }).fill("ß😀")
  await page.getByText("The guest's keyboard does not have: 😀").waitFor()
  await page.getByRole("button", { name: "Type it" }).click()
  await seen("no ß of a German keyboard", keyMove(true, 0xdf, 0x0c))
  await page.getByLabel("Keyboard of the guest").selectOption({ index: 0 })
}

/** Types on the serial line, and waits for what comes. */
async function tell(visit, line, answer, seconds = 60) {
  await visit.page.locator(".xterm-helper-textarea").focus()
  await visit.page.keyboard.type(`${line}\n`, { delay: 10 })
  await visit.until(async () => answer.test(await visit.serialText()), seconds, `no ${answer} to ${line}`)
}

/** Until a shell waits on the serial line: what is typed before the console is connected is lost. */
async function prompted(visit) {
  const { page } = visit
  await visit.until(async () => {
    await page.locator(".xterm-helper-textarea").focus()
    await page.keyboard.press("Enter")
    await page.waitForTimeout(1000)
    return /#$/.test((await visit.serialText()).trimEnd())
  }, 60, "no prompt on the serial line")
}

/** Keys that a browser keeps for itself, the whole screen, and the clipboard both ways. */
export async function consoleWhole(visit) {
  const { page, demand } = visit
  const { uuid } = await vmOf(visit)
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: visit.url })
  const sent = sentBy(page)
  await go(page, `/vm/${uuid}`)
  await go(page, `/vm/${uuid}/console`)
  const kind = (name) => page.getByRole("button", { name, exact: true }).click()
  await kind("Serial")
  await prompted(visit)
  // It would boot anew; so it only says that it was asked to.
  await tell(visit, "systemctl mask --runtime ctrl-alt-del.target; echo masked-$?", /masked-0/)
  await kind("Screen")
  await page.locator(".screen canvas").waitFor({ timeout: 20_000 })
  await page.locator(".screen-view .over").waitFor({ state: "detached" })
  await page.getByRole("button", { name: "Ctrl+Alt+Del" }).click()
  const moves = [[0xffe3, 0x1d], [0xffe9, 0x38], [0xffff, 0xd3]].flatMap(([keysym, code]) => [keyMove(true, keysym, code), keyMove(false, keysym, code)])
  await visit.until(async () => moves.every((move) => Buffer.concat(sent).includes(move)), 10, "not all of Ctrl+Alt+Del is sent")

  await page.getByRole("button", { name: "Full screen" }).click()
  const isFull = () => page.evaluate(() => {
    const { width, height } = document.querySelector(".console").getBoundingClientRect()
    return document.fullscreenElement !== null && width === innerWidth && height === innerHeight
  })
  await visit.until(isFull, 10, "it does not fill the screen")
  await page.getByRole("button", { name: "Type text" }).click()
  const dialog = page.getByRole("dialog")
  // A click that lands is one on something in sight.
  await dialog.getByRole("button", { name: "Cancel" }).click()
  await page.getByRole("button", { name: "More keys" }).click()
  await page.getByRole("menuitem", { name: "Esc", exact: true }).click()
  await visit.until(async () => Buffer.concat(sent).includes(keyMove(false, 0xff1b, 0x01)), 10, "no Esc")
  await page.getByRole("button", { name: "Leave full screen" }).click()
  await visit.until(async () => !(await isFull()), 10, "it stays")

  await kind("Serial")
  await page.locator(".xterm-rows").waitFor({ timeout: 20_000 })
  await tell(visit, "echo heard-$(journalctl -b -o cat | grep -c SIGINT)", /heard-[1-9]/)
  await tell(visit, "printf '\\033[38;2;255;0;0mred-%s\\033[0m\\n' $((40 + 4))", /red-44/)
  const red = page.locator(".xterm-rows span", { hasText: /^red-44$/ }).last()
  demand((await red.evaluate((letters) => getComputedStyle(letters).color)) === "rgb(255, 0, 0)", "true colours are lost")
  await page.evaluate(() => navigator.clipboard.writeText("echo pasted-$((40 + 3))\n"))
  await page.getByRole("button", { name: "Type text" }).click()
  await dialog.getByRole("button", { name: "From the clipboard" }).click()
  await visit.until(async () => (await dialog.getByRole("textbox").inputValue()).includes("pasted-"), 10, "the clipboard is not read")
  await dialog.getByRole("button", { name: "Type it" }).click()
  await visit.until(async () => /pasted-43/.test(await visit.serialText()), 30, "the clipboard is not typed")
  const { x, y } = await page.locator(".xterm-rows > div", { hasText: /^pasted-43/ }).last().boundingBox()
  await page.mouse.dblclick(x + 20, y + 6)
  await page.getByRole("button", { name: "Copy", exact: true }).click()
  await page.getByRole("button", { name: "Copied" }).waitFor()
  demand((await page.evaluate(() => navigator.clipboard.readText())) === "pasted-43", "something else is copied")
}

/** What is set while it is off: limits of its size, a TPM that comes and goes. Then it is started. */
export async function whileOff(visit) {
  const { page, other, demand } = visit
  const { vm, uuid } = await vmOf(visit)
  if ((await other.call("VM.get_power_state", vm)) !== "Halted") await other.call("VM.hard_shutdown", vm)
  await go(page, `/vm/${uuid}/advanced`)
  const most = page.getByLabel("vCPUs at most")
  await most.fill("0")
  await page.getByText("From as many as it has to 64.").waitFor()
  demand(await page.getByRole("button", { name: "Save" }).isDisabled(), "a bad size can be saved")
  await most.fill("2")
  await page.getByRole("button", { name: "Save" }).click()
  await visit.until(async () => Number(await other.call("VM.get_VCPUs_max", vm)) === 2, 10, "the limit stays")
  const tpms = () => other.call("VM.get_VTPMs", vm)
  const card = page.locator(".card", { hasText: "Trusted platform module" })
  await card.getByRole("button", { name: "Add a TPM" }).click()
  await page.getByLabel("Copies of the virtual machine get an empty one").check()
  await visit.accessible("adding a TPM")
  await page.getByRole("dialog").getByRole("button", { name: "Add a TPM" }).click()
  await card.getByText("an empty one").waitFor({ timeout: 20_000 })
  demand(await other.call("VTPM.get_is_unique", (await tpms())[0]), "copies get what is in it")
  await card.getByRole("button", { name: "Remove" }).click()
  await page.getByRole("dialog").getByText("Keys and secrets in the TPM").waitFor()
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click()
  await card.getByText("It has none.").waitFor({ timeout: 20_000 })
  demand((await tpms()).length === 0, "it is still there")
  await page.locator(".page > header").getByRole("button", { name: "Start" }).click()
  await page.locator(".page > header").getByText("Running", { exact: true }).waitFor({ timeout: 60_000 })
  demand(await card.getByRole("button", { name: "Add a TPM" }).isDisabled(), "a running one is offered a TPM")
}

/** Processors and memory of a guest that runs. */
export async function whileRunning(visit) {
  const { page, other, demand } = visit
  const { vm, uuid } = await vmOf(visit)
  const before = Number(await other.call("VM.get_memory_dynamic_max", vm))
  await go(page, `/vm/${uuid}/advanced`)
  const memory = page.getByLabel("Memory", { exact: true })
  demand(await page.getByLabel("vCPUs at most").isDisabled(), "a limit can be changed while it runs")
  const size = await memory.inputValue()
  const wanted = before - 64 * MIB
  await memory.fill(String(Number(size) * (wanted / before)))
  await page.getByLabel("vCPUs", { exact: true }).fill("2")
  await page.getByRole("button", { name: "Save" }).click()
  await page.locator(".notice.done", { hasText: `Changing ${visit.name}` }).waitFor({ timeout: 60_000 })
  const now = await other.call("VM.get_record", vm)
  demand(Number(now.VCPUs_at_startup) === 2, `${now.VCPUs_at_startup} vCPUs`)
  demand(Number(now.memory_dynamic_max) === wanted && Number(now.memory_dynamic_min) === wanted, `${now.memory_dynamic_min} to ${now.memory_dynamic_max} bytes`)
  const actual = async () => Number(await other.call("VM_metrics.get_memory_actual", now.metrics))
  await visit.until(async () => Math.abs((await actual()) - wanted) < 8 * MIB, 30, "its guest gives nothing back")
  await memory.fill(size)
  await page.getByRole("button", { name: "Save" }).click()
  await visit.until(async () => Number(await other.call("VM.get_memory_dynamic_min", vm)) === before, 20, "the memory stays small")
}

/** Which VLANs its guest may use. */
export async function trunks(visit) {
  const { page, other } = visit
  const { vm, uuid } = await vmOf(visit)
  const [vif] = await other.call("VM.get_VIFs", vm)
  await go(page, `/vm/${uuid}/network`)
  const change = async (text) => {
    await page.getByRole("button", { name: "Actions for 0" }).click()
    await page.getByRole("menuitem", { name: "Change" }).click()
    await page.getByLabel("VLANs of the guest").fill(text)
  }
  const save = () => page.getByRole("dialog").getByRole("button", { name: "Save" }).click()
  const has = (tags) => visit.until(async () => String(await other.call("VIF.get_trunks", vif)) === tags, 20, `its VLANs are not ${tags}`)
  await change("10, 5000")
  await page.getByText("Numbers from 1 to 4094").waitFor()
  await page.getByLabel("VLANs of the guest").fill("20, 10")
  await save()
  await has("10,20")
  await page.getByText("VLAN 10, 20").waitFor()
  await change("")
  await save()
  await has("")
}

export async function revert(visit) {
  const { page, other } = visit
  const { vm, uuid } = await vmOf(visit)
  await other.call("VM.add_tags", vm, "after the snapshot")
  await go(page, `/vm/${uuid}/snapshots`)
  const row = page.locator(".snapshots li", { hasText: "e2e moment" })
  await row.getByRole("button", { name: "Revert" }).click()
  await page.getByRole("dialog").getByText("Everything written").waitFor()
  await page.getByRole("dialog").getByRole("button", { name: "Revert" }).click()
  await page.locator(".notice.done", { hasText: "Reverting" }).waitFor({ timeout: 60_000 })
  visit.demand(!(await other.call("VM.get_tags", vm)).includes("after the snapshot"), "it is as it was before")
  await page.locator(".page > header").getByText("Off", { exact: true }).waitFor({ timeout: 20_000 })
}

function largeFile(megabytes) {
  const folder = mkdtempSync(join(tmpdir(), "e2e-upload-"))
  const path = join(folder, "large.img")
  const hash = createHash("sha256")
  const file = openSync(path, "w")
  const piece = Buffer.alloc(MIB)
  for (let index = 0; index < megabytes; ++index) {
    piece.fill(index)
    piece.writeUInt32BE(index, 100)
    writeSync(file, piece)
    hash.update(piece)
  }
  closeSync(file)
  return { path, digest: hash.digest("hex"), remove: () => rmSync(folder, { recursive: true }) }
}

/** Fails the segments of an upload whose number the rule names, as a network that breaks does. */
async function breaking(page, rule) {
  let number = 0
  await page.route((url) => url.pathname === "/import_raw_vdi" && rule(++number), (route) => route.abort("connectionreset"))
}

async function choose(page, path) {
  await go(page, "/storage")
  await page.getByRole("button", { name: "Upload an image" }).click()
  await page.locator('input[type="file"]').setInputFiles(path)
  await page.getByText(/A disk image \(raw\)/).waitFor({ timeout: 20_000 })
}

/** Leaves while the network is down, comes back, and goes on where it stopped. */
export async function largeUpload(visit) {
  const { other, demand, browser, url, password } = visit
  const file = largeFile(70)
  const underWay = async () => Object.values(await other.call("task.get_all_records")).filter(({ status }) => status === "pending")
  const pending = async () => (await underWay()).length
  const tasks = await pending()
  try {
    const first = await open(browser, url)
    await signIn(first, password)
    await choose(first, file.path)
    let broken = 0
    await breaking(first, (number) => number > 1 && (broken += 1) > 0)
    await first.getByRole("dialog").getByRole("button", { name: "Upload" }).click()
    await first.locator(".notice", { hasText: "waiting for the host" }).waitFor({ timeout: 60_000 })
    // Between two tries, which are further apart each time: a task that is just being made is nobody's yet.
    await visit.until(async () => {
      const seen = broken
      if (seen < 3 || (await pending()) <= tasks) return false
      await new Promise((resolve) => setTimeout(resolve, 500))
      return broken === seen
    }, 30, "no task is under way")
    await first.close({ runBeforeUnload: true })
    await visit.until(() => first.isClosed(), 20, "the page does not close")
    demand(first.farewells === 1, "nobody was asked whether to break it off")
    await visit.until(async () => (await pending()) <= tasks, 20, async () =>
      `it leaves a task behind, of ${tasks} and ${JSON.stringify((await underWay()).map((task) => [task.name_label, task.created, task.progress]))}`)
    await first.context().close()

    const { page } = visit
    await choose(page, file.path)
    await page.getByText(/91% of this file is there already/).waitFor({ timeout: 20_000 })
    await breaking(page, (number) => number === 1)
    await page.getByRole("dialog").getByRole("button", { name: "Upload" }).click()
    await page.locator(".notice.done", { hasText: "Uploading large.img" }).waitFor({ timeout: 90_000 })
    await page.unrouteAll()
    const found = await other.call("VDI.get_by_name_label", "large.img")
    demand(found.length === 1, `${found.length} disks`)
    demand(!(await other.call("VDI.get_other_config", found[0]))["web-upload"], "it counts as incomplete")
    const left = (await pending()) - tasks
    demand(left <= 0, `${left} tasks are left behind`)

    const sr = await other.call("VDI.get_SR", found[0])
    await go(page, `/sr/${await other.call("SR.get_uuid", sr)}`)
    await page.getByRole("button", { name: "Actions for large.img" }).click()
    // As in a browser in which no page may write a file.
    await page.evaluate(() => void (window.showSaveFilePicker = undefined))
    const [download] = await Promise.all([
      page.waitForEvent("download", { timeout: 60_000 }),
      page.getByRole("menuitem", { name: "Download (raw)" }).click(),
    ])
    demand(download.suggestedFilename().endsWith(".raw"), download.suggestedFilename())
    const hash = createHash("sha256")
    for await (const piece of await download.createReadStream()) hash.update(piece)
    demand(hash.digest("hex") === file.digest, "other bytes come back")
    await page.locator(".notice.done", { hasText: "Downloading large.img" }).waitFor({ timeout: 20_000 })
    await other.call("VDI.destroy", found[0])
  } finally {
    file.remove()
  }
}

/** A VM goes out as an archive and comes in again as another. */
export async function archive(visit) {
  const { page, other, demand } = visit
  const label = `${visit.name}-archive`
  const [template] = await other.call("VM.get_by_name_label", "Other install media")
  const vm = await other.call("VM.clone", template, label)
  await other.call("VM.provision", vm)
  const folder = mkdtempSync(join(tmpdir(), "e2e-archive-"))
  try {
    await go(page, `/vm/${await other.call("VM.get_uuid", vm)}`)
    await page.getByRole("button", { name: `Actions for ${label}` }).click()
    const [download] = await Promise.all([
      page.waitForEvent("download", { timeout: 60_000 }),
      page.getByRole("menuitem", { name: "Download (XVA)" }).click(),
    ])
    const path = join(folder, "vm.xva")
    await download.saveAs(path)
    await page.locator(".notice.done", { hasText: `Downloading ${label}` }).waitFor({ timeout: 30_000 })
    await go(page, "/storage")
    await page.getByRole("button", { name: "Upload an image" }).click()
    await page.locator('input[type="file"]').setInputFiles(path)
    await page.getByText("A virtual machine with its disks (XVA)").waitFor({ timeout: 10_000 })
    await page.getByRole("dialog").getByRole("button", { name: "Upload" }).click()
    await page.locator(".notice.done", { hasText: "Uploading vm.xva" }).waitFor({ timeout: 60_000 })
    demand((await other.call("VM.get_by_name_label", label)).length === 2, "there is no second one")
  } finally {
    for (const one of await other.call("VM.get_by_name_label", label)) await other.call("VM.destroy", one)
    rmSync(folder, { recursive: true })
  }
}
