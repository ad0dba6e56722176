import type { Action, Call, Change, Problem } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialOf } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import { type CredentialTarget, stage } from './port.ts'
import type { StoredValue } from './stored.ts'
import { secretIn } from './stores/json-secret.ts'
import { type KeyVaultSecret, type KeyVaultSettings, openKeyVault } from './stores/key-vault.ts'
import { field, mayGoOn, quoted } from './words.ts'

/**
 * A value in Azure Key Vault. It dies at its issuer; here the versions before the new one are disabled, so that they cannot be
 * read by anybody, and can be enabled again.
 */
type VaultCredential = CredentialOf<'azure-key-vault'>
type Target = CredentialTarget<VaultCredential>
type VaultCall = Call<Target>

/** So many of the newest versions are tried. */
const triedVersions = 8

export const stored = keyVaultValues()

export function keyVaultValues(settings: KeyVaultSettings = {}): StoredValue<VaultCredential> {
  const open = (call: VaultCall): Promise<KeyVaultSecret> => openKeyVault(call.target.credential, call, settings)
  return {
    permissions: ['secrets/get', 'secrets/list', 'secrets/set (also to enable and disable versions)'],
    name: ({ vault, secret }) => `the value of ${safe(secret)} in ${safe(vault)}`,

    check: async (call) => check(await open(call), call),

    async held(call) {
      const secret = await open(call)
      const enabled = (await secret.versions()).filter((one) => one.enabled).slice(0, triedVersions)
      const found = new Map<string, string>()
      for (const { version } of enabled) {
        const text = secretIn((await secret.read(version))?.text ?? '')
        if (text !== undefined && !found.has(text)) found.set(text, `version ${version} of ${secret.url}`)
      }
      return [...found].map(([secret, where]) => ({ secret, where }))
    },

    async planRetire(call, after) {
      const secret = await open(call)
      const all = await secret.versions()
      // Where the new value goes elsewhere, others may still read the current one.
      const old = call.target.deliverTo === undefined ? all : all.slice(1)
      const versions = old.filter(({ enabled }) => enabled).map(({ version }) => version)
      return versions.length === 0 ? [] : [disableChange(call, secret, versions, after)]
    },

    async look(call) {
      const retired = call.changes.filter(({ action }) => action === 'disable-versions')
      if (retired.length === 0) return { observed: [], residue: [] }
      const secret = await open(call)
      const left = await enabledOf(secret, retired.flatMap(versionsOf))
      const seen = left.length === 0 ? 'disabled' : `enabled: ${left.join(', ')}`
      const claim = `the old versions of ${secret.url} cannot be read`
      return { observed: [{ claim, seen, holds: left.length === 0 }], residue: [] }
    },

    actions: { 'disable-versions': disableVersions(open) },
  }
}

async function check(
  secret: KeyVaultSecret,
  call: VaultCall & { readonly intent: string },
): Promise<readonly Problem[]> {
  const [newest] = await secret.versions()
  if (newest === undefined)
    return [
      {
        kind: 'input',
        message: `there is no ${safe(secret.url)}`,
        hint: 'If somebody deleted it: az keyvault secret recover; its value may live on where it is accepted',
      },
    ]
  if (newest.managed)
    return [{ kind: 'input', message: `${safe(secret.url)} belongs to a certificate: replace that one` }]
  if (!newest.enabled)
    return [{ kind: 'warning', message: `the newest version of ${safe(secret.url)} is disabled: it is not tried` }]
  // That it may be read shows before anything is approved.
  if (call.intent === 'revoke') await secret.read()
  return []
}

function disableChange(
  call: VaultCall,
  { url }: KeyVaultSecret,
  versions: readonly string[],
  after: readonly string[],
): Change {
  const { credential, sharedWith } = call.target
  const target = `old versions of ${url}`
  return {
    id: call.changeId('disable-versions', target),
    action: 'disable-versions',
    target,
    summary: `Disable ${versions.length === 1 ? 'the old version' : `${versions.length} old versions`} of ${url}`,
    effect: 'reversible',
    priority: 'best-effort',
    after,
    stage: stage.tidy,
    chain: [`${credential.id} (azure-key-vault)`, target],
    params: { versions, replaced: call.target.deliverTo === undefined },
    undo: { versions },
    breaks: sharedWith,
    command: `az keyvault secret set-attributes --enabled false --id ${quoted(`${url}/VERSION`)}`,
  }
}

function disableVersions(open: (call: VaultCall) => Promise<KeyVaultSecret>): Action<Target> {
  return {
    async apply(change, call) {
      mayGoOn(call)
      const secret = await open(call)
      const versions = versionsOf(change)
      const [newest] = await secret.versions()
      if (field(change.params, 'replaced') === true && versions.includes(newest?.version ?? ''))
        throw new IrError('partial', `${safe(secret.url)} has no newer version: the old one stays enabled`)
      for (const version of await enabledOf(secret, versions)) await secret.enable(version, false)
      return { output: { disabled: versions } }
    },
    async settle(change, call) {
      const versions = versionsOf(change)
      return (await enabledOf(await open(call), versions)).length === 0 ? { output: { disabled: versions } } : undefined
    },
    undo: {
      // That somebody enabled one again is no more than this does.
      drift: async () => [],
      async apply(change, _receipt, call) {
        mayGoOn(call)
        const secret = await open(call)
        for (const version of await disabledOf(secret, change)) await secret.enable(version, true)
        return {}
      },
      async settle(change, _receipt, call) {
        return (await disabledOf(await open(call), change)).length === 0 ? {} : undefined
      },
    },
  }
}

async function enabledOf(secret: KeyVaultSecret, versions: readonly string[]): Promise<readonly string[]> {
  const enabled = (await secret.versions()).filter((one) => one.enabled).map(({ version }) => version)
  return versions.filter((version) => enabled.includes(version))
}

async function disabledOf(secret: KeyVaultSecret, change: Change): Promise<readonly string[]> {
  const disabled = (await secret.versions()).filter((one) => !one.enabled).map(({ version }) => version)
  return versionsOf(change).filter((version) => disabled.includes(version))
}

function versionsOf(change: Change): readonly string[] {
  const versions = field(change.params, 'versions')
  return Array.isArray(versions) ? versions.filter((one): one is string => typeof one === 'string') : []
}
