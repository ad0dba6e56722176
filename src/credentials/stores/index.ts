import { IrError } from '../../errors.ts'
import type { DeliverTo } from '../../registry/port.ts'
import type { Destination } from '../issue.ts'
import type { CredentialTarget } from '../port.ts'
import type { Store } from '../store.ts'

/** Every place that a new secret can be delivered to, by kind. Loaded when it is used. */
const stores: Readonly<Partial<Record<DeliverTo['kind'], (deliverTo: never) => Promise<Store>>>> = {
  file: async (deliverTo: Extract<DeliverTo, { kind: 'file' }>) => (await import('./file.ts')).fileStore(deliverTo),
  'vault-kv': async (deliverTo: Extract<DeliverTo, { kind: 'vault-kv' }>) =>
    (await import('./vault-kv.ts')).vaultKvStore(deliverTo),
  'aws-secret': async (deliverTo: Extract<DeliverTo, { kind: 'aws-secret' }>) =>
    (await import('./aws-secret.ts')).awsSecretStore(deliverTo),
  'azure-key-vault': async (deliverTo: Extract<DeliverTo, { kind: 'azure-key-vault' }>) =>
    (await import('./azure-key-vault.ts')).keyVaultStore(deliverTo),
}

/**
 * Where the new secret of this credential goes.
 * @throws IrError input when no place is named, or none that can be written yet
 */
export async function destinationOf({ target }: { readonly target: CredentialTarget }): Promise<Destination> {
  const { deliverTo, credential, replaces } = target
  if (deliverTo === undefined)
    throw new IrError('input', `Nothing says where the new secret of ${credential.id} should go.`, {
      hints: ['Add deliverTo to the registry entry, for example deliverTo: {kind: file, path: ./run/next.env}.'],
    })
  const open = stores[deliverTo.kind]
  if (open === undefined)
    throw new IrError('input', `New secrets cannot be delivered to ${deliverTo.kind} yet.`, {
      hints: ['Deliver them to a file: deliverTo: {kind: file, path: ./run/next.env}.'],
    })
  const store = await open(deliverTo as never)
  return { store, key: replaces === undefined ? credential.id : replaces.field }
}
