// The API as objects: api.VM.start(vm, false, false). The types are generated; what runs is a name
// put together, so that a page carries no code for messages that it does not use.
import type { Transport } from "./transport.js"
import { withoutSession, type Api, type AsyncMessages } from "./xenapi.js"
import type { Ref } from "./values.js"

/** The same messages as tasks: each answers at once with the task that does the work. */
export type AsyncApi = {
  [C in keyof AsyncMessages & keyof Api]: {
    [M in AsyncMessages[C] & keyof Api[C]]: Api[C][M] extends (...params: infer P) => unknown
      ? (...params: P) => Promise<Ref<"task">>
      : never
  }
}

/** The messages of the API with a session put before their parameters. `prefix`: "" or "Async.". */
export function bind<T extends object>(transport: Transport, session: string, prefix: string): T {
  const classes = new Map<string, object>()
  return proxy((cls) => {
    const known = classes.get(cls)
    if (known) return known
    const fresh = proxy((message) => (...params: unknown[]) => {
      const method = `${cls}.${message}`
      const head = withoutSession.has(method) ? [] : [session]
      return transport(prefix + method, [...head, ...withoutTail(params)])
    })
    classes.set(cls, fresh)
    return fresh
  }) as T
}

/** Parameters that were left out at the end are not sent: the server has their defaults. */
function withoutTail(params: unknown[]): unknown[] {
  let count = params.length
  while (count > 0 && params[count - 1] === undefined) --count
  return params.slice(0, count)
}

function proxy(member: (name: string) => unknown): object {
  return new Proxy(
    {},
    {
      // `then` must be absent, or an `await` of the object would call it.
      get: (_, name) => (typeof name === "string" && name !== "then" ? member(name) : undefined),
    },
  )
}
