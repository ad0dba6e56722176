import type { Adapter } from '../../change.ts'
import type { Credential } from '../../registry/port.ts'

/** What destroys for good what was only put out of the way, by kind of credential. Loaded when it is used. */
export const destroyers: Readonly<Partial<Record<Credential['kind'], () => Promise<Adapter<never>>>>> = {
  'aws-iam-user': async () => (await import('./iam-user.ts')).destroyer,
  'vault-kv': async () => (await import('./kv-versions.ts')).destroyer,
}
