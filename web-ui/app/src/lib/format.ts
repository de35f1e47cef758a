// Numbers, sizes and times as people of a language write them.
import { toDate, type DateTime } from "@basalt/xenapi"

/** The person's own kind of a language: how dates and numbers are written differs by country. */
export function regional(language: string, preferred: readonly string[]): string {
  return preferred.find((one) => one === language || one.startsWith(`${language}-`)) ?? language
}

/** Makes each formatter once: making one takes longer than using it a hundred times. */
function formatters<S, F>(make: (locale: string, style: S) => F) {
  const made = new Map<string, F>()
  return (locale: string, key: string, style: S): F => {
    const name = `${locale} ${key}`
    let found = made.get(name)
    if (!found) made.set(name, (found = make(locale, style)))
    return found
  }
}
const numbers = formatters((locale, style: Intl.NumberFormatOptions) => new Intl.NumberFormat(locale, style))
const dates = formatters((locale, style: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat(locale, style))
const spans = formatters((locale, style: Intl.RelativeTimeFormatOptions) => new Intl.RelativeTimeFormat(locale, style))

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]

export function formatBytes(bytes: number, locale: string): string {
  if (!Number.isFinite(bytes) || bytes < 0) return "–"
  let unit = 0
  let value = bytes
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  const digits = value >= 100 || unit === 0 ? 0 : value >= 10 ? 1 : 2
  const text = numbers(locale, `${digits} digits`, { maximumFractionDigits: digits }).format(value)
  return `${text} ${units[unit]}`
}

export function formatPercent(share: number, locale: string): string {
  const style = { style: "percent", maximumFractionDigits: 0 } as const
  return numbers(locale, "percent", style).format(share)
}

/** Undefined for the time that stands for never. */
export function dateOf(time: DateTime | string | undefined): Date | undefined {
  if (!time) return undefined
  try {
    const date = toDate(time as DateTime)
    return date.getTime() > 0 && !Number.isNaN(date.getTime()) ? date : undefined
  } catch {
    return undefined
  }
}

export function formatTime(time: DateTime | string | undefined, locale: string): string {
  const date = dateOf(time)
  if (!date) return "–"
  const style = { dateStyle: "medium", timeStyle: "medium" } as const
  return dates(locale, "time", style).format(date)
}

const ticks = {
  seconds: { timeStyle: "medium" }, minutes: { timeStyle: "short" }, days: { day: "numeric", month: "short" },
} as const satisfies Record<string, Intl.DateTimeFormatOptions>

/** A mark of a time axis, as exact as marks that are so many seconds apart need. */
export function formatTick(seconds: number, apart: number, locale: string): string {
  const key = apart < 60 ? "seconds" : apart < 86_400 ? "minutes" : "days"
  return dates(locale, key, ticks[key]).format(new Date(seconds * 1000))
}

const steps: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1],
]

/** "3 minutes ago". */
export function formatAgo(time: DateTime | string | undefined, now: number, locale: string): string {
  const date = dateOf(time)
  if (!date) return "–"
  const seconds = Math.round((date.getTime() - now) / 1000)
  const [unit, size] = steps.find(([, size]) => Math.abs(seconds) >= size) ?? steps[3]!
  const style = { numeric: "auto" } as const
  return spans(locale, "auto", style).format(Math.trunc(seconds / size), unit)
}

/** Of Monday, 0, to Sunday, 6. */
export function formatWeekday(day: number, locale: string): string {
  const style = { weekday: "short", timeZone: "UTC" } as const
  return dates(locale, "weekday", style).format(new Date(Date.UTC(2024, 0, 1 + day))) // that was a Monday
}

/** "2 d 3 h": how long something lasts. */
export function formatSpan(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000))
  const parts: [number, string][] = [
    [Math.floor(seconds / 86400), "d"], [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"], [seconds % 60, "s"],
  ]
  const first = parts.findIndex(([value]) => value > 0)
  if (first < 0) return "0 s"
  return parts.slice(first, first + 2).map(([value, unit]) => `${value} ${unit}`).join(" ")
}
