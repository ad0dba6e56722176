import {
  type Address,
  DescribeAddressesCommand,
  type Filter,
  type NetworkAcl,
  type NetworkInterface,
  paginateDescribeNetworkAcls,
  paginateDescribeNetworkInterfaces,
  paginateDescribeSecurityGroupRules,
  paginateDescribeSecurityGroups,
  type SecurityGroup,
  type SecurityGroupRule,
} from '@aws-sdk/client-ec2'
import { bounded } from '../../bounded.ts'
import { all, atOnce, by, caseTag, changeTag, chunks, clients, ending, type Reading } from './reading.ts'
import { gathered } from './together.ts'

/** Interfaces, security groups, network ACLs and addresses. Reads only. */

export function describeInterfaces(call: Reading, Filters: Filter[]): Promise<NetworkInterface[]> {
  return all(paginateDescribeNetworkInterfaces, clients(call).ec2, call, 'NetworkInterfaces', { Filters })
}

/** From the interfaces themselves: a primary group of the instance says nothing of its other interfaces. */
export async function readInterfaces(call: Reading, instances: readonly string[]): Promise<NetworkInterface[]> {
  const found = await bounded(chunks(instances), (Values) =>
    describeInterfaces(call, [{ Name: 'attachment.instance-id', Values }]),
  )
  return found.flat().sort(by(({ NetworkInterfaceId }) => NetworkInterfaceId))
}

export const readInterface = gathered('Reading network interfaces', atOnce, async (call, ids) => {
  const found = await describeInterfaces(call, [{ Name: 'network-interface-id', Values: [...ids] }])
  return new Map(found.map((one) => [one.NetworkInterfaceId ?? '', one]))
})

export function describeGroups(call: Reading, Filters: Filter[]): Promise<SecurityGroup[]> {
  return all(paginateDescribeSecurityGroups, clients(call).ec2, call, 'SecurityGroups', { Filters })
}

const readGroup = gathered('Reading security groups', atOnce, async (call, keys) => {
  const asked = keys.map((key) => JSON.parse(key) as [vpc: string, name: string])
  const values = (of: readonly string[]): string[] => [...new Set(of)]
  const found = await describeGroups(call, [
    { Name: 'vpc-id', Values: values(asked.map(([vpc]) => vpc)) },
    { Name: 'group-name', Values: values(asked.map(([, name]) => name)) },
  ])
  return new Map(found.map(({ VpcId, GroupName, GroupId = '' }) => [JSON.stringify([VpcId, GroupName]), GroupId]))
})

/** Id of the security group of this name, if there is one. */
export function findGroup(call: Reading, vpc: string, name: string): Promise<string | undefined> {
  return readGroup(call, JSON.stringify([vpc, name]))
}

export function describeRules(call: Reading, groups: readonly string[]): Promise<SecurityGroupRule[]> {
  return all(paginateDescribeSecurityGroupRules, clients(call).ec2, call, 'SecurityGroupRules', {
    Filters: [{ Name: 'group-id', Values: [...groups] }],
  })
}

/** An interface that is in nothing but such groups is isolated already, whoever did it. */
export async function readRuleless(call: Reading, interfaces: readonly NetworkInterface[]): Promise<Set<string>> {
  const groups = new Set(interfaces.flatMap(({ Groups }) => (Groups ?? []).flatMap(({ GroupId }) => GroupId ?? [])))
  const rules = await bounded(chunks([...groups]), (some) => describeRules(call, some))
  for (const { GroupId } of rules.flat()) groups.delete(GroupId ?? '')
  return groups
}

function describeAcls(call: Reading, Filters: Filter[]): Promise<NetworkAcl[]> {
  return all(paginateDescribeNetworkAcls, clients(call).ec2, call, 'NetworkAcls', { Filters })
}

/** The network ACL of a subnet, and the association that would be replaced. */
export const readAclOf = gathered('Reading network ACLs', atOnce, async (call, subnets) => {
  const found = await describeAcls(call, [{ Name: 'association.subnet-id', Values: [...subnets] }])
  return new Map(
    found
      .flatMap(({ Associations }) => Associations ?? [])
      .map(({ SubnetId = '', NetworkAclId: acl = '', NetworkAclAssociationId: association = '' }) => [
        SubnetId,
        { acl, association },
      ]),
  )
})

/** The network ACLs of this case, by the change that made them. */
export async function readAcls(call: Reading): Promise<Map<string, NetworkAcl>> {
  const found = await describeAcls(call, [{ Name: `tag:${caseTag}`, Values: [call.caseId] }])
  return new Map(found.map((one) => [one.Tags?.find(({ Key }) => Key === changeTag)?.Value ?? '', one]))
}

/** The network ACL that was made by this change. */
export const findAcl = gathered('Reading network ACLs', atOnce, readAcls)

const readAllAddresses = gathered('Reading Elastic IP addresses', 1, async (call, keys) => {
  const { Addresses } = await clients(call).ec2.send(new DescribeAddressesCommand({}), ending(call))
  return new Map(keys.map((key) => [key, (Addresses ?? []).sort(by(({ PublicIp }) => PublicIp))]))
})

/** Of the account in the region; they come in one answer. */
export async function allAddresses(call: Reading): Promise<readonly Address[]> {
  return (await readAllAddresses(call, '')) ?? []
}
