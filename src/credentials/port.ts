import type { Adapter } from '../change.ts'
import type { Credential, DeliverTo, Deployment } from '../registry/port.ts'

export interface CredentialTarget<C extends Credential = Credential> {
  readonly server: string
  readonly credential: C
  /** Other registry servers that use the very same credential: they break with it. */
  readonly sharedWith: readonly string[]
  /** Where a new secret goes. Undefined: the adapter's own default, which it names in its plan. */
  readonly deliverTo?: DeliverTo | undefined
  /** Where the server runs: tells what it could read, and where a new secret must not go. */
  readonly deployments?: readonly Deployment[]
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
  readonly delivered?: { readonly kind: string; readonly path: string; readonly version?: number }
}
