// Sorting again what was sorted a moment ago.

/**
 * A sort that begins with the order it found last time: where little has changed it compares each item
 * with its neighbour and is done, which matters as events bring thousands of objects back every time.
 * Items with the same key count as the same; equal ones stay where they were.
 */
export function rememberingSort<T extends object | string>(keyOf: (item: T) => string): (items: readonly T[], compare: (a: T, b: T) => number) => T[] {
  let places = new Map<string, number>()
  return (items, compare) => {
    const known: (T | undefined)[] = new Array(places.size)
    const fresh: T[] = []
    for (const item of items) {
      const place = places.get(keyOf(item))
      if (place === undefined || known[place] !== undefined) fresh.push(item)
      else known[place] = item
    }
    const ordered = known.filter((item) => item !== undefined)
    ordered.push(...fresh)
    // The engine's sort finds runs that are in order already.
    ordered.sort(compare)
    places = new Map(ordered.map((item, place) => [keyOf(item), place]))
    return ordered
  }
}
