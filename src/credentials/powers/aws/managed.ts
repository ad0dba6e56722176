import { GetPolicyCommand, GetPolicyVersionCommand } from '@aws-sdk/client-iam'
import { decoded, olderSessions, readDeny } from '../../aws/deny.ts'
import { type Iam, orUnread, type Unread } from '../../aws/iam.ts'
import type { NamedPolicy } from './judge.ts'

/** What reading managed policies needs. */
export const managedPolicyReads = ['iam:GetPolicy', 'iam:GetPolicyVersion'] as const

/** What the managed policies say; those that could not be read are missing, and told in `unread`. */
export async function managedPolicies(
  iam: Iam,
  arns: readonly (string | undefined)[],
  unread: Unread[],
): Promise<readonly NamedPolicy[]> {
  const found = await Promise.all(arns.map((arn) => managedPolicy(iam, arn ?? '', unread)))
  return found.filter((policy) => policy !== undefined)
}

export async function managedPolicy(iam: Iam, PolicyArn: string, unread: Unread[]): Promise<NamedPolicy | undefined> {
  const { client, options } = iam
  const name = PolicyArn.split('/').at(-1) ?? PolicyArn
  const document = await orUnread(`policy ${name}`, undefined, unread, async () => {
    const { Policy } = await client.send(new GetPolicyCommand({ PolicyArn }), options)
    const VersionId = Policy?.DefaultVersionId
    const { PolicyVersion } = await client.send(new GetPolicyVersionCommand({ PolicyArn, VersionId }), options)
    return decoded(PolicyVersion?.Document)
  })
  if (document !== undefined) return parsed(name, document, unread)
  if (!unread.some(({ what }) => what === `policy ${name}`)) unread.push({ what: `policy ${name}`, code: 'not there' })
  return undefined
}

/** A policy as it is written. @returns undefined when it is no JSON, which is told */
export function parsed(name: string, document: string, unread: Unread[]): NamedPolicy | undefined {
  try {
    return { name, document: JSON.parse(document) }
  } catch {
    unread.push({ what: `policy ${name}`, code: 'not JSON' })
    return undefined
  }
}

/** What revocation put there, in this case or another: it says nothing of what could be done before. */
export function isOurDeny(name: string, document: string): boolean {
  return (name === olderSessions || name.startsWith('mcp-ir-')) && readDeny(document, '') !== undefined
}
