import type { Action, Call, Change } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { type CredentialTarget, stage } from '../port.ts'
import { mayGoOn, quoted, textField } from '../words.ts'
import { objectOf, type VaultClient, vaultClient } from './client.ts'

/** A secret id as its accessor shows it: never the secret id itself. */
export interface SecretId {
  readonly accessor: string
  /** RFC 3339. */
  readonly created: string
  readonly metadata: Readonly<Record<string, unknown>>
}

/**
 * Keys of the metadata of those that we issue; Vault copies them to the tokens that log in with it. The case is for people: whoever
 * may make secret ids can write it as well. The nonce, which only the journal knew before, tells that one is ours.
 */
export const caseKey = 'mcp_ir_case'
export const nonceKey = 'mcp_ir_nonce'

/** @param role its path: `auth/approle/role/crm`, which exists. */
export async function secretIdsOf(vault: VaultClient, role: string): Promise<readonly SecretId[]> {
  const accessors = await vault.list(`${role}/secret-id`)
  const found = await Promise.all(accessors.map((accessor) => lookUp(vault, role, accessor)))
  return found.filter((one) => one !== undefined)
}

async function lookUp(vault: VaultClient, role: string, accessor: string): Promise<SecretId | undefined> {
  const found = await vault.ask(`${role}/secret-id-accessor/lookup`, { secret_id_accessor: accessor })
  if (found === undefined) return undefined
  return {
    accessor,
    created: String(found.data.creation_time ?? ''),
    metadata: objectOf(found.data.metadata) ?? {},
  }
}

export function destroyChange(
  call: Call<CredentialTarget>,
  { accessor, created }: SecretId,
  { role, whose, chain, breaks }: { role: string; whose: string; chain: readonly string[]; breaks: readonly string[] },
): Change {
  const target = `secret id ${accessor} of ${role}`
  return {
    id: call.changeId('destroy-secret-id', target),
    action: 'destroy-secret-id',
    target,
    summary: `Destroy the secret id with accessor ${accessor} of ${whose}: nobody logs in with it any more`,
    effect: 'irreversible',
    priority: 'essential',
    after: [],
    stage: stage.mint,
    chain: [...chain, `secret id ${accessor}`],
    params: { role, accessor, before: { role, accessor, created } },
    breaks,
    command: `vault write ${quoted(`${role}/secret-id-accessor/destroy`)} secret_id_accessor=${quoted(accessor)}`,
    facts: { accessor, created },
  }
}

export const destroySecretId: Action<CredentialTarget> = {
  async apply({ params }, call) {
    mayGoOn(call)
    await destroy(vaultClient(call), textField(params, 'role'), textField(params, 'accessor'))
    return {}
  },
  async settle({ params }, call) {
    const left = await lookUp(vaultClient(call), textField(params, 'role'), textField(params, 'accessor'))
    return left === undefined ? {} : undefined
  },
}

export async function destroy(vault: VaultClient, role: string, accessor: string): Promise<void> {
  const answer = await vault.request({
    method: 'POST',
    path: `${role}/secret-id-accessor/destroy`,
    body: { secret_id_accessor: accessor },
    nature: 'repeat',
    // That it is gone already is said with 500 by some versions.
    expected: [400, 404, 500],
  })
  if (answer.status < 400 || answer.status === 404) return
  if ((await lookUp(vault, role, accessor)) === undefined) return
  throw new IrError(
    'unreachable',
    `Vault does not destroy the secret id with accessor ${accessor} (${answer.status})`,
    {
      ambiguous: true,
    },
  )
}
