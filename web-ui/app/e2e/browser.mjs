// Chromium for the tests, and a page that complains of nothing it should not.
import { chromium } from "playwright-core"

const quiet = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
]

export async function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: quiet })
}

/** A page whose complaints are gathered: errors of scripts, and what its policy stopped. */
export async function open(browser, url, options = {}) {
  // The host made its certificate itself, a moment ago.
  const context = await browser.newContext({
    ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 }, locale: "en-GB", colorScheme: "light", ...options,
  })
  const page = await context.newPage()
  page.complaints = []
  /** How often it asked whether to leave. It is left. */
  page.farewells = 0
  page.on("pageerror", (error) => page.complaints.push(error.message))
  page.on("dialog", (dialog) => {
    if (dialog.type() === "beforeunload") {
      page.farewells += 1
      return void dialog.accept()
    }
    page.complaints.push(`a dialog: ${dialog.message()}`)
    void dialog.dismiss()
  })
  page.on("console", (message) => {
    const text = message.text()
    if (/Content Security Policy|Refused to|\[Vue warn\]|\[intlify\]/.test(text)) {
      const { url, lineNumber, columnNumber } = message.location()
      page.complaints.push(`${text} (${url}:${lineNumber}:${columnNumber}, seen on ${page.url()})`)
    }
  })
  await page.goto(url)
  return page
}

export async function signIn(page, password, user = "root") {
  await page.getByLabel("User").fill(user)
  await page.getByLabel("Password").fill(password)
  await page.getByRole("button", { name: "Sign in" }).click()
  await page.getByText("Live", { exact: true }).waitFor()
}

/** To another page of the console without a new load, which would end the session. */
export async function go(page, path) {
  await page.evaluate((current) => {
    const { position = 0 } = history.state ?? {}
    const state = { back: null, current, forward: null, replaced: false, position: position + 1, scroll: null }
    history.pushState(state, "", current)
    dispatchEvent(new PopStateEvent("popstate", { state }))
  }, path)
}

/** Calls a host from here: the second client. */
export async function client(url, password) {
  let id = 0
  const rpc = async (method, ...params) => {
    const body = JSON.stringify({ jsonrpc: "2.0", method, params, id: ++id })
    const response = await fetch(`${url}/jsonrpc`, { method: "POST", headers: { "content-type": "application/json" }, body })
    const { error, result } = await response.json()
    if (error) throw new Error(`${method}: ${[error.message, ...(error.data ?? [])].join(" ")}`)
    return result
  }
  const session = await rpc("session.login_with_password", "root", password, "1.0", "web-e2e")
  return { session, call: (method, ...params) => rpc(method, session, ...params), end: () => rpc("session.logout", session) }
}
