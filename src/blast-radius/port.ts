import type { Grant } from '../credentials/powers/port.ts'
import type { Window } from '../invocations/port.ts'

/** `result.output` of blast-radius (fixed by the design). Tiers are kept apart and never added up. */
export interface BlastRadius {
  readonly window: Window
  /** From the registry: what its credentials open. */
  readonly couldReach: readonly CouldReach[]
  /** From the log: what it did, by downstream. */
  readonly didReach: readonly DidReach[]
  /** What went out: its answers, by who got them; most bytes first. */
  readonly left: readonly Left[]
  /** What was sent to the server, by the context that sent it; most bytes first. */
  readonly exposed: readonly Exposed[]
  /** By time. */
  readonly suspect: readonly Suspect[]
  /** Where following was cut off, unless it was asked to go on. */
  readonly hubs: readonly Hub[]
  /** The worst of the suspect calls, by what they change and what their server may do. */
  readonly worst: readonly { readonly record: string; readonly why: string }[]
  /** Data classes that were or could be reached, or that a context had read before it called: they may start duties to notify. */
  readonly dataClasses: readonly string[]
  readonly owners: readonly string[]
  readonly gaps: readonly string[]
}

export interface CouldReach {
  readonly system: string
  readonly kind: string
  /** The whole way in one line. */
  readonly via: string
  /** The same step by step, from the server's own credential on. */
  readonly way?: readonly string[]
  readonly access: string
  readonly data: readonly string[]
  readonly classification?: string
  readonly owner?: string
  /** What may be done there, where the system itself could be asked. */
  readonly permissions?: readonly Grant[]
}

export interface DidReach {
  readonly system: string
  /** `no-visibility`: no log covers it, which never means that nothing happened. */
  readonly coverage: 'accessed' | 'not-seen' | 'no-visibility'
  readonly calls: number
  readonly rows: number
  readonly bytes: number
  readonly data: readonly string[]
}

export interface Left {
  /** Agent, user or session, as the log knows it. */
  readonly caller: string
  readonly calls: number
  /** Of the answers; missing where the log does not say. */
  readonly rows?: number
  readonly bytes?: number
}

export interface Suspect {
  readonly record: string
  readonly server: string
  readonly tool: string
  readonly at: string
  readonly hop: number
  readonly by: 'session' | 'trace' | 'idle-gap' | 'inferred'
  readonly chain: readonly string[]
  /** As in `exposed`: `session …`, `trace …`, `user …`. */
  readonly context?: string
  /** What it read that a suspect call had written, where that is why it is suspect. */
  readonly resource?: string
}

/** What one context told the server. Values are never in it. */
export interface Exposed {
  /** `session …`, `trace …`, `user …`: how the context is known. */
  readonly context: string
  /** Agent, user or session, as the log knows it. */
  readonly caller: string
  readonly calls: number
  /** Of all parameters; missing where the log has none. */
  readonly bytes?: number
  readonly parameters: readonly { readonly name: string; readonly calls: number; readonly bytes: number }[]
  /** What it had called elsewhere before, so that its answers may have gone along. */
  readonly before: readonly Before[]
}

export interface Before {
  readonly server: string
  readonly tool: string
  readonly calls: number
  /** Classes of the data that this other server reaches. */
  readonly data: readonly string[]
}

export interface Hub {
  /** `account …` or `resource …`. */
  readonly context: string
  readonly kind: 'account' | 'resource'
  /** Contexts that it joins. */
  readonly contexts: number
  /** Suspect calls that are not listed because of it. */
  readonly calls: number
}
