import type { Action, Call, Change, Observation, Problem } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialOf } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import type { CredentialTarget } from './port.ts'
import type { StoredValue } from './stored.ts'
import { type Fields, type Kv, kvPath, openKv } from './stores/kv.ts'
import { textOf } from './stores/vault-kv.ts'
import { field, mayGoOn, quoted } from './words.ts'

/**
 * A value in Vault KV. It dies at its issuer; here only its versions are put out of the way once there is a new one: deleted,
 * which can be taken back, as they tell which key leaked. They are destroyed when the case is closed.
 */
type KvCredential = CredentialOf<'vault-kv'>
type KvCall = Call<CredentialTarget<KvCredential>>

/** So many of the newest versions are tried. */
const triedVersions = 8

export const stored: StoredValue<KvCredential> = {
  permissions: [
    'vault: read the secret, its metadata and its old versions',
    'vault: delete and undelete versions',
    'vault: sys/capabilities-self',
  ],
  name: (credential) => `the value at ${safe(kvPath(credential))} in Vault`,
  check,
  planRetire,
  look,
  held,
  actions: { 'delete-versions': deleteVersions() },
}

async function check(call: KvCall & { readonly intent: string }): Promise<readonly Problem[]> {
  const { credential, deliverTo } = call.target
  const kv = await openKv(credential, call)
  const { fields, version } = await kv.read()
  if (fields === undefined) {
    const message =
      version === 0
        ? `there is nothing at ${safe(kv.path)} in Vault`
        : `version ${version} of ${safe(kv.path)} in Vault was deleted: its value may live on where it is accepted`
    return [{ kind: version === 0 ? 'input' : 'warning', message, hint: `vault kv metadata get ${quoted(kv.path)}` }]
  }
  const problems: Problem[] = []
  const missing = (credential.fields ?? []).filter((name) => textOf(fields, name) === undefined)
  if (missing.length > 0)
    problems.push({
      kind: 'warning',
      message: `${safe(kv.path)} in Vault has no ${missing.map((one) => safe(one)).join(', ')}`,
    })
  if (call.intent !== 'rotate') return problems
  const inPlace = deliverTo === undefined
  if (inPlace && credential.fields === undefined && !Object.hasOwn(fields, 'value'))
    problems.push({
      kind: 'input',
      message: `which field of ${safe(kv.path)} is to be replaced is not said`,
      hint: `Add fields: [NAME] in the registry; it has ${Object.keys(fields)
        .map((one) => safe(one, 50))
        .join(', ')}`,
    })
  if (inPlace && (credential.fields?.length ?? 0) > 1)
    problems.push({
      kind: 'warning',
      message: `only ${safe(credential.fields?.[0] ?? '')} of ${safe(kv.path)} gets the new value`,
    })
  return problems
}

/** What the suspect could read here: tried once it should be dead. */
async function held(call: KvCall): Promise<readonly { readonly secret: string; readonly where: string }[]> {
  const { credential } = call.target
  const kv = await openKv(credential, call)
  const versions = (await kv.versions()).filter(({ state }) => state === 'there').slice(0, triedVersions)
  const found = new Map<string, string>()
  for (const version of kv.engine === 1 ? [undefined] : versions.map((one) => one.version)) {
    const { fields } = await kv.read(version)
    for (const name of namesOf(credential, fields)) {
      const secret = textOf(fields, name)
      if (secret === undefined || found.has(secret)) continue
      found.set(secret, `${name} of ${kv.path}${version === undefined ? '' : `, version ${version}`}`)
    }
  }
  return [...found].map(([secret, where]) => ({ secret, where }))
}

/** Never all of them where nothing says which: the others belong to other systems. */
function namesOf({ fields: named }: KvCredential, fields: Fields | undefined): readonly string[] {
  if (named !== undefined) return named
  const names = Object.keys(fields ?? {})
  return names.length === 1 ? names : ['value']
}

// Old versions

async function planRetire(call: KvCall, after: readonly string[]): Promise<readonly Change[]> {
  const { credential, sharedWith } = call.target
  const kv = await openKv(credential, call)
  const { fields, version: current } = await kv.read()
  // Where the new value goes elsewhere, the current version stays for the sake of its other fields.
  const replaced = call.target.deliverTo === undefined
  const names = namesOf(credential, fields)
  const alone = Object.keys(fields ?? {}).every((name) => names.includes(name))
  const versions = (await kv.versions())
    .filter(({ version, state }) => state === 'there' && (version < current || replaced || alone))
    .map(({ version }) => version)
  if (versions.length === 0) return []
  const target = `versions ${words(versions)} of ${kv.path}`
  return [
    {
      id: call.changeId('delete-versions', target),
      action: 'delete-versions',
      target,
      summary: `Delete ${target} in Vault, so that it can be taken back`,
      effect: 'reversible',
      priority: 'best-effort',
      after,
      chain: [`${credential.id} (vault-kv)`, target],
      params: { versions, replaced },
      undo: { versions },
      breaks: sharedWith,
      command: `vault kv delete -versions=${versions.join(',')} ${quoted(kv.path)}`,
    },
  ]
}

function deleteVersions(): Action<CredentialTarget<KvCredential>> {
  return {
    async apply(change, call) {
      mayGoOn(call)
      const kv = await openKv(call.target.credential, call)
      const versions = versionsOf(change)
      // The newest is only put out of the way by a newer one.
      if (field(change.params, 'replaced') === true && (await kv.read()).version <= Math.max(...versions))
        throw new IrError('partial', `${kv.path} in Vault has no newer version: the old ones are left`)
      await kv.delete(versions)
      return { output: { deleted: versions } }
    },
    async settle(change, call) {
      const readable = await readableOf(change, await openKv(call.target.credential, call))
      return readable.length === 0 ? { output: { deleted: versionsOf(change) } } : undefined
    },
    undo: {
      async drift(change, _receipt, call) {
        const kv = await openKv(call.target.credential, call)
        const states = new Map((await kv.versions()).map(({ version, state }) => [version, state]))
        const gone = versionsOf(change).filter((version) => (states.get(version) ?? 'destroyed') === 'destroyed')
        return gone.length === 0 ? [] : [`versions ${words(gone)} were destroyed, which cannot be undone`]
      },
      async apply(change, _receipt, call) {
        mayGoOn(call)
        await (await openKv(call.target.credential, call)).undelete(versionsOf(change))
        return {}
      },
      async settle(change, _receipt, call) {
        const states = await (await openKv(call.target.credential, call)).versions()
        const asked = versionsOf(change)
        return states.some(({ version, state }) => asked.includes(version) && state === 'deleted') ? undefined : {}
      },
    },
  }
}

async function readableOf(change: Change, kv: Kv): Promise<readonly number[]> {
  const asked = versionsOf(change)
  const there = (await kv.versions()).filter(({ state }) => state === 'there').map(({ version }) => version)
  return asked.filter((version) => there.includes(version))
}

async function look(
  call: KvCall,
): Promise<{ readonly observed: readonly Observation[]; readonly residue: readonly string[] }> {
  const observed: Observation[] = []
  const residue: string[] = []
  const retired = call.changes.filter(({ action }) => action === 'delete-versions')
  if (retired.length === 0) return { observed, residue }
  const kv = await openKv(call.target.credential, call)
  for (const change of retired) {
    const readable = await readableOf(change, kv)
    observed.push({
      claim: `versions ${words(versionsOf(change))} of ${kv.path} cannot be read`,
      seen: readable.length === 0 ? 'deleted' : `${words(readable)} can be read`,
      holds: readable.length === 0,
    })
  }
  return { observed, residue }
}

function versionsOf(change: Change): readonly number[] {
  const versions = field(change.params, 'versions')
  return Array.isArray(versions) ? versions.filter((one): one is number => typeof one === 'number') : []
}

/** `1, 2, 3`; of many `1 to 40, 42`. */
function words(versions: readonly number[]): string {
  const ranges: [number, number][] = []
  for (const version of [...versions].sort((a, b) => a - b)) {
    const last = ranges.at(-1)
    if (last !== undefined && version === last[1] + 1) last[1] = version
    else ranges.push([version, version])
  }
  return ranges
    .map(([first, last]) =>
      first === last ? `${first}` : last === first + 1 ? `${first}, ${last}` : `${first} to ${last}`,
    )
    .join(', ')
}
