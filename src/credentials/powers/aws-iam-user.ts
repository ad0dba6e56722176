import {
  GetGroupPolicyCommand,
  GetUserCommand,
  GetUserPolicyCommand,
  paginateListAttachedGroupPolicies,
  paginateListAttachedUserPolicies,
  paginateListGroupPolicies,
  paginateListGroupsForUser,
  paginateListUserPolicies,
} from '@aws-sdk/client-iam'
import { named } from '../../aws/principal.ts'
import type { CredentialOf } from '../../registry/port.ts'
import { decoded } from '../aws/deny.ts'
import { all, callerOf, type Iam, openIam, orAbsent, orUnread, type Unread } from '../aws/iam.ts'
import { granted, sameAccount } from './aws/granted.ts'
import type { NamedPolicy } from './aws/judge.ts'
import { isOurDeny, managedPolicies, managedPolicy, managedPolicyReads, parsed } from './aws/managed.ts'
import { controlPolicies, controlPolicyReads } from './aws/organization.ts'
import type { Granted, Powers, PowersCall } from './port.ts'

/** What a user may do: its own policies and those of its groups, within its boundary and those of the organization. */
export const powers: Powers<CredentialOf<'aws-iam-user'>> = {
  permissions: [
    'sts:GetCallerIdentity',
    'iam:GetUser',
    'iam:GetUserPolicy',
    'iam:ListUserPolicies',
    'iam:ListAttachedUserPolicies',
    'iam:ListGroupsForUser',
    'iam:GetGroupPolicy',
    'iam:ListGroupPolicies',
    'iam:ListAttachedGroupPolicies',
    ...managedPolicyReads,
    ...controlPolicyReads,
  ],
  of,
}

async function of(call: PowersCall<CredentialOf<'aws-iam-user'>>): Promise<Granted> {
  const { credential, signal, now, aws } = call
  const iam = await openIam({ signal, now, target: { server: '', credential, sharedWith: [], aws } })
  const caller = await callerOf(iam)
  sameAccount(credential.user, caller)
  const { client, options } = iam
  const { name } = named(credential.user)
  const whose = `user ${name}`
  const unread: Unread[] = []
  const found = await orAbsent(`Reading ${whose}`, () => client.send(new GetUserCommand({ UserName: name }), options))
  const user = found?.User
  if (user?.Arn === undefined)
    return { opens: [], holds: [], gaps: [`There is no ${whose}: what it could do is not known.`], unread: [] }
  const limits = user.PermissionsBoundary?.PermissionsBoundaryArn
  const account = user.Arn.split(':')[4] ?? caller.account
  const groups = await orUnread('the list of groups', [], unread, () =>
    all(paginateListGroupsForUser({ client }, { UserName: name }, options), (page) => page.Groups),
  )
  const ofGroups = await Promise.all(groups.map(({ GroupName }) => groupPolicies(iam, GroupName ?? '', unread)))
  const set = {
    principal: user.Arn,
    identity: [...(await ownPolicies(iam, name, unread)), ...ofGroups.flat()],
    boundary: limits === undefined ? undefined : await managedPolicy(iam, limits, unread),
    control: await controlPolicies(account, await iam.sts.config.region(), signal, unread),
    known: {
      'aws:username': user.UserName ?? name,
      ...(user.UserId === undefined ? {} : { 'aws:userid': user.UserId }),
      'aws:PrincipalArn': user.Arn,
      'aws:PrincipalAccount': account,
      'aws:PrincipalType': 'User',
      ...Object.fromEntries((user.Tags ?? []).map(({ Key, Value }) => [`aws:PrincipalTag/${Key}`, Value ?? ''])),
    },
  }
  return granted(call, whose, set, unread)
}

async function ownPolicies(iam: Iam, UserName: string, unread: Unread[]): Promise<readonly NamedPolicy[]> {
  const { client, options } = iam
  const of = { UserName }
  const [names, attached] = await Promise.all([
    orUnread('the list of inline policies', [], unread, () =>
      all(paginateListUserPolicies({ client }, of, options), (page) => page.PolicyNames),
    ),
    orUnread('the list of attached policies', [], unread, () =>
      all(paginateListAttachedUserPolicies({ client }, of, options), (page) => page.AttachedPolicies),
    ),
  ])
  const inline = await Promise.all(
    names.map(async (PolicyName) => {
      const found = await orUnread(`policy ${PolicyName}`, undefined, unread, () =>
        client.send(new GetUserPolicyCommand({ ...of, PolicyName }), options),
      )
      const document = decoded(found?.PolicyDocument)
      return found === undefined || isOurDeny(PolicyName, document) ? undefined : parsed(PolicyName, document, unread)
    }),
  )
  const arns = attached.map(({ PolicyArn }) => PolicyArn)
  return [...inline.filter((policy) => policy !== undefined), ...(await managedPolicies(iam, arns, unread))]
}

async function groupPolicies(iam: Iam, GroupName: string, unread: Unread[]): Promise<readonly NamedPolicy[]> {
  const { client, options } = iam
  const of = { GroupName }
  const [names, attached] = await Promise.all([
    orUnread(`the list of inline policies of group ${GroupName}`, [], unread, () =>
      all(paginateListGroupPolicies({ client }, of, options), (page) => page.PolicyNames),
    ),
    orUnread(`the list of attached policies of group ${GroupName}`, [], unread, () =>
      all(paginateListAttachedGroupPolicies({ client }, of, options), (page) => page.AttachedPolicies),
    ),
  ])
  const inline = await Promise.all(
    names.map(async (PolicyName) => {
      const found = await orUnread(`policy ${PolicyName} of group ${GroupName}`, undefined, unread, () =>
        client.send(new GetGroupPolicyCommand({ ...of, PolicyName }), options),
      )
      return found === undefined
        ? undefined
        : parsed(`${GroupName}/${PolicyName}`, decoded(found.PolicyDocument), unread)
    }),
  )
  const arns = attached.map(({ PolicyArn }) => PolicyArn)
  return [...inline.filter((policy) => policy !== undefined), ...(await managedPolicies(iam, arns, unread))]
}
