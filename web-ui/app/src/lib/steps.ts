// Several calls that are one change: when one of them fails, those before it are taken back.

/** A call, and the one that takes it back. */
export interface Step {
  act: () => Promise<unknown>
  back: () => Promise<unknown>
}

/** Rejects with the error of the step that failed, after the others were taken back, newest first. */
export async function allOrNothing(steps: readonly Step[]): Promise<void> {
  const done: Step[] = []
  try {
    for (const step of steps) {
      await step.act()
      done.push(step)
    }
  } catch (error) {
    // What cannot be taken back stays: the page shows it, and the first error says why.
    for (const { back } of done.toReversed()) await back().catch(() => undefined)
    throw error
  }
}
