// What the person chose for this browser: looks only, never who they are.
const prefix = "basalt."

export function recalled<T>(key: string, otherwise: T): T {
  try {
    const text = localStorage.getItem(prefix + key)
    return text === null ? otherwise : (JSON.parse(text) as T)
  } catch {
    return otherwise // storage is forbidden, or holds what others wrote
  }
}

export function remember(key: string, value: unknown): void {
  try {
    localStorage.setItem(prefix + key, JSON.stringify(value))
  } catch {
    // A browser that keeps nothing still shows everything.
  }
}
