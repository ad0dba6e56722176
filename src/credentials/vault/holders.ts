import type { Call } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { objectOf, type VaultClient } from './client.ts'
import { type Entity, entityOf } from './entity.ts'

/** Somebody or something that gives a policy to whoever logs in. */
interface Holder {
  /** For people: `billing at auth/approle`. */
  readonly name: string
  /** Where it is read. */
  readonly path: string
  readonly policies: readonly string[]
  /** Undefined: it could not be read. */
  readonly data: Readonly<Record<string, unknown>> | undefined
}

export interface Holders {
  readonly holders: readonly Holder[]
  /** AppRoles of every mount, as `auth/approle/role/crm`. */
  readonly appRoles: readonly string[]
  /** Where somebody who may could make another login: `auth/userpass/users`. */
  readonly logins: readonly string[]
  /** As `auth/token/create/NAME`. */
  readonly tokenRoles: readonly string[]
  /** Every entity, by its aliases: `<accessor of the mount> <name>`. Undefined when one of them could not be read. */
  readonly entities: ReadonlyMap<string, Entity> | undefined
  /** What could not be read: who else has a policy is not certain then. */
  readonly unread: readonly string[]
}

/** Where the login methods keep who gets which policy; two of them list at one path and read at another. */
const places: Readonly<Record<string, readonly (string | readonly [list: string, read: string])[]>> = {
  approle: ['role'],
  aws: [['roles', 'role']],
  azure: ['role'],
  cert: ['certs'],
  gcp: [['roles', 'role']],
  github: ['map/teams', 'map/users'],
  jwt: ['role'],
  kerberos: ['groups'],
  kubernetes: ['role'],
  ldap: ['groups', 'users'],
  oci: ['role'],
  oidc: ['role'],
  okta: ['groups', 'users'],
  radius: ['users'],
  // Tokens and their roles are looked at by themselves.
  token: [],
  userpass: ['users'],
}

/** More than these are not gone through one by one. */
const most = 20_000

/** The login methods, by their paths. */
export function mountsOf(vault: VaultClient) {
  return vault.shared('sys/auth', () => vault.read('sys/auth'))
}

/** Who has which policy, over all login methods, entities and groups. What may not be read is named, and stops nothing. */
export function policyHolders(vault: VaultClient, call: Pick<Call<unknown>, 'progress'>): Promise<Holders> {
  return vault.shared('policy holders', () => survey(vault, call))
}

async function survey(vault: VaultClient, call: Pick<Call<unknown>, 'progress'>): Promise<Holders> {
  const unread: string[] = []
  const orUnread = async <T>(path: string, otherwise: T, work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof IrError) || error.code === 'interrupted') throw error
      unread.push(path)
      return otherwise
    }
  }
  const each = async (folder: string, what: (name: string) => string, reading = folder): Promise<readonly Holder[]> => {
    const names = await orUnread(folder, [], () => vault.list(folder))
    if (names.length > most) unread.push(`${folder} (${names.length} of them)`)
    if (names.length > 2000) call.progress(`looking at ${Math.min(names.length, most)} of ${folder}`)
    return await Promise.all(
      names.slice(0, most).map(async (name) => {
        const path = `${reading}/${name}`
        const found = await orUnread(path, undefined, () => vault.once.read(path))
        const data = found?.data
        return { name: what(nameOf(data, name)), path, policies: policiesOf(data), data }
      }),
    )
  }
  const mounts = await orUnread('sys/auth', {}, async () => (await mountsOf(vault))?.data ?? {})
  const folders = Object.entries(mounts).flatMap(([mount, about]) => {
    const type = objectOf(about)?.type
    if (typeof type !== 'string') return []
    const known = places[type]
    if (known === undefined) unread.push(`auth/${mount} (${type})`)
    return (known ?? []).map((place) => {
      const [list, read] = typeof place === 'string' ? [place, place] : place
      return { mount: `auth/${mount.replace(/\/$/, '')}`, list: `auth/${mount}${list}`, read: `auth/${mount}${read}` }
    })
  })
  const [logins, tokenRoles, entities, groups] = await Promise.all([
    Promise.all(folders.map(({ mount, list, read }) => each(list, (name) => `${name} at ${mount}`, read))),
    each('auth/token/roles', (name) => `token role ${name}`),
    each('identity/entity/id', (name) => `entity ${name}`),
    each('identity/group/id', (name) => `group ${name}`),
  ])
  const holders = [...logins.flat(), ...tokenRoles, ...entities, ...groups]
  return {
    holders: holders.filter(({ policies }) => policies.length > 0),
    appRoles: logins
      .flat()
      .map(({ path }) => path)
      .filter((path) => isAppRole(path, mounts)),
    logins: folders.map(({ read }) => read),
    entities: unread.some((path) => path.startsWith('identity/entity/id')) ? undefined : byAlias(entities),
    tokenRoles: tokenRoles.map(({ path }) => path.replace('auth/token/roles/', 'auth/token/create/')),
    unread,
  }
}

function byAlias(holders: readonly Holder[]): ReadonlyMap<string, Entity> {
  const found = holders.flatMap(({ data }) => entityOf(data) ?? [])
  return new Map(
    found.flatMap((entity) => entity.aliases.map((alias) => [`${alias.mountAccessor} ${alias.name}`, entity])),
  )
}

function isAppRole(path: string, mounts: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(mounts).some(
    ([mount, about]) => objectOf(about)?.type === 'approle' && path.startsWith(`auth/${mount}role/`),
  )
}

function nameOf(data: Readonly<Record<string, unknown>> | undefined, key: string): string {
  // Entities and groups are listed by id.
  return typeof data?.name === 'string' && data.name !== '' ? data.name : key
}

function policiesOf(data: Readonly<Record<string, unknown>> | undefined): readonly string[] {
  const found = ['token_policies', 'policies', 'allowed_policies', 'value'].flatMap((name) => {
    const value = data?.[name]
    if (Array.isArray(value)) return value.filter((one) => typeof one === 'string')
    return typeof value === 'string' ? value.split(',').map((one) => one.trim()) : []
  })
  return [...new Set(found)]
}
