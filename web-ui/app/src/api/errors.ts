// Errors in words: what happened, the code and its parameters, and what a person can do about it.
import { TransportError, XenApiError } from "@basalt/xenapi"
import { errorParams, errorWords } from "@generated/errors"
import { store } from "./store.js"

export interface ErrorInWords {
  /** What happened, as a sentence. */
  text: string
  /** What to do about it; empty when nobody knows. */
  wayOut: string
  /** The code; empty for errors that are not the server's. */
  code: string
  /** What the code is about, name and value. */
  details: [name: string, value: string][]
}

export interface ErrorCatalogue {
  words: Record<string, string>
  ways: Record<string, string>
  unknown: string
  noAnswer: string
  noAnswerWay: string
  driver: string
}

/** `catalogue.words` may lack codes: the data model's English sentence stands in. */
export function inWords(error: unknown, catalogue: ErrorCatalogue): ErrorInWords {
  if (error instanceof XenApiError) {
    const code = String(error.code)
    const params = error.params as readonly string[]
    return {
      text: sentence(code, params, catalogue),
      wayOut: catalogue.ways[code] ?? "",
      code,
      details: named(code, params),
    }
  }
  if (error instanceof TransportError)
    return { text: catalogue.noAnswer, wayOut: catalogue.noAnswerWay, code: "", details: [] }
  const text = error instanceof Error ? error.message : String(error)
  return { text: text || catalogue.unknown, wayOut: "", code: "", details: [] }
}

function sentence(code: string, params: readonly string[], catalogue: ErrorCatalogue): string {
  const driver = code.startsWith("SR_BACKEND_FAILURE_")
  if (driver) return params[1] ? `${catalogue.driver} ${params[1]}` : catalogue.driver
  return catalogue.words[code] ?? errorWords[code] ?? catalogue.unknown
}

function named(code: string, params: readonly string[]): [string, string][] {
  const names = errorParams[code] ?? []
  const details: [string, string][] = []
  params.forEach((value, index) => {
    if (value === "") return
    const name = (names[index] ?? names.at(-1) ?? "").replaceAll("_", " ")
    details.push([name, readable(value)])
  })
  return details
}

/** References become the names of what they stand for. */
export function readable(value: string): string {
  if (!value.startsWith("OpaqueRef:")) return value
  return store.nameOf(value)?.name ?? value
}
