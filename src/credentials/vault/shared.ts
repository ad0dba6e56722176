import { coalesced } from './coalesce.ts'

/** How long an answer counts, in milliseconds, where we change nothing meanwhile. */
const maxAge = 30_000

/**
 * Answers to large questions that every credential asks, such as which tokens there are: looked for once, and again as soon as
 * we have begun or ended a change, so that what is observed after a change was read after it. One for each command and Vault.
 */
export interface Shared {
  ask<T>(key: string, work: () => Promise<T>): Promise<T>
  /** Called before and after each change of ours. */
  changed(): void
}

interface Known {
  readonly generation: number
  readonly at: number
  readonly answer: Promise<unknown>
}

const all = new WeakMap<AbortSignal, Map<string, Shared>>()

/** @param signal the one of the adapter's `Call`, which is one per command */
export function sharedOf(signal: AbortSignal, vault: string): Shared {
  const ofCommand = all.get(signal) ?? new Map<string, Shared>()
  all.set(signal, ofCommand)
  const known = ofCommand.get(vault)
  if (known !== undefined) return known
  const made = shared()
  ofCommand.set(vault, made)
  return made
}

export function shared(now: () => number = () => performance.now()): Shared {
  const known = new Map<string, Known>()
  const inTurn = coalesced<unknown>()
  let generation = 0
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
    changed() {
      generation++
      known.clear()
    },
  }
}
