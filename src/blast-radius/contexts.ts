import type { Account, TrailRecord } from '../invocations/port.ts'

/** A user with one client that was silent for this long (microseconds) is taken for a new context. */
export const idleGap = 30 * 60 * 1_000_000

/** Activity of one user with one client, up to a silence. What is known of it is kept by whoever follows it. */
export interface Stretch<T> {
  /** Unique among all stretches. */
  readonly id: string
  /** Whose it is. */
  readonly account: Account
  /** Until when it was seen to be active, microseconds. */
  until: number
  known: T | undefined
}

/**
 * Contexts that are told by user and client alone. Records must come in time order; each is activity that keeps its stretch
 * alive, whether or not it is told by something better as well.
 */
export class Stretches<T> {
  readonly #current = new Map<string, Stretch<T>>()
  readonly #gap: number
  #count = 0

  constructor(gap = idleGap) {
    this.#gap = gap
  }

  /** The stretch that a record belongs to; undefined when the log does not say who made the call with what. */
  of(record: TrailRecord): Stretch<T> | undefined {
    const key = userAndClient(record)
    if (key === undefined) return undefined
    const current = this.#current.get(key)
    if (current !== undefined && record.time - current.until <= this.#gap) {
      current.until = Math.max(current.until, record.ends)
      return current
    }
    this.#count += 1
    const { user, agent, address } = record
    const account = { user, agent, address }
    const begun: Stretch<T> = { id: `${key} ${this.#count}`, account, until: record.ends, known: undefined }
    this.#current.set(key, begun)
    return begun
  }
}

/** An agent's name alone is no context: everybody's copilot has the same. */
function userAndClient({ user, agent, address }: TrailRecord): string | undefined {
  if (user === undefined && (agent === undefined || address === undefined)) return undefined
  const who = user ?? address ?? ''
  // The length goes first, so that no name can imitate another pair.
  return `${who.length}:${who} ${agent ?? address ?? ''}`
}

/** How a record's context is known, for people. */
export function contextName(record: TrailRecord): string {
  const { session, trace, user, agent, address } = record
  if (session !== undefined) return `session ${session}`
  if (trace !== undefined) return `trace ${trace}`
  if (user === undefined && (agent === undefined || address === undefined))
    return `unknown, agent ${agent ?? 'unknown'}`
  return `user ${user ?? address} with ${agent ?? address ?? 'an unknown client'}`
}
