import type { Action, Call, Change, Observation, Problem, Verdict } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialOf } from '../registry/port.ts'
import { type CredentialState, type Credentials, type CredentialTarget, stage } from './port.ts'
import { unusualUse } from './vault/audit.ts'
import { type VaultClient, vaultClient } from './vault/client.ts'
import { disableChange, disableEntity, type Entity, entityById, entityNamed } from './vault/entity.ts'
import { checkOwn, irrevocable } from './vault/own.ts'
import { leftBehind, noted, notedUse, noting, type Reach, reachOf } from './vault/suspect.ts'
import {
  revokeChange,
  revokeToken,
  stillThere,
  type Token,
  type Tried,
  tellTried,
  tryHeldTokens,
} from './vault/tokens.ts'
import { asJson, mayGoOn, quoted, textField } from './words.ts'

/**
 * An entity is whoever logs in, by whatever login. Disabled, its logins and all tokens that carry it are refused, batch tokens
 * too; then its tokens are ended by their accessors, so that nothing comes back when it is enabled again. Rotation enables it: the new
 * server draws its own token by the login that it has.
 */
type Target = CredentialTarget<CredentialOf<'vault-entity'>>
type EntityCall = Call<Target>

export const adapter: Credentials<CredentialOf<'vault-entity'>> = {
  permissions: [
    'auth/token/lookup-self (read)',
    'auth/token/accessors (list, sudo)',
    'auth/token/lookup-accessor (update)',
    'auth/token/revoke-accessor (update)',
    'identity/entity/name/+ (read)',
    'identity/entity/id/+ (list, read, update)',
    'identity/group/id/+ (list, read)',
    'sys/auth (read)',
    'sys/capabilities-accessor (update)',
    'sys/leases/count (read)',
  ],

  check,

  async plan(call) {
    if (call.intent === 'revoke') return await planRevoke(call)
    return call.intent === 'rotate' ? await planRotate(call) : []
  },

  verify,

  actions: {
    'disable-entity': disableEntity as Action<Target>,
    'revoke-token': revokeToken as Action<Target>,
    'enable-entity': enableEntity(),
  },
}

interface Found {
  readonly vault: VaultClient
  readonly whose: string
  readonly entity: Entity | undefined
  /** Undefined when tokens may not be listed. */
  readonly reach: Reach | undefined
}

async function lookAt(call: EntityCall, about: 'all' | 'tokens'): Promise<Found> {
  const vault = vaultClient(call)
  const name = call.target.credential.entity
  const whose = `entity ${name}`
  const entity = await entityNamed(vault, name)
  if (entity === undefined) return { vault, whose, entity, reach: undefined }
  try {
    const reach = await reachOf(
      call,
      vault,
      {
        whose,
        isIts: (token) => token.entity === entity.id,
        policies: entity.policies,
        entity: entity.id,
      },
      about,
    )
    return { vault, whose, entity, reach }
  } catch (error) {
    if (error instanceof IrError && error.code === 'denied') return { vault, whose, entity, reach: undefined }
    throw error
  }
}

async function check(call: EntityCall & { readonly intent: string }): Promise<readonly Problem[]> {
  const { vault, whose, entity, reach } = await lookAt(call, call.intent === 'revoke' ? 'all' : 'tokens')
  const refused = await checkOwn(vault, (own) =>
    (own.entity !== '' && own.entity === entity?.id) || reach?.made.some((one) => one.accessor === own.accessor)
      ? whose
      : undefined,
  )
  if (refused !== undefined) return [refused]
  if (entity === undefined) return [{ kind: 'input', message: `there is no ${whose} in Vault` }]
  if (call.intent !== 'revoke') return []
  if (reach === undefined)
    return [
      {
        kind: 'warning',
        message: `tokens may not be listed: those of ${whose} are refused while it is disabled, and not revoked`,
        hint: 'Somebody with the right can run: vault list auth/token/accessors',
      },
    ]
  return reach.can.more.length === 0
    ? []
    : [
        {
          kind: 'warning',
          message: `the tokens of ${whose} may also ${reach.can.more.join(', ')}: what was made so is not looked for`,
        },
      ]
}

async function planRevoke(call: EntityCall): Promise<readonly Change[]> {
  const { vault, whose, entity, reach } = await lookAt(call, 'all')
  if (entity === undefined) return []
  const { sharedWith } = call.target
  const changes: Change[] = entity.disabled ? [] : [disableChange(call, entity, { whose, breaks: sharedWith })]
  const use = await unusualUse(call, vault, { entity: entity.id, tokens: [] })
  if (reach === undefined) return noting(changes, { use })
  for (const token of reach.its) changes.push(revokeChange(call, token, { whose, chain: [whose], breaks: sharedWith }))
  for (const token of reach.made) {
    const sharers = new Set(token.policies.flatMap((name) => reach.policies.get(name) ?? []))
    changes.push(revokeChange(call, token, { whose, made: true, chain: [whose], breaks: [...sharedWith, ...sharers] }))
  }
  const left = leftBehind(reach, `the tokens of ${whose}`, [...reach.policies.keys()])
  return noting(changes, { left, use, can: reach.can })
}

// Rotate

async function planRotate(call: EntityCall): Promise<readonly Change[]> {
  const { whose, entity } = await lookAt(call, 'tokens')
  if (entity?.disabled !== true) return []
  const target = `entity ${entity.id}`
  return [
    {
      id: call.changeId('enable-entity', target),
      action: 'enable-entity',
      target,
      summary: `Enable ${whose} again, once its old tokens are seen dead: the new ${call.target.server} logs in by itself, and there is nothing to deliver`,
      effect: 'irreversible',
      priority: 'essential',
      after: [],
      stage: stage.issue,
      chain: [whose],
      params: { entity: entity.id },
      breaks: [],
      command: `vault write identity/entity/id/${quoted(entity.id)} disabled=false`,
    },
  ]
}

function enableEntity(): Action<Target> {
  return {
    async apply({ params }, call) {
      mayGoOn(call)
      const { reach, whose } = await lookAt(call, 'tokens')
      if (reach === undefined)
        throw new IrError(
          'refused',
          `tokens may not be listed, so that nobody can tell whether old ones of ${whose} would live again`,
        )
      if (reach.its.length > 0)
        throw new IrError('refused', `${reach.its.length} old tokens of ${whose} would live again`, {
          hints: [`Revoke them first: mcp-ir revoke ${call.target.server}`],
        })
      await vaultClient(call).write(`identity/entity/id/${textField(params, 'entity')}`, { disabled: false })
      return {}
    },
    async settle({ params }, call) {
      const found = await entityById(vaultClient(call), textField(params, 'entity'))
      return found?.disabled === true ? undefined : {}
    },
  }
}

// The verdict

async function verify(call: EntityCall & { readonly intent: string }): Promise<Verdict> {
  const { vault, whose, entity, reach } = await lookAt(call, 'tokens')
  const { credential, sharedWith } = call.target
  const rotating = call.intent === 'rotate'
  const observed: Observation[] = []
  const see = (claim: string, seen: string, holds: boolean): void => void observed.push({ claim, seen, holds })
  const planned = reach?.left ?? (await stillThere(vault, call.changes))
  const left = new Set(
    [...(reach?.its ?? []), ...(reach?.made ?? []), ...planned].map(({ accessor }: Token) => accessor),
  )
  const disabled = entity === undefined || entity.disabled
  if (!rotating)
    see(
      `${whose} may not log in`,
      entity === undefined ? 'it is gone' : disabled ? 'disabled' : 'it is enabled',
      disabled,
    )
  else see(`${whose} may log in again`, disabled ? 'it is disabled' : 'enabled', !disabled)
  if (reach === undefined && entity !== undefined)
    see(`no token of ${whose} is left`, 'tokens may not be listed: vault list auth/token/accessors', false)
  else
    see(
      `no token of ${whose} is left`,
      left.size === 0 ? 'none' : `${left.size}: ${[...left].slice(0, 5).join(', ')}`,
      left.size === 0,
    )
  const alive = left.size > 0 || (!disabled && !rotating)
  const held: Tried = alive
    ? { refused: 0, accepted: [] }
    : await tryHeldTokens(await (call.target.held?.(call.signal) ?? []), vault, (token) => token.entity === entity?.id)
  observed.push(...tellTried(held))
  const stuck = await irrevocable(vault)
  const residue =
    stuck !== undefined && stuck > 0
      ? [`${stuck} leases of this Vault could not be revoked (irrevocable): vault list sys/leases?type=irrevocable`]
      : []
  residue.push(...noted(call))
  observed.push(...notedUse(call))
  const lives = alive || held.accepted.length > 0
  const blind = reach === undefined && entity !== undefined
  const state: CredentialState = {
    id: credential.id,
    kind: credential.kind,
    state: lives ? 'alive' : blind && !disabled ? 'unknown' : 'dead',
    proof:
      held.refused > 0 && !lives
        ? 'probed'
        : `issuer says so (${disabled ? 'disabled' : 'enabled'}, ${left.size} tokens left)`,
    sharedWith,
  }
  if (call.intent === 'reinstate')
    return {
      state: disabled ? 'residual' : 'verified',
      observed: [
        { claim: `what became of ${whose} was looked at`, seen: disabled ? 'disabled' : 'enabled', holds: true },
      ],
      residue: [],
      limits: [`${whose}: revoked tokens do not come back`],
      output: asJson({ ...state, state: disabled ? 'dead' : 'alive' }),
    }
  const holds = observed.every((one) => one.holds)
  return {
    state: holds ? (residue.length > 0 ? 'residual' : 'verified') : 'failed',
    observed,
    residue,
    limits: [
      `${whose}: batch tokens cannot be listed: they are refused while it is disabled${rotating ? ', and those that have not expired live again now' : ''}`,
      `${whose}: what its tokens read from Vault lives on where it is accepted: rotate those secrets too`,
    ],
    output: asJson(state),
  }
}
