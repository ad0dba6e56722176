import type { Credential } from '../../registry/port.ts'
import type { Powers } from './port.ts'

type Load = () => Promise<Powers<never>>

const vault: Load = async () => (await import('./vault.ts')).powers

/** By kind of credential, each loaded when it is first asked. Kinds that are not here open what the registry says. */
export const powers: Readonly<Partial<Record<Credential['kind'], Load>>> = {
  'aws-iam-role': async () => (await import('./aws-iam-role.ts')).powers,
  'aws-iam-user': async () => (await import('./aws-iam-user.ts')).powers,
  'vault-approle': vault,
  'vault-entity': vault,
  'vault-token': vault,
}
