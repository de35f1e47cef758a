// How the programs of this folder tell what became of their steps: `ok NAME`, `FAILED NAME: why`,
// and `figure NAME VALUE`. Times are figures and fail nothing: they depend on what else the machine
// does.

let failures = 0

export const say = (line) => process.stdout.write(`${line}\n`)
export const figure = (name, value) => say(`figure ${name} ${value}`)

export function demand(condition, what) {
  if (!condition) throw new Error(what)
}

/** Runs a step. What `failed` does when it fails, such as a picture, may fail, too. */
export async function step(name, work, failed) {
  try {
    await work()
    say(`ok ${name}`)
  } catch (error) {
    failures += 1
    say(`FAILED ${name}: ${String(error.message).split("\n").slice(0, 4).join(" | ")}`)
    await failed?.().catch(() => undefined)
  }
}

/** For the program's end. */
export const exitCode = () => (failures ? 1 : 0)
