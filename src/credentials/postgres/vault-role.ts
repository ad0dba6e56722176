import { IrError } from '../../errors.ts'
import type { CredentialOf } from '../../registry/port.ts'
import { objectOf, type VaultClient } from '../vault/client.ts'
import { type Place, placeOf } from './connect.ts'

/** A role of Vault's database engine, and where its database is. */
export type VaultRole = { readonly connection: string } & (
  | {
      readonly type: 'dynamic'
      /** Statements of its own: they may leave a user where Vault would drop it. */
      readonly ownRevocation: boolean
    }
  | { readonly type: 'static'; readonly username: string; readonly rotatedAt: string }
)

type Named = Pick<CredentialOf<'vault-database'>, 'mount' | 'role'>

export function mountOf({ mount }: Named): string {
  return mount.replace(/^\/+|\/+$/g, '')
}

/** Undefined when there is no such role. A name can be of both types: then the dynamic one is meant. */
export async function readRole(vault: VaultClient, credential: Named): Promise<VaultRole | undefined> {
  const mount = mountOf(credential)
  const dynamic = await vault.once.read(`${mount}/roles/${credential.role}`)
  if (dynamic !== undefined) {
    const { db_name, revocation_statements: own } = dynamic.data
    return { type: 'dynamic', connection: text(db_name), ownRevocation: Array.isArray(own) && own.length > 0 }
  }
  const fixed = await vault.once.read(`${mount}/static-roles/${credential.role}`)
  if (fixed === undefined) return undefined
  const { db_name, username, last_vault_rotation } = fixed.data
  return {
    type: 'static',
    connection: text(db_name),
    username: text(username),
    rotatedAt: text(last_vault_rotation),
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** Where the database is: from the registry, else from Vault's own configuration; else why it is not known. */
export async function databaseOf(
  vault: VaultClient,
  credential: CredentialOf<'vault-database'>,
  role: VaultRole | undefined,
): Promise<Place | { readonly why: string }> {
  const mount = mountOf(credential)
  if (credential.database !== undefined) return placeOf(credential.database, mount)
  if (role === undefined) return { why: 'neither the registry nor Vault says where the database is' }
  const path = `${mount}/config/${role.connection}`
  try {
    const config = await vault.once.read(path)
    const plugin = text(config?.data.plugin_name)
    if (plugin !== '' && !plugin.startsWith('postgres')) return { why: `${path} is a ${plugin}, not PostgreSQL` }
    const found = placeIn(text(objectOf(config?.data.connection_details)?.connection_url))
    return found ?? { why: `${path} in Vault has no address that can be read` }
  } catch (error) {
    if (!(error instanceof IrError && error.code === 'denied')) throw error
    return { why: `the registry does not say where the database is, and ${path} in Vault may not be read` }
  }
}

/** From a connection URL with Vault's templates in it; of several hosts the first. */
export function placeIn(connection: string): Place | undefined {
  const filled = connection.replace(/\{\{\s*\.?(username|password)\s*\}\}/gi, 'x')
  const url =
    /^postgres(?:ql)?:\/\/(?:[^@/]*@)?(\[[^\]]+\]|[^:/?#,]+)?(?::(\d+))?[^/?#]*(?:\/([^?#]*))?(?:\?(.*))?$/i.exec(
      filled,
    )
  if (url !== null) {
    const query = new URLSearchParams(url[4] ?? '')
    const host = url[1]?.replace(/^\[|\]$/g, '') ?? query.get('host')
    if (host === null || host === '') return undefined
    return { host, port: Number(url[2] ?? query.get('port') ?? 5432), name: decoded(url[3]) || 'postgres' }
  }
  const word = (name: string): string | undefined =>
    new RegExp(`(?:^|\\s)${name}\\s*=\\s*(?:'([^']*)'|(\\S+))`)
      .exec(filled)
      ?.slice(1)
      .find((one) => one !== undefined)
  const host = word('host')?.split(',')[0]
  if (host === undefined || host === '') return undefined
  return { host, port: Number(word('port')?.split(',')[0] ?? 5432), name: word('dbname') ?? 'postgres' }
}

function decoded(part: string | undefined): string {
  try {
    return decodeURIComponent(part ?? '')
  } catch {
    return part ?? ''
  }
}
