import type { Call } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { CredentialOf } from '../../registry/port.ts'
import type { CredentialTarget, IssuedSoFar } from '../port.ts'
import { textField } from '../words.ts'
import { objectOf, type VaultClient, vaultClient } from './client.ts'
import { type Entity, entityById, entityOfAlias } from './entity.ts'
import { mountsOf, policyHolders } from './holders.ts'
import { nonceKey, type SecretId, secretIdsOf } from './secret-ids.ts'
import { type Reach, reachOf } from './suspect.ts'
import type { Token } from './tokens.ts'

export type AppRoleTarget = CredentialTarget<CredentialOf<'vault-approle'>>
export type AppRoleCall = Call<AppRoleTarget>

/** The role as Vault has it. */
export interface Role {
  readonly policies: readonly string[]
  /** Logins make tokens that nothing lists. */
  readonly batch: boolean
  /** How long a batch token of it can live, in milliseconds. */
  readonly batchMs: number
  readonly bindsSecretId: boolean
}

/** `auth/approle`, however the registry writes it. */
export function mountOf({ mount }: Pick<CredentialOf<'vault-approle'>, 'mount'>): string {
  return `auth/${mount.replace(/^\/*(?:auth\/)?/, '').replace(/\/+$/, '')}`
}

/** `auth/approle/role/crm`. */
export function pathOf(credential: CredentialOf<'vault-approle'>): string {
  return `${mountOf(credential)}/role/${credential.role}`
}

function whoseOf(credential: CredentialOf<'vault-approle'>): string {
  return `role ${credential.role} at ${mountOf(credential)}`
}

/** By the whole name and the mount that Vault wrote into the token at its login: no name that only begins alike is hit. */
export function isIssuedTo({ path, meta }: Token, credential: CredentialOf<'vault-approle'>): boolean {
  return path === `${mountOf(credential)}/login` && meta.role_name === credential.role
}

export async function readRole(vault: VaultClient, path: string): Promise<Role | undefined> {
  const data = (await vault.once.read(path))?.data
  if (data === undefined) return undefined
  const mount = path.slice(0, path.indexOf('/role/'))
  const type = String(data.token_type ?? '')
  const isDefault = type === '' || type === 'default'
  const tune = isDefault ? await orUnknown(() => tuneOf(vault, mount)) : undefined
  const policies = Array.isArray(data.token_policies) ? data.token_policies : data.policies
  return {
    policies: Array.isArray(policies) ? policies.filter((one) => typeof one === 'string') : [],
    batch: isDefault ? /batch$/.test(String(tune?.data.token_type ?? '')) : /batch$/.test(type),
    batchMs: seconds(data.token_ttl, data.token_max_ttl, tune?.data.default_lease_ttl) * 1000,
    bindsSecretId: data.bind_secret_id !== false,
  }
}

/** The first that is set; 768 hours is what Vault does without a setting. */
function seconds(...given: readonly unknown[]): number {
  return (given.find((one) => typeof one === 'number' && one > 0) as number | undefined) ?? 768 * 3600
}

export interface Found {
  readonly vault: VaultClient
  readonly path: string
  readonly whose: string
  /** Undefined: deleted, which leaves its tokens alive. */
  readonly role: Role | undefined
  /** Those that this case did not issue; undefined when they may not be listed. */
  readonly secretIds: readonly SecretId[] | undefined
  /** Those that rotation issued in this case. */
  readonly renewed: readonly SecretId[]
  readonly entity: Entity | undefined
  /** Its tokens are the only ones of that entity. */
  readonly ownEntity: boolean
  /** Undefined when tokens may not be listed. */
  readonly reach: Reach | undefined
  /** Its living tokens, children and orphans included, without those that rotation's secret id drew. */
  readonly tokens: readonly Token[]
  /** What may not be read, with what somebody with the right could run. */
  readonly blind: readonly { readonly what: string; readonly command: string }[]
}

/** All that is known of one AppRole. Reads only. `about`: see `reachOf`. */
export async function lookAt(call: AppRoleCall, about: 'all' | 'tokens'): Promise<Found> {
  const vault = vaultClient(call)
  const { credential } = call.target
  const path = pathOf(credential)
  const blind: { what: string; command: string }[] = []
  const orBlind = async <T>(what: string, command: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof IrError) || error.code !== 'denied') throw error
      blind.push({ what, command })
      return undefined
    }
  }
  const role = await readRole(vault, path)
  const all =
    role === undefined
      ? []
      : await orBlind(`the secret ids of ${path}`, `vault list ${path}/secret-id`, () =>
          vault.shared(`secret ids of ${path}`, () => secretIdsOf(vault, path)),
        )
  const issued = call.target.issued?.() ?? nothingIssued
  const ours = isIssued(issued)
  const renewed = (all ?? []).filter(ours)
  const isNew = newOnes(issued, renewed)
  const alias = async () => (await plannedEntity(call, vault)) ?? (await aliasEntity(call, vault, path, about))
  const entity =
    role === undefined
      ? undefined
      : // Only by it one sees whether batch tokens are refused.
        await (role.batch ? orBlind(`the entity of ${path}`, `vault read ${path}/role-id`, alias) : orUnknown(alias))
  const ownEntity = entity?.aliases.length === 1
  const reach = await orBlind('tokens', 'vault list auth/token/accessors', () =>
    reachOf(
      call,
      vault,
      {
        whose: whoseOf(credential),
        isIts: (token) =>
          isIssuedTo(token, credential) ||
          (ownEntity && token.entity === entity?.id && token.path.startsWith('auth/token/')),
        policies: [...(role?.policies ?? []), ...(ownEntity ? (entity?.policies ?? []) : [])],
        holder: path,
        entity: ownEntity ? entity?.id : undefined,
      },
      about,
    ),
  )
  return {
    vault,
    path,
    whose: whoseOf(credential),
    role,
    secretIds: all?.filter((one) => !ours(one)),
    renewed,
    entity,
    ownEntity,
    reach,
    tokens: reach === undefined ? [] : [...reach.its, ...reach.made].filter((token) => !isNew(token)),
    blind,
  }
}

const nothingIssued: IssuedSoFar = { refs: [], nonces: new Set() }

/** Whether this case issued it. */
export function isIssued({ refs }: IssuedSoFar): (one: SecretId) => boolean {
  const accessors = new Set(refs.map((ref) => ref.accessor))
  return ({ accessor }) => accessors.has(accessor)
}

/** Tokens that rotation's secret ids drew, and what may be theirs: everything since. */
function newOnes({ nonces }: IssuedSoFar, renewed: readonly SecretId[]): (token: Token) => boolean {
  const [first] = renewed.map(({ created }) => Date.parse(created)).sort((a, b) => a - b)
  if (first === undefined) return () => false
  return ({ meta, path, created }) =>
    nonces.has(String(meta[nonceKey])) || (path.startsWith('auth/token/') && Date.parse(created) + 1000 > first)
}

/** Of all its roles the same. */
function tuneOf(vault: VaultClient, mount: string) {
  return vault.shared(`tune of ${mount}`, () => vault.read(`sys/auth/${mount.slice('auth/'.length)}/tune`))
}

/** The one that the plan disables; undefined when it disables none, or that one is gone. */
async function plannedEntity({ changes }: AppRoleCall, vault: VaultClient): Promise<Entity | undefined> {
  const change = changes.find(({ action }) => action === 'disable-entity')
  return change === undefined ? undefined : await entityById(vault, textField(change.params, 'entity'))
}

/** Every login of a role is one entity, named by its role id. */
export async function aliasEntity(
  call: Pick<AppRoleCall, 'progress'>,
  vault: VaultClient,
  path: string,
  about: 'all' | 'tokens',
): Promise<Entity | undefined> {
  const mount = path.slice(0, path.indexOf('/role/') + 1)
  const [roleId, mounts] = await Promise.all([vault.once.read(`${path}/role-id`), mountsOf(vault)])
  const accessor = objectOf(mounts?.data[mount.slice('auth/'.length)])?.accessor
  const id = roleId?.data.role_id
  if (typeof id !== 'string' || typeof accessor !== 'string') return undefined
  if (about === 'all') {
    // Who has which policies is looked for anyway, and shows every entity.
    const { entities } = await policyHolders(vault, call)
    const known = entities?.get(`${accessor} ${id}`)
    if (entities !== undefined) return known
  }
  const found = await entityOfAlias(vault, id, accessor)
  // The look-up leaves out what the entity itself shows.
  return found === undefined ? undefined : await entityById(vault, found.id)
}

/** For what is good to know. */
async function orUnknown<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof IrError && error.code === 'denied') return undefined
    throw error
  }
}
