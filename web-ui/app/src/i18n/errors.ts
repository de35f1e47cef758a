// The sentences for errors in the page's language.
import { computed, shallowRef, watch } from "vue"
import { useI18n } from "vue-i18n"
import type { ErrorCatalogue } from "@/api/errors.js"
import { ways } from "./ways.en.js"

interface ErrorWords {
  words: Record<string, string>
  ways: Record<string, string>
}

const english: ErrorWords = { words: {}, ways }

export function useCatalogue() {
  const { t, locale } = useI18n()
  const own = shallowRef(english)
  watch(
    locale,
    async (language) => {
      const loaded = language === "de" ? (await import("./errors.de.js")).errors : english
      if (language === locale.value) own.value = loaded
    },
    { immediate: true },
  )
  return computed<ErrorCatalogue>(() => ({
    ...own.value,
    unknown: t("error.unknown"),
    noAnswer: t("error.noAnswer"),
    noAnswerWay: t("error.noAnswerWay"),
    driver: t("error.driver"),
  }))
}
