// The line above the VM list: words that must all be found, some with a field before them.
import type { Store } from "@/api/store.js"
import { addressesOf, type VmEntry } from "./objects.js"

interface Term {
  field: string
  text: string
  not: boolean
}

const fields = new Set(["name", "state", "host", "tag", "ip", "uuid"])

/** `web state:running -tag:old "two words"`. What is no known field is part of the text. */
export function parseFilter(line: string): Term[] {
  const terms: Term[] = []
  for (const [, minus, word = "", quoted] of line.matchAll(/(-?)((?:\w+:)?(?:"([^"]*)"?|\S+))/g)) {
    const colon = word.indexOf(":")
    const field = colon > 0 ? word.slice(0, colon).toLowerCase() : ""
    const known = fields.has(field)
    const text = quoted ?? (known ? word.slice(colon + 1) : word)
    if (text) terms.push({ field: known ? field : "", text: text.toLowerCase(), not: minus === "-" })
  }
  return terms
}

/** Whether a VM is one of those that a line asks for. */
export function vmFilter(store: Store, line: string): (vm: VmEntry) => boolean {
  const terms = parseFilter(line)
  if (terms.length === 0) return () => true
  return (vm) => terms.every((term) => matches(store, vm, term) !== term.not)
}

function matches(store: Store, { record }: VmEntry, { field, text }: Term): boolean {
  switch (field) {
    case "name":
      return record.name_label.toLowerCase().includes(text)
    case "state":
      return record.power_state.toLowerCase() === text
    case "host":
      return store.get("host", record.resident_on)?.name_label.toLowerCase().includes(text) ?? false
    case "tag":
      return record.tags.some((tag) => tag.toLowerCase() === text)
    case "ip":
      return addressesOf(store, record).some((address) => address.startsWith(text))
    case "uuid":
      return record.uuid.startsWith(text)
  }
  return (
    record.name_label.toLowerCase().includes(text) ||
    record.name_description.toLowerCase().includes(text) ||
    record.tags.some((tag) => tag.toLowerCase().includes(text)) ||
    record.uuid.startsWith(text) ||
    addressesOf(store, record).some((address) => address.includes(text))
  )
}
