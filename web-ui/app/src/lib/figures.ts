// Figures over time as /rrd_updates answers them, and the charts that are made of them.

/** Columns of one owner by the source's name; times in seconds, oldest first; null: unknown. */
export interface Figures {
  times: number[]
  columns: Map<string, (number | null)[]>
}

export type Unit = "share" | "bytes" | "rate"

/** `name` is a key below `charts.line`, `of` what it is about. */
export interface Line {
  name: string
  of?: string
  values: (number | null)[]
}

export interface Chart {
  key: "cpu" | "memory" | "network" | "disk"
  unit: Unit
  lines: Line[]
}

export interface Period {
  key: "minutes" | "hours" | "week" | "year"
  seconds: number
  interval: number
}

export const periods: readonly Period[] = [
  { key: "minutes", seconds: 595, interval: 5 },
  { key: "hours", seconds: 7140, interval: 60 },
  { key: "week", seconds: 601_200, interval: 3600 },
  { key: "year", seconds: 31_536_000, interval: 86_400 },
]

/** More lines than this are a tangle: then their average stands for them. */
const linesMost = 8

export interface Answer {
  meta: { legend: string[] }
  data: { t: string | number; values: (string | number)[] }[]
}

function numberOf(text: string | number): number | null {
  const value = Number(text)
  return Number.isFinite(value) ? value : null
}

/** What the answer says of one owner. */
export function parseFigures(answer: Answer, owner: string): Figures {
  const rows = [...answer.data].reverse()
  const columns = new Map<string, (number | null)[]>()
  answer.meta.legend.forEach((legend, index) => {
    const [fold, kind, uuid, ...rest] = legend.split(":")
    if (fold !== "AVERAGE" || `${kind}:${uuid}` !== owner) return
    columns.set(rest.join(":"), rows.map(({ values }) => numberOf(values[index] ?? "")))
  })
  return { times: rows.map(({ t }) => Number(t)), columns }
}

/** How much of their processors hosts and VMs use just now: shares of 0 to 1 by uuid. */
export interface Loads {
  hosts: Map<string, number>
  vms: Map<string, number>
}

/** The newest value of each that is known. */
export function parseLoads(answer: Answer): Loads {
  const loads: Loads = { hosts: new Map(), vms: new Map() }
  answer.meta.legend.forEach((legend, index) => {
    const [fold, kind, uuid = "", source, ...more] = legend.split(":")
    const into = kind === "host" && source === "cpu_avg" ? loads.hosts : kind === "vm" && source === "cpu_usage" ? loads.vms : undefined
    if (fold !== "AVERAGE" || more.length > 0 || !into) return
    for (const { values } of answer.data) {
      const value = numberOf(values[index] ?? "")
      if (value === null) continue
      into.set(uuid, value)
      break // the newest comes first
    }
  })
  return loads
}

function combined(
  parts: (number | null)[][],
  combine: (values: number[]) => number,
): (number | null)[] {
  const [first] = parts
  if (!first) return []
  return first.map((_, row) => {
    const values = parts.map((part) => part[row] ?? null)
    return values.includes(null) ? null : combine(values as number[])
  })
}

const sum = (values: number[]) => values.reduce((all, value) => all + value, 0)

function matching({ columns }: Figures, pattern: RegExp): { of: string; values: (number | null)[] }[] {
  return [...columns].flatMap(([name, values]) => {
    const match = pattern.exec(name)
    return match ? [{ of: match[1] ?? "", values }] : []
  })
}

function processors(figures: Figures, average: string): Line[] {
  const each = matching(figures, /^cpu(\d+)$/)
  if (each.length <= linesMost) return each.map(({ of, values }) => ({ name: "cpu", of, values }))
  const values = figures.columns.get(average)
  return values ? [{ name: "cpus", values }] : []
}

function both(figures: Figures, read: [RegExp, string], write: [RegExp, string]): Line[] {
  return [read, write].flatMap(([pattern, name]) => {
    const found = matching(figures, pattern)
    if (found.length <= linesMost / 2) return found.map(({ of, values }) => ({ name, of, values }))
    return [{ name, values: combined(found.map(({ values }) => values), sum) }]
  })
}

function withLines(charts: Chart[]): Chart[] {
  return charts.filter(({ lines }) => lines.length > 0)
}

export function vmCharts(figures: Figures): Chart[] {
  const memory = figures.columns.get("memory")
  const free = figures.columns.get("memory_internal_free")
  const lines: Line[] = memory ? [{ name: "memoryGiven", values: memory }] : []
  if (memory && free)
    lines.push({
      name: "memoryUsed",
      values: combined([memory, free], ([all = 0, kib = 0]) => Math.max(0, all - kib * 1024)),
    })
  return withLines([
    { key: "cpu", unit: "share", lines: processors(figures, "cpu_usage") },
    { key: "memory", unit: "bytes", lines },
    { key: "network", unit: "rate", lines: both(figures, [/^vif_(\d+)_rx$/, "received"], [/^vif_(\d+)_tx$/, "sent"]) },
    { key: "disk", unit: "rate", lines: both(figures, [/^vbd_([a-z]+)_read$/, "read"], [/^vbd_([a-z]+)_write$/, "written"]) },
  ])
}

export function hostCharts(figures: Figures): Chart[] {
  const total = figures.columns.get("memory_total_kib")
  const free = figures.columns.get("memory_free_kib")
  const memory: Line[] = []
  if (total && free)
    memory.push(
      { name: "memoryThere", values: total.map((kib) => (kib === null ? null : kib * 1024)) },
      { name: "memoryUsed", values: combined([total, free], ([all = 0, rest = 0]) => (all - rest) * 1024) },
    )
  return withLines([
    { key: "cpu", unit: "share", lines: processors(figures, "cpu_avg") },
    { key: "memory", unit: "bytes", lines: memory },
    { key: "network", unit: "rate", lines: both(figures, [/^pif_((?!aggr).+)_rx$/, "received"], [/^pif_((?!aggr).+)_tx$/, "sent"]) },
    { key: "disk", unit: "rate", lines: both(figures, [/^read_([0-9a-f]{8})$/, "read"], [/^write_([0-9a-f]{8})$/, "written"]) },
  ])
}
