import type { Adapter } from '../change.ts'
import type { Credential } from '../registry/port.ts'
import type { Stored, StoredValue } from './stored.ts'

/** Adapters by kind of credential, each loaded when it is first used. */
export const adapters: Readonly<Record<Exclude<Credential['kind'], Stored['kind']>, () => Promise<Adapter<never>>>> = {
  'aws-iam-role': async () => (await import('./aws-iam-role.ts')).adapter,
  'aws-iam-user': async () => (await import('./aws-iam-user.ts')).adapter,
  exec: async () => (await import('./exec.ts')).adapter,
  oauth: async () => (await import('./oauth.ts')).adapter,
  postgres: async () => (await import('./postgres.ts')).adapter,
  'vault-approle': async () => (await import('./vault-approle.ts')).adapter,
  'vault-database': async () => (await import('./vault-database.ts')).adapter,
  'vault-entity': async () => (await import('./vault-entity.ts')).adapter,
  'vault-token': async () => (await import('./vault-token.ts')).adapter,
}

/** Stores of values that are accepted elsewhere: together with their issuer they are adapters, too. */
export const storedValues: Readonly<Record<Stored['kind'], () => Promise<StoredValue<never>>>> = {
  'aws-secret': async () => (await import('./aws-secret.ts')).stored,
  'azure-key-vault': async () => (await import('./azure-key-vault.ts')).stored,
  'vault-kv': async () => (await import('./vault-kv.ts')).stored,
}
