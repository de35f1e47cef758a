// The language of the page. English comes with the page, others when they are chosen.
import { watch } from "vue"
import { createI18n } from "vue-i18n"
import { recalled, remember } from "@/lib/preferences.js"
import en from "./en.js"

export const languages = { en: "English", de: "Deutsch" } as const
export type Language = keyof typeof languages

export const i18n = createI18n({
  legacy: false,
  globalInjection: true,
  locale: "en",
  fallbackLocale: "en",
  messages: { en } as Record<string, typeof en>,
})

const load: Record<Exclude<Language, "en">, () => Promise<{ default: typeof en }>> = {
  de: () => import("./de.js"),
}

export async function setLanguage(language: Language): Promise<void> {
  if (language !== "en" && !i18n.global.availableLocales.includes(language))
    i18n.global.setLocaleMessage(language, (await load[language]()).default)
  i18n.global.locale.value = language
}

export async function startLanguage(): Promise<void> {
  watch(i18n.global.locale, (language) => {
    document.documentElement.lang = language
    remember("language", language)
  })
  const wanted = recalled<string>("language", navigator.language.slice(0, 2))
  await setLanguage(wanted in languages ? (wanted as Language) : "en")
}
