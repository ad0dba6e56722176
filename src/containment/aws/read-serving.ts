import {
  type AutoScalingGroup,
  DescribeAutoScalingInstancesCommand,
  paginateDescribeAutoScalingGroups,
} from '@aws-sdk/client-auto-scaling'
import type { Instance, NetworkInterface } from '@aws-sdk/client-ec2'
import {
  DescribeTargetHealthCommand,
  paginateDescribeTargetGroups,
  type TargetDescription,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import { awsError } from '../../aws/clients.ts'
import { bounded } from '../../bounded.ts'
import { all, by, chunks, clients, ending, type Reading } from './reading.ts'
import { gathered } from './together.ts'

/** What starts instances and what sends them requests: auto scaling and target groups. Reads only. */

/** https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingInstances.html */
const instancesAtOnce = 50

export async function describeScaling(call: Reading, names: readonly string[]): Promise<AutoScalingGroup[]> {
  const found = await bounded(chunks(names, instancesAtOnce), (AutoScalingGroupNames) =>
    all(paginateDescribeAutoScalingGroups, clients(call).scaling, call, 'AutoScalingGroups', { AutoScalingGroupNames }),
  )
  return found.flat().sort(by(({ AutoScalingGroupName }) => AutoScalingGroupName))
}

export const readScalingGroup = gathered('Reading auto scaling groups', instancesAtOnce, async (call, names) => {
  const found = await describeScaling(call, names)
  return new Map(found.map((one) => [one.AutoScalingGroupName ?? '', one]))
})

/**
 * Every group that is named, or that has one of the instances, or that the plan knows.
 *
 * @param known what was read of them a moment ago
 */
export async function readScaling(
  call: Reading,
  instances: readonly Instance[],
  known: readonly AutoScalingGroup[],
  unread: string[],
): Promise<AutoScalingGroup[]> {
  const names = new Set(groupsInPlan(call))
  const { autoScalingGroup } = call.target.deployment
  if (autoScalingGroup !== undefined) names.add(autoScalingGroup)
  const ids = instances.flatMap(({ InstanceId }) => InstanceId ?? [])
  // The group itself puts it there. That who is a member may not be asked never leaves a group at work on the evidence.
  for (const { Tags } of instances) {
    const tag = Tags?.find(({ Key }) => Key === 'aws:autoscaling:groupName')?.Value
    if (tag !== undefined) names.add(tag)
  }
  const members = await bounded(chunks(ids, instancesAtOnce), async (InstanceIds) => {
    try {
      return await clients(call).scaling.send(new DescribeAutoScalingInstancesCommand({ InstanceIds }), ending(call))
    } catch (error) {
      const found = awsError(error, 'Reading the auto scaling groups of instances')
      if (found.code === 'interrupted' || names.size === 0) throw found
      unread.push(found.message)
      return { AutoScalingInstances: [] }
    }
  })
  for (const { AutoScalingInstances } of members) {
    for (const { AutoScalingGroupName } of AutoScalingInstances ?? []) {
      if (AutoScalingGroupName !== undefined) names.add(AutoScalingGroupName)
    }
  }
  const had = known.filter(({ AutoScalingGroupName }) => names.delete(AutoScalingGroupName ?? ''))
  const others = names.size === 0 ? [] : await describeScaling(call, [...names])
  return [...had, ...others].sort(by(({ AutoScalingGroupName }) => AutoScalingGroupName))
}

/** Groups that an instance was detached from are known only by the plan. */
function groupsInPlan({ changes }: Reading): string[] {
  return changes.flatMap(({ params }) => {
    const group = params !== null && typeof params === 'object' && 'scaling' in params ? params.scaling : undefined
    return typeof group === 'string' ? [group] : []
  })
}

export interface Registration {
  readonly arn: string
  readonly targets: readonly TargetDescription[]
}

/** Of every target group of the VPCs: an instance may be registered with one that no auto scaling group knows. */
export async function readRegistrations(
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
    async ({ TargetGroupArn: arn = '' }): Promise<Registration[]> => {
      try {
        const targets = (await describeTargets(call, arn)).filter(({ Id }) => ours.has(Id))
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
async function describeTargets(call: Reading, TargetGroupArn: string): Promise<TargetDescription[]> {
  const { TargetHealthDescriptions } = await clients(call).balancing.send(
    new DescribeTargetHealthCommand({ TargetGroupArn }),
    ending(call),
  )
  return (TargetHealthDescriptions ?? [])
    .filter(({ TargetHealth }) => TargetHealth?.State !== 'draining')
    .flatMap(({ Target }) => (Target === undefined ? [] : [Target]))
    .sort(by(({ Id, Port }) => `${Id} ${Port}`))
}

const readTargetsByGroup = gathered('Reading the targets of a target group', 1, async (call, arns) => {
  const [arn = ''] = arns
  return new Map([[arn, await describeTargets(call, arn)]])
})

export async function readTargets(call: Reading, arn: string): Promise<readonly TargetDescription[]> {
  return (await readTargetsByGroup(call, arn)) ?? []
}
