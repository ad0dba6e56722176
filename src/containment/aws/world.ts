import type { AutoScalingGroup } from '@aws-sdk/client-auto-scaling'
import type {
  Address,
  Filter,
  IamInstanceProfileAssociation,
  Instance,
  NetworkAcl,
  NetworkInterface,
  SecurityGroupRule,
  Snapshot,
} from '@aws-sdk/client-ec2'
import { awsError } from '../../aws/clients.ts'
import { bounded } from '../../bounded.ts'
import type { Call } from '../../change.ts'
import { within } from './deadline.ts'
import { deniesAll, denyName, isNamed } from './deny-profile.ts'
import {
  type Attributes,
  describeInstances,
  isEnded,
  readAttributes,
  readProfiles,
  readSessions,
  type Session,
  snapshotsOf,
} from './read-instances.ts'
import {
  allAddresses,
  describeGroups,
  describeInterfaces,
  describeRules,
  readAclOf,
  readAcls,
  readInterfaces,
  readRuleless,
} from './read-network.ts'
import { describeScaling, type Registration, readRegistrations, readScaling } from './read-serving.ts'
import { by, chunks, groupName, hopName, type Reading, reading, type Target } from './reading.ts'
import { snapshotChange } from './snapshots.ts'

/** One look at everything that isolation is about: before it, as the plan and the undo; after it, as the verdict. */

interface IsolationGroup {
  readonly id: string
  readonly vpc: string
  readonly rules: readonly SecurityGroupRule[]
}

interface Subnet {
  readonly acl: string
  /** Interfaces that are not ours: they would be cut off too. */
  readonly neighbours: readonly NetworkInterface[]
}

export interface World {
  /** Stopped ones too; terminated ones never. By id. */
  readonly instances: readonly Instance[]
  /** Attached to them. By id. */
  readonly interfaces: readonly NetworkInterface[]
  /** By VPC: the isolation groups of this case. */
  readonly isolation: ReadonlyMap<string, IsolationGroup>
  /** Ids of the open groups of this case, which interfaces pass through. */
  readonly open: ReadonlySet<string>
  /** Auto scaling groups that are named or that have one of the instances. */
  readonly groups: readonly AutoScalingGroup[]
  /** Target groups with those of our targets that are registered and not on their way out. */
  readonly registrations: readonly Registration[]
  readonly profiles: readonly IamInstanceProfileAssociation[]
  /** Whether the profile that denies everything is seen to do so; asked where an instance has it. */
  readonly deniesAll: boolean
  readonly attributes: ReadonlyMap<string, Attributes>
  /** By the change that would make them; undefined when they could not be read. */
  readonly snapshots: ReadonlyMap<string, readonly Snapshot[]> | undefined
  /** Security groups of the interfaces that have no rule at all. */
  readonly ruleless: ReadonlySet<string>
  /** By subnet, for `cut: nacl`: its network ACL and who else is in it. */
  readonly subnets: ReadonlyMap<string, Subnet>
  /** The network ACLs of this case, by the change that made them. */
  readonly acls: ReadonlyMap<string, NetworkAcl>
  /** For `elasticIp: disassociate`: those of the interfaces. */
  readonly addresses: readonly Address[]
  /** Live sessions of Systems Manager; `denied` when we may not see them. */
  readonly sessions: readonly Session[] | 'denied'
  /** Instances that the deployment names and that are ended: nothing is left to cut off. */
  readonly ended: readonly string[]
  /** What could not be read and why, in plain words: nothing that the cut needs. */
  readonly unread: readonly string[]
}

/** How long each thing is looked for that the cut does not need. */
const bestEffortMs = 15_000

/** For how long a look serves what comes next, which changes nothing either. */
const freshMs = 60_000
const looks = new WeakMap<Call<Target>, { readonly world: World; readonly at: number }>()

/**
 * A new look, which the next step of the same call may take over: `check` leaves it to `plan`, `collect` to `verify`.
 * @throws IrError when what the cut needs cannot be read
 */
export async function look(call: Call<Target>): Promise<World> {
  const world = await reading(() => readWorld(call))
  looks.set(call, { world, at: performance.now() })
  return world
}

/** What was seen a moment ago, once; else a new look. @throws as `look` */
export async function lastLook(call: Call<Target>): Promise<World> {
  const last = looks.get(call)
  looks.delete(call)
  return last !== undefined && performance.now() - last.at < freshMs ? last.world : reading(() => readWorld(call))
}

async function readWorld(call: Call<Target>): Promise<World> {
  const { autoScalingGroup } = call.target.deployment
  const [own, named] = await Promise.all([
    readOwnGroups(call),
    autoScalingGroup === undefined ? [] : describeScaling(call, [autoScalingGroup]),
  ])
  const { instances, ended } = await readInstances(call, [...own.ids], named)
  const ids = instances.map(({ InstanceId }) => InstanceId ?? '')
  const interfaces = await readInterfaces(call, ids)
  const unread: string[] = []
  /** @param denied what is taken to be so when it may not be read */
  const optional = async <T>(
    what: string,
    otherwise: T,
    work: (given: Reading) => Promise<T>,
    denied = otherwise,
  ): Promise<T> => {
    try {
      return await within(bestEffortMs, what, call.signal, (until) => work({ ...call, until }))
    } catch (error) {
      const known = awsError(error, what)
      if (known.code === 'interrupted') throw known
      unread.push(known.message)
      return known.code === 'denied' ? denied : otherwise
    }
  }
  const attributes = new Map<string, Attributes>()
  const [groups, registrations, profiles, snapshots, ruleless, sessions, subnets, acls, addresses] = await Promise.all([
    optional('Reading auto scaling groups', [], (given) => readScaling(given, instances, named, unread)),
    optional('Reading target groups', [], (given) => readRegistrations(given, instances, interfaces, unread)),
    optional('Reading instance profile associations', [], (given) => readProfiles(given, ids)),
    optional('Reading snapshots', undefined, (given) =>
      readSnapshots(
        given,
        ids.map((id) => snapshotChange(call, id)),
      ),
    ),
    optional('Reading the rules of security groups', new Set<string>(), (given) => readRuleless(given, interfaces)),
    optional<readonly Session[] | 'denied'>('Reading SSM sessions', [], (given) => readSessions(given, ids), 'denied'),
    readSubnets(call, interfaces),
    call.target.deployment.cut === 'nacl' ? readAcls(call) : new Map<string, NetworkAcl>(),
    optional('Reading Elastic IP addresses', [], (given) => readAddresses(given, interfaces)),
    optional('Reading the protections of instances', undefined, (given) =>
      readAttributes(given, ids, attributes, unread),
    ),
  ])
  const denied = denyName(call)
  const arns = [...profiles, ...instances].map((one) => one.IamInstanceProfile?.Arn ?? '')
  return {
    instances,
    interfaces,
    deniesAll: arns.some((arn) => isNamed(arn, denied))
      ? await optional('Reading the profile that denies everything', false, (given) => deniesAll(given, denied))
      : false,
    isolation: own.isolation,
    open: own.open,
    groups,
    registrations,
    profiles,
    attributes,
    snapshots,
    ruleless,
    subnets,
    acls,
    addresses,
    sessions,
    ended,
    unread,
  }
}

async function readOwnGroups(
  call: Reading,
): Promise<Pick<World, 'isolation' | 'open'> & { readonly ids: ReadonlySet<string> }> {
  const name = groupName(call)
  const found = await describeGroups(call, [{ Name: 'group-name', Values: [name, hopName(name)] }])
  const ids = new Set(found.flatMap(({ GroupId }) => GroupId ?? []))
  const closed = found.filter(({ GroupName }) => GroupName === name)
  const rules =
    closed.length === 0
      ? []
      : await describeRules(
          call,
          closed.flatMap(({ GroupId }) => GroupId ?? []),
        )
  const isolation = closed.map(
    ({ GroupId: id = '', VpcId: vpc = '' }): IsolationGroup => ({
      id,
      vpc,
      rules: rules.filter(({ GroupId }) => GroupId === id),
    }),
  )
  return {
    ids,
    isolation: new Map(isolation.map((group) => [group.vpc, group])),
    open: new Set([...ids].filter((id) => !isolation.some((group) => group.id === id))),
  }
}

/**
 * By id, by tags and by auto scaling group, all that the deployment names. Also those that are in a group of this case: an
 * instance that was detached from its auto scaling group is no longer found by it.
 */
async function readInstances(
  call: Reading,
  own: readonly string[],
  scaling: readonly AutoScalingGroup[],
): Promise<{ instances: Instance[]; ended: string[] }> {
  const { deployment } = call.target
  const ids = new Set(deployment.instances ?? [])
  for (const { Instances } of scaling) {
    for (const { InstanceId } of Instances ?? []) if (InstanceId !== undefined) ids.add(InstanceId)
  }
  if (own.length > 0) {
    const held = await describeInterfaces(call, [{ Name: 'group-id', Values: [...own] }])
    for (const { Attachment } of held) if (Attachment?.InstanceId !== undefined) ids.add(Attachment.InstanceId)
  }
  const queries: Filter[][] = chunks([...ids]).map((Values) => [{ Name: 'instance-id', Values }])
  const tags = Object.entries(deployment.tags ?? {})
  if (tags.length > 0) queries.push(tags.map(([key, value]) => ({ Name: `tag:${key}`, Values: [value] })))
  const found = await bounded(queries, (filters) => describeInstances(call, filters))
  const instances = new Map<string, Instance>()
  const ended: string[] = []
  for (const one of found.flat()) {
    if (one.InstanceId === undefined) continue
    if (isEnded(one)) ended.push(one.InstanceId)
    else instances.set(one.InstanceId, one)
  }
  return { instances: [...instances.values()].sort(by(({ InstanceId }) => InstanceId)), ended: ended.sort() }
}

async function readSubnets(call: Reading, interfaces: readonly NetworkInterface[]): Promise<Map<string, Subnet>> {
  if (call.target.deployment.cut !== 'nacl') return new Map()
  const ids = [...new Set(interfaces.flatMap(({ SubnetId }) => SubnetId ?? []))].sort()
  const ours = new Set(interfaces.map(({ NetworkInterfaceId }) => NetworkInterfaceId))
  const all = await bounded(chunks(ids), (Values) => describeInterfaces(call, [{ Name: 'subnet-id', Values }]))
  const found = ids.map(async (id): Promise<[string, Subnet]> => {
    const neighbours = all
      .flat()
      .filter(({ SubnetId, NetworkInterfaceId }) => SubnetId === id && !ours.has(NetworkInterfaceId))
    return [id, { acl: (await readAclOf(call, id))?.acl ?? '', neighbours }]
  })
  return new Map(await Promise.all(found))
}

async function readSnapshots(
  call: Reading,
  changes: readonly string[],
): Promise<ReadonlyMap<string, readonly Snapshot[]>> {
  return new Map(await Promise.all(changes.map(async (id) => [id, await snapshotsOf(call, id)] as const)))
}

async function readAddresses(call: Reading, interfaces: readonly NetworkInterface[]): Promise<Address[]> {
  if (call.target.deployment.elasticIp !== 'disassociate') return []
  const ours = new Set(interfaces.map(({ NetworkInterfaceId }) => NetworkInterfaceId))
  return (await allAddresses(call)).filter(({ NetworkInterfaceId }) => ours.has(NetworkInterfaceId))
}
