import type { Component } from "vue"

export interface MenuItem {
  key: string
  label: string
  icon?: Component | undefined
  hint?: string
  /** Why it cannot be chosen now. */
  why?: string | undefined
  danger?: boolean
  /** Whether a line stands above it. */
  separated?: boolean
  run: () => void
}
