import {
  DescribeInstanceAttributeCommand,
  type Filter,
  type IamInstanceProfileAssociation,
  type Instance,
  paginateDescribeIamInstanceProfileAssociations,
  paginateDescribeInstances,
  paginateDescribeSnapshots,
  type Snapshot,
} from '@aws-sdk/client-ec2'
import { awsError } from '../../aws/clients.ts'
import { bounded } from '../../bounded.ts'
import { all, atOnce, by, chunks, clients, ending, type Reading, snapshotDescription } from './reading.ts'
import { gathered } from './together.ts'

/** Instances with what belongs to them: profile, attributes, snapshots, sessions. Reads only. */

/** Ended ones too, for as long as AWS knows them. */
export async function describeInstances(call: Reading, Filters: Filter[]): Promise<Instance[]> {
  const found = await all(paginateDescribeInstances, clients(call).ec2, call, 'Reservations', { Filters })
  return found.flatMap(({ Instances }) => Instances ?? [])
}

export function isEnded({ State }: Instance): boolean {
  return State?.Name === 'terminated' || State?.Name === 'shutting-down'
}

/** A living one. */
export const readInstance = gathered('Reading instances', atOnce, async (call, ids) => {
  const found = await describeInstances(call, [{ Name: 'instance-id', Values: [...ids] }])
  return new Map(found.filter((one) => !isEnded(one)).map((one) => [one.InstanceId ?? '', one]))
})

export async function readProfiles(
  call: Reading,
  ids: readonly string[],
): Promise<readonly IamInstanceProfileAssociation[]> {
  const found = await bounded(chunks(ids), (Values) =>
    all(paginateDescribeIamInstanceProfileAssociations, clients(call).ec2, call, 'IamInstanceProfileAssociations', {
      Filters: [{ Name: 'instance-id', Values }],
    }),
  )
  return found
    .flat()
    .filter(({ State }) => State === 'associated' || State === 'associating')
    .sort(by(({ InstanceId }) => InstanceId))
}

const readProfilesByInstance = gathered('Reading instance profile associations', atOnce, async (call, ids) =>
  Map.groupBy(await readProfiles(call, ids), ({ InstanceId }) => InstanceId ?? ''),
)

/** There is one, but for the moment in which it is replaced. */
export async function readProfilesOf(
  call: Reading,
  instance: string,
): Promise<readonly IamInstanceProfileAssociation[]> {
  return (await readProfilesByInstance(call, instance)) ?? []
}

export interface Attributes {
  readonly terminationProtected: boolean
  readonly stopsOnShutdown: boolean
}

/**
 * @param into by instance: what was read stays although the rest is given up
 * @param unread what could not be read and why, in plain words
 */
export async function readAttributes(
  call: Reading,
  ids: readonly string[],
  into: Map<string, Attributes>,
  unread: string[],
): Promise<void> {
  await bounded(ids, async (id) => {
    try {
      into.set(id, await readAttributesOf(call, id))
    } catch (error) {
      const known = awsError(error, `Reading the protections of ${id}`)
      // Of one, that is: it may be gone by now. All else holds for the others too.
      if (known.code !== 'partial') throw error
      unread.push(known.message)
    }
  })
}

// One attribute a call, of one instance: AWS has no other way.
export async function readAttributesOf(call: Reading, InstanceId: string): Promise<Attributes> {
  const ask = (Attribute: 'disableApiTermination' | 'instanceInitiatedShutdownBehavior') =>
    clients(call).ec2.send(new DescribeInstanceAttributeCommand({ InstanceId, Attribute }), ending(call))
  const { DisableApiTermination } = await ask('disableApiTermination')
  const { InstanceInitiatedShutdownBehavior } = await ask('instanceInitiatedShutdownBehavior')
  return {
    terminationProtected: DisableApiTermination?.Value === true,
    stopsOnShutdown: InstanceInitiatedShutdownBehavior?.Value !== 'terminate',
  }
}

const readSnapshots = gathered('Reading snapshots', atOnce, async (call, descriptions) => {
  const found = await all(paginateDescribeSnapshots, clients(call).ec2, call, 'Snapshots', {
    OwnerIds: ['self'],
    Filters: [{ Name: 'description', Values: [...descriptions] }],
  })
  return Map.groupBy(found.sort(by(({ VolumeId }) => VolumeId)), ({ Description }) => Description ?? '')
})

/** Snapshots that were made by this change. */
export async function snapshotsOf(call: Reading, changeId: string): Promise<readonly Snapshot[]> {
  return (await readSnapshots(call, snapshotDescription(call, changeId))) ?? []
}

export interface Session {
  readonly id: string
  readonly instance: string
  readonly owner: string
}

const readLiveSessions = gathered('Reading SSM sessions', 1, async (call, keys) => {
  const { liveSessions } = await import('./ssm.ts')
  const live = await liveSessions(call)
  return new Map(keys.map((key) => [key, live]))
})

/** Live ones only. */
export async function readSessions(call: Reading, ids: readonly string[]): Promise<Session[]> {
  if (ids.length === 0) return []
  const live = (await readLiveSessions(call, '')) ?? []
  return live.filter(({ instance }) => ids.includes(instance)).sort(by(({ id }) => id))
}
