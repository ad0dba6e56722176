import { setTimeout as sleep } from 'node:timers/promises'
import {
  type AutoScalingGroup,
  DescribeInstanceRefreshesCommand,
  type Instance as Member,
  ResumeProcessesCommand,
  StartInstanceRefreshCommand,
  UpdateAutoScalingGroupCommand,
} from '@aws-sdk/client-auto-scaling'
import type { Instance } from '@aws-sdk/client-ec2'
import type { ActionCall, Change } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Kind } from './action.ts'
import {
  clients,
  journalled,
  type Reading,
  readGroup,
  readInstances,
  redeployMark,
  redeployTag,
  type Target,
  type Template,
  tagOf,
  texts,
} from './reading.ts'
import { madeVersion } from './template.ts'

/** An auto scaling group that starts its instances from the new version; isolated ones have left it, and stay as they are. */

/** Without them a group starts nothing, and replaces nothing. */
const needed = ['Launch', 'Terminate']

/** Which suspended processes are resumed: those that the isolation of this case suspended. */
export function toResume(
  { SuspendedProcesses }: AutoScalingGroup,
  name: string,
  isolation: readonly Change[],
): string[] {
  const suspended = (SuspendedProcesses ?? []).flatMap(({ ProcessName }) => ProcessName ?? [])
  const ours = journalled(isolation, 'suspend-scaling').find(({ params }) => params.scaling === name)
  const before = texts(ours?.undo.suspended)
  const wanted = ours === undefined ? needed : texts(ours.params.processes).filter((one) => !before.includes(one))
  return suspended.filter((one) => wanted.includes(one)).sort()
}

export interface Size {
  readonly min: number
  readonly desired: number
}

/** As large as it was before the isolation took its instances out. */
export function wantedSize(group: AutoScalingGroup, name: string, isolation: readonly Change[]): Size {
  const lowered = journalled(isolation, 'lower-minimum').find(({ params }) => params.scaling === name)
  const left = journalled(isolation, 'detach-from-scaling').filter(
    ({ params }) => params.scaling === name && params.standby !== true,
  )
  const min = typeof lowered?.undo.minSize === 'number' ? lowered.undo.minSize : (group.MinSize ?? 0)
  return { min, desired: Math.max(group.DesiredCapacity ?? 0, left.length, min) }
}

/** The number that the group's own way of naming a version comes to; undefined for `$Latest` and `$Default`. */
export function pinned({ LaunchTemplate }: AutoScalingGroup): number | undefined {
  const version = Number(LaunchTemplate?.Version)
  return Number.isInteger(version) ? version : undefined
}

/**
 * Members in service, by whether they were started from the version: by the version that the group tells, or by the tags that
 * the version gives to what it starts.
 */
export async function membersBy(
  call: Reading,
  group: AutoScalingGroup,
  template: Template,
  version: number | undefined,
): Promise<{ readonly fresh: readonly string[]; readonly old: readonly string[] }> {
  const members = (group.Instances ?? []).filter(({ LifecycleState }) => LifecycleState === 'InService')
  const ids = members.flatMap(({ InstanceId }) => InstanceId ?? [])
  const described = new Map((await readInstances(call, ids)).map((one) => [one.InstanceId, one]))
  const isFresh = (member: Member): boolean =>
    version !== undefined &&
    (resolved(member, template) === version || isMarked(described.get(member.InstanceId ?? ''), call))
  const of = (fresh: boolean) =>
    members.filter((one) => isFresh(one) === fresh).flatMap(({ InstanceId }) => InstanceId ?? [])
  return { fresh: of(true).sort(), old: of(false).sort() }
}

function isMarked(instance: Instance | undefined, call: Reading): boolean {
  return instance !== undefined && tagOf(instance, redeployTag) === redeployMark(call)
}

function resolved({ LaunchTemplate }: Member, template: Template): number {
  const version = LaunchTemplate?.Version
  if (version === '$Latest') return template.latestVersion
  return version === '$Default' ? template.defaultVersion : Number(version)
}

export const useVersion: Kind<{ readonly hash: string }> = {
  async apply({ hash }, call, _, template, group) {
    const version = await madeVersion(call, template, hash)
    await clients(call).scaling.send(
      new UpdateAutoScalingGroupCommand({
        AutoScalingGroupName: nameOf(group),
        LaunchTemplate: { LaunchTemplateId: template.id, Version: `${version}` },
      }),
    )
    return { version }
  },
  async made({ hash }, call, _, template, group) {
    const version = await madeVersion(call, template, hash)
    return group !== undefined && pinned(group) === version ? { version } : undefined
  },
}

export const resumeScaling: Kind<{ readonly processes: string[] }> = {
  async apply({ processes: ScalingProcesses }, call, _, __, group) {
    await clients(call).scaling.send(
      new ResumeProcessesCommand({ AutoScalingGroupName: nameOf(group), ScalingProcesses }),
    )
    return { resumed: ScalingProcesses }
  },
  async made({ processes }, _, __, ___, group) {
    const suspended = (group?.SuspendedProcesses ?? []).flatMap(({ ProcessName }) => ProcessName ?? [])
    return processes.some((one) => suspended.includes(one)) ? undefined : { resumed: processes }
  },
}

export const resizeGroup: Kind<Size> = {
  async apply({ min: MinSize, desired: DesiredCapacity }, call, _, __, group) {
    await clients(call).scaling.send(
      new UpdateAutoScalingGroupCommand({ AutoScalingGroupName: nameOf(group), MinSize, DesiredCapacity }),
    )
    return { min: MinSize, desired: DesiredCapacity }
  },
  async made({ min, desired }, _, __, ___, group) {
    return (group?.MinSize ?? 0) >= min && (group?.DesiredCapacity ?? 0) >= desired ? { min, desired } : undefined
  },
}

const pollMs = 2000
const ended = /^(Successful|Failed|Cancelled|RollbackSuccessful|RollbackFailed)$/

export const refreshInstances: Kind<{ readonly hash: string }> = {
  async apply({ hash }, call, _, template, group) {
    const AutoScalingGroupName = nameOf(group)
    await madeVersion(call, template, hash)
    if ((await startedRefresh(call)) === undefined) {
      // A refresh has no token and no tag: what was there before tells ours. One group has one at a time, so none is started twice.
      const before = (await refreshes(call, AutoScalingGroupName)).flatMap(
        ({ InstanceRefreshId }) => InstanceRefreshId ?? [],
      )
      if (!call.recorded.some((one) => 'before' in one)) await call.record({ before })
      await clients(call).scalingOnce.send(
        new StartInstanceRefreshCommand({
          AutoScalingGroupName,
          // Isolated ones that are in standby are left where they are; else the refresh waits an hour for them, or ends them.
          // https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_RefreshPreferences.html
          Preferences: { StandbyInstances: 'Ignore', ScaleInProtectedInstances: 'Refresh', SkipMatching: true },
        }),
      )
    }
    return await untilRefreshed(call, AutoScalingGroupName)
  },
  async made(_, call) {
    const refresh = await startedRefresh(call)
    return refresh?.Status === 'Successful' ? { refresh: refresh.InstanceRefreshId ?? '' } : undefined
  },
}

async function refreshes(call: Reading, AutoScalingGroupName: string) {
  const { InstanceRefreshes } = await clients(call).scaling.send(
    new DescribeInstanceRefreshesCommand({ AutoScalingGroupName }),
    { abortSignal: call.signal },
  )
  return InstanceRefreshes ?? []
}

/** Newest first, as AWS lists them. One that failed or was cancelled does not count. */
async function startedRefresh(call: ActionCall<Target>) {
  const recorded = call.recorded.find((one) => 'before' in one)
  if (recorded === undefined) return undefined
  const before = texts(recorded.before)
  const found = await refreshes(call, nameOf(await readGroup(call)))
  return found.find(
    ({ InstanceRefreshId = '', Status = '' }) =>
      !before.includes(InstanceRefreshId) && (Status === 'Successful' || !ended.test(Status)),
  )
}

async function untilRefreshed(call: ActionCall<Target>, group: string) {
  for (;;) {
    const [newest] = await refreshes(call, group)
    const { InstanceRefreshId = '', Status = '', StatusReason = '', PercentageComplete = 0 } = newest ?? {}
    if (Status === 'Successful') return { refresh: InstanceRefreshId }
    if (ended.test(Status)) {
      throw new IrError('partial', `The instance refresh of ${safe(group)} ended as ${Status}: ${safe(StatusReason)}`)
    }
    call.progress(`${group} is being refreshed: ${PercentageComplete} %`)
    await sleep(pollMs, undefined, { signal: call.signal })
  }
}

export function nameOf(group: AutoScalingGroup | undefined): string {
  if (group?.AutoScalingGroupName !== undefined) return group.AutoScalingGroupName
  throw new TypeError('no auto scaling group')
}
