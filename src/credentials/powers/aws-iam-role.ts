import {
  GetRoleCommand,
  GetRolePolicyCommand,
  paginateListAttachedRolePolicies,
  paginateListRolePolicies,
} from '@aws-sdk/client-iam'
import { named } from '../../aws/principal.ts'
import type { CredentialOf } from '../../registry/port.ts'
import { decoded } from '../aws/deny.ts'
import { all, callerOf, openIam, orAbsent, orUnread, type Unread } from '../aws/iam.ts'
import { granted, sameAccount } from './aws/granted.ts'
import { isOurDeny, managedPolicies, managedPolicy, managedPolicyReads, parsed } from './aws/managed.ts'
import { controlPolicies, controlPolicyReads } from './aws/organization.ts'
import type { Granted, Powers, PowersCall } from './port.ts'

/** What a role may do: its inline and attached policies, within its boundary and those of the organization. */
export const powers: Powers<CredentialOf<'aws-iam-role'>> = {
  permissions: [
    'sts:GetCallerIdentity',
    'iam:GetRole',
    'iam:GetRolePolicy',
    'iam:ListRolePolicies',
    'iam:ListAttachedRolePolicies',
    ...managedPolicyReads,
    ...controlPolicyReads,
  ],
  of,
}

async function of(call: PowersCall<CredentialOf<'aws-iam-role'>>): Promise<Granted> {
  const { credential, signal, now, aws } = call
  const iam = await openIam({ signal, now, target: { server: '', credential, sharedWith: [], aws } })
  const caller = await callerOf(iam)
  sameAccount(credential.role, caller)
  const { client, options } = iam
  const { name } = named(credential.role)
  const whose = `role ${name}`
  const unread: Unread[] = []
  const of = { RoleName: name }
  const role = (await orAbsent(`Reading ${whose}`, () => client.send(new GetRoleCommand(of), options)))?.Role
  if (role?.Arn === undefined)
    return { opens: [], holds: [], gaps: [`There is no ${whose}: what it could do is not known.`], unread: [] }
  const [names, attached] = await Promise.all([
    orUnread('the list of inline policies', [], unread, () =>
      all(paginateListRolePolicies({ client }, of, options), (page) => page.PolicyNames),
    ),
    orUnread('the list of attached policies', [], unread, () =>
      all(paginateListAttachedRolePolicies({ client }, of, options), (page) => page.AttachedPolicies),
    ),
  ])
  const inline = await Promise.all(
    names.map(async (PolicyName) => {
      const found = await orUnread(`policy ${PolicyName}`, undefined, unread, () =>
        client.send(new GetRolePolicyCommand({ ...of, PolicyName }), options),
      )
      const document = decoded(found?.PolicyDocument)
      return found === undefined || isOurDeny(PolicyName, document) ? undefined : parsed(PolicyName, document, unread)
    }),
  )
  const limits = role.PermissionsBoundary?.PermissionsBoundaryArn
  const account = role.Arn.split(':')[4] ?? caller.account
  const set = {
    principal: role.Arn,
    identity: [
      ...inline.filter((policy) => policy !== undefined),
      ...(await managedPolicies(
        iam,
        attached.map(({ PolicyArn }) => PolicyArn),
        unread,
      )),
    ],
    boundary: limits === undefined ? undefined : await managedPolicy(iam, limits, unread),
    control: await controlPolicies(account, await iam.sts.config.region(), signal, unread),
    // A session may bring tags of its own: those of the role are not all that is to be known.
    known: { 'aws:PrincipalArn': role.Arn, 'aws:PrincipalAccount': account, 'aws:PrincipalType': 'AssumedRole' },
  }
  return granted(call, whose, set, unread)
}
