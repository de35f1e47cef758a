// What can go wrong with a call: the server refuses it, or does not answer.
import type { ErrorCode, ErrorParams } from "./xenapi.js"

/** The server's refusal: a code and its parameters, all of them text. */
export class XenApiError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = "XenApiError"

  constructor(
    /** The message that was called, such as VM.start. */
    readonly method: string,
    readonly code: C,
    readonly params: ErrorParams[C],
  ) {
    super(`${method}: ${[code, ...params].join(", ")}`)
  }
}

/** No answer that could be understood: the connection, HTTP, or the form of the body. */
export class TransportError extends Error {
  override readonly name = "TransportError"

  constructor(
    readonly method: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(`${method}: ${reason}`, options)
  }
}

/** Whether an error is the server's, with this code; then its parameters have their types. */
export function isError<C extends ErrorCode>(error: unknown, code: C): error is XenApiError<C> {
  return error instanceof XenApiError && error.code === code
}
