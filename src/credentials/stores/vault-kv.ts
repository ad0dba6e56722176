import type { Problem } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { DeliverTo } from '../../registry/port.ts'
import { safe } from '../../ui/safe-text.ts'
import { exclusively } from '../deliver.ts'
import type { Kept, Store, StoreCall } from '../store.ts'
import { vaultClient } from '../vault/client.ts'
import { canRead } from '../vault/guard.ts'
import { type Fields, type Kv, kvPath, openKv } from './kv.ts'

/** How often others may write into the same secret while we do: each credential of the server is one. */
const tries = 50

/** One secret of Vault KV with one field for each credential, merged into what others have there. */
export function vaultKvStore(place: Extract<DeliverTo, { kind: 'vault-kv' }>): Store {
  return {
    kind: 'vault-kv',
    path: kvPath(place),
    permissions: ['vault: read, create, update and patch the secret to deliver to', 'vault: sys/capabilities-self'],

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
      // Those of ours would be each other's conflicts.
      return await exclusively(`${vaultClient(call).address} ${kv.path}`, () => merge(kv, field, secret))
    },

    async get(key, call) {
      const kv = await openKv(place, call)
      const { fields, version } = await kv.read()
      const secret = textOf(fields, fieldOf(key))
      return secret === undefined ? undefined : { secret, version: versionOf(kv, version) }
    },
  }
}

async function merge(kv: Kv, field: string, secret: string): Promise<Kept> {
  for (let tried = 0; tried < tries; tried++) {
    const { fields, version } = await kv.read()
    if (fields?.[field] === secret) return { version: versionOf(kv, version) }
    const patched = fields === undefined ? 'unsupported' : await kv.patch({ [field]: secret }, version)
    const written = patched === 'unsupported' ? await kv.write({ ...fields, [field]: secret }, version) : patched
    if (written !== 'conflict') return { version: written }
  }
  throw new IrError('partial', `${kv.path} in Vault is written by somebody else all the time: nothing was delivered`)
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
    const able = await vault.shared(`whether ${old.kind} ${old.id} reads ${path}`, () =>
      canRead(vault, call, old, path),
    )
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
