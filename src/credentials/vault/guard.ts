import { IrError } from '../../errors.ts'
import type { Credential, CredentialOf } from '../../registry/port.ts'
import type { StoreCall } from '../store.ts'
import { words } from '../words.ts'
import { aliasEntity, isIssuedTo, pathOf } from './approle.ts'
import type { VaultClient } from './client.ts'
import type { Entity } from './entity.ts'
import { mayRead } from './rules.ts'
import { allTokens } from './tokens.ts'

type Answer = 'yes' | 'no' | 'unknown'

/** Whether an old identity of the server could read a path in Vault: a new secret is not put where it could. */
export async function canRead(vault: VaultClient, call: StoreCall, old: Credential, path: string): Promise<Answer> {
  try {
    switch (old.kind) {
      case 'vault-token':
        return await tokenCanRead(vault, old.accessor, path)
      case 'vault-approle':
        return await roleCanRead(vault, call, old, path)
      case 'vault-entity':
        // Its policies come from its logins, too, whatever those are.
        return 'unknown'
      default:
        return 'no' // nothing that Vault lets in
    }
  } catch (error) {
    if (error instanceof IrError && error.code !== 'interrupted') return 'unknown'
    throw error
  }
}

async function tokenCanRead(vault: VaultClient, accessor: string, path: string): Promise<Answer> {
  const found = await vault.ask('sys/capabilities-accessor', { accessor, paths: [path] })
  const may = found?.data[path]
  if (!Array.isArray(may)) return 'unknown'
  return may.some((word) => ['read', 'root', 'sudo'].includes(String(word))) ? 'yes' : 'no'
}

/** By what its next login would get, from the role, its entity and the groups of that; and by what its living tokens have. */
async function roleCanRead(
  vault: VaultClient,
  call: StoreCall,
  credential: CredentialOf<'vault-approle'>,
  path: string,
): Promise<Answer> {
  const role = pathOf(credential)
  const found = await vault.once.read(role)
  // Tokens of a role that somebody deleted live on.
  if (found === undefined) return 'unknown'
  const { token_policies: policies, token_no_default_policy: bare } = found.data
  if (!Array.isArray(policies)) return 'unknown'
  const entity = await aliasEntity(call, vault, role, 'tokens')
  const given = entity === undefined ? [] : [...entity.policies, ...(await groupPolicies(vault, entity))]
  const tokens = (await allTokens(vault, call)).filter(
    (token) => isIssuedTo(token, credential) || (entity !== undefined && token.entity === entity.id),
  )
  if (tokens.some(({ foreign }) => foreign)) return 'unknown'
  const holders = [
    [...words(policies), ...given, ...(bare === true ? [] : ['default'])],
    ...tokens.map((one) => one.policies),
  ]
  for (const names of holders) {
    if (names.includes('root')) return 'yes'
    const texts = await Promise.all(names.map((name) => vault.once.read(`sys/policies/acl/${name}`)))
    if (
      mayRead(
        texts.flatMap((text) => words([text?.data.policy as string])),
        path,
      )
    )
      return 'yes'
  }
  return 'no'
}

async function groupPolicies(vault: VaultClient, { groups }: Entity): Promise<readonly string[]> {
  const found = await Promise.all(groups.map((id) => vault.once.read(`identity/group/id/${id}`)))
  return found.flatMap((group) => words(group?.data.policies as readonly string[]))
}
