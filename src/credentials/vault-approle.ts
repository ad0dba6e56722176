import type { Action, Change, Json, JsonObject, Observation, Problem, Verdict } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialOf } from '../registry/port.ts'
import { type Issued, type Issuing, issueAndDeliver } from './issue.ts'
import { type CredentialState, type Credentials, stage } from './port.ts'
import { fingerprint } from './secret-source.ts'
import { destinationOf } from './stores/index.ts'
import {
  type AppRoleCall,
  type AppRoleTarget,
  type Found,
  isIssued,
  isIssuedTo,
  lookAt,
  mountOf,
  readRole,
} from './vault/approle.ts'
import { unusualUse } from './vault/audit.ts'
import { type VaultClient, vaultClient } from './vault/client.ts'
import { disableChange, disableEntity, entityById } from './vault/entity.ts'
import { checkOwn, irrevocable } from './vault/own.ts'
import {
  type Denied,
  denyChange,
  denyPolicy,
  readDeny,
  readPolicy,
  restoreChange,
  restorePolicy,
} from './vault/policy.ts'
import {
  caseKey,
  destroy,
  destroyChange,
  destroySecretId,
  nonceKey,
  type SecretId,
  secretIdsOf,
} from './vault/secret-ids.ts'
import { leftBehind, noted, notedUse, noting } from './vault/suspect.ts'
import {
  looksLikeToken,
  revokeChange,
  revokeToken,
  stillThere,
  type Token,
  type Tried,
  tellTried,
  tryHeldTokens,
} from './vault/tokens.ts'
import { asJson, field, mayGoOn, quoted, textField } from './words.ts'

/**
 * An AppRole mints tokens, which mint children, orphans and leases. First whatever could make more is stopped: its entity is
 * disabled, policies that only its tokens carry are overwritten with deny, its secret ids are destroyed. Then every token ends by its
 * accessor. Rotation puts policy and entity back once the old tokens are seen dead, and issues one new secret id.
 */
export const adapter: Credentials<CredentialOf<'vault-approle'>> = {
  permissions: [
    'auth/token/lookup-self (read)',
    'auth/token/accessors (list, sudo)',
    'auth/token/lookup-accessor (update)',
    'auth/token/revoke-accessor (update)',
    'auth/approle/role/+ (read, update)',
    'auth/approle/role/+/role-id (read)',
    'auth/approle/role/+/secret-id (list, update)',
    'auth/approle/role/+/secret-id/lookup (update)',
    'auth/approle/role/+/secret-id-accessor/+ (update)',
    'sys/auth (read)',
    'sys/capabilities-accessor (update)',
    'sys/policies/acl/+ (read, update)',
    'sys/leases/count (read)',
    'identity/lookup/entity (update)',
    'identity/entity/id/+ (list, read, update, delete)',
    'identity/group/id/+ (list, read)',
  ],

  check,

  async plan(call) {
    if (call.intent === 'revoke') return await planRevoke(call)
    return call.intent === 'rotate' ? await planRotate(call) : []
  },

  async verify(call) {
    if (call.intent === 'reinstate') return await verifyReinstated(call)
    return call.intent === 'rotate' ? await verifyRotated(call) : await verifyRevoked(call)
  },

  actions: {
    'disable-entity': disableEntity,
    'deny-policy': denyPolicy,
    'destroy-secret-id': destroySecretId,
    'revoke-token': revokeToken,
    'let-entity-in': letEntityIn(),
    'restore-policy': restorePolicy<AppRoleTarget>(oldTokensLive),
    'move-policy': movePolicy(),
    'issue-and-deliver': issueAndDeliver<AppRoleTarget>(issuing(), destinationOf),
  } as Readonly<Record<string, Action<AppRoleTarget>>>,
}

async function check(call: AppRoleCall & { readonly intent: string }): Promise<readonly Problem[]> {
  const { credential } = call.target
  const found = await lookAt(call, call.intent === 'revoke' ? 'all' : 'tokens')
  const refused = await checkOwn(found.vault, (own) =>
    isIssuedTo(own, credential) ||
    (own.entity !== '' && own.entity === found.entity?.id) ||
    found.tokens.some(({ accessor }) => accessor === own.accessor)
      ? found.whose
      : undefined,
  )
  if (refused !== undefined) return [refused]
  if (found.role === undefined && found.tokens.length === 0)
    return [
      {
        kind: 'input',
        message: `there is no role ${credential.role} at ${mountOf(credential)} in Vault`,
        hint:
          found.vault.namespace === undefined
            ? 'Is it in a namespace (VAULT_NAMESPACE)?'
            : `Looked at in namespace ${found.vault.namespace}`,
      },
    ]
  if (call.intent === 'reinstate') return []
  const problems: Problem[] = found.blind.map(({ what, command }) => ({
    kind: 'warning',
    message: `${what} may not be read`,
    hint: `Somebody with the right can run: ${command}`,
  }))
  if (call.intent === 'rotate') return [...problems, ...(await checkRotate(call, found))]
  for (const [policy, others] of found.reach?.policies ?? [])
    if (others.length > 0)
      problems.push({
        kind: 'warning',
        message: `policy ${policy} is not overwritten with deny, as others have it: ${others.join(', ')}`,
      })
  const { unread = [], can } = found.reach ?? {}
  if (unread.length > 0)
    problems.push({
      kind: 'warning',
      message: `no policy is overwritten with deny, as it cannot be seen who else has it: ${unread.slice(0, 5).join(', ')} may not be read`,
    })
  if (can?.asked === false && (found.reach?.its.length ?? 0) > 0)
    problems.push({
      kind: 'warning',
      message: `it may not be asked what the tokens of ${found.whose} can do: what they made elsewhere is not looked for`,
      hint: `Somebody with the right can run: vault write sys/capabilities-accessor accessor=… paths=auth/token/create`,
    })
  if (can !== undefined && can.more.length > 0)
    problems.push({
      kind: 'warning',
      message: `the tokens of ${found.whose} may also ${can.more.join(', ')}: what was made so is not looked for`,
    })
  return problems
}

async function checkRotate(call: AppRoleCall, { role, whose }: Found): Promise<readonly Problem[]> {
  if (role === undefined) return [{ kind: 'input', message: `${whose} is gone: there is nothing to issue for` }]
  try {
    const { store } = await destinationOf(call)
    return await store.check(call)
  } catch (error) {
    if (error instanceof IrError && error.code === 'input')
      return [{ kind: 'input', message: error.message, hint: error.hints.join(' ') }]
    throw error
  }
}

// Revoke

async function planRevoke(call: AppRoleCall): Promise<readonly Change[]> {
  const found = await lookAt(call, 'all')
  const { vault, path, whose, reach } = found
  const breaks = call.target.sharedWith
  const changes: Change[] = []
  // Once there is a new secret id, what it needs stays: only what is old and turns up again is ended.
  if (found.renewed.length === 0) {
    if (found.entity !== undefined && found.ownEntity && !found.entity.disabled)
      changes.push(disableChange(call, found.entity, { whose, breaks }))
    if (reach !== undefined && reach.unread.length === 0)
      for (const [policy, others] of reach.policies)
        if (others.length === 0) {
          const deny = await denyChange(call, vault, policy, { whose, batch: reach.can.batchOrphans })
          if (deny !== undefined) changes.push(deny)
        }
  }
  for (const one of found.secretIds ?? [])
    changes.push(destroyChange(call, one, { role: path, whose, chain: [whose], breaks }))
  for (const { role, secretId } of await madeElsewhere(call, found))
    changes.push(
      destroyChange(call, secretId, {
        role,
        whose: `${role}, which a token of ${whose} may have made`,
        chain: [whose, 'secret ids that its tokens may have made'],
        breaks: [`whoever logs in as ${role} with it`],
      }),
    )
  for (const token of found.tokens) {
    const made = reach?.made.includes(token) === true
    const hurts = made ? [...breaks, ...sharers(found, token)] : breaks
    changes.push(revokeChange(call, token, { whose, chain: [whose], breaks: hurts, made }))
  }
  const use = await unusualUse(call, vault, {
    entity: found.ownEntity ? found.entity?.id : undefined,
    role: call.target.credential.role,
    tokens: found.tokens,
  })
  if (reach === undefined) return noting(changes, { use })
  const kept = [...reach.policies].filter(([, others]) => others.length > 0 || reach.unread.length > 0)
  const left = leftBehind(
    reach,
    `the tokens of ${whose}`,
    kept.map(([name]) => name),
  )
  return noting(changes, { left, use, can: reach.can })
}

/** Who else has all the policies of a token that may be somebody else's. */
function sharers({ reach }: Found, { policies }: Token): readonly string[] {
  const sets = policies.flatMap((name) => {
    const others = reach?.policies.get(name)
    return others === undefined ? [] : [others]
  })
  const [first = [], ...rest] = sets
  return first.filter((one) => rest.every((others) => others.includes(one)))
}

/** Secret ids of other roles that its tokens could make, made since the window began. */
async function madeElsewhere(
  call: AppRoleCall,
  { vault, reach, path }: Found,
): Promise<readonly { readonly role: string; readonly secretId: SecretId }[]> {
  const { since, issued } = call.target
  if (since === undefined || reach === undefined) return []
  // What rotation issued for another role of the server is none of them.
  const ours = issued === undefined ? () => false : isIssued(issued())
  const roles = reach.can.secretIds.filter((role) => role !== path)
  const found = await Promise.all(
    roles.map(async (role) =>
      (await secretIdsOf(vault, role))
        .filter((one) => Date.parse(one.created) >= Date.parse(since) && !ours(one))
        .map((secretId) => ({ role, secretId })),
    ),
  )
  return found.flat()
}

// Seeing that it is dead

interface Seen {
  readonly found: Found
  readonly state: CredentialState
  readonly observed: readonly Observation[]
  readonly residue: readonly string[]
}

async function seeOld(call: AppRoleCall): Promise<Seen> {
  const found = await lookAt(call, 'tokens')
  const { vault, whose, path, role, entity, ownEntity, secretIds, blind } = found
  const { credential, sharedWith } = call.target
  const observed: Observation[] = []
  const residue: string[] = []
  const see = (claim: string, seen: string, holds: boolean): void => void observed.push({ claim, seen, holds })

  const [others, since] = await Promise.all([
    Promise.all(call.changes.map((change) => leftElsewhere(call, change, found))),
    madeElsewhere(call, found),
  ])
  const elsewhere = new Set([
    ...others.filter((one) => one !== undefined),
    ...since.map((one) => `secret id ${one.secretId.accessor} of ${one.role}`),
  ])
  const planned = found.reach?.left ?? (await stillThere(vault, call.changes))
  const tokens = new Set([...found.tokens, ...planned].map(({ accessor }) => accessor))
  for (const { what, command } of blind) see(`${what} can be looked at`, `not permitted: ${command}`, false)
  if (secretIds !== undefined)
    see(
      `no old secret id of ${whose} is left`,
      role === undefined ? 'the role is gone' : some(secretIds),
      secretIds.length === 0,
    )
  for (const target of elsewhere) see(`${target} is gone`, 'it is still there', false)
  if (found.reach !== undefined)
    see(
      `no token of ${whose} is left, child or orphan`,
      tokens.size === 0 ? 'none' : `${tokens.size} left: ${[...tokens].slice(0, 5).join(', ')}`,
      tokens.size === 0,
    )
  const alive = (secretIds?.length ?? 0) > 0 || tokens.size > 0 || elsewhere.size > 0
  const tried = alive ? { refused: 0, accepted: [] } : await tryHeld(call, found)
  observed.push(...tellTried(tried))

  const until = alive ? undefined : await batchUntil(call, found)
  if (until !== undefined)
    residue.push(`${credential.id}: batch tokens of ${whose} cannot be listed; they may live until ${until}`)
  residue.push(...noted(call))
  observed.push(...notedUse(call))
  const open = role !== undefined && !role.bindsSecretId && !(entity?.disabled === true && ownEntity)
  if (open)
    see(`${whose} lets nobody in without a secret id`, `it does: vault write ${path} bind_secret_id=true`, false)
  const stuck = await irrevocable(vault)
  if (stuck !== undefined && stuck > 0)
    residue.push(
      `${stuck} leases of this Vault could not be revoked (irrevocable): vault list sys/leases?type=irrevocable`,
    )
  if (call.target.since === undefined && found.reach !== undefined)
    residue.push(`${credential.id}: it is not known since when orphan tokens would have to be looked for`)

  const base = { id: credential.id, kind: credential.kind, sharedWith }
  const state: CredentialState =
    alive || open || tried.accepted.length > 0
      ? {
          ...base,
          state: 'alive',
          proof: observed
            .filter(({ holds }) => !holds)
            .map(({ claim, seen }) => `not seen that ${claim}: ${seen}`)
            .join('; '),
        }
      : blind.length > 0
        ? { ...base, state: 'unknown', proof: `${blind.map(({ what }) => what).join(', ')} may not be read` }
        : until !== undefined
          ? { ...base, state: 'expires', proof: 'issuer says so (batch tokens cannot be listed)', until }
          : {
              ...base,
              state: 'dead',
              proof: tried.refused > 0 ? 'probed' : 'issuer says so (no secret id and no token is left)',
            }
  return { found, state, observed, residue }
}

function some(secretIds: readonly SecretId[]): string {
  const shown = secretIds.slice(0, 5).map(({ accessor }) => accessor)
  return secretIds.length === 0 ? 'none' : `${secretIds.length} left: ${shown.join(', ')}`
}

/** A planned secret id of another role that is still there. */
async function leftElsewhere(call: AppRoleCall, change: Change, { path }: Found): Promise<string | undefined> {
  if (change.action !== 'destroy-secret-id' || field(change.params, 'role') === path) return undefined
  const acting = { ...call, recorded: [], record: async () => undefined }
  const gone = await destroySecretId.settle(change, acting)
  return gone === undefined ? change.target : undefined
}

/**
 * Tries what the suspect holds: tokens by asking what they are, secret ids by logging in, and only those that Vault says it does
 * not know, so that no login succeeds.
 */
async function tryHeld(call: AppRoleCall, { vault, path, renewed }: Found): Promise<Tried> {
  const held = (await call.target.held?.(call.signal)) ?? []
  if (held.length === 0) return { refused: 0, accepted: [] }
  const tokens = await tryHeldTokens(
    held,
    vault,
    (token) =>
      isIssuedTo(token, call.target.credential) &&
      call.target.issued?.().nonces.has(String(token.meta[nonceKey])) !== true,
  )
  let { refused } = tokens
  const accepted = [...tokens.accepted]
  const roleId = (await vault.read(`${path}/role-id`).catch(orDenied))?.data.role_id
  for (const { secret, where } of held) {
    if (looksLikeToken(secret)) continue
    const known = await vault
      .request({
        method: 'POST',
        path: `${path}/secret-id/lookup`,
        body: { secret_id: secret },
        nature: 'read',
        expected: [400, 404],
      })
      .catch(orDenied)
    const accessor = known?.data.secret_id_accessor
    // The new one, which lies where the old one did.
    if (renewed.some((one) => one.accessor === accessor)) continue
    if (accessor !== undefined) accepted.push(where)
    else if (typeof roleId === 'string' && (await logsIn(vault, path, roleId, secret))) accepted.push(where)
    else refused++
  }
  return { refused, accepted }
}

function orDenied(error: unknown): undefined {
  if (error instanceof IrError && error.code === 'denied') return undefined
  throw error
}

async function logsIn(vault: VaultClient, path: string, role_id: string, secret_id: string): Promise<boolean> {
  const mount = path.slice(0, path.indexOf('/role/'))
  // A client of its own: a login must never take the place of our own token.
  const answer = await vault.as(undefined).request({
    method: 'POST',
    path: `${mount}/login`,
    body: { role_id, secret_id },
    nature: 'create',
    expected: [400, 403],
  })
  const token = answer.auth?.client_token
  if (answer.status >= 400 || typeof token !== 'string') return answer.status < 400
  await vault.as(token).write('auth/token/revoke-self', {})
  return true
}

/** Until when batch tokens of its logins may live; undefined when they cannot, or are refused by now. RFC 3339. */
async function batchUntil(call: AppRoleCall, { role, entity, ownEntity, renewed }: Found): Promise<string | undefined> {
  if (role?.batch !== true || (entity?.disabled === true && ownEntity) || entity === undefined) return undefined
  // Rotation takes the entity away, with which the old ones die.
  if (renewed.length > 0 && !call.changes.some(({ action }) => action === 'disable-entity')) return undefined
  return new Date(call.now().getTime() + role.batchMs).toISOString()
}

async function verifyRevoked(call: AppRoleCall): Promise<Verdict> {
  const { state, observed, residue, found } = await seeOld(call)
  return verdict(state, observed, residue, limitsOf(found))
}

function verdict(
  state: CredentialState,
  observed: readonly Observation[],
  residue: readonly string[],
  limits: readonly string[],
): Verdict {
  const holds = observed.every((one) => one.holds)
  return {
    state: holds ? (residue.length > 0 ? 'residual' : 'verified') : 'failed',
    observed,
    residue,
    limits,
    output: asJson(state),
  }
}

function limitsOf({ whose }: Found): readonly string[] {
  return [
    `${whose}: what its tokens read from Vault lives on where it is accepted: rotate those secrets too`,
    `${whose}: database sessions that were opened with its leases stay open until they are ended in the database`,
  ]
}

// Rotate

async function planRotate(call: AppRoleCall): Promise<readonly Change[]> {
  const found = await lookAt(call, 'tokens')
  const { role, whose, path, vault, entity, ownEntity, renewed } = found
  if (role === undefined) return []
  const { credential, server } = call.target
  const changes: Change[] = []
  const { store, key } = await destinationOf(call)
  for (const { name, denied, own } of await deniedPolicies(call, found)) {
    if (!denied.batch) changes.push(restoreChange(call, name, denied, { whose, after: [] }))
    else if (own) changes.push(moveChange(call, found, name, denied.former))
  }
  if (entity?.disabled === true && ownEntity) changes.push(letInChange(call, found))
  const there = await store.get(key, call)
  const accessor = there === undefined ? undefined : await knownAs(vault, path, there.secret)
  if (accessor === undefined || !renewed.some((one) => one.accessor === accessor)) {
    const target = `new secret id of ${whose}, to ${store.path}${key === undefined ? '' : ` (${key})`}`
    changes.push({
      id: call.changeId('issue-and-deliver', target),
      action: 'issue-and-deliver',
      target,
      summary: `Issue a new secret id of ${whose} for ${server}, and deliver it to ${store.path}`,
      effect: 'creates',
      priority: 'essential',
      after: changes.map(({ id }) => id),
      stage: stage.issue,
      chain: [whose, 'new secret id'],
      params: { role: path },
      breaks: [],
      facts: { role: credential.role, 'delivered to': `${store.kind} ${store.path}` },
    })
  }
  return changes
}

/** Its own policies that deny everything because of us, and those beside them that were denied with it (of its entity, of its tokens). */
async function deniedPolicies(
  call: AppRoleCall,
  { vault, role }: Found,
): Promise<readonly { readonly name: string; readonly denied: Denied; readonly own: boolean }[]> {
  const own = new Set(role?.policies ?? [])
  const beside = (call.target.past?.() ?? [])
    .filter(({ change, receipt }) => change.action === 'deny-policy' && receipt !== undefined)
    .map(({ change }) => textField(change.params, 'policy'))
  const found = await Promise.all(
    [...new Set([...own, ...beside])].map(async (name) => {
      const denied = readDeny((await readPolicy(vault, name)) ?? '')
      return denied === undefined ? [] : [{ name, denied, own: own.has(name) }]
    }),
  )
  return found.flat()
}

/** The accessor of a secret id; undefined when the role does not know it. */
async function knownAs(vault: VaultClient, path: string, secret: string): Promise<string | undefined> {
  const answer = await vault.request({
    method: 'POST',
    path: `${path}/secret-id/lookup`,
    body: { secret_id: secret },
    nature: 'read',
    expected: [400, 404],
  })
  const accessor = answer.data.secret_id_accessor
  return typeof accessor === 'string' && accessor !== '' ? accessor : undefined
}

/** Why the policy must not come back yet. */
async function oldTokensLive(call: AppRoleCall): Promise<string | undefined> {
  const { tokens, secretIds, whose, reach } = await lookAt(call, 'tokens')
  if (reach === undefined) return `tokens may not be listed, so that nobody can tell whether old ones of ${whose} live`
  const left = tokens.length + (secretIds?.length ?? 0)
  return left === 0
    ? undefined
    : `${tokens.length} old tokens and ${secretIds?.length ?? 0} old secret ids of ${whose} are still alive`
}

/**
 * A batch token without entity carries the policy's name, and nothing else stops it: the old name stays denied, and the role goes on
 * with the same text under another.
 */
function moveChange(call: AppRoleCall, { whose, path }: Found, policy: string, former: string): Change {
  const target = `policy ${policy} of ${whose}`
  const as = `${policy}-${call.caseId}`
  return {
    id: call.changeId('move-policy', target),
    action: 'move-policy',
    target,
    summary: `Give ${whose} policy ${as}, which says what ${policy} said: batch tokens that nobody can list may carry ${policy}, so that it stays denied. Tell whoever manages the role (Terraform …)`,
    effect: 'creates',
    priority: 'essential',
    after: [],
    stage: stage.issue,
    chain: [whose, `policy ${policy}`],
    params: { role: path, policy, as, former },
    breaks: [],
    facts: { text: former },
  }
}

function movePolicy(): Action<AppRoleTarget> {
  return {
    async apply({ params }, call) {
      mayGoOn(call)
      const why = await oldTokensLive(call)
      if (why !== undefined) throw new IrError('refused', why)
      const vault = vaultClient(call)
      const [role, policy, as] = ['role', 'policy', 'as'].map((name) => textField(params, name)) as [
        string,
        string,
        string,
      ]
      await vault.write(`sys/policies/acl/${as}`, { policy: textField(params, 'former') })
      const found = await readRole(vault, role)
      if (found === undefined) throw new IrError('partial', `${role} is gone`)
      await vault.write(role, { token_policies: found.policies.map((name) => (name === policy ? as : name)) })
      return {}
    },
    async settle({ params }, call) {
      const found = await readRole(vaultClient(call), textField(params, 'role'))
      return found?.policies.includes(textField(params, 'as')) === true ? {} : undefined
    },
  }
}

function letInChange(call: AppRoleCall, { whose, entity, role }: Found): Change {
  const { id = '', name = '', plain = false } = entity ?? {}
  const fresh = role?.batch === true && plain
  const target = `entity ${id}`
  return {
    id: call.changeId('let-entity-in', target),
    action: 'let-entity-in',
    target,
    summary: fresh
      ? `Delete entity ${name} of ${whose}, which Vault makes anew at the next login: old batch tokens stay refused`
      : `Enable entity ${name} of ${whose} again, once every old token is seen dead`,
    effect: 'irreversible',
    priority: 'essential',
    after: [],
    stage: stage.issue,
    chain: [whose, `entity ${name}`],
    params: { entity: id, fresh, batch: role?.batch === true, batchMs: role?.batchMs ?? 0 },
    breaks: [],
    command: fresh
      ? `vault delete identity/entity/id/${quoted(id)}`
      : `vault write identity/entity/id/${quoted(id)} disabled=false`,
  }
}

function letEntityIn(): Action<AppRoleTarget> {
  return {
    async apply({ params }, call) {
      mayGoOn(call)
      const why = await oldTokensLive(call)
      if (why !== undefined) throw new IrError('refused', why)
      const vault = vaultClient(call)
      const id = textField(params, 'entity')
      const entity = await entityById(vault, id)
      if (entity === undefined) return {}
      if (field(params, 'fresh') === true) {
        await vault.delete(`identity/entity/id/${id}`)
        return {}
      }
      // Disabled last when it was changed last: nothing was drawn with it since.
      const until = Date.parse(entity.changed) + Number(field(params, 'batchMs'))
      if (field(params, 'batch') === true && call.now().getTime() < until)
        throw new IrError('refused', `old batch tokens would live again until ${new Date(until).toISOString()}`)
      await vault.write(`identity/entity/id/${id}`, { disabled: false })
      return {}
    },
    async settle({ params }, call) {
      const entity = await entityById(vaultClient(call), textField(params, 'entity'))
      return entity?.disabled === true ? undefined : {}
    },
  }
}

function issuing(): Issuing<AppRoleTarget> {
  return {
    async issue(change, call, nonce) {
      const answer = await vaultClient(call).create(`${textField(change.params, 'role')}/secret-id`, {
        metadata: JSON.stringify({ [caseKey]: call.caseId, [nonceKey]: nonce }),
      })
      const { secret_id: secret, secret_id_accessor: accessor } = answer.data
      if (typeof secret !== 'string' || typeof accessor !== 'string')
        throw new IrError('unreachable', 'Vault issued no secret id', { ambiguous: true })
      return { secret, ref: { accessor } }
    },
    async discard(ref, change, call) {
      await destroy(vaultClient(call), textField(change.params, 'role'), textField(ref, 'accessor'))
    },
    async lost(known, change, call, nonces) {
      const found = await secretIdsOf(vaultClient(call), textField(change.params, 'role'))
      return found
        .filter(({ metadata }) => nonces.has(String(metadata[nonceKey])))
        .filter(({ accessor }) => !known.some((ref) => ref.accessor === accessor))
        .map(({ accessor }) => ({ accessor }))
    },
  }
}

async function verifyRotated(call: AppRoleCall): Promise<Verdict> {
  const old = await seeOld(call)
  const { found } = old
  const observed: Observation[] = [...old.observed]
  const see = (claim: string, seen: string, holds: boolean): void => void observed.push({ claim, seen, holds })
  const change = call.changes.find(({ action }) => action === 'issue-and-deliver')
  const issued = change === undefined ? undefined : (call.receipts.get(change.id)?.output as Issued | undefined)
  const { store, key } = await destinationOf(call)
  const there = await store.get(key, call)
  const accessor = there === undefined ? undefined : await knownAs(found.vault, found.path, there.secret)
  const ours = found.renewed.some((one) => one.accessor === accessor)
  const same =
    there !== undefined && (issued === undefined || fingerprint(call.caseId, there.secret) === issued.fingerprint)
  see(`the new secret id is at ${store.path}`, there === undefined ? 'nothing' : same ? 'it is' : 'another one', same)
  see(`${found.whose} takes the new secret id`, ours ? `accessor ${accessor}` : 'Vault does not know it', ours)
  const denied = await deniedPolicies(call, found)
  for (const { name, own } of denied)
    if (own) see(`policy ${name} lets the new one work`, 'it still denies everything', false)
  if (found.entity?.disabled === true) see('the entity of the new one may log in', 'it is still disabled', false)
  const residue = [...old.residue]
  const stay = denied.filter(({ own }) => !own).map(({ name }) => name)
  if (stay.length > 0)
    residue.push(
      `${call.target.credential.id}: policy ${stay.join(', ')}, which its tokens had beside those of the role, still denies everything${denied.some(({ own, denied: { batch } }) => !own && batch) ? ', as batch tokens that nobody can list may carry it' : ''}: its former text stands in it`,
    )
  const spare = found.renewed.filter((one) => one.accessor !== accessor).length
  if (spare > 0)
    residue.push(`${call.target.credential.id}: ${spare} more secret id(s) were issued in this case than delivered`)
  const delivered: CredentialState['delivered'] = issued?.delivered ?? {
    kind: store.kind,
    path: store.path,
    ...(there?.version === undefined ? {} : { version: there.version }),
  }
  const hint = old.state.state === 'alive' ? `; revoke it: mcp-ir revoke ${call.target.server}` : ''
  const state: CredentialState = {
    ...old.state,
    proof: `${old.state.proof}${hint}`,
    ...(same && ours ? { delivered } : {}),
  }
  return verdict(state, observed, residue, limitsOf(found))
}

// Reinstate

async function verifyReinstated(call: AppRoleCall): Promise<Verdict> {
  const { role, secretIds, entity, whose } = await lookAt(call, 'tokens')
  const { credential, sharedWith } = call.target
  const alive = role !== undefined && (secretIds?.length ?? 0) > 0 && entity?.disabled !== true
  return {
    state: alive ? 'verified' : 'residual',
    observed: [
      {
        claim: `what became of ${whose} was looked at`,
        seen: alive ? 'it can log in' : 'nobody can log in with it',
        holds: true,
      },
    ],
    residue: [],
    limits: [
      `${whose}: destroyed secret ids and revoked tokens do not come back; batch tokens that have not expired work again`,
    ],
    output: {
      id: credential.id,
      kind: credential.kind,
      state: alive ? 'alive' : 'dead',
      proof: 'issuer says so',
      sharedWith: [...sharedWith],
    } satisfies Json & JsonObject,
  }
}
