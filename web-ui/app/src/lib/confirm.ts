// One question at a time, before something is lost.
import { shallowRef } from "vue"

export interface Question {
  title: string
  text: string
  /** What will be lost, a line each. */
  losses?: readonly string[]
  /** What the button says. */
  yes: string
  danger?: boolean
}

interface Asked extends Question {
  answer: (yes: boolean) => void
}

export const asked = shallowRef<Asked>()

export function confirm(question: Question): Promise<boolean> {
  asked.value?.answer(false)
  return new Promise((resolve) => {
    asked.value = {
      ...question,
      answer: (yes) => {
        asked.value = undefined
        resolve(yes)
      },
    }
  })
}
