import type { Change, JsonObject, Problem } from '../../change.ts'
import { IrError } from '../../errors.ts'
import * as deliver from '../deliver.ts'
import { fingerprint } from '../secret-source.ts'
import type { Kept, Store, StoreCall } from '../store.ts'
import { destinationOf } from '../stores/index.ts'
import { field } from '../words.ts'
import type { OauthCall } from './target.ts'
import { foldersOf } from './told.ts'

/** Where a new token goes, in two moves where its place has them: nothing but the token itself names a token. */
export interface Place {
  readonly kind: Store['kind']
  readonly path: string
  /** As its reader knows it; undefined for a file that holds the bare token. */
  readonly key: string | undefined
  check(): Promise<readonly Problem[]>
  /** What stands there now. @throws IrError */
  get(): Promise<(Kept & { readonly secret: string }) | undefined>
  /**
   * What an interrupted try left before the journal could say so.
   * @param open a token was asked for, and what became of it is not on disk
   */
  begun(recorded: readonly JsonObject[], open: boolean): Promise<Begun | undefined>
  /** Why this token cannot be put there, in plain words; undefined when it can. */
  cannotCarry(token: string): string | undefined
  /** Whether anything can be put there, before a token is asked for. @throws IrError */
  prepare(): Promise<void>
  /** Puts the token where it cannot be lost any more. @throws IrError */
  stage(token: string): Promise<void>
  /** The token is where it is read. @throws IrError */
  finish(): Promise<Kept>
  /** Removes what an interrupted delivery left. */
  discard(): Promise<void>
}

interface Begun {
  readonly token: string
  /** Only we can have put it there. What lies in a store may be anybody's: it counts once its issuer says that it is ours. */
  readonly certain: boolean
}

/** As it was planned and agreed to, where there is a plan. @throws IrError input when no place is named */
export async function placeOf(call: OauthCall, change?: Change): Promise<Place> {
  const { credential, deliverTo, replaces } = call.target
  const changeId = change?.id ?? call.changeId('issue-and-deliver', credential.id)
  const path = field(change?.params, 'path')
  const key = field(change?.params, 'key')
  if (typeof path === 'string' && field(change?.params, 'store') === undefined)
    return inFile({ path, key: typeof key === 'string' ? key : undefined, changeId }, call)
  if (deliverTo?.kind === 'file')
    return inFile({ path: deliverTo.path, key: deliver.keyOf(credential.id), changeId }, call)
  if (deliverTo === undefined && credential.tokenFile !== undefined)
    return inFile({ path: `${credential.tokenFile}.new`, key: undefined, changeId }, call)
  if (replaces !== undefined)
    throw new IrError(
      'input',
      `A new token cannot replace ${credential.id} where it lies: the old one could not be tried.`,
      {
        hints: ['Name a place of its own for it: deliverTo in the registry.'],
      },
    )
  const { store, key: name } = await destinationOf(call)
  return inStore(store, name, call, field(change?.params, 'replaces'))
}

/** Staged beside its destination, then renamed over it: a crash between the two loses nothing. */
function inFile(destination: deliver.Destination, call: OauthCall): Place {
  const { deployments, credential } = call.target
  return {
    kind: 'file',
    path: destination.path,
    key: destination.key,
    check: () => deliver.checkDestination(destination, { folders: foldersOf(deployments), file: credential.tokenFile }),
    async get() {
      const secret = await deliver.delivered(destination)
      return secret === undefined ? undefined : { secret }
    },
    async begun() {
      const token = await deliver.staged(destination)
      return token === undefined ? undefined : { token, certain: true }
    },
    cannotCarry: (token) => deliver.cannotCarry(token),
    prepare: () => deliver.prepare(destination),
    stage: (token) => deliver.stage(destination, token),
    async finish() {
      await deliver.finish(destination)
      return {}
    },
    discard: () => deliver.discard(destination),
  }
}

/**
 * Put there at once, before the journal says that it was issued: what a crash leaves there is taken for ours when its issuer says so.
 * @param replaces fingerprint of what was there when this was planned
 */
function inStore(store: Store, key: string | undefined, call: StoreCall, replaces: unknown): Place {
  let kept: Kept | undefined
  return {
    kind: store.kind,
    path: store.path,
    key,
    check: () => store.check(call),
    get: () => store.get(key, call),
    async begun(recorded, open) {
      if (!open) return undefined
      const there = await store.get(key, call)
      if (there === undefined) return undefined
      const print = fingerprint(call.caseId, there.secret)
      if (print === replaces || recorded.some((one) => one.issued === print)) return undefined
      kept = { version: there.version }
      return { token: there.secret, certain: false }
    },
    cannotCarry: () => undefined,
    prepare: async () => await store.prepare?.(call),
    async stage(token) {
      kept = await store.put(key, token, call)
    },
    finish: async () => kept ?? {},
    discard: async () => {},
  }
}
