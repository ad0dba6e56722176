import type { Window } from '../invocations/port.ts'

/** `result.output` of blast-radius (fixed by the design). Tiers are kept apart and never added up. */
export interface BlastRadius {
  readonly window: Window
  /** From the registry: what its credentials open. */
  readonly couldReach: readonly CouldReach[]
  /** From the log: what it did, by downstream. */
  readonly didReach: readonly DidReach[]
  readonly exposed: readonly { readonly caller: string; readonly calls: number; readonly bytes?: number }[]
  readonly suspect: readonly Suspect[]
  readonly hubs: readonly { readonly context: string; readonly contexts: number }[]
  /** Data classes reached or reachable that start duties to notify. */
  readonly dataClasses: readonly string[]
  readonly owners: readonly string[]
  readonly gaps: readonly string[]
}

export interface CouldReach {
  readonly system: string
  readonly kind: string
  readonly via: string
  readonly access: string
  readonly data: readonly string[]
  readonly classification?: string
  readonly owner?: string
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

export interface Suspect {
  readonly record: string
  readonly server: string
  readonly tool: string
  readonly at: string
  readonly hop: number
  readonly by: 'session' | 'trace' | 'idle-gap' | 'inferred'
  readonly chain: readonly string[]
}
