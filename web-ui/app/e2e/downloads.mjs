// A large download whose connection breaks goes on where it was, and can be given up.
import { createHash, randomBytes } from "node:crypto"
import { breakable } from "./breakable.mjs"
import { go, open, signIn } from "./browser.mjs"

const MIB = 2 ** 20

/** A disk with random contents, on the local storage. */
export async function filledDisk({ other, url }, name, megabytes) {
  const [sr] = await other.call("SR.get_by_name_label", "Local storage")
  const vdi = await other.call("VDI.create", {
    name_label: name, name_description: "", SR: sr, virtual_size: megabytes * MIB, type: "user", sharable: false, read_only: false,
    other_config: {}, xenstore_data: {}, sm_config: {}, tags: [],
  })
  const contents = randomBytes(megabytes * MIB)
  const answer = await fetch(`${url}/import_raw_vdi?${new URLSearchParams({ vdi, session_id: other.session })}`, { method: "PUT", body: contents })
  if (!answer.ok) throw new Error(`the disk is not filled: HTTP ${answer.status}`)
  await answer.arrayBuffer()
  return { vdi, name, sr, size: contents.length, digest: createHash("sha256").update(contents).digest("hex") }
}

/** A page of its own. The browser's question where a file shall be is answered with one that the page keeps. */
export async function pageThatSaves({ browser, password }, url) {
  const page = await open(browser, "about:blank")
  await page.addInitScript(() => {
    window.showSaveFilePicker = async ({ suggestedName }) => (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true })
  })
  await page.goto(url)
  await signIn(page, password)
  return page
}

export async function beginDownload(page, { other }, { sr, name }) {
  await go(page, `/sr/${await other.call("SR.get_uuid", sr)}`)
  await page.getByRole("button", { name: `Actions for ${name}` }).click()
  await page.getByRole("menuitem", { name: "Download (raw)" }).click()
}

export async function savedDigest(page, name) {
  return page.evaluate(async (file) => {
    const handle = await (await navigator.storage.getDirectory()).getFileHandle(file)
    const digest = await crypto.subtle.digest("SHA-256", await (await handle.getFile()).arrayBuffer())
    return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("")
  }, name)
}

export async function brokenDownload(visit) {
  const { demand, other } = visit
  const way = await breakable(visit.url)
  const disk = await filledDisk(visit, "e2e download", 48)
  try {
    const page = await pageThatSaves(visit, way.url)
    const notice = (state) => page.locator(`.notice.${state}`, { hasText: "Downloading e2e download" })
    way.breakAfter(20 * MIB)
    way.state.bytes = 0
    await beginDownload(page, visit, disk)
    await visit.until(() => way.state.breaks === 1, 60, "the connection does not break")
    way.state.away = true
    await notice("running").getByText("waiting for the host").waitFor({ timeout: 30_000 })
    await page.screenshot({ path: `${visit.pictures}/download-waits.png` })
    way.state.away = false
    way.breakAfter(12 * MIB)
    await visit.until(() => way.state.breaks === 2, 60, "the second connection does not break")
    await notice("done").waitFor({ timeout: 90_000 })
    demand((await savedDigest(page, "e2e download.img")) === disk.digest, "other bytes have come")
    demand(way.state.bytes < disk.size * 1.5, `${way.state.bytes} bytes came: it began anew`)
    const tasks = async () => Object.values(await other.call("task.get_all_records")).filter(({ name_label }) => name_label === "Downloading e2e download")
    await visit.until(async () => String((await tasks()).map(({ status }) => status)) === "success", 10, "more than one task of it is left, or it is not done")

    way.holdAfter(8 * MIB)
    await beginDownload(page, visit, disk)
    await notice("running").getByRole("button", { name: "Cancel" }).click()
    await notice("cancelled").waitFor({ timeout: 20_000 })
    demand((await savedDigest(page, "e2e download.img")) === disk.digest, "what was there before is gone")
    await page.context().close()
  } finally {
    await way.close()
    await visit.until(() => other.call("VDI.destroy", disk.vdi).then(() => true, () => false), 30, "the disk is still being read")
  }
}
