import {
  AuthorizeSecurityGroupEgressCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  DeleteSecurityGroupCommand,
  type IpPermission,
  RevokeSecurityGroupEgressCommand,
  RevokeSecurityGroupIngressCommand,
  type SecurityGroupRule,
} from '@aws-sdk/client-ec2'
import { awsCode, awsError } from '../../aws/clients.ts'
import type { ActionCall, Json } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { describeRules, findGroup } from './read-network.ts'
import { clients, hopName, type Target, tagsFor } from './reading.ts'

export interface GroupParams {
  readonly vpc: string
  readonly name: string
  /** Ranges of workstations that may reach what is isolated. */
  readonly allow: readonly string[]
  /** Whether an open group is needed beside it, for interfaces to pass through. */
  readonly hop: boolean
}

export const wantedHop = 'an open one'
export const groupDescription = 'mcp-ir isolation: no rules'

/** Whether a group has no other rules than those for the workstations, and all of those. */
export function asWanted(rules: readonly SecurityGroupRule[], allow: readonly string[]): boolean {
  return unwanted(rules, allow).length === 0 && missing(rules, allow).length === 0
}

function unwanted(rules: readonly SecurityGroupRule[], allow: readonly string[]): SecurityGroupRule[] {
  return rules.filter((rule) => rule.IsEgress === true || !allow.includes(rule.CidrIpv4 ?? rule.CidrIpv6 ?? ''))
}

function missing(rules: readonly SecurityGroupRule[], allow: readonly string[]): string[] {
  const present = rules.filter(({ IsEgress, IpProtocol }) => IsEgress !== true && IpProtocol === '-1')
  return allow.filter((cidr) => !present.some(({ CidrIpv4, CidrIpv6 }) => (CidrIpv4 ?? CidrIpv6) === cidr))
}

/** Makes the isolation group, or what is missing of it. The open group is an extra: without it the cut goes straight. */
export async function ensureGroups(
  { vpc, name, allow, hop }: GroupParams,
  call: ActionCall<Target>,
  changeId: string,
): Promise<Json> {
  const group = await ensure(call, vpc, name, changeId, groupDescription)
  const { ec2 } = clients(call)
  const rules = await describeRules(call, [group])
  const wrong = unwanted(rules, allow)
  // By id: a new group comes with a rule that lets everything out, and it may have one for IPv6 too.
  const ids = (egress: boolean): string[] =>
    wrong.filter(({ IsEgress }) => (IsEgress === true) === egress).flatMap((rule) => rule.SecurityGroupRuleId ?? [])
  const [outward, inward] = [ids(true), ids(false)]
  if (outward.length > 0) {
    await unlessSo(() =>
      ec2.send(new RevokeSecurityGroupEgressCommand({ GroupId: group, SecurityGroupRuleIds: outward })),
    )
  }
  if (inward.length > 0) {
    await unlessSo(() =>
      ec2.send(new RevokeSecurityGroupIngressCommand({ GroupId: group, SecurityGroupRuleIds: inward })),
    )
  }
  const wanted = missing(rules, allow)
  if (wanted.length > 0) {
    await unlessSo(() =>
      ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId: group, IpPermissions: wanted.map(everything) })),
    )
  }
  if (!asWanted(await describeRules(call, [group]), allow)) {
    throw new IrError('unreachable', `The rules of ${group} are not yet as they should be.`, { ambiguous: true })
  }
  const through = hop ? await ensureHop(call, vpc, hopName(name), changeId) : null
  return { group, through }
}

async function ensureHop(call: ActionCall<Target>, vpc: string, name: string, changeId: string): Promise<string> {
  try {
    const group = await ensure(call, vpc, name, changeId, 'mcp-ir: passed through on the way to isolation')
    const { ec2 } = clients(call)
    const IpPermissions = ['0.0.0.0/0', '::/0'].map(everything)
    await unlessSo(() => ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId: group, IpPermissions })))
    for (const permission of IpPermissions) {
      await unlessSo(() =>
        ec2.send(new AuthorizeSecurityGroupEgressCommand({ GroupId: group, IpPermissions: [permission] })),
      )
    }
    return group
  } catch (error) {
    const known = awsError(error, 'Making the open group')
    if (known.code === 'interrupted' || known.ambiguous) throw known
    return known.message
  }
}

async function ensure(
  call: ActionCall<Target>,
  vpc: string,
  name: string,
  changeId: string,
  description: string,
): Promise<string> {
  const found = await findGroup(call, vpc, name)
  if (found !== undefined) return found
  const create = async (tagged: boolean): Promise<string> => {
    const { GroupId } = await clients(call).ec2Once.send(
      new CreateSecurityGroupCommand({
        GroupName: name,
        VpcId: vpc,
        Description: description,
        ...(tagged ? { TagSpecifications: tagsFor('security-group', call, changeId) } : {}),
      }),
    )
    return GroupId ?? ''
  }
  try {
    // Who may not tag may still make the group: its name is what it is found by.
    return await create(true).catch((error) => {
      if (awsError(error, 'Making a group').code !== 'denied') throw error
      return create(false)
    })
  } catch (error) {
    const other = awsCode(error) === 'InvalidGroup.Duplicate' ? await findGroup(call, vpc, name) : undefined
    if (other === undefined) throw error
    return other
  }
}

/** Deletes both groups. @throws IrError partial while something is still in one of them */
export async function removeGroups(vpc: string, name: string, call: ActionCall<Target>): Promise<void> {
  for (const one of [name, hopName(name)]) {
    const GroupId = await findGroup(call, vpc, one)
    if (GroupId === undefined) continue
    try {
      await clients(call).ec2.send(new DeleteSecurityGroupCommand({ GroupId }))
    } catch (error) {
      if (awsCode(error) !== 'InvalidGroup.NotFound') throw error
    }
  }
}

function everything(cidr: string): IpPermission {
  return {
    IpProtocol: '-1',
    ...(cidr.includes(':') ? { Ipv6Ranges: [{ CidrIpv6: cidr }] } : { IpRanges: [{ CidrIp: cidr }] }),
  }
}

/** A rule that is there already, or gone already: the call was sent twice, or a new group is not known everywhere yet. */
const settled = /^InvalidPermission\.Duplicate$|^InvalidPermission\.NotFound$|^InvalidSecurityGroupRuleId\.NotFound$/

async function unlessSo(work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!settled.test(awsCode(error) ?? '')) throw error
  }
}
