import {
  AttachInstancesCommand,
  DetachInstancesCommand,
  EnterStandbyCommand,
  ResumeProcessesCommand,
  SetInstanceProtectionCommand,
  SuspendProcessesCommand,
  UpdateAutoScalingGroupCommand,
} from '@aws-sdk/client-auto-scaling'
import { DeregisterTargetsCommand } from '@aws-sdk/client-elastic-load-balancing-v2'
import { awsError } from '../../aws/clients.ts'
import type { Call } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Kind } from './action.ts'
import type { Drafting } from './aims.ts'
import { readInstance } from './read-instances.ts'
import { readScalingGroup, readTargets } from './read-serving.ts'
import { clients, type Target } from './reading.ts'
import { quote } from './shell.ts'
import { together } from './together.ts'

/** Auto scaling: it starts nothing, ends nothing, and lets the instances go. */

/** Of what leaves or joins: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DetachInstances.html */
const atOnce = 20

/** Everything that would terminate a quarantined instance or start another copy of the same build. */
const processes = ['Launch', 'Terminate', 'HealthCheck', 'ReplaceUnhealthy', 'AZRebalance']

interface SuspendParams {
  scaling: string
  processes: string[]
}

interface MinimumParams {
  scaling: string
  minSize: number
}

interface DetachParams {
  scaling: string
  instance: string
  /** It is in standby: the size that the group wants does not count it. */
  standby: boolean
  /** All that are to leave the group. */
  members: string[]
}

interface DetachUndo {
  protected: boolean
}

/** @returns the ids of the changes by name of the group */
export function suspendAims({ world, aim }: Drafting): ReadonlyMap<string, string> {
  const suspended = new Map<string, string>()
  for (const group of world.groups) {
    const name = group.AutoScalingGroupName ?? ''
    const before = (group.SuspendedProcesses ?? []).flatMap(({ ProcessName }) => ProcessName ?? []).sort()
    const missing = processes.filter((process) => !before.includes(process))
    suspended.set(
      name,
      aim('suspend-scaling', `auto scaling group ${name}`, {
        holds: missing.length === 0,
        claim: `auto scaling group ${safe(name)} neither starts nor ends instances`,
        seen: `suspended: ${before.join(', ') || 'nothing'}`,
        summary: `Suspend the scaling of ${safe(name)}, so that it neither starts another copy nor ends these`,
        priority: 'essential',
        params: { scaling: name, processes } satisfies SuspendParams,
        undo: { suspended: before },
        breaks: [`${safe(name)} no longer replaces unhealthy instances nor follows its load`],
        command: `autoscaling suspend-processes --auto-scaling-group-name ${quote(name)} --scaling-processes ${processes.join(' ')}`,
      }),
    )
  }
  return suspended
}

/** @param cuts ids of the changes by interface */
export function leaveAims(
  { world, aim }: Drafting,
  suspended: ReadonlyMap<string, string>,
  cuts: ReadonlyMap<string, string>,
): void {
  const ours = new Set(world.instances.map(({ InstanceId }) => InstanceId))
  for (const group of world.groups) {
    const scaling = group.AutoScalingGroupName ?? ''
    const members = (group.Instances ?? [])
      .filter(({ InstanceId }) => ours.has(InstanceId))
      .sort((a, b) => ((a.InstanceId ?? '') < (b.InstanceId ?? '') ? -1 : 1))
    if (members.length === 0) continue
    const ids = members.flatMap(({ InstanceId }) => InstanceId ?? [])
    const minSize = group.MinSize ?? 0
    const counted = members.filter(({ LifecycleState }) => !isStandby(LifecycleState))
    const least = Math.max(0, (group.DesiredCapacity ?? 0) - counted.length)
    const after = [suspended.get(scaling) ?? '']
    const lowered = aim('lower-minimum', `auto scaling group ${scaling}`, {
      holds: minSize <= least,
      claim: `auto scaling group ${safe(scaling)} may get smaller by the instances`,
      seen: `at least ${minSize} of ${group.DesiredCapacity ?? 0}`,
      summary: `Let ${safe(scaling)} have as few as ${least} instances`,
      priority: 'best-effort',
      after,
      params: { scaling, minSize: least } satisfies MinimumParams,
      undo: { minSize },
      command: `autoscaling update-auto-scaling-group --auto-scaling-group-name ${quote(scaling)} --min-size ${least}`,
    })
    for (const { InstanceId: instance = '', ProtectedFromScaleIn, LifecycleState } of members) {
      const interfaces = world.interfaces.filter(({ Attachment }) => Attachment?.InstanceId === instance)
      const standby = isStandby(LifecycleState)
      aim('detach-from-scaling', `instance ${instance} in auto scaling group ${scaling}`, {
        holds: false,
        claim: gone(instance, scaling),
        seen: `still in ${safe(scaling)}`,
        summary: `Take ${instance} out of ${safe(scaling)}, which starts no other in its place`,
        priority: 'best-effort',
        // Only once it is cut off: outside of its group it could not be found by the name of the group any more.
        after: [
          ...after,
          lowered,
          ...interfaces.map(({ NetworkInterfaceId = '' }) => cuts.get(NetworkInterfaceId) ?? ''),
        ],
        params: { scaling, instance, standby, members: ids } satisfies DetachParams,
        undo: { protected: ProtectedFromScaleIn === true } satisfies DetachUndo,
        command: `autoscaling detach-instances --auto-scaling-group-name ${quote(scaling)} --${standby ? 'no-' : ''}should-decrement-desired-capacity --instance-ids ${instance}`,
      })
    }
  }
}

const gone = (instance: string, scaling: string): string =>
  `${instance} is no longer in auto scaling group ${safe(scaling)}`

const isStandby = (state: string | undefined): boolean => state === 'Standby' || state === 'EnteringStandby'

export const suspendScaling: Kind<SuspendParams, { suspended: string[] }> = {
  async apply({ scaling, processes: ScalingProcesses }, call) {
    await clients(call).scaling.send(new SuspendProcessesCommand({ AutoScalingGroupName: scaling, ScalingProcesses }))
  },
  async holds({ scaling, processes: wanted }, call) {
    const now = await suspendedNow(call, scaling)
    return now === undefined || wanted.every((process) => now.includes(process))
  },
  back: {
    async drift({ scaling, processes: ours }, { suspended }, call) {
      const now = await suspendedNow(call, scaling)
      if (now === undefined) return [`auto scaling group ${safe(scaling)} no longer exists`]
      const resumed = ours.filter((process) => !suspended.includes(process) && !now.includes(process))
      return resumed.length === 0 || resumed.length === ours.length - suspended.length
        ? []
        : [`somebody resumed ${resumed.join(', ')} of ${safe(scaling)}`]
    },
    async apply({ scaling, processes: ours }, { suspended }, call) {
      const ScalingProcesses = ours.filter((process) => !suspended.includes(process))
      await clients(call).scaling.send(new ResumeProcessesCommand({ AutoScalingGroupName: scaling, ScalingProcesses }))
    },
    async holds({ scaling, processes: ours }, { suspended }, call) {
      const now = await suspendedNow(call, scaling)
      return now === undefined || !ours.some((process) => !suspended.includes(process) && now.includes(process))
    },
  },
}

export const lowerMinimum: Kind<MinimumParams, { minSize: number }> = {
  async apply({ scaling, minSize: MinSize }, call) {
    await clients(call).scaling.send(new UpdateAutoScalingGroupCommand({ AutoScalingGroupName: scaling, MinSize }))
  },
  async holds({ scaling, minSize }, call) {
    const group = await readScalingGroup(call, scaling)
    return group === undefined || (group.MinSize ?? 0) <= minSize
  },
  back: {
    async drift({ scaling, minSize: ours }, { minSize: former }, call) {
      const group = await readScalingGroup(call, scaling)
      if (group === undefined) return [`auto scaling group ${safe(scaling)} is gone`]
      const now = group.MinSize ?? 0
      return now === former || now === ours
        ? []
        : [`${safe(scaling)} has a minimum of ${now} now, and would get ${former} back`]
    },
    async apply({ scaling }, { minSize: MinSize }, call) {
      const group = await readScalingGroup(call, scaling)
      if (group === undefined) return
      if ((group.DesiredCapacity ?? 0) < MinSize) {
        // AWS would start new instances of the same build to reach it.
        throw new IrError('partial', `${safe(scaling)} has fewer instances than its former minimum of ${MinSize}.`)
      }
      await clients(call).scaling.send(new UpdateAutoScalingGroupCommand({ AutoScalingGroupName: scaling, MinSize }))
    },
    async holds({ scaling }, { minSize }, call) {
      const group = await readScalingGroup(call, scaling)
      return group === undefined || group.MinSize === minSize
    },
  },
}

export const detachFromScaling: Kind<DetachParams, DetachUndo> = {
  together: atOnce,
  claim: ({ instance, scaling }) => gone(instance, scaling),
  async apply(params, call) {
    await detach(call, params)
    return undefined
  },
  async holds({ scaling, instance }, call) {
    const state = await memberState(call, scaling, instance)
    return state === undefined || state.startsWith('Detach')
  },
  back: {
    async drift({ scaling, instance }, _, call) {
      const now = await readInstance(call, instance)
      if (now === undefined) return [`${instance} no longer exists`]
      const other = now.Tags?.find(({ Key }) => Key === 'aws:autoscaling:groupName')?.Value
      if (other !== undefined && other !== scaling) return [`${instance} is in auto scaling group ${safe(other)} now`]
      return (await readScalingGroup(call, scaling)) !== undefined
        ? []
        : [`auto scaling group ${safe(scaling)} is gone`]
    },
    async apply({ scaling, instance, standby }, { protected: ProtectedFromScaleIn }, call) {
      const group = { AutoScalingGroupName: scaling, InstanceIds: [instance] }
      const { scaling: client, scalingOnce } = clients(call)
      if ((await memberState(call, scaling, instance)) === undefined) {
        await together(call, `attach ${scaling}`, instance, atOnce, (instances) =>
          scalingOnce.send(new AttachInstancesCommand({ AutoScalingGroupName: scaling, InstanceIds: [...instances] })),
        )
      }
      if (standby && !isStandby(await memberState(call, scaling, instance))) {
        // As it was: not counted, so that nothing is started in its place.
        await scalingOnce.send(new EnterStandbyCommand({ ...group, ShouldDecrementDesiredCapacity: true }))
      }
      if (ProtectedFromScaleIn) await client.send(new SetInstanceProtectionCommand({ ...group, ProtectedFromScaleIn }))
    },
    async holds({ scaling, instance, standby }, { protected: wanted }, call) {
      const group = await readScalingGroup(call, scaling)
      if (group === undefined) return true
      const member = group.Instances?.find(({ InstanceId }) => InstanceId === instance)
      if (member === undefined) return (await readInstance(call, instance)) === undefined
      return isStandby(member.LifecycleState) === standby && (member.ProtectedFromScaleIn === true || !wanted)
    },
  },
}

/** Together with the others that leave their group now. */
function detach(call: Call<Target>, { scaling, instance, standby, members }: DetachParams): Promise<void> {
  const { scalingOnce } = clients(call)
  return together(call, `detach ${scaling} ${standby}`, instance, atOnce, async (instances) => {
    await scalingOnce.send(
      new DetachInstancesCommand({
        AutoScalingGroupName: scaling,
        InstanceIds: [...instances],
        // Otherwise the group starts another copy of the same build in its place. One in standby is counted already.
        ShouldDecrementDesiredCapacity: !standby,
      }),
    )
    await deregisterAgain(call, scaling, members)
  })
}

/** A group that changes may register those that are still in it with its target groups again. */
async function deregisterAgain(call: Call<Target>, scaling: string, members: readonly string[]): Promise<void> {
  const { balancing } = clients(call)
  try {
    const group = await readScalingGroup(call, scaling)
    for (const TargetGroupArn of group?.TargetGroupARNs ?? []) {
      const back = (await readTargets(call, TargetGroupArn)).filter(({ Id }) => members.includes(Id ?? ''))
      if (back.length > 0) await balancing.send(new DeregisterTargetsCommand({ TargetGroupArn, Targets: back }))
    }
  } catch (error) {
    // The verdict tells what is still registered; the instances themselves have left.
    if (awsError(error, 'Deregistering').code === 'interrupted') throw error
  }
}

async function suspendedNow(call: Call<Target>, name: string): Promise<string[] | undefined> {
  const group = await readScalingGroup(call, name)
  return group === undefined ? undefined : (group.SuspendedProcesses ?? []).flatMap((one) => one.ProcessName ?? [])
}

/** The state of an instance in its auto scaling group; undefined when it is not in it. */
async function memberState(call: Call<Target>, scaling: string, instance: string): Promise<string | undefined> {
  const group = await readScalingGroup(call, scaling)
  const member = (group?.Instances ?? []).find(({ InstanceId }) => InstanceId === instance)
  return member === undefined ? undefined : (member.LifecycleState ?? '')
}
