import { randomBytes } from 'node:crypto'
import type { Past } from '../case/past.ts'
import type { Action, ActionCall, Change, Json, JsonObject, Receipt } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialTarget, IssuedSoFar } from './port.ts'
import { fingerprint } from './secret-source.ts'
import type { Kept, Store } from './store.ts'

/** How one kind of credential is made anew. */
export interface Issuing<T extends CredentialTarget> {
  /**
   * Makes one new secret; the client must not try it again by itself.
   * @param nonce new for each try, and on disk: to be kept with the secret where its issuer can
   * @returns the secret, and what names it to its issuer without telling it (an accessor, a key id, a version)
   * @throws IrError `ambiguous` when it may have been made
   */
  issue(
    change: Change,
    call: ActionCall<T>,
    nonce: string,
  ): Promise<{ readonly secret: string; readonly ref: JsonObject }>
  /** Takes back one that was issued and not delivered. Doing it again does no harm. @throws IrError */
  discard(ref: JsonObject, change: Change, call: ActionCall<T>): Promise<void>
  /**
   * What this change may have issued although the answer never came: by the nonces of its tries, by tag or time. Reads only. Those in
   * `known` were answered. Not needed where a new secret replaces the one before.
   */
  lost?(
    known: readonly JsonObject[],
    change: Change,
    call: ActionCall<T>,
    nonces: ReadonlySet<string>,
  ): Promise<readonly JsonObject[]>
}

/** Where one credential's new secret goes. */
export interface Destination {
  readonly store: Store
  /** Undefined: the secret is the store's whole value. */
  readonly key: string | undefined
}

/** `output` of the receipt. */
export interface Issued {
  readonly ref: JsonObject
  /** Of the new secret, within this case. */
  readonly fingerprint: string
  readonly delivered: { readonly kind: string; readonly path: string; readonly version?: number | string }
}

/**
 * One new secret, from its issuer straight to its destination. On disk is first that it is asked for, then what names it
 * (`issued`), then where it went (the receipt), so that a crash at any point ends with one living new secret, the delivered one: what was
 * issued and is not at the destination is taken back, and another one issued.
 */
export function issueAndDeliver<T extends CredentialTarget>(
  issuing: Issuing<T>,
  destinationOf: (call: ActionCall<T>) => Promise<Destination>,
): Action<T> {
  return {
    async apply(change, call) {
      const { store, key } = await destinationOf(call)
      await store.prepare?.(call)
      await takeBack(change, call)
      const former = (await call.target.former?.(call.signal)) ?? []
      const nonce = randomBytes(16).toString('hex')
      await call.record({ asking: true, nonce })
      const { secret, ref } = await issuing.issue(change, call, nonce)
      const print = fingerprint(call.caseId, secret)
      if (isFormer(former, print, call))
        throw new IrError(
          'partial',
          `the issuer of ${call.target.credential.id} handed out the old value again: it is not rotated`,
        )
      await call.record({ issued: ref, fingerprint: print })
      try {
        const kept = await store.put(key, secret, call)
        return receipt({ ref, fingerprint: print, delivered: deliveredTo(store, kept) })
      } catch (error) {
        // Where it may have arrived, `settle` looks first.
        if (error instanceof IrError && !error.ambiguous) await takeBack(change, call)
        throw error
      }
    },

    async settle(_, call) {
      const last = undelivered(call).at(-1)
      if (last === undefined) return undefined
      const { store, key } = await destinationOf(call)
      const found = await store.get(key, call)
      if (found === undefined || fingerprint(call.caseId, found.secret) !== last.fingerprint) return undefined
      const { version } = found
      return receipt({ ...last, delivered: deliveredTo(store, { version }) })
    },
  }

  async function takeBack(change: Change, call: ActionCall<T>): Promise<void> {
    const known = call.recorded.flatMap(({ issued }) => (issued === undefined ? [] : [issued as JsonObject]))
    const asked = call.recorded.some(({ asking }) => asking === true)
    const lost = asked ? ((await issuing.lost?.(known, change, call, noncesOf(call.recorded))) ?? []) : []
    for (const ref of [...undelivered(call).map(({ ref }) => ref), ...lost]) {
      await issuing.discard(ref, change, call)
      await call.record({ discarded: ref })
    }
  }
}

/** A try before this one may have put its own there. */
function isFormer(
  former: readonly { readonly secret: string }[],
  print: string,
  { caseId, recorded }: ActionCall<CredentialTarget>,
): boolean {
  return (
    former.some(({ secret }) => fingerprint(caseId, secret) === print) &&
    !recorded.some((one) => one.fingerprint === print)
  )
}

/** What was issued in a case, by what its changes recorded. */
export function issuedIn(past: Iterable<Past>): IssuedSoFar {
  const all = [...past].map(({ recorded }) => recorded).filter((recorded) => recorded.length > 0)
  return {
    refs: all.flatMap((recorded) => undelivered({ recorded }).map(({ ref }) => ref)),
    nonces: new Set(all.flatMap((recorded) => [...noncesOf(recorded)])),
  }
}

function noncesOf(recorded: readonly JsonObject[]): ReadonlySet<string> {
  return new Set(recorded.flatMap(({ nonce }) => (typeof nonce === 'string' ? [nonce] : [])))
}

/** Issued by earlier tries, and not taken back. */
function undelivered({ recorded }: Pick<ActionCall<CredentialTarget>, 'recorded'>): {
  readonly ref: JsonObject
  readonly fingerprint: string
}[] {
  const discarded = new Set(recorded.flatMap((one) => (one.discarded === undefined ? [] : [text(one.discarded)])))
  return recorded.flatMap(({ issued, fingerprint: print }) =>
    issued === undefined || discarded.has(text(issued))
      ? []
      : [{ ref: issued as JsonObject, fingerprint: String(print) }],
  )
}

export function deliveredTo({ kind, path }: Pick<Store, 'kind' | 'path'>, { version }: Kept): Issued['delivered'] {
  return { kind, path, ...(version === undefined ? {} : { version }) }
}

/** What the receipt of `issueAndDeliver` says. */
export function issuedBy(receipt: Receipt | undefined): Issued | undefined {
  const output = receipt?.output as Partial<Issued> | null | undefined
  return output?.delivered === undefined ? undefined : (output as Issued)
}

function receipt(issued: Issued): Receipt {
  return { output: issued as unknown as Json }
}

function text(ref: Json): string {
  return JSON.stringify(ref)
}
