// Following the host's state: event.from in a loop that outlives lost connections.
import { TransportError, isError, type Client, type EventBatch, type EventClass } from "@basalt/xenapi"

/** What happens to the followed state; all of it in order. */
export interface Follower<C extends EventClass> {
  /** The whole present state: everything known before is void. */
  reset(batch: EventBatch<C>): void
  apply(batch: EventBatch<C>): void
  /** The host answers again after `lost`, or for the first time. */
  live(): void
  /** The host does not answer; the next try is in so many milliseconds. */
  lost(error: unknown, retryIn: number): void
  /** The session is over: nothing follows any more. */
  ended(error: unknown): void
}

export interface FollowOptions {
  signal: AbortSignal
  /** Resolves after so many milliseconds, or at once when the signal fires. */
  sleep?: (ms: number, signal: AbortSignal) => Promise<void>
  /** How long one call waits for a change. */
  seconds?: number
}

const firstRetry = 500
const longestRetry = 8000

/** Runs until the signal fires or the session ends; never rejects. */
export async function follow<C extends EventClass>(
  client: Pick<Client, "session" | "transport">,
  classes: readonly C[],
  follower: Follower<C>,
  options: FollowOptions,
): Promise<void> {
  const { signal, sleep = pause, seconds = 30 } = options
  let token = ""
  let failures = 0
  while (!signal.aborted) {
    const call = new AbortController()
    const giveUp = () => call.abort()
    signal.addEventListener("abort", giveUp)
    // A call that waits for a change would notice a lost network half a minute later.
    globalThis.addEventListener?.("offline", giveUp)
    try {
      // After a loss the first answer comes at once, so that the page knows that it is back.
      const wait = failures > 0 ? 0 : seconds
      const params = [client.session, classes, token, wait]
      const batch = (await client.transport("event.from", params, { signal: call.signal })) as EventBatch<C>
      if (signal.aborted) return
      if (token === "") follower.reset(batch)
      else if (batch.events.length > 0) follower.apply(batch)
      if (token === "" || failures > 0) follower.live()
      token = batch.token
      failures = 0
    } catch (error) {
      if (signal.aborted) return
      if (isSessionEnd(error)) return follower.ended(error)
      if (isTokenLost(error)) {
        token = ""
        // A server that refuses even the empty token must not be asked in a tight loop.
        if (failures === 0) {
          failures = 1
          continue
        }
      }
      const retryIn = Math.min(firstRetry * 2 ** failures, longestRetry)
      failures += 1
      follower.lost(error, retryIn)
      await sleep(retryIn, signal)
    } finally {
      signal.removeEventListener("abort", giveUp)
      globalThis.removeEventListener?.("offline", giveUp)
    }
  }
}

export function isSessionEnd(error: unknown): boolean {
  return isError(error, "SESSION_INVALID") || isError(error, "SESSION_AUTHENTICATION_FAILED")
}

function isTokenLost(error: unknown): boolean {
  return isError(error, "EVENTS_LOST") || isError(error, "EVENT_FROM_TOKEN_PARSE_FAILURE")
}

/** Whether nobody answered, rather than refused. */
export function isConnectionLoss(error: unknown): boolean {
  return error instanceof TransportError
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms)
    signal.addEventListener("abort", done, { once: true })
    // A network that comes back is worth a try at once.
    globalThis.addEventListener?.("online", done, { once: true })
    function done() {
      clearTimeout(timer)
      signal.removeEventListener("abort", done)
      globalThis.removeEventListener?.("online", done)
      resolve()
    }
  })
}
