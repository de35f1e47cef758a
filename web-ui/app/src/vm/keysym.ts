// Characters as the keys of the RFB protocol (X11 keysyms).
const named: Record<string, number> = { "\n": 0xff0d, "\t": 0xff09, "\b": 0xff08, "\u001b": 0xff1b }

export function keysymOf(character: string): number {
  const special = named[character]
  if (special !== undefined) return special
  const code = character.codePointAt(0) ?? 0
  // Latin-1 is its own keysym; the rest of Unicode has a range of its own.
  return code <= 0xff ? code : 0x01000000 | code
}
