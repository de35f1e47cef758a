// Keys that a browser or its machine keeps for itself, and that a phone does not have: sent by name.

/** A key by its X11 keysym and its place, as browsers call that. */
export type Key = readonly [keysym: number, code: string]

const ctrl: Key = [0xffe3, "ControlLeft"]
const alt: Key = [0xffe9, "AltLeft"]
const functionKey = (number: number): Key => [0xffbd + number, `F${number}`]

/** Keys that are held together, by what people call them. */
export const combinations: Readonly<Record<string, readonly Key[]>> = {
  "Ctrl+Alt+Del": [ctrl, alt, [0xffff, "Delete"]],
  "Ctrl+Alt+F1": [ctrl, alt, functionKey(1)],
  "Ctrl+Alt+F2": [ctrl, alt, functionKey(2)],
  "Ctrl+Alt+F7": [ctrl, alt, functionKey(7)],
  "Alt+F4": [alt, functionKey(4)],
  "Alt+Tab": [alt, [0xff09, "Tab"]],
  "Ctrl+C": [ctrl, [0x63, "KeyC"]],
  Esc: [[0xff1b, "Escape"]],
  Tab: [[0xff09, "Tab"]],
  F2: [functionKey(2)],
  F8: [functionKey(8)],
  F12: [functionKey(12)],
  Super: [[0xffeb, "MetaLeft"]],
}

/** Down in order, up in the other. */
export function movesOfKeys(keys: readonly Key[]): { key: Key; down: boolean }[] {
  return [...keys.map((key) => ({ key, down: true })), ...keys.toReversed().map((key) => ({ key, down: false }))]
}
