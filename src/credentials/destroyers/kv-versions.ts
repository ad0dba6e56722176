import type { Adapter, Call, Change, Observation } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { CredentialOf } from '../../registry/port.ts'
import { safe } from '../../ui/safe-text.ts'
import { type CredentialTarget, stage } from '../port.ts'
import { type Kv, openKv } from '../stores/kv.ts'
import { field, mayGoOn, quoted } from '../words.ts'

/**
 * Versions in Vault KV that this case deleted so that they could be taken back. They tell which value leaked, so that they are destroyed
 * only when the case is closed, and only where nobody holds them.
 */
type Target = CredentialTarget<CredentialOf<'vault-kv'>>

export const destroyer: Adapter<Target> = {
  permissions: ['vault: read the metadata of the secret', 'vault: update <mount>/destroy/<path>'],

  async check(call) {
    const kv = await openKv(call.target.credential, call)
    const hold = (await deletedHere(call, kv)).length === 0 ? undefined : await kv.hold()
    return hold === undefined ? [] : [{ kind: 'warning', message: held(kv, hold) }]
  },

  async plan(call) {
    const kv = await openKv(call.target.credential, call)
    const versions = await deletedHere(call, kv)
    if (versions.length === 0 || (await kv.hold()) !== undefined) return []
    const target = `deleted versions ${versions.join(', ')} of ${kv.path}`
    return [
      {
        id: call.changeId('destroy-versions', target),
        action: 'destroy-versions',
        target,
        summary: `Destroy ${target} in Vault for good: nobody can tell any more which value leaked`,
        effect: 'irreversible',
        priority: 'essential',
        after: [],
        stage: stage.tidy,
        chain: [`${call.target.credential.id} (vault-kv)`, target],
        params: { versions },
        breaks: [],
        command: `vault kv destroy -versions=${versions.join(',')} ${quoted(kv.path)}`,
      },
    ]
  },

  async verify(call) {
    const kv = await openKv(call.target.credential, call)
    const left = await deletedHere(call, kv)
    const hold = left.length === 0 ? undefined : await kv.hold()
    const observed: Observation[] = call.changes.map((change) => {
      const there = versionsOf(change).filter((version) => left.includes(version))
      const seen = there.length === 0 ? 'destroyed' : `${there.join(', ')} can be taken back`
      return { claim: `${change.target} are gone for good`, seen, holds: there.length === 0 }
    })
    const residue = hold === undefined ? [] : [held(kv, hold)]
    const holds = observed.every((one) => one.holds)
    return { state: !holds ? 'failed' : residue.length > 0 ? 'residual' : 'verified', observed, residue, limits: [] }
  },

  actions: {
    'destroy-versions': {
      async apply(change, call) {
        mayGoOn(call)
        const kv = await openKv(call.target.credential, call)
        // Asked again, as a hold may have been put on it since the plan was agreed to.
        const hold = await kv.hold()
        if (hold !== undefined) throw new IrError('refused', held(kv, hold))
        const deleted = await inState(kv, 'deleted')
        await kv.destroy(versionsOf(change).filter((version) => deleted.includes(version)))
        return {}
      },
      async settle(change, call) {
        const deleted = await inState(await openKv(call.target.credential, call), 'deleted')
        return versionsOf(change).some((version) => deleted.includes(version)) ? undefined : {}
      },
    },
  },
}

function held({ path }: Kv, hold: string): string {
  return `the metadata of ${safe(path)} in Vault says ${safe(hold)}: its old versions are left`
}

/** Those that this case deleted, and that nobody took back or destroyed since. */
async function deletedHere({ target }: Call<Target>, kv: Kv): Promise<readonly number[]> {
  const ours = (target.past?.() ?? [])
    .filter(({ change, receipt }) => change.action === 'delete-versions' && receipt !== undefined)
    .flatMap(({ change }) => versionsOf(change))
  if (ours.length === 0) return []
  return (await inState(kv, 'deleted')).filter((version) => ours.includes(version)).sort((a, b) => a - b)
}

async function inState(kv: Kv, state: 'deleted'): Promise<readonly number[]> {
  return (await kv.versions()).filter((one) => one.state === state).map(({ version }) => version)
}

function versionsOf({ params }: Change): readonly number[] {
  const versions = field(params, 'versions')
  return Array.isArray(versions) ? versions.filter((one): one is number => typeof one === 'number') : []
}
