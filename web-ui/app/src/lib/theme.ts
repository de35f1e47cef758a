// Light, dark, or as the system says.
import { ref, watch } from "vue"
import { recalled, remember } from "./preferences.js"

export const themes = ["system", "light", "dark"] as const
export type Theme = (typeof themes)[number]

const stored = recalled<Theme>("theme", "system")
export const theme = ref<Theme>(themes.includes(stored) ? stored : "system")
const dark = matchMedia("(prefers-color-scheme: dark)")

function show() {
  const shown = theme.value === "system" ? (dark.matches ? "dark" : "light") : theme.value
  document.documentElement.dataset.theme = shown
}

export function startTheme(): void {
  show()
  dark.addEventListener("change", show)
  watch(theme, (value) => {
    remember("theme", value)
    show()
  })
}
