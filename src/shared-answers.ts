import { coalesced } from './coalesced.ts'

/** How long an answer counts, in milliseconds, where we change nothing meanwhile. */
const maxAge = 30_000

/**
 * Answers to large questions that every credential asks, such as which tokens or database roles there are: looked for once, and again
 * as soon as we have begun or ended a change, and when the runner begins to observe, so that what is observed after a change was read
 * after it. One for each command: what is changed in one system may change another, as a lease that Vault revokes takes a
 * database user along.
 */
export interface Shared {
  /** An answer that may be as old as the last change, and 30 seconds at most. */
  ask<T>(key: string, work: () => Promise<T>): Promise<T>
  /** One that begins after it was asked for, shared only with those who ask meanwhile: where the order of what is read counts. */
  next<T>(key: string, work: () => Promise<T>): Promise<T>
  /** Called before and after each change of ours. */
  changed(): void
  /** A change of ours, whichever way it ends. */
  changing<T>(work: () => Promise<T>): Promise<T>
}

interface Known {
  readonly generation: number
  readonly at: number
  readonly answer: Promise<unknown>
}

const all = new WeakMap<AbortSignal, Shared>()

/**
 * @param signal the one of the adapter's `Call`, which is one per command
 * @param system which one is asked, and as whom
 */
export function sharedOf(signal: AbortSignal, system: string): Shared {
  const ofCommand = all.get(signal) ?? shared()
  all.set(signal, ofCommand)
  return {
    ask: (key, work) => ofCommand.ask(`${system} ${key}`, work),
    next: (key, work) => ofCommand.next(`${system} ${key}`, work),
    changed: ofCommand.changed,
    changing: ofCommand.changing,
  }
}

/** Nothing that was read in this command so far counts any more. */
export function forgetAnswers(signal: AbortSignal): void {
  all.get(signal)?.changed()
}

export function shared(now: () => number = () => performance.now()): Shared {
  const known = new Map<string, Known>()
  const inTurn = coalesced<unknown>()
  let generation = 0
  const changed = (): void => {
    generation++
    known.clear()
  }
  return {
    ask<T>(key: string, work: () => Promise<T>): Promise<T> {
      const found = known.get(key)
      if (found?.generation === generation && now() - found.at < maxAge) return found.answer as Promise<T>
      return inTurn(key, () => {
        const mine: Known = { generation, at: now(), answer: work() }
        known.set(key, mine)
        // What could not be answered is asked again.
        mine.answer.catch(() => known.get(key) === mine && known.delete(key))
        return mine.answer
      }) as Promise<T>
    },
    next<T>(key: string, work: () => Promise<T>): Promise<T> {
      return inTurn(`next ${key}`, work) as Promise<T>
    },
    changed,
    async changing(work) {
      changed()
      try {
        return await work()
      } finally {
        changed()
      }
    },
  }
}
