import type { Action, Call, Change, JsonObject, Observation } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { type CredentialTarget, stage } from '../port.ts'
import { field, mayGoOn, quoted, textField } from '../words.ts'
import { objectOf, type VaultClient, vaultClient } from './client.ts'

/** A token as its accessor shows it: never the token itself. Names and metadata may have been chosen by the suspect. */
export interface Token {
  readonly accessor: string
  readonly displayName: string
  readonly policies: readonly string[]
  /** It has policies of other namespaces as well. */
  readonly foreign: boolean
  readonly type: string
  /** What made it: `auth/approle/login`, `auth/token/create-orphan` … Vault's own word. */
  readonly path: string
  readonly orphan: boolean
  readonly entity: string
  /** RFC 3339. */
  readonly created: string
  /** Undefined: never. */
  readonly expires: string | undefined
  readonly meta: Readonly<Record<string, unknown>>
}

/** OpenBao says 400, HashiCorp Vault 403, and both mean that there is none. */
function isNoToken(status: number, said: string): boolean {
  return status === 404 || /invalid accessor/.test(said)
}

/** @returns undefined when there is no such token (any more) */
export async function lookUp(vault: VaultClient, accessor: string): Promise<Token | undefined> {
  const answer = await vault.request({
    method: 'POST',
    path: 'auth/token/lookup-accessor',
    body: { accessor },
    nature: 'read',
    expected: [400, 403, 404],
  })
  if (answer.status === 200) return tokenOf(answer.data)
  if (isNoToken(answer.status, answer.said)) return undefined
  throw new IrError(
    answer.status === 403 ? 'denied' : 'unreachable',
    `Vault does not say what the token with accessor ${accessor} is (${answer.status})`,
  )
}

function tokenOf(data: Readonly<Record<string, unknown>>): Token {
  const text = (name: string): string => (typeof data[name] === 'string' ? data[name] : '')
  const list = (name: string): string[] => {
    const found = data[name]
    return Array.isArray(found) ? found.filter((one) => typeof one === 'string') : []
  }
  return {
    accessor: text('accessor'),
    displayName: text('display_name'),
    policies: [...new Set([...list('policies'), ...list('identity_policies')])],
    foreign: Object.keys(objectOf(data.external_namespace_policies) ?? {}).length > 0,
    type: text('type'),
    path: text('path'),
    orphan: data.orphan === true,
    entity: text('entity_id'),
    created: new Date(Number(data.creation_time) * 1000 || 0).toISOString(),
    expires: text('expire_time') || undefined,
    meta: objectOf(data.meta) ?? {},
  }
}

/**
 * Every token that has an accessor: all but batch tokens. On a large Vault that is as many calls as there are tokens, so that
 * all who ask share one answer.
 * @throws IrError denied
 */
export function allTokens(vault: VaultClient, call: Pick<Call<unknown>, 'progress'>): Promise<readonly Token[]> {
  return vault.shared('tokens', async () => {
    const accessors = await vault.list('auth/token/accessors')
    if (accessors.length > 2000) call.progress(`looking at ${accessors.length} tokens of ${vault.address}`)
    // The client bounds how many are asked for at a time.
    const found = await Promise.all(accessors.map((accessor) => lookUp(vault, accessor)))
    return found.filter((one) => one !== undefined)
  })
}

/** The token that we use ourselves. @throws IrError denied when it is not accepted */
export function ownToken(vault: VaultClient): Promise<Token> {
  return vault.shared('own token', async () => {
    const found = await vault.request({
      method: 'GET',
      path: 'auth/token/lookup-self',
      nature: 'read',
      expected: [403],
    })
    if (found.status === 403)
      throw new IrError('denied', 'Vault does not accept our token: it has expired, was revoked, or none is set', {
        hints: ['Log in again (vault login), or set VAULT_TOKEN'],
      })
    return tokenOf(found.data)
  })
}

/** What a token is, by asking with it; undefined when it is refused. Tried without our own rights. */
async function whatIs(vault: VaultClient, token: string): Promise<Token | undefined> {
  const answer = await vault.as(token).request({
    method: 'GET',
    path: 'auth/token/lookup-self',
    nature: 'read',
    expected: [400, 403],
  })
  return answer.status === 200 ? tokenOf(answer.data) : undefined
}

/** What came of trying old secrets. */
export interface Tried {
  readonly refused: number
  /** Where those lay that are accepted. */
  readonly accepted: readonly string[]
}

/** Tries the tokens among what the suspect holds. One that is accepted and is somebody else's says nothing. */
export async function tryHeldTokens(
  held: readonly { readonly secret: string; readonly where: string }[],
  vault: VaultClient,
  isIts: (token: Token) => boolean,
): Promise<Tried> {
  const tokens = held.filter(({ secret }) => looksLikeToken(secret))
  const found = await Promise.all(tokens.map(async ({ secret, where }) => ({ where, is: await whatIs(vault, secret) })))
  return {
    refused: found.filter(({ is }) => is === undefined).length,
    accepted: found.flatMap(({ where, is }) => (is !== undefined && isIts(is) ? [where] : [])),
  }
}

/** As observations. */
export function tellTried({ refused, accepted }: Tried): readonly Observation[] {
  const alive = accepted.map((where) => ({
    claim: `the old secret in ${where} is refused`,
    seen: 'it is accepted',
    holds: false,
  }))
  if (refused === 0) return alive
  const claim = 'the old secrets that were found are refused'
  return [...alive, { claim, seen: `${refused} tried and refused`, holds: alive.length === 0 }]
}

/** What a secret that somebody holds looks like: a token of Vault 1.10 on, of OpenBao, or of before. */
export function looksLikeToken(secret: string): boolean {
  return /^(?:hv[sbr]\.|[sbr]\.)[\w.-]{20,}$/.test(secret)
}

/** Of those that were given to it: `default` and `root` belong to nobody. */
export function ownPolicies(policies: readonly string[]): readonly string[] {
  return policies.filter((name) => name !== 'default' && name !== 'root')
}

/** What the suspect's tokens can have made that outlives them: it has no entity and no parent that tells. */
export interface Maker {
  /** Policies of the suspect's tokens: a token made by them has no others, unless a token role or sudo gave them. */
  readonly policies: ReadonlySet<string>
  /** `auth/token/create/NAME` that they may call. */
  readonly tokenRoles: ReadonlySet<string>
  /** RFC 3339. */
  readonly since: string | undefined
}

/** Whether it could be something that any suspect made, and tells of no parent. */
export function couldBeMade({ path, entity, policies }: Token): boolean {
  return /^auth\/token\/create(?:-orphan)?(?:\/|$)/.test(path) && entity === '' && !policies.includes('root')
}

export function mayHaveMade(token: Token, { policies, tokenRoles, since }: Maker): boolean {
  if (!couldBeMade(token)) return false
  const own = ownPolicies(token.policies)
  if (!tokenRoles.has(token.path) && !(own.length > 0 && own.every((name) => policies.has(name)))) return false
  // Vault counts in whole seconds.
  return since === undefined || Date.parse(token.created) + 1000 > Date.parse(since)
}

/** Evidence of what a token was, in what is journalled. */
function describeToken(token: Token): JsonObject {
  const { accessor, displayName, policies, type, path, orphan, entity, created, expires } = token
  return { accessor, displayName, policies, type, path, orphan, entity, created, expires: expires ?? 'never' }
}

interface Revoking {
  readonly whose: string
  readonly chain: readonly string[]
  readonly breaks: readonly string[]
  /** It is not known to be the suspect's, but to look like something that the suspect made. */
  readonly made?: boolean
}

export function revokeChange(
  call: Call<CredentialTarget>,
  token: Token,
  { whose, chain, breaks, made = false }: Revoking,
): Change {
  const { accessor, path, policies, created, expires, orphan, displayName } = token
  const target = `token with accessor ${accessor}`
  return {
    id: call.changeId('revoke-token', target),
    action: 'revoke-token',
    target,
    summary: `Revoke the token with accessor ${accessor} (${made ? `probably made by ${whose}` : whose}), with its children and their leases`,
    effect: 'irreversible',
    priority: 'essential',
    after: [],
    stage: stage.end,
    chain: [...chain, `token ${accessor}`],
    params: { accessor, made, before: describeToken(token) },
    breaks,
    command: `vault token revoke -accessor ${quoted(accessor)}`,
    facts: {
      'made by': path,
      'display name': displayName,
      policies: policies.join(', '),
      ...(orphan && path.startsWith('auth/token/') ? { orphan: 'yes' } : {}),
      created,
      expires: expires ?? 'never',
    },
  }
}

/** Kills a token, its children, and the leases under them. */
export const revokeToken: Action<CredentialTarget> = {
  async apply({ params }, call) {
    mayGoOn(call)
    const accessor = textField(params, 'accessor')
    const { status, said } = await vaultClient(call).request({
      method: 'POST',
      path: 'auth/token/revoke-accessor',
      body: { accessor },
      nature: 'repeat',
      expected: [400, 403, 404],
    })
    if (status < 400 || isNoToken(status, said)) return {}
    const message = `Vault does not revoke the token with accessor ${accessor} (${status})`
    if (status === 403) throw new IrError('denied', message)
    // 400 in other words is said while its parent's revocation, which takes it along, is under way.
    throw new IrError('partial', message, { ambiguous: true })
  },
  async settle({ params }, call) {
    const found = await lookUp(vaultClient(call), textField(params, 'accessor'))
    return found === undefined ? {} : undefined
  },
}

/** What the plan knew of the tokens that it ends. */
export function plannedTokens(
  changes: readonly Change[],
): readonly { readonly accessor: string; readonly made: boolean; readonly policies: readonly string[] }[] {
  return changes
    .filter(({ action }) => action === 'revoke-token')
    .map(({ params }) => {
      const policies = field(field(params, 'before'), 'policies')
      return {
        accessor: textField(params, 'accessor'),
        made: field(params, 'made') === true,
        policies: Array.isArray(policies) ? policies.filter((one) => typeof one === 'string') : [],
      }
    })
}

/** The planned tokens that can still be looked up. */
export async function stillThere(vault: VaultClient, changes: readonly Change[]): Promise<readonly Token[]> {
  const found = await Promise.all(plannedTokens(changes).map(({ accessor }) => lookUp(vault, accessor)))
  return found.filter((one) => one !== undefined)
}
