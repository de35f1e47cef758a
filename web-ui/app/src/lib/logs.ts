// A host's log as lines that can be filtered: what each daemon writes, or the kernel.
export interface LogLine {
  text: string
  level: "error" | "warn" | ""
}

/** More lines than anybody reads; the newest stay. */
export const linesKept = 2000

const stamped = /^\d{4}-\d\d-\d\dT[\d:.]+Z?\s/
const head = 90 // characters in which a line says how bad it is

/** Oldest first. Daemons that log with the time are told in the order of time, not one by one. */
export function parseLog(text: string): LogLine[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "")
  if (lines.every((line) => stamped.test(line))) lines.sort((a, b) => compareTimes(a, b))
  return lines.slice(-linesKept).map((line) => ({ text: line, level: levelOf(line) }))
}

/** Sorting is stable: lines of one moment stay as they came. */
function compareTimes(a: string, b: string): number {
  const [x, y] = [a.slice(0, a.indexOf(" ")), b.slice(0, b.indexOf(" "))]
  return x < y ? -1 : x > y ? 1 : 0
}

function levelOf(line: string): LogLine["level"] {
  const [, word = ""] = /\b(errors?|fatal|critical|panic|warn|warning)\b/i.exec(line.slice(0, head)) ?? []
  if (!word) return ""
  return word.toLowerCase().startsWith("warn") ? "warn" : "error"
}

/** Lines in which all words of the filter are. */
export function filterLog(lines: readonly LogLine[], filter: string): LogLine[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean)
  return lines.filter(({ text }) => {
    const lower = text.toLowerCase()
    return words.every((word) => lower.includes(word))
  })
}
