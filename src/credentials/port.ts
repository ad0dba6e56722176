import type { Past } from '../case/past.ts'
import type { Adapter, JsonObject } from '../change.ts'
import type { Config } from '../config.ts'
import type { Credential, DeliverTo, Deployment } from '../registry/port.ts'

/**
 * `Change.stage` of credentials. Whatever order they are registered in: first nothing new can be made with any of them, then what was
 * made ends, then what that left behind, and only then something new is issued.
 */
export const stage = {
  /** Stop what mints: deny policies, destroy secret ids, disable entities and logins; note live sessions. */
  mint: 0,
  /** End what was minted: revoke tokens and leases, deactivate keys, end sessions. */
  end: 1,
  /** End what lost its owner meanwhile: sessions whose database role is gone. */
  sweep: 2,
  /** A new one at the issuer, and to its destination. */
  issue: 3,
  /** Old versions out of the way. */
  tidy: 4,
} as const

export interface CredentialTarget<C extends Credential = Credential> {
  readonly server: string
  readonly credential: C
  /** Other registry servers that use the very same credential: they break with it. */
  readonly sharedWith: readonly string[]
  /** Where a new secret goes. Undefined: the adapter's own default, which it names in its plan. */
  readonly deliverTo?: DeliverTo | undefined
  /** The new value replaces the old one where it lies: in this field of it, or, without one, as a whole. */
  readonly replaces?: { readonly field?: string | undefined }
  /** Where the server runs: tells what it could read, and where a new secret must not go. */
  readonly deployments?: readonly Deployment[]
  /** Start of the window, RFC 3339: what a suspect made since is looked for. */
  readonly since?: string
  /** Of the configuration; everything else comes from the vendors' own environment. */
  readonly vault?: { readonly address?: string | undefined; readonly auditLog?: string | undefined }
  readonly aws?: { readonly region?: string | undefined }
  /** Working hours of the configuration: use outside of them is told. */
  readonly hours?: Config['hours']
  /**
   * Old secrets that the suspect holds, to be tried once they should be dead. Read where it keeps them; in memory only, never
   * written. Empty when none is to be had. Whoever calls it bears in mind that the suspect may have planted them.
   */
  readonly held?: (signal: AbortSignal) => Promise<readonly { readonly secret: string; readonly where: string }[]>
  /** Of a rotation: the values from before, in memory only. What is handed out anew must be none of them. */
  readonly former?: CredentialTarget['held']
  /** What this case planned for this credential so far, over all its steps; the newest last. */
  readonly past?: () => readonly Past[]
  /** What this case issued so far, for whichever credential: told by the journal, as whatever the suspect may write proves nothing. */
  readonly issued?: () => IssuedSoFar
  /** Other credentials of the server that were not seen dead: with them it may still read what is delivered. */
  readonly undead?: readonly Credential[]
}

export interface IssuedSoFar {
  /** What names each to its issuer; without those that were taken back. */
  readonly refs: readonly JsonObject[]
  /** Words that nobody could guess beforehand, one for each try: where the issuer keeps one with what it makes, it is ours. */
  readonly nonces: ReadonlySet<string>
}

export type CredentialIntent = 'revoke' | 'rotate' | 'reinstate'

/**
 * `verify` proves: the old secret is refused by probe, or by its issuer's word, or it is said to be alive.
 * Its verdict's `output` is a `CredentialState`.
 */
export type Credentials<C extends Credential = Credential> = Adapter<CredentialTarget<C>, CredentialIntent>

/** One element of `result.output.credentials` (fixed by the design). */
export interface CredentialState {
  readonly id: string
  readonly kind: string
  readonly state: 'dead' | 'expires' | 'alive' | 'unknown'
  /** How that is known: `probed`, `issuer says so`, … in plain words. */
  readonly proof: string
  /** When it dies by itself, RFC 3339, with `expires`. */
  readonly until?: string
  readonly sharedWith: readonly string[]
  /** With rotate: where the new one is. Never its value. */
  readonly delivered?: { readonly kind: string; readonly path: string; readonly version?: number | string }
}
