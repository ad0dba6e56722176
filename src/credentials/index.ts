import type { Adapter } from '../change.ts'
import type { Credential } from '../registry/port.ts'

/** Adapters by kind of credential, each loaded when it is first used. A kind that is not here yet is told as open by the steps. */
export const adapters: Readonly<Partial<Record<Credential['kind'], () => Promise<Adapter<never>>>>> = {
  'aws-iam-role': async () => (await import('./aws-iam-role.ts')).adapter,
  'aws-iam-user': async () => (await import('./aws-iam-user.ts')).adapter,
  oauth: async () => (await import('./oauth.ts')).adapter,
}
