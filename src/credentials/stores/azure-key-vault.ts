import type { DeliverTo } from '../../registry/port.ts'
import type { Store, StoreCall } from '../store.ts'
import { checkText, type TextSecret, textSecrets } from './json-secret.ts'
import { type KeyVaultSettings, openKeyVault } from './key-vault.ts'

/** A secret of Azure Key Vault, made where there is none yet. */
export function keyVaultStore(
  place: Extract<DeliverTo, { kind: 'azure-key-vault' }>,
  settings: KeyVaultSettings = {},
): Store {
  const path = `${place.vault.replace(/\/+$/, '')}/secrets/${place.secret}`
  const open = (call: StoreCall): TextSecret => ({
    name: path,
    read: async () => (await openKeyVault(place, call, settings)).read(),
    write: async (text) => (await openKeyVault(place, call, settings)).write(text),
  })
  return {
    kind: 'azure-key-vault',
    path,
    permissions: ['secrets/get', 'secrets/set', 'secrets/list'],
    async check(call) {
      const [newest] = await (await openKeyVault(place, call, settings)).versions()
      if (newest?.managed === true)
        return [{ kind: 'input', message: `${path} belongs to a certificate: nothing can be put there` }]
      return await checkText(open(call), call)
    },
    ...textSecrets(open, path),
  }
}
