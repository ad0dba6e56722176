import type { Past } from '../case/past.ts'
import type { Action, Call, Change, Json, JsonObject, Observation, Problem, Receipt } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialOf } from '../registry/port.ts'
import { type CredentialIntent, type CredentialState, type Credentials, type CredentialTarget, stage } from './port.ts'

/**
 * A value that lies in a store and is accepted elsewhere. It dies only where it is accepted: the issuer that the registry names
 * revokes it and makes the new one. Without an issuer, or while that one does not confirm, the value is alive, whatever
 * is deleted in the store.
 */
export type Stored = CredentialOf<'vault-kv'> | CredentialOf<'aws-secret'> | CredentialOf<'azure-key-vault'>

type StoredCall<C extends Stored> = Call<CredentialTarget<C>> & { readonly intent: CredentialIntent }

/** What one kind of store does for the values in it. */
export interface StoredValue<C extends Stored = Stored> {
  readonly permissions: readonly string[]
  /** There? Permitted? Reads only. */
  check(call: StoredCall<C>): Promise<readonly Problem[]>
  /**
   * Puts the versions before the new one out of the way, recoverably (they identify the leaked one). Reads only; empty when there
   * are none.
   * @param after what must have delivered the new value first
   */
  planRetire(call: StoredCall<C>, after: readonly string[]): Promise<readonly Change[]>
  /** What lies in the store now: to be tried once its issuer has revoked it. In memory only. @throws IrError */
  held?(call: StoredCall<C>): Promise<readonly { readonly secret: string; readonly where: string }[]>
  /** What is seen of the store once all is done: old versions, stray labels. */
  look(call: StoredCall<C>): Promise<{ readonly observed: readonly Observation[]; readonly residue: readonly string[] }>
  /**
   * What the store itself can do where no issuer is named: have a value rotated by a function that it knows.
   * @param otherwise what holds of a value that it cannot do that for
   */
  own?(otherwise: Credentials<C>): Credentials<C>
  /** Which value it is and where, for who has to change it by hand: `the value at secret/crm in Vault`. */
  name(credential: C): string
  readonly actions: Readonly<Record<string, Action<CredentialTarget<C>>>>
}

/** The credential as its issuer knows it. */
export interface ValueIssuer {
  readonly adapter: Credentials
  readonly target: CredentialTarget
}

/** Marks the issuer's actions among those of the store. */
const prefix = 'issuer: '

/** The store's values with their issuer as one adapter. */
export function storedCredential<C extends Stored>(
  store: StoredValue<C>,
  issuer: ValueIssuer | undefined,
): Credentials<C> {
  if (issuer !== undefined) return withIssuer(store, issuer)
  const byHand = withoutIssuer(store)
  return store.own?.(byHand) ?? byHand
}

function withIssuer<C extends Stored>(store: StoredValue<C>, { adapter, target }: ValueIssuer): Credentials<C> {
  /** About the same credential where it is accepted, and about the issuer's own changes only. */
  const forIssuer = <T extends Call<CredentialTarget<C>>>(call: T) => ({
    ...call,
    target: {
      ...target,
      past: () => issuersPast(call),
      // After a rotation the new one may lie there, which has to live.
      ...(call.intent === 'revoke' ? { held: heldBy(call) } : { former: heldBy(call) }),
    },
    changes: call.changes.filter(isIssuers).map(unmarked),
  })
  return {
    permissions: [...store.permissions, ...adapter.permissions],

    async check(call) {
      const [own, issuers] = await Promise.all([store.check(call), adapter.check(forIssuer(call))])
      // It dies where it is accepted, whatever has become of the place that keeps it.
      const told = call.intent === 'revoke' ? own.map((one): Problem => ({ ...one, kind: 'warning' })) : own
      return [...told, ...issuers]
    },

    async plan(call) {
      const changes = (await adapter.plan(forIssuer(call))).map(marked)
      if (call.intent !== 'rotate') return changes
      if (changes.length === 0) return leftToRetire(call)
      const ids = changes.map(({ id }) => id)
      const retire = await store.planRetire(call, ids)
      return [...changes, ...retire.map((change) => ({ ...change, stage: stage.tidy }))]
    },

    async collect(call) {
      await adapter.collect?.(forIssuer(call))
    },

    async verify(call) {
      const { id, kind } = call.target.credential
      const [own, verdict] = await Promise.all([store.look(call), adapter.verify(forIssuer(call))])
      const residue = [...verdict.residue, ...own.residue]
      const observed = [...verdict.observed, ...own.observed]
      const state =
        verdict.state === 'verified' && (residue.length > 0 || observed.some(({ holds }) => !holds))
          ? 'residual'
          : verdict.state
      return { ...verdict, state, observed, residue, output: { ...(verdict.output as JsonObject), id, kind } }
    },

    actions: {
      ...store.actions,
      ...Object.fromEntries(
        Object.entries(adapter.actions).map(([name, action]) => [`${prefix}${name}`, delegated(action)]),
      ),
    },
  }

  function heldBy(call: Call<CredentialTarget<C>>): NonNullable<CredentialTarget['held']> {
    return async (signal) => {
      const [elsewhere, here] = await Promise.all([
        target.held?.(signal) ?? [],
        store.held?.({ ...call, intent: 'revoke' }).catch(unreadable) ?? [],
      ])
      return [...here, ...elsewhere.filter(({ secret }) => here.every((one) => one.secret !== secret))]
    }
  }

  function delegated(action: Action<CredentialTarget>): Action<CredentialTarget<C>> {
    const { undo } = action
    return {
      apply: (change, call) => action.apply(unmarked(change), forIssuer(call)),
      settle: (change, call) => action.settle(unmarked(change), forIssuer(call)),
      ...(undo === undefined
        ? {}
        : {
            undo: {
              drift: (change: Change, receipt: Receipt, call) => undo.drift(unmarked(change), receipt, forIssuer(call)),
              apply: (change: Change, receipt: Receipt, call) => undo.apply(unmarked(change), receipt, forIssuer(call)),
              settle: (change: Change, receipt: Receipt, call) =>
                undo.settle(unmarked(change), receipt, forIssuer(call)),
            } satisfies Action<CredentialTarget<C>>['undo'],
          }),
    }
  }
}

/**
 * Old versions that an earlier run of this case was to put out of the way, and did not. Only those: what lies there by now may be the
 * new value.
 */
export function leftToRetire({ target, changeId }: Call<CredentialTarget>): readonly Change[] {
  return (target.past?.() ?? [])
    .filter(({ change, receipt }) => change.stage === stage.tidy && receipt === undefined && !isIssuers(change))
    .map(({ change }) => ({ ...change, id: changeId(change.action, change.target), after: [] }))
}

function withoutIssuer<C extends Stored>(store: StoredValue<C>): Credentials<C> {
  const byHand = (credential: C): string => `change ${store.name(credential)} where it is accepted, by hand`
  return {
    permissions: store.permissions,

    async check(call) {
      const own = await store.check(call)
      if (call.intent === 'reinstate') return own
      const message = `${store.name(call.target.credential)} has no issuer in the registry: it stays alive`
      return [...own, { kind: 'warning', message, hint: byHand(call.target.credential) }]
    },

    plan: async () => [],

    async verify(call) {
      const { credential, sharedWith } = call.target
      const { observed, residue } = await store.look(call)
      if (call.intent === 'reinstate')
        return { state: 'verified', observed, residue, limits: [], output: output('alive', 'it was never revoked') }
      const claim = `${credential.id} is refused where it is accepted`
      const seen = 'nobody there was told: a store is not the issuer, and the registry names none'
      return {
        state: 'failed',
        observed: [...observed, { claim, seen, holds: false }],
        residue: [...residue, `${credential.id}: ${byHand(credential)}`],
        limits: [],
        output: output('alive', `a store is not the issuer: ${byHand(credential)}`),
      }

      function output(state: CredentialState['state'], proof: string): Json {
        const { id, kind } = credential
        return { id, kind, state, proof, sharedWith } satisfies CredentialState
      }
    },

    actions: store.actions,
  }
}

/** What cannot be read any more is not tried; it is revoked all the same. */
function unreadable(error: unknown): [] {
  if (error instanceof IrError && error.code !== 'interrupted') return []
  throw error
}

function issuersPast({ target }: Call<CredentialTarget>): readonly Past[] {
  const its = (target.past?.() ?? []).filter(({ change }) => isIssuers(change))
  return its.map((one) => ({ ...one, change: unmarked(one.change) }))
}

function isIssuers({ action }: Change): boolean {
  return action.startsWith(prefix)
}

function marked(change: Change): Change {
  return { ...change, action: `${prefix}${change.action}` }
}

function unmarked(change: Change): Change {
  return { ...change, action: change.action.slice(prefix.length) }
}
