// What a table of objects shows: its columns, their order, what of the rows.
import { rememberingSort } from "./order.js"

export interface Column<R> {
  key: string
  label: string
  /** What the column is sorted by, and its text where no slot draws it. */
  value: (row: R) => string | number
  text?: (row: R) => string
  /** Path of the page that its text leads to. */
  link?: (row: R) => string
  /** CSS width of a grid track. */
  width?: string
  right?: boolean
  /** Also shown where the window is narrow. */
  narrow?: boolean
  /** Not shown unless a person asks for it. */
  optional?: boolean
}

export interface SortOrder {
  key: string
  down: boolean
}

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" })

export function compareText(a: string, b: string): number {
  return collator.compare(a, b)
}

/** Sorts rows by a column, into a copy; of a column that is not there it keeps the order. */
export function rowSorter<R>(rowKey: (row: R) => string) {
  const sort = rememberingSort(({ key }: { key: string; row: R; value: string | number }) => key)
  return (rows: readonly R[], columns: readonly Column<R>[], order: SortOrder): R[] => {
    const column = columns.find(({ key }) => key === order.key)
    if (!column) return [...rows]
    const turn = order.down ? -1 : 1
    // Each value is read once: with thousands of rows that is most of the work.
    const keyed = rows.map((row) => ({ key: rowKey(row), row, value: column.value(row) }))
    return sort(keyed, (a, b) => turn * compareValues(a.value, b.value)).map(({ row }) => row)
  }
}

function compareValues(a: string | number, b: string | number): number {
  if (typeof a === "number" && typeof b === "number") return a - b
  return compareText(String(a), String(b))
}
