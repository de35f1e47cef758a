// JSON-RPC 2.0 over HTTP: one POST a call.
import { TransportError, XenApiError } from "./errors.js"
import type { ErrorCode } from "./xenapi.js"

export interface CallOptions {
  /** Gives the call up on this side; the server may still do what it was asked. */
  signal?: AbortSignal
}

/** Sends one call and returns its result. */
export type Transport = (
  method: string,
  params: readonly unknown[],
  options?: CallOptions,
) => Promise<unknown>

/** What is used of fetch, so that a program may bring its own, with its own rules of trust. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

interface Answer {
  result?: unknown
  error?: { code: number; message: string; data?: unknown }
}

/** Calls `url`, such as https://host; the path is added. */
export function httpTransport(url: string, fetcher: Fetch = fetch): Transport {
  const target = new URL("/jsonrpc", url).href
  let lastId = 0
  return async (method, params, options = {}) => {
    const id = ++lastId
    const body = JSON.stringify({ jsonrpc: "2.0", method, params, id })
    const init: RequestInit = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      ...(options.signal ? { signal: options.signal } : {}),
    }
    return resultOf(method, await post(method, () => fetcher(target, init), options.signal))
  }
}

async function post(
  method: string,
  send: () => Promise<Response>,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  try {
    const response = await send()
    if (!response.ok) throw new TransportError(method, `HTTP ${response.status}`)
    return (await response.json()) as Answer
  } catch (error) {
    if (error instanceof TransportError) throw error
    if (signal?.aborted) throw error // the caller's own reason
    throw new TransportError(method, error instanceof Error ? error.message : String(error), {
      cause: error,
    })
  }
}

function resultOf(method: string, answer: Answer): unknown {
  if (answer.error) {
    const data = Array.isArray(answer.error.data) ? answer.error.data.map(String) : []
    // The types name the parameters of the codes that are known; others come as they are.
    throw new XenApiError(method, answer.error.message as ErrorCode, data as never)
  }
  if (!("result" in answer)) throw new TransportError(method, "an answer without a result")
  return answer.result
}
