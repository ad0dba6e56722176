import type { Problem } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { Credential, CredentialOf, DeliverTo } from '../../registry/port.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Store, StoreCall } from '../store.ts'
import { pathOf } from '../vault/approle.ts'
import { type VaultClient, vaultClient } from '../vault/client.ts'
import { mayRead } from '../vault/rules.ts'
import { type Fields, type Kv, kvPath, openKv } from './kv.ts'

/** How often others may write into the same secret while we do: each credential of the server is one. */
const tries = 50

/** One secret of Vault KV with one field for each credential, merged into what others have there. */
export function vaultKvStore(place: Extract<DeliverTo, { kind: 'vault-kv' }>): Store {
  return {
    kind: 'vault-kv',
    path: kvPath(place),
    permissions: ['vault: read, create and update the secret to deliver to', 'vault: sys/capabilities-self'],

    async check(call) {
      const kv = await openKv(place, call)
      const data = kv.at('data')
      const may = (await kv.capabilities([data])).get(data) ?? []
      const problems: Problem[] = []
      if (!may.includes('root') && !(may.includes('read') && may.includes('update')))
        problems.push({
          kind: 'denied',
          message: `we may not read and write ${safe(data)} in Vault (${may.join(', ') || 'nothing'})`,
          hint: `Give us a policy: path "${safe(data)}" { capabilities = ["create", "read", "update"] }`,
        })
      problems.push(...(await readableBySuspect(call, data)))
      return problems
    },

    async put(key, secret, call) {
      const field = fieldOf(key)
      const kv = await openKv(place, call)
      for (let tried = 0; tried < tries; tried++) {
        const { fields, version } = await kv.read()
        if (fields?.[field] === secret) return { version: versionOf(kv, version) }
        const written = await kv.write({ ...fields, [field]: secret }, version)
        if (written !== 'conflict') return { version: written }
      }
      throw new IrError(
        'partial',
        `${kv.path} in Vault is written by somebody else all the time: nothing was delivered`,
      )
    },

    async get(key, call) {
      const kv = await openKv(place, call)
      const { fields, version } = await kv.read()
      const secret = textOf(fields, fieldOf(key))
      return secret === undefined ? undefined : { secret, version: versionOf(kv, version) }
    },
  }
}

/** A secret of KV always has fields: what is to be the whole of it goes into the usual one. */
function fieldOf(key: string | undefined): string {
  return key ?? 'value'
}

function versionOf({ engine }: Kv, version: number): number | undefined {
  return engine === 1 ? undefined : version
}

export function textOf(fields: Fields | undefined, name: string): string | undefined {
  const value = fields !== undefined && Object.hasOwn(fields, name) ? fields[name] : undefined
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** What of the server could log in to Vault and was not seen dead must not be able to read the new secret. */
async function readableBySuspect(call: StoreCall, path: string): Promise<readonly Problem[]> {
  const vault = vaultClient(call)
  const problems: Problem[] = []
  for (const old of call.target.undead ?? []) {
    const able = await canRead(vault, old, path)
    if (able === 'no') continue
    const why = able === 'yes' ? 'can still read it' : 'may still be able to read it: what it may do is not known'
    problems.push({
      kind: 'refused',
      message: `the new secret would go to ${safe(path)} in Vault, and the old ${safe(old.id)} (${old.kind}) of the server ${why}`,
      hint: `Revoke it first: mcp-ir revoke ${call.target.server}`,
    })
  }
  return problems
}

async function canRead(vault: VaultClient, old: Credential, path: string): Promise<'yes' | 'no' | 'unknown'> {
  try {
    switch (old.kind) {
      case 'vault-token':
        return await tokenCanRead(vault, old.accessor, path)
      case 'vault-approle':
        return await roleCanRead(vault, old, path)
      case 'vault-entity':
        // Its policies come from groups and logins, too.
        return 'unknown'
      default:
        return 'no' // nothing that Vault lets in
    }
  } catch (error) {
    if (error instanceof IrError && error.code !== 'interrupted') return 'unknown'
    throw error
  }
}

async function tokenCanRead(vault: VaultClient, accessor: string, path: string): Promise<'yes' | 'no' | 'unknown'> {
  const found = await vault.ask('sys/capabilities-accessor', { accessor, paths: [path] })
  const words = found?.data[path]
  if (!Array.isArray(words)) return 'unknown'
  return words.some((word) => ['read', 'root', 'sudo'].includes(String(word))) ? 'yes' : 'no'
}

async function roleCanRead(
  vault: VaultClient,
  credential: CredentialOf<'vault-approle'>,
  path: string,
): Promise<'yes' | 'no' | 'unknown'> {
  const found = await vault.read(pathOf(credential))
  // Tokens of a role that somebody deleted live on.
  if (found === undefined) return 'unknown'
  const { token_policies: policies, token_no_default_policy: bare } = found.data
  if (!Array.isArray(policies)) return 'unknown'
  for (const name of [...policies, ...(bare === true ? [] : ['default'])]) {
    if (name === 'root') return 'yes'
    const policy = (await vault.read(`sys/policies/acl/${String(name)}`))?.data.policy
    if (typeof policy === 'string' && mayRead([policy], path)) return 'yes'
  }
  return 'no'
}
