import {
  GetAccessKeyLastUsedCommand,
  GetLoginProfileCommand,
  GetUserCommand,
  GetUserPolicyCommand,
  ListServiceSpecificCredentialsCommand,
  paginateListAccessKeys,
  paginateListAttachedUserPolicies,
  paginateListGroupsForUser,
  paginateListMFADevices,
  paginateListSigningCertificates,
  paginateListSSHPublicKeys,
  paginateListUserPolicies,
} from '@aws-sdk/client-iam'
import type { Call, Json } from '../../change.ts'
import { isOutside } from '../../working-hours.ts'
import type { CredentialTarget } from '../port.ts'
import { mayGoOn } from '../words.ts'
import { type Deny, decoded, policyName, readDeny } from './deny.ts'
import { all, asked, type Iam, orAbsent, orUnread, type Unread } from './iam.ts'

/** All that a user can authenticate with, and what denies it, as IAM says now. */
export interface User {
  readonly name: string
  readonly arn: string
  readonly keys: readonly Key[]
  /** Service-specific credentials, SSH keys, signing certificates. */
  readonly others: readonly Other[]
  /** Whether it has a password for the console; undefined when that could not be read. */
  readonly password: boolean | undefined
  readonly deny: Deny | undefined
  readonly unread: readonly Unread[]
}

export interface Key {
  readonly id: string
  readonly active: boolean
  readonly created: string
}

export interface Other {
  readonly type: 'service-specific credential' | 'SSH public key' | 'signing certificate'
  readonly id: string
  readonly active: boolean
}

export async function readUser(call: Call<unknown>, iam: Iam, name: string): Promise<User | undefined> {
  const { client, options } = iam
  const of = { UserName: name }
  const found = await orAbsent(`Reading user ${name}`, () => client.send(new GetUserCommand(of), options))
  if (found?.User === undefined) return undefined
  const unread: Unread[] = []
  const [keys, document, services, sshKeys, certificates, password] = await Promise.all([
    readKeys(iam, name),
    readPolicy(iam, name, policyName(call.caseId)),
    orUnread('service-specific credentials', [], unread, async () => {
      const listed = await client.send(new ListServiceSpecificCredentialsCommand(of), options)
      return listed.ServiceSpecificCredentials ?? []
    }),
    orUnread('SSH public keys', [], unread, () =>
      all(paginateListSSHPublicKeys({ client }, of, options), (page) => page.SSHPublicKeys),
    ),
    orUnread('signing certificates', [], unread, () =>
      all(paginateListSigningCertificates({ client }, of, options), (page) => page.Certificates),
    ),
    orUnread('login profile', false, unread, async () => {
      await client.send(new GetLoginProfileCommand(of), options)
      return true
    }),
  ])
  mayGoOn(call)
  return {
    name,
    arn: found.User.Arn ?? '',
    keys,
    others: [
      ...services.map((one) => other('service-specific credential', one.ServiceSpecificCredentialId, one.Status)),
      ...sshKeys.map((one) => other('SSH public key', one.SSHPublicKeyId, one.Status)),
      ...certificates.map((one) => other('signing certificate', one.CertificateId, one.Status)),
    ],
    password: unread.some(({ what }) => what === 'login profile') ? undefined : password,
    deny: document === undefined ? undefined : readDeny(document, call.caseId),
    unread,
  }
}

export async function readKeys(iam: Iam, user: string): Promise<readonly Key[]> {
  const listed = await asked(`Listing the access keys of user ${user}`, () =>
    all(
      paginateListAccessKeys({ client: iam.client }, { UserName: user }, iam.options),
      (page) => page.AccessKeyMetadata,
    ),
  )
  return listed.map(({ AccessKeyId, Status, CreateDate }) => ({
    id: AccessKeyId ?? '',
    // What is not said to be inactive counts as alive.
    active: Status !== 'Inactive',
    created: CreateDate?.toISOString() ?? 'unknown',
  }))
}

export async function readPolicy(iam: Iam, user: string, policy: string): Promise<string | undefined> {
  const found = await orAbsent(`Reading policy ${policy} of user ${user}`, () =>
    iam.client.send(new GetUserPolicyCommand({ UserName: user, PolicyName: policy }), iam.options),
  )
  return found === undefined ? undefined : decoded(found.PolicyDocument)
}

/** When a key was last used and for what; a probe of ours would overwrite it. `never` when IAM knows of no use. */
export async function lastUse(iam: Iam, key: string, unread: Unread[]): Promise<string> {
  return await orUnread(`last use of ${key}`, 'unknown', unread, async () => {
    const { AccessKeyLastUsed: last } = await iam.client.send(
      new GetAccessKeyLastUsedCommand({ AccessKeyId: key }),
      iam.options,
    )
    if (last?.LastUsedDate === undefined) return 'never'
    return `${last.LastUsedDate.toISOString()}, ${last.ServiceName} in ${last.Region}`
  })
}

/** The same for the responder, with what is unusual about it. */
export function tellUse(last: string | undefined, hours: CredentialTarget['hours']): string {
  const at = new Date((last ?? '').split(',')[0] ?? '')
  if (last === undefined || Number.isNaN(at.getTime())) return last ?? 'unknown'
  return hours !== undefined && isOutside(hours, at) ? `${last}, ${outsideOfHours}` : last
}

export const outsideOfHours = 'outside of working hours'

/** Evidence: what the user had and could do, before anything is changed. */
export async function readBefore(
  call: Call<unknown>,
  iam: Iam,
  user: User,
): Promise<{ readonly before: Json; readonly used: ReadonlyMap<string, string> }> {
  const { client, options } = iam
  const of = { UserName: user.name }
  const unread: Unread[] = [...user.unread]
  const used = new Map(
    await Promise.all(user.keys.map(async ({ id }) => [id, await lastUse(iam, id, unread)] as const)),
  )
  const [inline, attached, groups, devices] = await Promise.all([
    orUnread('inline policies', [], unread, () =>
      all(paginateListUserPolicies({ client }, of, options), (page) => page.PolicyNames),
    ),
    orUnread('attached policies', [], unread, () =>
      all(paginateListAttachedUserPolicies({ client }, of, options), (page) => page.AttachedPolicies),
    ),
    orUnread('groups', [], unread, () =>
      all(paginateListGroupsForUser({ client }, of, options), (page) => page.Groups),
    ),
    orUnread('MFA devices', [], unread, () =>
      all(paginateListMFADevices({ client }, of, options), (page) => page.MFADevices),
    ),
  ])
  const policies = await Promise.all(
    inline.map(async (name) => ({
      name,
      document: (await orUnread(`policy ${name}`, undefined, unread, () => readPolicy(iam, user.name, name))) ?? null,
    })),
  )
  mayGoOn(call)
  const before = {
    user: user.arn,
    accessKeys: user.keys.map(({ id, active, created }) => ({
      id,
      status: active ? 'Active' : 'Inactive',
      created,
      lastUsed: used.get(id) ?? 'unknown',
    })),
    others: user.others.map(({ type, id, active }) => ({ type, id, status: active ? 'Active' : 'Inactive' })),
    password: user.password ?? 'unknown',
    inline: policies,
    attached: attached.map(({ PolicyArn }) => PolicyArn ?? ''),
    groups: groups.map(({ Arn }) => Arn ?? ''),
    mfaDevices: devices.map(({ SerialNumber }) => SerialNumber ?? ''),
    unread: unread.map(({ what, code }) => `${what}: ${code}`),
  }
  return { before, used }
}

function other(type: Other['type'], id: string | undefined, status: string | undefined): Other {
  return { type, id: id ?? '', active: status !== 'Inactive' }
}
