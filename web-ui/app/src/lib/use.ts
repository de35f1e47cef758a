// What every page needs: its language's words and forms, and the time.
import { onScopeDispose, ref, type Ref } from "vue"
import { useI18n } from "vue-i18n"
import { formatAgo, formatBytes, formatPercent, formatTick, formatTime, formatWeekday, regional } from "./format.js"

const now = ref(Date.now())
let users = 0
let timer: ReturnType<typeof setInterval> | undefined

/** The time, to the nearest ten seconds. */
export function useNow(): Ref<number> {
  now.value = Date.now()
  if (users++ === 0) timer = setInterval(() => (now.value = Date.now()), 10_000)
  onScopeDispose(() => {
    if (--users === 0) clearInterval(timer)
  })
  return now
}

export function useWords() {
  const { t, locale } = useI18n()
  const region = () => regional(locale.value, navigator.languages)
  return {
    t,
    locale,
    bytes: (value: number) => formatBytes(value, region()),
    percent: (share: number) => formatPercent(share, region()),
    time: (value: string | undefined) => formatTime(value, region()),
    tick: (seconds: number, apart: number) => formatTick(seconds, apart, region()),
    weekday: (day: number) => formatWeekday(day, region()),
    ago: (value: string | undefined) => formatAgo(value, now.value, region()),
  }
}
