// Steps with the host's ports. PORTS, two names with a comma between them, are there to be bonded.
import { go } from "./browser.mjs"

export async function bond(visit) {
  const { page, other, demand, ports } = visit
  const [host] = await other.call("host.get_all")
  const uuid = await other.call("host.get_uuid", host)
  await go(page, "/network")
  await page.getByRole("button", { name: "Look for ports" }).click()
  await go(page, `/host/${uuid}/network`)
  for (const port of ports) await page.getByRole("row", { name: new RegExp(`^${port} `) }).waitFor({ timeout: 20_000 })
  const row = page.getByRole("row", { name: new RegExp(`^${ports[0]} `) })
  const menu = async (item) => {
    await page.getByRole("button", { name: `Actions for ${ports[0]}`, exact: true }).click()
    await page.getByRole("menuitem", { name: item }).click()
  }
  if (await row.getByText("Down", { exact: true }).count()) await menu("Bring up")
  await row.getByText(/^(Up|No link)$/).waitFor({ timeout: 20_000 })
  await menu("Take down")
  await page.getByRole("dialog").getByRole("button", { name: "Take down" }).click()
  await row.getByText("Down", { exact: true }).waitFor({ timeout: 20_000 })

  await go(page, "/network")
  await page.getByRole("button", { name: "New network" }).click()
  const dialog = page.getByRole("dialog")
  await dialog.getByLabel("Bond of several ports").check()
  await dialog.getByRole("textbox", { name: "Name" }).fill("e2e bond")
  await dialog.getByRole("checkbox", { name: ports[0], exact: true }).check()
  await dialog.getByText("Two ports or more.").waitFor()
  await dialog.getByRole("checkbox", { name: ports[1], exact: true }).check()
  await dialog.getByLabel("How they share the work").selectOption("active-backup")
  await page.screenshot({ path: `${visit.pictures}/new-bond.png` })
  await dialog.getByRole("button", { name: "Make", exact: true }).click()
  await page.getByRole("row", { name: /^e2e bond .*bond\d/ }).waitFor({ timeout: 30_000 })
  const [made] = Object.values(await other.call("Bond.get_all_records"))
  demand(made?.mode === "active-backup" && made.slaves.length === 2, JSON.stringify(made))
  await page.getByRole("button", { name: "Actions for e2e bond", exact: true }).click()
  await page.getByRole("menuitem", { name: "Delete" }).click()
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click()
  await page.getByRole("row", { name: /^e2e bond/ }).waitFor({ state: "detached", timeout: 30_000 })
  demand(Object.keys(await other.call("Bond.get_all_records")).length === 0, "the bond is still there")
}
