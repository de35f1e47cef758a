// Following what changes, without missing anything.
import type { Client } from "./client.js"
import type { EventBatch, EventOf } from "./values.js"
import type { EventClass } from "./xenapi.js"

export interface WatchOptions {
  /** Where to go on; empty text for the whole present state first. */
  token?: string
  /** How long one call waits for a change. */
  seconds?: number
  signal?: AbortSignal
}

/**
 * Answers of event.from, one after the other, empty ones left out. The first one without a token is
 * the present state: an `add` for every object. EVENTS_LOST comes out as an error: begin anew.
 */
export async function* watch<C extends EventClass>(
  client: Client,
  classes: readonly C[],
  options: WatchOptions = {},
): AsyncGenerator<EventBatch<C>, void, void> {
  let token = options.token ?? ""
  const seconds = options.seconds ?? 30
  const call = options.signal ? { signal: options.signal } : {}
  while (!options.signal?.aborted) {
    const params = [client.session, classes, token, seconds]
    const batch = (await client.transport("event.from", params, call)) as EventBatch<C>
    token = batch.token
    if (batch.events.length > 0) yield batch
  }
}

/** Whether an event is of the class; then its reference and snapshot have their types. */
export function isOf<C extends EventClass>(
  event: { readonly class: string },
  cls: C,
): event is EventOf<C> {
  return event.class === cls.toLowerCase()
}
