// Values of the wire that are more than plain text and numbers.
import type { ClassName, EventClass, Records } from "./xenapi.js"

declare const refOf: unique symbol
declare const isDateTime: unique symbol

/** Reference of an object of one class. Opaque: a VM's cannot be passed where a disk's belongs. */
export type Ref<C extends ClassName> = string & { readonly [refOf]: C }

/** A time as the wire writes it: `20260131T23:59:59Z`, or without a zone for a host's local time. */
export type DateTime = string & { readonly [isDateTime]: true }

/** The reference of nothing. */
export function nullRef<C extends ClassName>(): Ref<C> {
  return "OpaqueRef:NULL" as Ref<C>
}

/** Whether a reference names nothing. Fields that were never set may hold empty text. */
export function isNull(ref: string): boolean {
  return ref === "OpaqueRef:NULL" || ref === ""
}

const dateTime = /^(\d{4})-?(\d{2})-?(\d{2})T(\d{2}):?(\d{2}):?(\d{2}(?:\.\d+)?)(Z|[+-]\d{2}:?\d{2})?$/

/** A time without a zone counts as UTC. Throws RangeError for text that is no time. */
export function toDate(time: DateTime): Date {
  const found = dateTime.exec(time)
  if (!found) throw new RangeError(`not a time: ${time}`)
  const [, year, month, day, hour, minute, second, zone] = found
  return new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}${zone ?? "Z"}`)
}

/** To the second, in UTC. */
export function fromDate(date: Date): DateTime {
  const [day, time] = date.toISOString().split("T") as [string, string]
  return `${day.replaceAll("-", "")}T${time.slice(0, 8)}Z` as DateTime
}

/** The pairs of a map; keeps the type of its keys, which Object.entries forgets. */
export function entries<K extends string, V>(map: Partial<Record<K, V>>): [K, V][] {
  return Object.entries(map) as [K, V][]
}

/** Names of classes come in small letters with events. */
export type EventOf<C extends EventClass> = C extends EventClass
  ? { readonly id: string; readonly timestamp: string; readonly class: Lowercase<C> } & (
      | { readonly operation: "add" | "mod"; readonly ref: Ref<C>; readonly snapshot: Records[C] }
      | { readonly operation: "del"; readonly ref: Ref<C>; readonly snapshot?: undefined }
    )
  : never

/** Any event; `class` and `operation` tell which, so that a test of them gives `snapshot` its type. */
export type XenEvent = EventOf<EventClass>

/** The answer of event.from. */
export interface EventBatch<C extends EventClass = EventClass> {
  /** Additions first, then changes, then removals. */
  events: EventOf<C>[]
  /** Number of objects of each class, by which a client notices that it lost something. */
  valid_ref_counts: Record<Lowercase<ClassName>, number>
  /** What the next call begins with. */
  token: string
}
