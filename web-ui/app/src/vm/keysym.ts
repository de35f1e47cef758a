// Characters and keys as the RFB protocol calls them (X11 keysyms).
const named: Record<string, number> = { "\n": 0xff0d, "\t": 0xff09, "\b": 0xff08, "\u001b": 0xff1b }
const modifiers: Record<string, number> = { ShiftLeft: 0xffe1, ShiftRight: 0xffe2, AltRight: 0xfe03 }

export function keysymOf(character: string): number {
  const special = named[character]
  if (special !== undefined) return special
  const code = character.codePointAt(0) ?? 0
  // Latin-1 is its own keysym; the rest of Unicode has a range of its own.
  return code <= 0xff ? code : 0x01000000 | code
}

/** Of a modifier by its place; undefined for other keys. */
export function modifierKeysym(code: string): number | undefined {
  return modifiers[code]
}
