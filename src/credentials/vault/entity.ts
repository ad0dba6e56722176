import type { Action, Call, Change } from '../../change.ts'
import { type CredentialTarget, stage } from '../port.ts'
import { mayGoOn, quoted, textField } from '../words.ts'
import { objectOf, type VaultClient, vaultClient } from './client.ts'

/** Whoever logs in, by whatever login; its tokens and their children carry its id, orphans do not. */
export interface Entity {
  readonly id: string
  readonly name: string
  readonly disabled: boolean
  /** `auth/approle/ 1234-…`: the logins that are this entity. */
  readonly aliases: readonly { readonly mount: string; readonly mountAccessor: string; readonly name: string }[]
  /** Nothing would be lost with it: Vault made it at the first login, and nobody gave it anything. */
  readonly plain: boolean
  readonly policies: readonly string[]
  /** Ids of its groups, and of those that these are in. */
  readonly groups: readonly string[]
  readonly changed: string
}

export async function entityById(vault: VaultClient, id: string): Promise<Entity | undefined> {
  return entityOf((await vault.read(`identity/entity/id/${id}`))?.data)
}

/** As the registry names it: by name, or by id. */
export async function entityNamed(vault: VaultClient, name: string): Promise<Entity | undefined> {
  return entityOf((await vault.read(`identity/entity/name/${name}`))?.data) ?? (await entityById(vault, name))
}

export async function entityOfAlias(
  vault: VaultClient,
  alias: string,
  mountAccessor: string,
): Promise<Entity | undefined> {
  const found = await vault.ask('identity/lookup/entity', {
    alias_name: alias,
    alias_mount_accessor: mountAccessor,
  })
  return entityOf(found?.data)
}

export function entityOf(data: Readonly<Record<string, unknown>> | undefined): Entity | undefined {
  if (typeof data?.id !== 'string') return undefined
  const name = typeof data.name === 'string' ? data.name : ''
  const policies = strings(data.policies)
  const aliases = (Array.isArray(data.aliases) ? data.aliases : []).map((one) => {
    const alias = objectOf(one)
    return {
      mount: String(alias?.mount_path ?? ''),
      mountAccessor: String(alias?.mount_accessor ?? ''),
      name: String(alias?.name ?? ''),
    }
  })
  const nothing = policies.length === 0 && strings(data.group_ids).length === 0 && !hasKeys(data.metadata)
  return {
    id: data.id,
    name,
    disabled: data.disabled === true,
    aliases,
    plain: nothing && /^entity_[0-9a-f]{8}/.test(name),
    policies,
    groups: [...new Set([...strings(data.group_ids), ...strings(data.inherited_group_ids)])],
    changed: String(data.last_update_time ?? ''),
  }
}

function strings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []
}

function hasKeys(value: unknown): boolean {
  return Object.keys(objectOf(value) ?? {}).length > 0
}

export function disableChange(
  call: Call<CredentialTarget>,
  { id, name, aliases }: Entity,
  { whose, breaks }: { readonly whose: string; readonly breaks: readonly string[] },
): Change {
  const target = `entity ${id}`
  return {
    id: call.changeId('disable-entity', target),
    action: 'disable-entity',
    target,
    summary: `Disable entity ${name} of ${whose}: its logins, its tokens and their children are refused, batch tokens too`,
    effect: 'reversible',
    priority: 'essential',
    after: [],
    stage: stage.mint,
    chain: [whose, `entity ${name}`],
    params: { entity: id },
    undo: { disabled: false },
    breaks,
    command: `vault write identity/entity/id/${quoted(id)} disabled=true`,
    facts: { entity: name, id, logins: aliases.map(({ mount, name: alias }) => `${mount}${alias}`).join(', ') },
  }
}

async function setDisabled(vault: VaultClient, id: string, disabled: boolean): Promise<void> {
  await vault.write(`identity/entity/id/${id}`, { disabled })
}

export const disableEntity: Action<CredentialTarget> = {
  async apply({ params }, call) {
    mayGoOn(call)
    const vault = vaultClient(call)
    const id = textField(params, 'entity')
    // To write an id that is gone would make another entity.
    if ((await entityById(vault, id)) !== undefined) await setDisabled(vault, id, true)
    return {}
  },
  async settle({ params }, call) {
    const found = await entityById(vaultClient(call), textField(params, 'entity'))
    return found === undefined || found.disabled ? {} : undefined
  },
  undo: {
    async drift({ params }, _receipt, call) {
      const found = await entityById(vaultClient(call), textField(params, 'entity'))
      if (found === undefined) return ['it is gone']
      return found.disabled ? [] : ['somebody enabled it already']
    },
    async apply({ params }, _receipt, call) {
      mayGoOn(call)
      const vault = vaultClient(call)
      const id = textField(params, 'entity')
      if ((await entityById(vault, id)) !== undefined) await setDisabled(vault, id, false)
      return {}
    },
    async settle({ params }, _receipt, call) {
      const found = await entityById(vaultClient(call), textField(params, 'entity'))
      return found === undefined || !found.disabled ? {} : undefined
    },
  },
}
