import type { Call, Problem } from '../change.ts'
import type { DeliverTo } from '../registry/port.ts'
import type { CredentialTarget } from './port.ts'

/**
 * A place that keeps secrets for others: Vault KV, Secrets Manager, Key Vault, a file. What it keeps is accepted elsewhere, so
 * that taking it out of the store kills nothing. Every method gets the call that it is made for, and keeps no state.
 */
export interface Store {
  readonly kind: DeliverTo['kind']
  /** For people, and the `path` of what was delivered: `secret/mcp/crm/next`, `/run/crm/next.env`. */
  readonly path: string
  /** In the vendor's words; what writing and reading need. */
  readonly permissions: readonly string[]
  /** Reachable? May it be written? Can the suspect read it (`refused`)? Reads only. */
  check(call: StoreCall): Promise<readonly Problem[]>
  /** Called before a secret is issued, as one that cannot be put anywhere would be lost. @throws IrError */
  prepare?(call: StoreCall): Promise<void>
  /**
   * Puts the secret under its key (undefined: it is the whole value), beside what others have there. The same secret again is the same delivery.
   * @throws IrError `ambiguous` when it may have got there; no message holds the secret
   */
  put(key: string | undefined, secret: string, call: StoreCall): Promise<Kept>
  /** What is there now, in memory only; undefined when nothing is. @throws IrError */
  get(key: string | undefined, call: StoreCall): Promise<(Kept & { readonly secret: string }) | undefined>
}

export interface Kept {
  /** Of the whole secret in its store; undefined where there are none (files, KV version 1). */
  readonly version?: number | string | undefined
}

export type StoreCall = Pick<
  Call<CredentialTarget>,
  'target' | 'signal' | 'caseId' | 'privateFolder' | 'now' | 'progress'
> & {
  /** The change that delivers: makes names and request tokens. */
  readonly changeId?: (action: string, target: string) => string
}
