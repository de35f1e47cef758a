// Following a host that goes away, forgets, comes back and ends the session.
import { TransportError, XenApiError, type Transport } from "@basalt/xenapi"
import { describe, expect, it } from "vitest"
import { follow, type Follower } from "@/api/live.js"

type Answer = { events: string[]; token: string } | Error

function run(answers: Answer[]) {
  const calls: { token: string; seconds: number }[] = []
  const log: string[] = []
  const waits: number[] = []
  const stop = new AbortController()
  const transport: Transport = async (_method, params) => {
    const [, , token, seconds] = params as [string, string[], string, number]
    calls.push({ token, seconds })
    const answer = answers.shift()
    if (answer instanceof Error) throw answer
    if (answer) return answer
    stop.abort()
    return { events: [], token }
  }
  const follower: Follower<"VM"> = {
    reset: ({ events }) => log.push(`reset ${events.length}`),
    apply: ({ events }) => log.push(`apply ${events.length}`),
    live: () => log.push("live"),
    lost: (_, retryIn) => log.push(`lost ${retryIn}`),
    ended: () => log.push("ended"),
  }
  const sleep = async (ms: number) => void waits.push(ms)
  const done = follow({ session: "OpaqueRef:s" as never, transport }, ["VM"], follower, { signal: stop.signal, sleep })
  return done.then(() => ({ calls, log, waits }))
}

const lost = () => new TransportError("event.from", "down")
const refused = (code: string) => new XenApiError("event.from", code as never, [] as never)

describe("follow", () => {
  it("begins with the whole state and goes on from its token", async () => {
    const { calls, log } = await run([{ events: ["a", "b"], token: "5" }, { events: ["c"], token: "6" }, { events: [], token: "7" }])
    expect(log).toEqual(["reset 2", "live", "apply 1"])
    expect(calls.map(({ token }) => token)).toEqual(["", "5", "6", "7"])
  })

  it("keeps its place while the host is away, waits longer each time, and says when it is back", async () => {
    const { calls, log, waits } = await run([{ events: [], token: "5" }, lost(), lost(), lost(), { events: [], token: "6" }])
    expect(log).toEqual(["reset 0", "live", "lost 500", "lost 1000", "lost 2000", "live"])
    expect(waits).toEqual([500, 1000, 2000])
    expect(calls.map(({ token }) => token)).toEqual(["", "5", "5", "5", "5", "6"])
    // The first question after a loss does not wait for something to happen.
    expect(calls.map(({ seconds }) => seconds)).toEqual([30, 30, 0, 0, 0, 30])
  })

  it("never waits longer than eight seconds", async () => {
    const { waits } = await run(Array.from({ length: 8 }, lost))
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 8000, 8000, 8000])
  })

  it("begins anew when its place is lost", async () => {
    const { calls, log } = await run([{ events: [], token: "5" }, refused("EVENTS_LOST"), { events: ["a"], token: "9" }])
    expect(log).toEqual(["reset 0", "live", "reset 1", "live"])
    expect(calls.map(({ token }) => token)).toEqual(["", "5", "", "9"])
  })

  it("does not ask in a tight loop a server that refuses every token", async () => {
    const { waits } = await run(Array.from({ length: 4 }, () => refused("EVENT_FROM_TOKEN_PARSE_FAILURE")))
    expect(waits.length).toBe(3)
  })

  it("stops when the session has ended", async () => {
    const { log, calls } = await run([{ events: [], token: "5" }, refused("SESSION_INVALID"), { events: [], token: "6" }])
    expect(log).toEqual(["reset 0", "live", "ended"])
    expect(calls.length).toBe(2)
  })
})
