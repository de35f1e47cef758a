// What long lists cost: the built console in a browser, with simulated pools of so many VMs.
//
//     node e2e/lists.mjs FOLDER COUNT...
//
// FOLDER has the built console. Milliseconds "of the processor" are the page's own, the best of some
// rounds: those of the clock tell how busy the machine is with other things.
import { go, launch, open, signIn } from "./browser.mjs"
import { startPool } from "./pool.mjs"
import { demand, exitCode, figure, step } from "./steps.mjs"

const [folder, ...counts] = process.argv.slice(2)
const hosts = 16
const frames = 60
const rounds = 3
// At 60 frames a second.
const frameAim = 16

/** Resolves to what tells how long the page's own thread has worked, in milliseconds. */
async function workClock(page) {
  const debug = await page.context().newCDPSession(page)
  await debug.send("Performance.enable", { timeDomain: "threadTicks" })
  return async () => (await debug.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value * 1000
}

/** Scrolls the list by so many pixels a frame; resolves to how many rows are there at the end. */
function scroll(page, pixels) {
  return page.evaluate(async ({ pixels, frames }) => {
    const scroller = document.querySelector(".table.fill")
    const range = scroller.scrollHeight - scroller.clientHeight
    for (let index = 0; index < frames; ++index) {
      scroller.scrollTop = (index * pixels) % range
      await new Promise(requestAnimationFrame)
    }
    return document.querySelectorAll(".table .line").length
  }, { pixels, frames })
}

async function best(work) {
  let least = Infinity
  for (let round = 0; round < rounds; ++round) least = Math.min(least, await work())
  return least
}

async function scrolling(page, count) {
  const worked = await workClock(page)
  for (const [what, pixels] of [["by a page", 700], ["by a row", 32]]) {
    const work = await best(async () => {
      const before = await worked()
      const drawn = await scroll(page, pixels)
      demand(drawn < 40, `${drawn} rows are drawn`)
      return ((await worked()) - before) / frames
    })
    figure(`milliseconds of the processor for a frame that scrolls ${count} VMs ${what}, aim ${frameAim}:`, work.toFixed(1))
  }
}

/** Rows that stay in sight are left alone: what is written into the page is one row's. */
async function oneRowOnly(page) {
  const written = await page.evaluate(async () => {
    const scroller = document.querySelector(".table.fill")
    scroller.scrollTop = 3200
    await new Promise((resolve) => setTimeout(resolve, 200))
    const rows = new Set()
    const watcher = new MutationObserver((list) => {
      for (const { target } of list) {
        const line = (target instanceof Element ? target : target.parentElement)?.closest(".line")
        if (line) rows.add(line)
      }
    })
    watcher.observe(scroller, { subtree: true, childList: true, attributes: true, characterData: true })
    scroller.scrollTop += 32
    await new Promise((resolve) => setTimeout(resolve, 200))
    watcher.disconnect()
    return rows.size
  })
  demand(written === 1, `${written} rows are written`)
}

/** A row's elements go to another row: neither its menu nor the focus may go with them. */
async function nothingGoesAlong(page) {
  const scroller = page.locator(".table.fill")
  const to = (top) => scroller.evaluate((box, top) => (box.scrollTop = top), top)
  await to(0)
  const box = page.getByLabel("Select machine 3", { exact: true })
  await box.check()
  await box.focus()
  await to(9000)
  await page.getByLabel("Select machine 3", { exact: true }).waitFor({ state: "detached" })
  demand((await page.locator(".line input:checked").count()) === 0, "another row is selected")
  demand(await scroller.evaluate((box) => box === document.activeElement), "the focus is at another row")
  await page.getByRole("button", { name: /^Actions for machine/ }).nth(10).click()
  await page.getByRole("menuitem").first().waitFor()
  await to(0)
  await page.getByRole("menu").waitFor({ state: "detached" })
  demand(await page.getByLabel("Select machine 3", { exact: true }).isChecked(), "the selection is lost")
  await page.getByRole("button", { name: "Clear selection" }).click()
}

async function finding(page, count) {
  const wanted = count - 1
  const name = `machine ${wanted}`
  let began = Date.now()
  await page.getByRole("searchbox").fill(name)
  await page.getByRole("link", { name, exact: true }).waitFor()
  figure(`milliseconds of filtering ${count} VMs`, Date.now() - began)
  await page.getByRole("searchbox").fill("")
  const running = wanted - (wanted % 4)
  const address = `10.${running >> 16}.${(running >> 8) & 255}.${running & 255}`
  await page.keyboard.press("Control+k")
  began = Date.now()
  await page.getByRole("combobox").fill(address)
  await page.getByRole("option", { name: new RegExp(`^machine ${running} .*${address.replaceAll(".", "\\.")}`) }).first().waitFor()
  figure(`milliseconds of finding an address among ${count} VMs`, Date.now() - began)
  await page.keyboard.press("Escape")
}

async function changes(page, pool, count) {
  const worked = await workClock(page)
  await page.locator(".table.fill").evaluate((box) => (box.scrollTop = 0))
  for (const many of [1, 100]) {
    let number = 0
    const work = await best(async () => {
      const before = await worked()
      for (let round = 0; round < 5; ++round) {
        number += 1
        const said = `${many} changed ${number}`
        pool.change(many, () => ({ tags: [said] }))
        await page.getByText(said, { exact: true }).first().waitFor({ timeout: 5000 })
      }
      return ((await worked()) - before) / 5
    })
    figure(`milliseconds of the processor when ${many} of ${count} VMs change`, work.toFixed(1))
  }
}

const browser = await launch()
for (const count of counts.map(Number)) {
  const pool = await startPool(folder, count, hosts)
  const page = await open(browser, pool.url)
  await step(`${count} VMs are listed`, async () => {
    const began = Date.now()
    await signIn(page, "any")
    await go(page, "/vms")
    await page.locator(`.table.fill[aria-rowcount="${count + 1}"] .line`).first().waitFor()
    figure(`milliseconds from signing in to ${count} VMs listed`, Date.now() - began)
  })
  await step(`scrolling ${count} VMs is smooth`, () => scrolling(page, count))
  await step(`scrolling ${count} VMs leaves rows alone that stay`, () => oneRowOnly(page))
  await step(`a row of ${count} VMs takes nothing along`, () => nothingGoesAlong(page))
  await step(`a VM is found among ${count}`, () => finding(page, count))
  await step(`changes among ${count} VMs are cheap`, () => changes(page, pool, count))
  await step(`nothing was complained of with ${count} VMs`, () => demand(page.complaints.length === 0, page.complaints.slice(0, 3).join("; ")))
  await page.context().close()
  await pool.close()
}
await browser.close()
process.exit(exitCode())
