import type { Action, Call, Observation, Problem, Verdict } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialOf } from '../registry/port.ts'
import type { CredentialState, Credentials, CredentialTarget } from './port.ts'
import { unusualUse } from './vault/audit.ts'
import { type VaultClient, vaultClient } from './vault/client.ts'
import { checkOwn, irrevocable } from './vault/own.ts'
import { leftBehind, noted, notedUse, noting, type Reach, reachOf } from './vault/suspect.ts'
import {
  allTokens,
  lookUp,
  plannedTokens,
  revokeChange,
  revokeToken,
  stillThere,
  type Token,
  type Tried,
  tellTried,
  tryHeldTokens,
} from './vault/tokens.ts'
import { asJson } from './words.ts'

/**
 * A token that the registry names by its accessor. With it end its children and the leases of all of them; orphans that it made
 * in the window have no tie to it but its policies, and are ended by their own accessors.
 */
type Target = CredentialTarget<CredentialOf<'vault-token'>>
type TokenCall = Call<Target>

export const adapter: Credentials<CredentialOf<'vault-token'>> = {
  permissions: [
    'auth/token/lookup-self (read)',
    'auth/token/accessors (list, sudo)',
    'auth/token/lookup-accessor (update)',
    'auth/token/revoke-accessor (update)',
    'sys/auth (read)',
    'sys/capabilities-accessor (update)',
    'sys/leases/count (read)',
    'identity/entity/id/+ (list, read)',
    'identity/group/id/+ (list, read)',
  ],

  check,

  async plan(call) {
    if (call.intent !== 'revoke') return []
    const { token, reach, whose, vault } = await lookAt(call, 'all')
    if (token === undefined) return []
    const { sharedWith } = call.target
    const own = revokeChange(call, token, { whose, chain: [whose], breaks: sharedWith })
    const use = await unusualUse(call, vault, { tokens: [token] })
    if (reach === undefined) return noting([own], { use })
    const made = reach.made.map((one) =>
      revokeChange(call, one, { whose, made: true, chain: [whose], breaks: [...sharedWith, ...sharers(reach, one)] }),
    )
    const left = leftBehind(reach, whose, [...reach.policies.keys()])
    return noting([own, ...made], { left, use, can: reach.can })
  },

  async verify(call) {
    const { token, whose, vault, reach } = await lookAt(call, 'tokens')
    const { credential, sharedWith } = call.target
    const planned = reach?.left ?? (await stillThere(vault, call.changes))
    const made = new Set([...planned, ...(reach?.made ?? [])].map(({ accessor }) => accessor))
    made.delete(credential.accessor)
    const observed: Observation[] = [
      {
        claim: `Vault does not know ${whose}`,
        seen: token === undefined ? 'no token has this accessor' : 'it does',
        holds: token === undefined,
      },
      ...[...made].map((accessor) => ({
        claim: `the token with accessor ${accessor}, which it may have made, is gone`,
        seen: 'it is still there',
        holds: false,
      })),
    ]
    const isIts = ({ accessor }: Token): boolean => accessor === credential.accessor
    const held =
      token === undefined ? await tryHeldTokens((await call.target.held?.(call.signal)) ?? [], vault, isIts) : none
    observed.push(...tellTried(held))
    observed.push(...notedUse(call))
    const alive = observed.some(({ holds }) => !holds)
    const stuck = await irrevocable(vault)
    const residue =
      stuck !== undefined && stuck > 0
        ? [`${stuck} leases of this Vault could not be revoked (irrevocable): vault list sys/leases?type=irrevocable`]
        : []
    residue.push(...noted(call))
    const { intent } = call
    if (intent === 'rotate')
      residue.push(
        `${credential.id}: no new token is made for an accessor: log in anew, and write its accessor into the registry`,
      )
    const state: CredentialState = {
      id: credential.id,
      kind: credential.kind,
      ...(alive ? itLives : !wasSeen(call) ? neverSeen : held.refused > 0 ? probed : itIsGone),
      sharedWith,
    }
    if (intent === 'reinstate')
      return {
        state: alive ? 'verified' : 'residual',
        observed: [{ ...(observed[0] as Observation), holds: true }],
        residue: [],
        limits: [],
        output: asJson(state),
      }
    return {
      state: alive ? 'failed' : residue.length > 0 || state.state === 'unknown' ? 'residual' : 'verified',
      observed,
      residue,
      limits: [`${whose}: what it read from Vault lives on where it is accepted: rotate those secrets too`],
      output: asJson(state),
    } satisfies Verdict
  },

  actions: { 'revoke-token': revokeToken as Action<Target> },
}

const none: Tried = { refused: 0, accepted: [] }

type Told = Pick<CredentialState, 'state' | 'proof'>
const itLives: Told = { state: 'alive', proof: 'issuer says so (it is known)' }
const probed: Told = { state: 'dead', proof: 'probed' }
const itIsGone: Told = { state: 'dead', proof: 'issuer says so (no such accessor)' }
const neverSeen: Told = {
  state: 'unknown',
  proof:
    'no token has this accessor, and this case never saw one that had: it ended before, or the accessor or the namespace is not right',
}

interface Found {
  readonly vault: VaultClient
  readonly whose: string
  readonly token: Token | undefined
  /** Undefined when it is dead, or tokens may not be listed. */
  readonly reach: Reach | undefined
}

async function lookAt(call: TokenCall, about: 'all' | 'tokens'): Promise<Found> {
  const vault = vaultClient(call)
  const { accessor } = call.target.credential
  const whose = `the token with accessor ${accessor}`
  const listed = (await allTokens(vault, call).catch(orDenied))?.find((one) => one.accessor === accessor)
  // One of another namespace is not listed here.
  const token = listed ?? (await lookUp(vault, accessor))
  // Nothing is known any more of what it could have made.
  if (token === undefined && call.changes.length === 0) return { vault, whose, token, reach: undefined }
  try {
    const reach = await reachOf(call, vault, { whose, isIts: (one) => one.accessor === accessor, policies: [] }, about)
    return { vault, whose, token, reach }
  } catch (error) {
    // Its children die with it all the same.
    if (error instanceof IrError && error.code === 'denied') return { vault, whose, token, reach: undefined }
    throw error
  }
}

function orDenied(error: unknown): undefined {
  if (error instanceof IrError && error.code === 'denied') return undefined
  throw error
}

/** Whether this case ever saw it: whoever mistypes an accessor or the namespace sees no token either. */
function wasSeen({ target, changes }: TokenCall): boolean {
  const past = target.past?.().map(({ change }) => change) ?? []
  return plannedTokens([...past, ...changes]).some(({ accessor }) => accessor === target.credential.accessor)
}

/** What looks like something that the suspect made may be our own, made with the same policies. */
function isAmong({ accessor }: Token, made: readonly Token[] = []): boolean {
  return made.some((one) => one.accessor === accessor)
}

function sharers(reach: Reach, { policies }: Token): readonly string[] {
  return [...new Set(policies.flatMap((name) => reach.policies.get(name) ?? []))]
}

async function check(call: TokenCall & { readonly intent: string }): Promise<readonly Problem[]> {
  const { vault, whose, token, reach } = await lookAt(call, call.intent === 'revoke' ? 'all' : 'tokens')
  const { accessor } = call.target.credential
  const refused = await checkOwn(vault, (own) =>
    own.accessor === accessor || isAmong(own, reach?.made) ? whose : undefined,
  )
  if (refused !== undefined) return [refused]
  if (token === undefined && !wasSeen(call))
    return [
      {
        kind: 'warning',
        message: `Vault knows no token with accessor ${accessor}: it has ended already, or its accessor or the namespace is not right`,
        hint:
          vault.namespace === undefined
            ? 'Is it in a namespace (VAULT_NAMESPACE)?'
            : `Looked for in namespace ${vault.namespace}`,
      },
    ]
  if (call.intent !== 'revoke' || token === undefined) return []
  if (reach === undefined)
    return [
      {
        kind: 'warning',
        message: `tokens may not be listed: orphans that ${whose} made are not found`,
        hint: 'Somebody with the right can run: vault list auth/token/accessors',
      },
    ]
  const { more, batchOrphans } = reach.can
  return [
    ...(more.length === 0
      ? []
      : [
          {
            kind: 'warning' as const,
            message: `${whose} may also ${more.join(', ')}: what was made so is not looked for`,
          },
        ]),
    ...(batchOrphans
      ? [
          {
            kind: 'warning' as const,
            message: `${whose} may make batch tokens without parent, which cannot be listed: only a deny in its policies stops those`,
          },
        ]
      : []),
  ]
}
