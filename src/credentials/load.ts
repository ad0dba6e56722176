import type { Adapter } from '../change.ts'
import type { Credential, DeliverTo } from '../registry/port.ts'
import { adapters, storedValues } from './index.ts'
import type { Credentials, CredentialTarget } from './port.ts'
import { type Stored, type StoredValue, storedCredential } from './stored.ts'

/** The adapter of this credential, loaded when it is called; that of a stored value comes with the one of its issuer. */
export function loaderOf(target: CredentialTarget): () => Promise<Adapter<never>> {
  const { credential } = target
  if (!isStored(credential)) return adapters[credential.kind]
  const load = storedValues[credential.kind]
  return async () => {
    const store = (await load()) as unknown as StoredValue
    const { issuer } = credential
    if (issuer === undefined) return storedCredential(store, undefined)
    const adapter = (await adapters[issuer.kind]()) as unknown as Credentials
    // Where no other place is named, the new value replaces the old one where it lies.
    const place =
      target.deliverTo === undefined ? { deliverTo: placeOf(credential), replaces: { field: fieldOf(credential) } } : {}
    const its = { ...issuer, id: credential.id }
    return storedCredential(store, { adapter, target: { ...target, credential: its, ...place } })
  }
}

function placeOf(credential: Stored): DeliverTo {
  switch (credential.kind) {
    case 'vault-kv':
      return { kind: 'vault-kv', mount: credential.mount, path: credential.path }
    case 'aws-secret':
      return { kind: 'aws-secret', secret: credential.secret, region: credential.region }
    case 'azure-key-vault':
      return { kind: 'azure-key-vault', vault: credential.vault, secret: credential.secret }
  }
}

function fieldOf(credential: Stored): string | undefined {
  return credential.kind === 'vault-kv' ? (credential.fields?.[0] ?? 'value') : undefined
}

function isStored(credential: Credential): credential is Stored {
  return Object.hasOwn(storedValues, credential.kind)
}
