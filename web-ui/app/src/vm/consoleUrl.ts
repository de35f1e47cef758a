// Where the console of a VM is, for this page: always the host that the page came from.
import type { ConsoleRecord, Ref } from "@basalt/xenapi"

export function consoleUrl(page: { protocol: string; host: string }, console: Ref<"console">, session: string): string {
  const scheme = page.protocol === "http:" ? "ws:" : "wss:"
  const query = new URLSearchParams({ ref: console, session_id: session })
  return `${scheme}//${page.host}/console?${query.toString()}`
}

/** The first console of a kind: "rfb" is the screen, "vt100" the serial line. */
export function consoleOf(
  consoles: readonly (readonly [Ref<"console">, ConsoleRecord])[],
  protocol: ConsoleRecord["protocol"],
): Ref<"console"> | undefined {
  return consoles.find(([, console]) => console.protocol === protocol)?.[0]
}
