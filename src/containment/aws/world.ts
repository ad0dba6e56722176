import {
  AutoScalingClient,
  type AutoScalingGroup,
  DescribeAutoScalingInstancesCommand,
  paginateDescribeAutoScalingGroups,
} from '@aws-sdk/client-auto-scaling'
import {
  type Address,
  DescribeAddressesCommand,
  DescribeInstanceAttributeCommand,
  EC2Client,
  type Filter,
  type IamInstanceProfileAssociation,
  type Instance,
  type NetworkAcl,
  type NetworkInterface,
  paginateDescribeIamInstanceProfileAssociations,
  paginateDescribeInstances,
  paginateDescribeNetworkAcls,
  paginateDescribeNetworkInterfaces,
  paginateDescribeSecurityGroupRules,
  paginateDescribeSecurityGroups,
  paginateDescribeSnapshots,
  type SecurityGroupRule,
  type Snapshot,
  type TagSpecification,
} from '@aws-sdk/client-ec2'
import {
  DescribeTargetHealthCommand,
  ElasticLoadBalancingV2Client,
  paginateDescribeTargetGroups,
  type TargetDescription,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import { IAMClient } from '@aws-sdk/client-iam'
import { awsClient, awsError } from '../../aws/clients.ts'
import { bounded } from '../../bounded.ts'
import type { Call } from '../../change.ts'
import type { DeploymentOf } from '../../registry/port.ts'
import type { ContainmentTarget } from '../port.ts'

/** Everything that is read of AWS before and after: nothing here changes anything. */

export type Ec2 = DeploymentOf<'aws-ec2'>
export type Target = ContainmentTarget<Ec2>
/** What reading needs of a call. */
export type Reading = Pick<Call<Target>, 'target' | 'signal' | 'caseId' | 'changes'>

export const caseTag = 'mcp-ir:case'
const changeTag = 'mcp-ir:change'

/** `once` is for calls that would happen twice if they were repeated. */
export function clients({ target: { deployment }, signal }: Pick<Reading, 'target' | 'signal'>) {
  const scope = { region: deployment.region, role: deployment.role }
  return {
    ec2: awsClient(EC2Client, scope, 'reads', signal),
    ec2Once: awsClient(EC2Client, scope, 'creates', signal),
    scaling: awsClient(AutoScalingClient, scope, 'reads', signal),
    scalingOnce: awsClient(AutoScalingClient, scope, 'creates', signal),
    balancing: awsClient(ElasticLoadBalancingV2Client, scope, 'reads', signal),
    iam: awsClient(IAMClient, scope, 'reads', signal),
    iamOnce: awsClient(IAMClient, scope, 'creates', signal),
  }
}

/**
 * Names of what we create: one pair of groups for each VPC, case and deployment, the same in every run of the case.
 */
export function groupName({ caseId, target }: Reading): string {
  const slug = target.deployment.id.replace(/[^A-Za-z0-9._-]+/g, '-').slice(0, 80)
  return `mcp-ir-${caseId}-${slug}`
}

interface IsolationGroup {
  readonly id: string
  readonly vpc: string
  readonly rules: readonly SecurityGroupRule[]
}

interface Registration {
  readonly arn: string
  readonly targets: readonly TargetDescription[]
}

export interface Attributes {
  readonly terminationProtected: boolean
  readonly stopsOnShutdown: boolean
}

interface Subnet {
  readonly acl: string
  /** Interfaces that are not ours: they would be cut off too. */
  readonly neighbours: readonly NetworkInterface[]
}

export interface Session {
  readonly id: string
  readonly instance: string
  readonly owner: string
}

export interface World {
  /** Stopped ones too; terminated ones never. By id. */
  readonly instances: readonly Instance[]
  /** Attached to them. By id. */
  readonly interfaces: readonly NetworkInterface[]
  /** By VPC: the isolation groups of this case. */
  readonly isolation: ReadonlyMap<string, IsolationGroup>
  /** Auto scaling groups that are named or that have one of the instances. */
  readonly groups: readonly AutoScalingGroup[]
  /** Target groups with those of our targets that are registered and not on their way out. */
  readonly registrations: readonly Registration[]
  readonly profiles: readonly IamInstanceProfileAssociation[]
  readonly attributes: ReadonlyMap<string, Attributes>
  /** Security groups of the interfaces that have no rule at all. */
  readonly ruleless: ReadonlySet<string>
  /** By subnet, for `cut: nacl`: its network ACL and who else is in it. */
  readonly subnets: ReadonlyMap<string, Subnet>
  /** The network ACLs of this case, by the change that made them. */
  readonly acls: ReadonlyMap<string, string>
  /** For `elasticIp: disassociate`: those of the interfaces. */
  readonly addresses: readonly Address[]
  /** Live sessions of Systems Manager; `denied` when we may not see them. */
  readonly sessions: readonly Session[] | 'denied'
  /** Instances that the deployment names and that are ended: nothing is left to cut off. */
  readonly ended: readonly string[]
  /** What could not be read and why, in plain words: nothing that the cut needs. */
  readonly unread: readonly string[]
}

/** @throws IrError when what the cut needs cannot be read */
export async function readWorld(call: Reading): Promise<World> {
  const isolation = await readIsolationGroups(call)
  const { instances, ended } = await readInstances(call, [...isolation.values()])
  const ids = instances.map(({ InstanceId }) => InstanceId ?? '')
  const interfaces = await readInterfaces(call, ids)
  const unread: string[] = []
  const optional = async <T>(
    what: string,
    otherwise: T,
    work: () => Promise<T>,
    whenDenied = otherwise,
  ): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      const known = awsError(error, what)
      if (known.code === 'interrupted') throw known
      unread.push(known.message)
      return known.code === 'denied' ? whenDenied : otherwise
    }
  }
  const [groups, registrations, profiles, attributes, ruleless, sessions, subnets, acls, addresses] = await Promise.all(
    [
      optional('Reading auto scaling groups', [], () => readScaling(call, instances, unread)),
      optional('Reading target groups', [], () => readRegistrations(call, instances, interfaces, unread)),
      optional('Reading instance profile associations', [], () => readProfiles(call, ids)),
      optional('Reading the protections of instances', new Map<string, Attributes>(), () => readAttributes(call, ids)),
      optional('Reading the rules of security groups', new Set<string>(), () => readRuleless(call, interfaces)),
      optional<readonly Session[] | 'denied'>('Reading SSM sessions', [], () => readSessions(call, ids), 'denied'),
      readSubnets(call, interfaces),
      readAcls(call),
      optional('Reading Elastic IP addresses', [], () => readAddresses(call, interfaces)),
    ],
  )
  return {
    instances,
    interfaces,
    isolation,
    groups,
    registrations,
    profiles,
    attributes,
    ruleless,
    subnets,
    acls,
    addresses,
    sessions,
    ended,
    unread,
  }
}

/** The VPC's isolation group of this case, if it exists. */
export async function findGroup(call: Reading, vpc: string, name: string): Promise<string | undefined> {
  const found = await all(paginateDescribeSecurityGroups, clients(call).ec2, call, 'SecurityGroups', {
    Filters: [
      { Name: 'group-name', Values: [name] },
      { Name: 'vpc-id', Values: [vpc] },
    ],
  })
  return found[0]?.GroupId
}

export async function readRules(call: Reading, group: string): Promise<readonly SecurityGroupRule[]> {
  return all(paginateDescribeSecurityGroupRules, clients(call).ec2, call, 'SecurityGroupRules', {
    Filters: [{ Name: 'group-id', Values: [group] }],
  })
}

async function readIsolationGroups(call: Reading): Promise<Map<string, IsolationGroup>> {
  const found = await all(paginateDescribeSecurityGroups, clients(call).ec2, call, 'SecurityGroups', {
    Filters: [{ Name: 'group-name', Values: [groupName(call)] }],
  })
  const groups = await bounded(
    found,
    async ({ GroupId, VpcId }): Promise<IsolationGroup> => ({
      id: GroupId ?? '',
      vpc: VpcId ?? '',
      rules: await readRules(call, GroupId ?? ''),
    }),
  )
  return new Map(groups.map((group) => [group.vpc, group]))
}

/**
 * By id, by tags and by auto scaling group, all that the deployment names. Also those that are in an isolation group of
 * this case: an instance that was detached from its group is no longer found by it.
 */
async function readInstances(
  call: Reading,
  isolation: readonly IsolationGroup[],
): Promise<{ instances: Instance[]; ended: string[] }> {
  const { deployment } = call.target
  const { ec2 } = clients(call)
  const ids = new Set(deployment.instances ?? [])
  if (deployment.autoScalingGroup !== undefined) {
    for (const group of await readGroups(call, [deployment.autoScalingGroup])) {
      for (const { InstanceId } of group.Instances ?? []) if (InstanceId !== undefined) ids.add(InstanceId)
    }
  }
  if (isolation.length > 0) {
    const held = await describeInterfaces(call, [{ Name: 'group-id', Values: isolation.map(({ id }) => id) }])
    for (const { Attachment } of held) if (Attachment?.InstanceId !== undefined) ids.add(Attachment.InstanceId)
  }
  const queries: Filter[][] = chunks([...ids], 100).map((Values) => [{ Name: 'instance-id', Values }])
  const tags = Object.entries(deployment.tags ?? {})
  if (tags.length > 0) queries.push(tags.map(([key, value]) => ({ Name: `tag:${key}`, Values: [value] })))
  const found = await bounded(queries, (filters) =>
    all(paginateDescribeInstances, ec2, call, 'Reservations', { Filters: filters }),
  )
  const instances = new Map<string, Instance>()
  const ended: string[] = []
  for (const one of found.flat().flatMap(({ Instances }) => Instances ?? [])) {
    if (one.InstanceId === undefined) continue
    if (isEnded(one)) ended.push(one.InstanceId)
    else instances.set(one.InstanceId, one)
  }
  return { instances: [...instances.values()].sort(by(({ InstanceId }) => InstanceId)), ended: ended.sort() }
}

/** From the interfaces themselves: a primary group of the instance says nothing of its other interfaces. */
async function readInterfaces(call: Reading, ids: readonly string[]): Promise<NetworkInterface[]> {
  const found = await bounded(chunks(ids, 100), (Values) =>
    describeInterfaces(call, [{ Name: 'attachment.instance-id', Values }]),
  )
  return found.flat().sort(by(({ NetworkInterfaceId }) => NetworkInterfaceId))
}

export async function readInterface(call: Reading, id: string): Promise<NetworkInterface | undefined> {
  return (await describeInterfaces(call, [{ Name: 'network-interface-id', Values: [id] }]))[0]
}

function describeInterfaces(call: Reading, Filters: Filter[]): Promise<NetworkInterface[]> {
  return all(paginateDescribeNetworkInterfaces, clients(call).ec2, call, 'NetworkInterfaces', { Filters })
}

export async function readInstance(call: Reading, id: string): Promise<Instance | undefined> {
  const found = await all(paginateDescribeInstances, clients(call).ec2, call, 'Reservations', {
    Filters: [{ Name: 'instance-id', Values: [id] }],
  })
  const instance = found.flatMap(({ Instances }) => Instances ?? [])[0]
  return instance === undefined || isEnded(instance) ? undefined : instance
}

function isEnded({ State }: Instance): boolean {
  return State?.Name === 'terminated' || State?.Name === 'shutting-down'
}

/** An interface that is in nothing but such groups is isolated already, whoever did it. */
async function readRuleless(call: Reading, interfaces: readonly NetworkInterface[]): Promise<Set<string>> {
  const groups = new Set(interfaces.flatMap(({ Groups }) => (Groups ?? []).flatMap(({ GroupId }) => GroupId ?? [])))
  const rules = await bounded(chunks([...groups], 100), (Values) =>
    all(paginateDescribeSecurityGroupRules, clients(call).ec2, call, 'SecurityGroupRules', {
      Filters: [{ Name: 'group-id', Values }],
    }),
  )
  for (const { GroupId } of rules.flat()) groups.delete(GroupId ?? '')
  return groups
}

async function readSubnets(call: Reading, interfaces: readonly NetworkInterface[]): Promise<Map<string, Subnet>> {
  if (call.target.deployment.cut !== 'nacl') return new Map()
  const ids = [...new Set(interfaces.flatMap(({ SubnetId }) => SubnetId ?? []))].sort()
  const ours = new Set(interfaces.map(({ NetworkInterfaceId }) => NetworkInterfaceId))
  const found = await bounded(ids, async (id): Promise<[string, Subnet]> => {
    const neighbours = await describeInterfaces(call, [{ Name: 'subnet-id', Values: [id] }])
    return [
      id,
      {
        acl: (await readAclOf(call, id))?.acl ?? '',
        neighbours: neighbours.filter(({ NetworkInterfaceId }) => !ours.has(NetworkInterfaceId)),
      },
    ]
  })
  return new Map(found)
}

/** The network ACL of a subnet, and the association that would be replaced. */
export async function readAclOf(
  call: Reading,
  subnet: string,
): Promise<{ readonly acl: string; readonly association: string } | undefined> {
  const found = await all(paginateDescribeNetworkAcls, clients(call).ec2, call, 'NetworkAcls', {
    Filters: [{ Name: 'association.subnet-id', Values: [subnet] }],
  })
  const one = found.flatMap(({ Associations }) => Associations ?? []).find(({ SubnetId }) => SubnetId === subnet)
  return one === undefined ? undefined : { acl: one.NetworkAclId ?? '', association: one.NetworkAclAssociationId ?? '' }
}

async function readAddresses(call: Reading, interfaces: readonly NetworkInterface[]): Promise<Address[]> {
  if (call.target.deployment.elasticIp !== 'disassociate') return []
  const ours = new Set(interfaces.map(({ NetworkInterfaceId }) => NetworkInterfaceId))
  return (await allAddresses(call)).filter(({ NetworkInterfaceId }) => ours.has(NetworkInterfaceId))
}

/** Of the account in the region; they come in one answer. */
export async function allAddresses(call: Reading): Promise<Address[]> {
  const options = { abortSignal: call.signal }
  const { Addresses } = await clients(call).ec2.send(new DescribeAddressesCommand({}), options)
  return (Addresses ?? []).sort(by(({ PublicIp }) => PublicIp))
}

async function readAcls(call: Reading): Promise<Map<string, string>> {
  if (call.target.deployment.cut !== 'nacl') return new Map()
  const found = await all(paginateDescribeNetworkAcls, clients(call).ec2, call, 'NetworkAcls', {
    Filters: [{ Name: `tag:${caseTag}`, Values: [call.caseId] }],
  })
  return new Map(
    found.map(({ Tags, NetworkAclId }) => [
      Tags?.find(({ Key }) => Key === changeTag)?.Value ?? '',
      NetworkAclId ?? '',
    ]),
  )
}

/** The network ACL that was made by this change. */
export async function findAcl(call: Reading, changeId: string): Promise<NetworkAcl | undefined> {
  const found = await all(paginateDescribeNetworkAcls, clients(call).ec2, call, 'NetworkAcls', {
    Filters: [
      { Name: `tag:${caseTag}`, Values: [call.caseId] },
      { Name: `tag:${changeTag}`, Values: [changeId] },
    ],
  })
  return found[0]
}

/** Live ones only. */
export async function readSessions(call: Reading, ids: readonly string[]): Promise<Session[]> {
  if (ids.length === 0) return []
  const { liveSessions } = await import('./ssm.ts')
  return (await liveSessions(call)).filter(({ instance }) => ids.includes(instance)).sort(by(({ id }) => id))
}

async function readScaling(
  call: Reading,
  instances: readonly Instance[],
  unread: string[],
): Promise<AutoScalingGroup[]> {
  const { scaling } = clients(call)
  const names = new Set(groupsInPlan(call))
  if (call.target.deployment.autoScalingGroup !== undefined) names.add(call.target.deployment.autoScalingGroup)
  const ids = instances.flatMap(({ InstanceId }) => InstanceId ?? [])
  // The group itself puts it there. That who is a member may not be asked never leaves a group at work on the evidence.
  for (const { Tags } of instances) {
    const tag = Tags?.find(({ Key }) => Key === 'aws:autoscaling:groupName')?.Value
    if (tag !== undefined) names.add(tag)
  }
  // At most 50 ids a call: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingInstances.html
  const members = await bounded(chunks(ids, 50), async (InstanceIds) => {
    try {
      return await scaling.send(new DescribeAutoScalingInstancesCommand({ InstanceIds }), { abortSignal: call.signal })
    } catch (error) {
      const known = awsError(error, 'Reading the auto scaling groups of instances')
      if (known.code === 'interrupted' || names.size === 0) throw known
      unread.push(known.message)
      return { AutoScalingInstances: [] }
    }
  })
  for (const { AutoScalingInstances } of members) {
    for (const { AutoScalingGroupName } of AutoScalingInstances ?? []) {
      if (AutoScalingGroupName !== undefined) names.add(AutoScalingGroupName)
    }
  }
  return readGroups(call, [...names])
}

/** Groups that an instance was detached from are known only by the plan. */
function groupsInPlan({ changes }: Reading): string[] {
  return changes.flatMap(({ params }) => {
    const group = params !== null && typeof params === 'object' && 'scaling' in params ? params.scaling : undefined
    return typeof group === 'string' ? [group] : []
  })
}

export async function readGroups(call: Reading, names: readonly string[]): Promise<AutoScalingGroup[]> {
  const found = await bounded(chunks(names, 50), (AutoScalingGroupNames) =>
    all(paginateDescribeAutoScalingGroups, clients(call).scaling, call, 'AutoScalingGroups', { AutoScalingGroupNames }),
  )
  return found.flat().sort(by(({ AutoScalingGroupName }) => AutoScalingGroupName))
}

/** Of every target group of the VPCs: an instance may be registered with one that no auto scaling group knows. */
async function readRegistrations(
  call: Reading,
  instances: readonly Instance[],
  interfaces: readonly NetworkInterface[],
  unread: string[],
): Promise<Registration[]> {
  const vpcs = new Set(interfaces.map(({ VpcId }) => VpcId))
  const ours = new Set(instances.map(({ InstanceId }) => InstanceId))
  for (const { PrivateIpAddresses, Ipv6Addresses } of interfaces) {
    for (const { PrivateIpAddress } of PrivateIpAddresses ?? []) ours.add(PrivateIpAddress)
    for (const { Ipv6Address } of Ipv6Addresses ?? []) ours.add(Ipv6Address)
  }
  const groups = await all(paginateDescribeTargetGroups, clients(call).balancing, call, 'TargetGroups', {})
  const found = await bounded(
    groups.filter(({ VpcId }) => vpcs.has(VpcId)),
    async ({ TargetGroupArn }): Promise<Registration[]> => {
      const arn = TargetGroupArn ?? ''
      try {
        const targets = (await readTargets(call, arn)).filter(({ Id }) => ours.has(Id))
        return targets.length === 0 ? [] : [{ arn, targets }]
      } catch (error) {
        const known = awsError(error, `Reading the targets of ${arn}`)
        if (known.code === 'interrupted') throw known
        unread.push(known.message)
        return []
      }
    },
  )
  return found.flat().sort(by(({ arn }) => arn))
}

/** What is registered; what is draining gets no new requests any more. */
export async function readTargets(call: Reading, TargetGroupArn: string): Promise<TargetDescription[]> {
  const { TargetHealthDescriptions } = await clients(call).balancing.send(
    new DescribeTargetHealthCommand({ TargetGroupArn }),
    { abortSignal: call.signal },
  )
  return (TargetHealthDescriptions ?? [])
    .filter(({ TargetHealth }) => TargetHealth?.State !== 'draining')
    .flatMap(({ Target }) => (Target === undefined ? [] : [Target]))
    .sort(by(({ Id, Port }) => `${Id} ${Port}`))
}

export async function readProfiles(
  call: Reading,
  ids: readonly string[],
): Promise<readonly IamInstanceProfileAssociation[]> {
  const found = await bounded(chunks(ids, 100), (Values) =>
    all(paginateDescribeIamInstanceProfileAssociations, clients(call).ec2, call, 'IamInstanceProfileAssociations', {
      Filters: [{ Name: 'instance-id', Values }],
    }),
  )
  return found
    .flat()
    .filter(({ State }) => State === 'associated' || State === 'associating')
    .sort(by(({ InstanceId }) => InstanceId))
}

async function readAttributes(call: Reading, ids: readonly string[]): Promise<Map<string, Attributes>> {
  return new Map(await bounded(ids, async (id) => [id, await readAttributesOf(call, id)] as const))
}

export async function readAttributesOf(call: Reading, InstanceId: string): Promise<Attributes> {
  const { ec2 } = clients(call)
  const { DisableApiTermination } = await ec2.send(
    new DescribeInstanceAttributeCommand({ InstanceId, Attribute: 'disableApiTermination' }),
    { abortSignal: call.signal },
  )
  const { InstanceInitiatedShutdownBehavior } = await ec2.send(
    new DescribeInstanceAttributeCommand({ InstanceId, Attribute: 'instanceInitiatedShutdownBehavior' }),
    { abortSignal: call.signal },
  )
  return {
    terminationProtected: DisableApiTermination?.Value === true,
    stopsOnShutdown: InstanceInitiatedShutdownBehavior?.Value !== 'terminate',
  }
}

/** Tells what made a snapshot also where tags are not permitted. */
export function snapshotDescription({ caseId }: Pick<Reading, 'caseId'>, changeId: string): string {
  return `mcp-ir ${caseId} ${changeId}`
}

/** Snapshots that were made by this change. */
export async function snapshotsOf(call: Reading, changeId: string): Promise<readonly Snapshot[]> {
  const found = await all(paginateDescribeSnapshots, clients(call).ec2, call, 'Snapshots', {
    OwnerIds: ['self'],
    Filters: [{ Name: 'description', Values: [snapshotDescription(call, changeId)] }],
  })
  return found.sort(by(({ VolumeId }) => VolumeId))
}

/** What is put on everything that we make. */
export function tagsFor(
  ResourceType: 'snapshot' | 'security-group' | 'network-acl',
  { caseId }: Pick<Reading, 'caseId'>,
  changeId: string,
): TagSpecification[] {
  const Tags = [
    { Key: caseTag, Value: caseId },
    { Key: changeTag, Value: changeId },
  ]
  return [{ ResourceType, Tags }]
}

/** Every page of a list. */
async function all<C, I, O, K extends keyof O>(
  paginate: (config: { client: C }, input: I, options: { abortSignal: AbortSignal }) => AsyncIterable<O>,
  client: C,
  { signal }: Pick<Reading, 'signal'>,
  key: K,
  input: I,
): Promise<NonNullable<O[K]> extends readonly (infer T)[] ? T[] : never> {
  const found: unknown[] = []
  for await (const page of paginate({ client }, input, { abortSignal: signal })) {
    found.push(...((page[key] ?? []) as unknown as unknown[]))
  }
  return found as never
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  )
}

function by<T>(key: (item: T) => string | undefined): (a: T, b: T) => number {
  return (a, b) => ((key(a) ?? '') < (key(b) ?? '') ? -1 : 1)
}

/** An SDK error while looking, in our words. */
export async function reading<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw awsError(error, 'Reading from AWS')
  }
}
