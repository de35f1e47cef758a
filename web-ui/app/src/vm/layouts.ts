// Which key of a keyboard writes which character, for layouts that guests commonly have. Keys are
// named by their place, as browsers name them; rows go from left to right, a blank stands for a key
// without a character that is of use here.
const places = [
  "Backquote Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal",
  "KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight",
  "KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote Backslash",
  "IntlBackslash KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash",
].map((row) => row.split(" "))

/** One press of a key, with the modifiers that it needs. */
export interface Stroke {
  code: string
  shift: boolean
  altGr: boolean
}

interface Rows {
  plain: readonly string[]
  shift: readonly string[]
  altGr?: readonly string[]
  /** Accents that wait for the letter after them: their key, ⇧ and ⌥ before it for Shift and AltGr. */
  dead?: Readonly<Record<string, string>>
}

const rows = {
  us: {
    plain: ["`1234567890-=", "qwertyuiop[]", "asdfghjkl;'\\", " zxcvbnm,./"],
    shift: ["~!@#$%^&*()_+", "QWERTYUIOP{}", 'ASDFGHJKL:"|', " ZXCVBNM<>?"],
  },
  gb: {
    plain: ["`1234567890-=", "qwertyuiop[]", "asdfghjkl;'#", "\\zxcvbnm,./"],
    shift: ['¬!"£$%^&*()_+', "QWERTYUIOP{}", "ASDFGHJKL:@~", "|ZXCVBNM<>?"],
    altGr: ["    €        "],
  },
  de: {
    plain: [" 1234567890ß ", "qwertzuiopü+", "asdfghjklöä#", "<yxcvbnm,.-"],
    shift: ['°!"§$%&/()=? ', "QWERTZUIOPÜ*", "ASDFGHJKLÖÄ'", ">YXCVBNM;:_"],
    altGr: ["  ²³   {[]}\\ ", "@ €        ~", "            ", "|      µ   "],
    dead: { "^": "Backquote", "´": "Equal", "`": "⇧Equal" },
  },
  ch: {
    plain: ["§1234567890' ", "qwertzuiopü ", "asdfghjklöä$", "<yxcvbnm,.-"],
    shift: ['°+"*ç%&/()=? ', "QWERTZUIOPè!", "ASDFGHJKLéà£", ">YXCVBNM;:_"],
    altGr: ["  @#  ¬|¢    ", "  €       []", "          {}", "\\          "],
    dead: { "^": "Equal", "`": "⇧Equal", "~": "⌥Equal", "´": "⌥Minus", "¨": "BracketRight" },
  },
  fr: {
    plain: ["²&é\"'(-è_çà)=", "azertyuiop $", "qsdfghjklmù*", "<wxcvbn,;:!"],
    shift: [" 1234567890°+", "AZERTYUIOP £", "QSDFGHJKLM%µ", ">WXCVBN?./§"],
    altGr: ["  ~#{[|`\\^@]}", "  €        ¤"],
    dead: { "^": "BracketLeft", "¨": "⇧BracketLeft" },
  },
  es: {
    plain: ["º1234567890'¡", "qwertyuiop +", "asdfghjklñ ç", "<zxcvbnm,.-"],
    shift: ['ª!"·$%&/()=?¿', "QWERTYUIOP *", "ASDFGHJKLÑ Ç", ">ZXCVBNM;:_"],
    altGr: ["\\|@#~ ¬      ", "  €       []", "          {}"],
    dead: { "`": "BracketLeft", "^": "⇧BracketLeft", "´": "Quote", "¨": "⇧Quote" },
  },
  it: {
    plain: ["\\1234567890'ì", "qwertyuiopè+", "asdfghjklòàù", "<zxcvbnm,.-"],
    shift: ['|!"£$%&/()=?^', "QWERTYUIOPé*", "ASDFGHJKLç°§", ">ZXCVBNM;:_"],
    altGr: ["       {[]}`~", "  €       []", "         @# "],
  },
} satisfies Record<string, Rows>

export type Layout = keyof typeof rows
export const layouts = Object.keys(rows) as Layout[]

/** Combining marks, as text is taken apart into them, and the accents that write them. */
const accents: Record<string, string> = { "\u0300": "`", "\u0301": "´", "\u0302": "^", "\u0303": "~", "\u0308": "¨" }

const alike = { shift: false, altGr: false }
const common: Record<string, Stroke> = {
  " ": { code: "Space", ...alike },
  "\n": { code: "Enter", ...alike },
  "\t": { code: "Tab", ...alike },
}

interface Table {
  direct: Map<string, Stroke>
  dead: Map<string, Stroke>
}

const tables = new Map<Layout, Table>()

function tableOf(layout: Layout): Table {
  const known = tables.get(layout)
  if (known) return known
  const table: Table = { direct: new Map(Object.entries(common)), dead: new Map() }
  const { plain, shift, altGr = [], dead = {} } = rows[layout] as Rows
  for (const [level, written] of [plain, shift, altGr].entries())
    for (const [row, characters] of written.entries())
      for (const [at, character] of [...characters].entries())
        // The first key that has it: the one with the fewest modifiers.
        if (character !== " " && !table.direct.has(character))
          table.direct.set(character, { code: places[row]![at]!, shift: level === 1, altGr: level === 2 })
  for (const [accent, key] of Object.entries(dead))
    table.dead.set(accent, { code: key.replace(/[⇧⌥]/g, ""), shift: key.includes("⇧"), altGr: key.includes("⌥") })
  tables.set(layout, table)
  return table
}

/** The presses that write a character; undefined where the layout has no way. */
export function strokesOf(layout: Layout, character: string): Stroke[] | undefined {
  const { direct, dead } = tableOf(layout)
  const one = direct.get(character)
  if (one) return [one]
  const accent = dead.get(character)
  if (accent) return [accent, common[" "]!]
  const [letter = "", mark = "", ...more] = character.normalize("NFD")
  const [first, second] = [dead.get(accents[mark] ?? ""), direct.get(letter)]
  return first && second && more.length === 0 ? [first, second] : undefined
}

/** Characters of a text that a layout cannot write, each once. */
export function unwritable(layout: Layout, text: string): string[] {
  return [...new Set(text.replaceAll("\r\n", "\n").normalize("NFC"))].filter((one) => !strokesOf(layout, one))
}

export interface KeyMove {
  code: string
  down: boolean
}

/**
 * A press with the modifiers as they are held at the guest just now: those that are in the way are
 * let go for a moment, those that are missing are pressed. `capsLock` turns letters' cases around.
 */
export function movesOf({ code, shift, altGr }: Stroke, held: ReadonlySet<string>, capsLock: boolean): KeyMove[] {
  const wantShift = shift !== (capsLock && code.startsWith("Key"))
  const before = [
    ...adjusted(["ShiftLeft", "ShiftRight"], held, wantShift),
    ...adjusted(["AltRight"], held, altGr),
  ]
  const after = before.toReversed().map((move) => ({ ...move, down: !move.down }))
  return [...before, { code, down: true }, { code, down: false }, ...after]
}

function adjusted(codes: readonly string[], held: ReadonlySet<string>, wanted: boolean): KeyMove[] {
  const pressed = codes.filter((code) => held.has(code))
  if (wanted) return pressed.length > 0 ? [] : [{ code: codes[0]!, down: true }]
  return pressed.map((code) => ({ code, down: false }))
}
