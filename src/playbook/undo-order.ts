import type { StandingChange } from '../case/state.ts'

export interface Undoing<T> {
  readonly stands: T
  /** What must be put back before it. */
  readonly after: readonly T[]
}

/**
 * The order in which changes are put back: the reverse of the one in which they waited for each other. A change is put
 * back once all that waited for it are; of the same target, and of different plans, the newest is put back first, as
 * between plans it is not known what stood on what. All else has nothing to do with each other.
 *
 * @param stands oldest first
 * @returns each only after all that it waits for
 */
export function undoOrder<T extends StandingChange>(stands: readonly T[]): Undoing<T>[] {
  const rest = [...stands].reverse()
  const ordered: T[] = []
  while (rest.length > 0) {
    const free = rest.findIndex((one) => !rest.some((other) => other !== one && goesBefore(other, one)))
    ordered.push(...rest.splice(Math.max(0, free), 1))
  }
  return ordered.map((one, index) => ({
    stands: one,
    after: ordered
      .slice(0, index)
      .filter(
        (other) =>
          goesBefore(other, one) || other.operation !== one.operation || other.change.target === one.change.target,
      ),
  }))
}

function goesBefore({ change: { id, after } }: StandingChange, { change: one }: StandingChange): boolean {
  return after.includes(one.id) || one.undoAfter?.includes(id) === true
}
