// The hand-written part against a server that is a function. Ends with an error when one check fails.
import {
  Client, TransportError, XenApiError, ended, fromDate, isError, isNull, nullRef, resultRef, toDate,
  watch, type DateTime, type Fetch, type Ref,
} from "../src/index.js"

interface Call {
  url: string
  method: string
  params: unknown[]
}

type Reply = (call: Call) => { result?: unknown; error?: unknown } | Response

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`not so: ${what}`)
}

function equal(got: unknown, wanted: unknown, what: string): void {
  const [left, right] = [JSON.stringify(got), JSON.stringify(wanted)]
  if (left !== right) throw new Error(`${what}: got ${left}, not ${right}`)
}

async function refused(work: Promise<unknown>): Promise<unknown> {
  try {
    await work
  } catch (error) {
    return error
  }
  throw new Error("no error")
}

/** A fetch that answers by a function and remembers the calls. */
function server(reply: Reply): { fetch: Fetch; calls: Call[] } {
  const calls: Call[] = []
  const fetch: Fetch = async (url, init) => {
    init.signal?.throwIfAborted()
    const body = JSON.parse(String(init.body)) as Call & { id: number; jsonrpc: string }
    check(body.jsonrpc === "2.0" && init.method === "POST", "JSON-RPC 2.0 by POST")
    const call = { url, method: body.method, params: body.params }
    calls.push(call)
    const answer = reply(call)
    if (answer instanceof Response) return answer
    return new Response(JSON.stringify({ jsonrpc: "2.0", id: body.id, ...answer }))
  }
  return { fetch, calls }
}

const error = (message: string, ...data: string[]) => ({ error: { code: 1, message, data } })
const login = { url: "https://10.0.0.9", user: "root", password: "secret" }

async function clientOf(reply: Reply): Promise<{ client: Client; calls: Call[] }> {
  const { fetch, calls } = server((call) =>
    call.method === "session.login_with_password" ? { result: "OpaqueRef:s" } : reply(call),
  )
  return { client: await Client.login({ ...login, fetch }), calls }
}

async function theSessionGoesFirst(): Promise<void> {
  const { client, calls } = await clientOf(() => ({ result: "" }))
  equal(calls[0]?.params, ["root", "secret", "1.0", "basalt-client"], "login")
  equal(calls[0]?.url, "https://10.0.0.9/jsonrpc", "path")
  await client.api.VM.start("OpaqueRef:v" as Ref<"VM">, true, false)
  equal(calls[1]?.params, ["OpaqueRef:s", "OpaqueRef:v", true, false], "start")
  await client.async.VM.clean_shutdown("OpaqueRef:v" as Ref<"VM">)
  equal(calls[2]?.method, "Async.VM.clean_shutdown", "the name as a task")
  await client.api.VM.snapshot("OpaqueRef:v" as Ref<"VM">, "now")
  equal(calls[3]?.params, ["OpaqueRef:s", "OpaqueRef:v", "now"], "a default is left to the server")
  await client.api.session.login_with_password("root", "x")
  equal(calls[4]?.params, ["root", "x"], "a message without a session")
  check((await Promise.resolve(client.api.VM)) === client.api.VM, "a class can be awaited")
}

async function aMemberIsLeftForItsCoordinator(): Promise<void> {
  const { fetch, calls } = server((call) =>
    call.url.includes("fd00") ? { result: "OpaqueRef:s" } : error("HOST_IS_SLAVE", "fd00::1"),
  )
  const client = await Client.login({ ...login, url: "https://10.0.0.9:8443", fetch })
  equal(calls[1]?.url, "https://[fd00::1]:8443/jsonrpc", "the coordinator's address")
  check(client.url.startsWith("https://[fd00::1]:8443"), "the client stays there")
  const lost = server(() => error("HOST_IS_SLAVE", "10.0.0.8"))
  const failure = await refused(Client.login({ ...login, fetch: lost.fetch }))
  check(isError(failure, "HOST_IS_SLAVE") && lost.calls.length === 2, "only once")
}

async function refusalsAreTyped(): Promise<void> {
  const { client } = await clientOf(() => error("VM_BAD_POWER_STATE", "OpaqueRef:v", "halted", "running"))
  const failure = await refused(client.api.VM.start("OpaqueRef:v" as Ref<"VM">, false, false))
  check(failure instanceof XenApiError && !isError(failure, "SR_FULL"), "the class")
  if (!isError(failure, "VM_BAD_POWER_STATE")) throw failure
  equal(failure.params[2], "running", "a parameter")
  equal(failure.message, "VM.start: VM_BAD_POWER_STATE, OpaqueRef:v, halted, running", "the text")
}

async function whatIsNoAnswerIsATransportError(): Promise<void> {
  const answers = [
    new Response("<html>", { status: 500 }), new Response("<html>"), new Response("{}"),
  ]
  for (const answer of answers) {
    const { client } = await clientOf(() => answer)
    const failure = await refused(client.api.VM.get_all())
    check(failure instanceof TransportError && failure.method === "VM.get_all", String(failure))
  }
  const broken: Fetch = () => Promise.reject(new TypeError("no route"))
  const failure = await refused(Client.login({ ...login, fetch: broken }))
  check(failure instanceof TransportError && failure.message.includes("no route"), String(failure))
}

async function watchingGoesOnFromTheToken(): Promise<void> {
  const stop = new AbortController()
  const tokens: unknown[] = []
  const { client } = await clientOf((call) => {
    tokens.push(call.params[2])
    const events = tokens.length === 2 ? [] : [{ class: "vm", operation: "del", ref: "OpaqueRef:v" }]
    return { result: { events, token: `t${tokens.length}`, valid_ref_counts: { vm: 1 } } }
  })
  let batches = 0
  for await (const batch of watch(client, ["VM"], { signal: stop.signal })) {
    equal(batch.events[0]?.class, "vm", "the class")
    if (++batches === 2) stop.abort()
  }
  equal(tokens, ["", "t1", "t2"], "tokens; an empty answer is not shown")
}

async function tasksEnd(): Promise<void> {
  const states = [
    { status: "pending", progress: 0.5 },
    { status: "success", progress: 1, result: "<value>OpaqueRef:new</value>" },
  ]
  const reply: Reply = () => {
    const snapshot = states.shift()
    const events = [{ class: "task", operation: "mod", ref: "OpaqueRef:t", snapshot }]
    return { result: { events, token: "t", valid_ref_counts: {} } }
  }
  const { client } = await clientOf(reply)
  const shares: number[] = []
  const task = await ended(client, "OpaqueRef:t" as Ref<"task">, {
    onProgress: (share) => shares.push(share),
  })
  equal(shares, [0.5, 1], "progress")
  equal(resultRef<"VM">(task), "OpaqueRef:new", "the result")
  states.push({ status: "failure", progress: 1, ...{ error_info: ["SR_FULL", "1", "2"] } })
  const failure = await refused(ended(client, "OpaqueRef:t" as Ref<"task">))
  check(isError(failure, "SR_FULL"), String(failure))
}

async function aTaskThatIsGoneIsAnError(): Promise<void> {
  const { client } = await clientOf((call) =>
    call.method === "event.from"
      ? { result: { events: [], token: "t", valid_ref_counts: {} } }
      : error("HANDLE_INVALID", "task", "OpaqueRef:t"),
  )
  const failure = await refused(ended(client, "OpaqueRef:t" as Ref<"task">))
  check(isError(failure, "HANDLE_INVALID"), String(failure))
}

async function aSessionThatEndedIsLoggedOut(): Promise<void> {
  const { client } = await clientOf(() => error("SESSION_INVALID", "OpaqueRef:s"))
  await client.logout()
  const other = await clientOf(() => error("INTERNAL_ERROR", "x"))
  check(isError(await refused(other.client.logout()), "INTERNAL_ERROR"), "other errors come out")
}

function timesAndNothing(): Promise<void> {
  equal(toDate("20260131T23:59:58Z" as DateTime).toISOString(), "2026-01-31T23:59:58.000Z", "UTC")
  equal(toDate("20260131T23:59:58" as DateTime).getTime(), 1769903998000, "without a zone")
  equal(toDate("20260131T23:59:58+01:00" as DateTime).getTime(), 1769900398000, "with a zone")
  equal(fromDate(new Date("2026-01-31T23:59:58.700Z")), "20260131T23:59:58Z", "back")
  try {
    toDate("yesterday" as DateTime)
    check(false, "a text that is no time")
  } catch (failure) {
    check(failure instanceof RangeError, String(failure))
  }
  check(isNull(nullRef<"VM">()) && isNull("") && !isNull("OpaqueRef:1"), "nothing")
  return Promise.resolve()
}

const checks = [
  theSessionGoesFirst, aMemberIsLeftForItsCoordinator, refusalsAreTyped,
  whatIsNoAnswerIsATransportError, watchingGoesOnFromTheToken, tasksEnd, aTaskThatIsGoneIsAnError,
  aSessionThatEndedIsLoggedOut, timesAndNothing,
]
for (const one of checks) await one()
console.log(`${checks.length} checks passed`)
