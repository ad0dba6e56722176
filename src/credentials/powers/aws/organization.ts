import {
  DescribeOrganizationCommand,
  DescribePolicyCommand,
  ListParentsCommand,
  OrganizationsClient,
  paginateListPoliciesForTarget,
} from '@aws-sdk/client-organizations'
import { awsClient, awsCode, awsError } from '../../../aws/clients.ts'
import { all, type Unread } from '../../aws/iam.ts'
import type { NamedPolicy, PolicySet } from './judge.ts'
import { parsed } from './managed.ts'

/** What reading the control policies needs. */
export const controlPolicyReads = [
  'organizations:DescribeOrganization',
  'organizations:DescribePolicy',
  'organizations:ListParents',
  'organizations:ListPoliciesForTarget',
] as const

/** An organization is at most five levels of units deep. */
const deepest = 8

/**
 * The service control policies that bind an account, from the root of its organization down. Only the organization's own account,
 * or one that it delegated this to, may read them: what could not be read is told.
 */
export async function controlPolicies(
  account: string,
  region: string | undefined,
  signal: AbortSignal,
  unread: Unread[],
): Promise<PolicySet['control']> {
  const client = awsClient(OrganizationsClient, { region }, 'reads', signal)
  const options = { abortSignal: signal }
  try {
    const { Organization } = await client.send(new DescribeOrganizationCommand({}), options)
    // They never bind the account that the organization belongs to.
    if (Organization?.MasterAccountId === account) return []
    const levels: { level: string; policies: readonly NamedPolicy[] }[] = []
    let at: string | undefined = account
    for (let depth = 0; at !== undefined && depth < deepest; depth += 1) {
      const policies = await policiesOf(client, at, options, unread)
      // None at all: this kind of policy is not switched on.
      if (policies.length > 0) levels.unshift({ level: at, policies })
      if (at.startsWith('r-')) break
      const { Parents }: { Parents?: { Id?: string | undefined }[] | undefined } = await client.send(
        new ListParentsCommand({ ChildId: at }),
        options,
      )
      at = Parents?.[0]?.Id
    }
    return levels
  } catch (error) {
    if (awsCode(error) === 'AWSOrganizationsNotInUseException') return []
    const told = awsError(error, 'service control policies')
    if (told.code === 'interrupted') throw told
    unread.push({
      what: 'service control policies of the organization',
      code: awsCode(error) ?? 'unknown',
      denies: true,
    })
    return []
  }
}

async function policiesOf(
  client: OrganizationsClient,
  TargetId: string,
  options: { readonly abortSignal: AbortSignal },
  unread: Unread[],
): Promise<readonly NamedPolicy[]> {
  const listed = await all(
    paginateListPoliciesForTarget({ client }, { TargetId, Filter: 'SERVICE_CONTROL_POLICY' }, options),
    (page) => page.Policies,
  )
  const found = await Promise.all(
    listed.map(async ({ Id, Name }) => {
      const { Policy } = await client.send(new DescribePolicyCommand({ PolicyId: Id }), options)
      return parsed(Name ?? Id ?? '', Policy?.Content ?? '', unread)
    }),
  )
  return found.filter((policy) => policy !== undefined)
}
