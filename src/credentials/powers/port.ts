import type { Credential } from '../../registry/port.ts'

/**
 * What a credential opens, by the word of the system that issued it. Reads only. What our own revocation put in its way is left
 * out: the question is what could be done with it before.
 */
export interface Powers<C extends Credential = Credential> {
  /** Every permission that any of its calls needs, in the vendor's words. */
  readonly permissions: readonly string[]
  of(call: PowersCall<C>): Promise<Granted>
}

export interface PowersCall<C extends Credential = Credential> {
  readonly credential: C
  /** Credentials of other servers (and others of the same one): which of them can be got hold of with this one? */
  readonly others: readonly Credential[]
  /** Of the configuration; everything else comes from the vendors' own environment. */
  readonly vault: { readonly address?: string | undefined }
  readonly aws: { readonly region?: string | undefined }
  readonly now: () => Date
  readonly signal: AbortSignal
}

export interface Granted {
  readonly opens: readonly Opened[]
  /** Of `others`: what is got hold of, and how, in plain words (`secret mcp/smtp in AWS`). */
  readonly holds: readonly { readonly credential: Credential; readonly how: string }[]
  /** What could not be read or judged, in plain words: never taken for nothing. */
  readonly gaps: readonly string[]
  /** The same, where it means that more may be opened than is said here. */
  readonly unread: readonly string[]
}

export interface Opened {
  readonly system: string
  readonly kind: string
  readonly access: 'none' | 'read' | 'write' | 'read-write' | 'admin'
  readonly permissions: readonly Grant[]
}

/** Actions with the same resources and conditions. */
export interface Grant {
  readonly group: Group
  /** The most telling first. */
  readonly actions: readonly string[]
  /** Actions of the same kind that are not listed. */
  readonly more?: number
  readonly resources: readonly string[]
  /** Resources among them that are denied all the same. */
  readonly except?: readonly string[]
  readonly conditional: boolean
  /** With `conditional`: under which condition, in words. */
  readonly condition?: string
}

export type Group = 'read data' | 'change' | 'escalate' | 'persist'
