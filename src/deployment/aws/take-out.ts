import { setTimeout as sleep } from 'node:timers/promises'
import {
  CancelInstanceRefreshCommand,
  DetachInstancesCommand,
  SuspendProcessesCommand,
  UpdateAutoScalingGroupCommand,
} from '@aws-sdk/client-auto-scaling'
import {
  CreateTagsCommand,
  ModifyLaunchTemplateCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2'
import { DeregisterTargetsCommand } from '@aws-sdk/client-elastic-load-balancing-v2'
import { awsCode } from '../../aws/clients.ts'
import type { ActionCall, Change } from '../../change.ts'
import { membersBy, nameOf, pinned } from './group.ts'
import { registeredWith } from './launch.ts'
import {
  clients,
  isAlive,
  readGroup,
  readStarted,
  readTemplate,
  rebuildOf,
  type Target,
  type Template,
} from './reading.ts'
import { versionOf } from './template.ts'

/**
 * Takes out what this case started, so that everything is as the isolation left it. New instances are stopped and not terminated:
 * what served something else than it should is evidence. Nothing here touches an instance that this case did not start.
 */
export async function takeOut(call: ActionCall<Target>): Promise<string> {
  const group = await readGroup(call)
  const template = await readTemplate(call, group)
  const hash = fields(call.changes, 'template-version').hash
  const version =
    typeof hash === 'string' ? await versionOf(call, `mcp-ir ${call.caseId} ${hash}`, template) : undefined
  if (group !== undefined) await leaveGroup(call, template, version)
  const stopped = await stopStarted(call)
  if (version !== undefined) await restoreDefault(call, template, version)
  const what =
    stopped.length === 0
      ? 'Nothing of it was running'
      : `It was taken out: ${stopped.join(', ')} stopped, kept as evidence`
  return group === undefined ? what : `${what}; the auto scaling group is as the isolation left it`
}

/** The group starts nothing more, and lets go what it started. */
async function leaveGroup(call: ActionCall<Target>, template: Template, version: number | undefined): Promise<void> {
  const { scaling, scalingOnce } = clients(call)
  const group = await readGroup(call)
  const AutoScalingGroupName = nameOf(group)
  const { processes } = fields(call.changes, 'resume-scaling')
  if (Array.isArray(processes)) {
    await scaling.send(new SuspendProcessesCommand({ AutoScalingGroupName, ScalingProcesses: processes as string[] }))
  }
  if (call.changes.some(({ action }) => action === 'refresh-instances')) {
    await scaling.send(new CancelInstanceRefreshCommand({ AutoScalingGroupName })).catch((error) => {
      if (awsCode(error)?.startsWith('ActiveInstanceRefreshNotFound') !== true) throw error
    })
  }
  const { min, desired } = undo(call.changes, 'resize-group')
  if (typeof min === 'number')
    await scaling.send(new UpdateAutoScalingGroupCommand({ AutoScalingGroupName, MinSize: min }))
  const { fresh } = group === undefined ? { fresh: [] } : await membersBy(call, group, template, version)
  for (let at = 0; at < fresh.length; at += 20) {
    // At most 20 ids a call: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DetachInstances.html
    await scalingOnce.send(
      new DetachInstancesCommand({
        AutoScalingGroupName,
        InstanceIds: fresh.slice(at, at + 20),
        ShouldDecrementDesiredCapacity: true,
      }),
    )
  }
  if (typeof desired === 'number' && (await readGroup(call))?.DesiredCapacity !== desired) {
    await scaling.send(new UpdateAutoScalingGroupCommand({ AutoScalingGroupName, DesiredCapacity: desired }))
  }
  const { version: before } = undo(call.changes, 'use-version')
  if (typeof before === 'string' && group !== undefined && pinned(group) === version) {
    await scaling.send(
      new UpdateAutoScalingGroupCommand({
        AutoScalingGroupName,
        LaunchTemplate: { LaunchTemplateId: template.id, Version: before },
      }),
    )
  }
}

const stopping = { tries: 60, everyMs: 2000 }

/** @returns their ids */
async function stopStarted(call: ActionCall<Target>): Promise<string[]> {
  const { ec2, balancing } = clients(call)
  const ids = (await readStarted(call)).filter(isAlive).flatMap(({ InstanceId }) => InstanceId ?? [])
  if (ids.length === 0) return []
  for (const TargetGroupArn of rebuildOf(call.target).targetGroups) {
    const Targets = (await registeredWith(call, TargetGroupArn)).filter((id) => ids.includes(id)).map((Id) => ({ Id }))
    if (Targets.length > 0) await balancing.send(new DeregisterTargetsCommand({ TargetGroupArn, Targets }))
  }
  await ec2.send(new CreateTagsCommand({ Resources: ids, Tags: [{ Key: 'mcp-ir:taken-out', Value: call.caseId }] }))
  for (const id of ids) await stop(call, id)
  return ids
}

async function stop(call: ActionCall<Target>, id: string): Promise<void> {
  const { ec2 } = clients(call)
  for (let tried = 1; ; tried++) {
    try {
      await ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
      return
    } catch (error) {
      const code = awsCode(error) ?? ''
      // One without a disk of its own, or on Spot, cannot be stopped.
      if (/^UnsupportedOperation|^UnsupportedHibernation/.test(code)) {
        await ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
        return
      }
      // It is still being started.
      if (!/^IncorrectInstanceState/.test(code) || tried === stopping.tries) throw error
      await sleep(stopping.everyMs, undefined, { signal: call.signal })
    }
  }
}

/** The version itself stays: nothing starts it by itself any more, and it says what was refused. */
async function restoreDefault(call: ActionCall<Target>, template: Template, version: number): Promise<void> {
  const { version: before } = undo(call.changes, 'default-version')
  if (template.defaultVersion !== version || typeof before !== 'number') return
  await clients(call).ec2.send(
    new ModifyLaunchTemplateCommand({ LaunchTemplateId: template.id, DefaultVersion: `${before}` }),
  )
}

function fields(changes: readonly Change[], action: string): Readonly<Record<string, unknown>> {
  const params = changes.find((change) => change.action === action)?.params
  return typeof params === 'object' && params !== null ? (params as Record<string, unknown>) : {}
}

function undo(changes: readonly Change[], action: string): Readonly<Record<string, unknown>> {
  const before = changes.find((change) => change.action === action)?.undo
  return typeof before === 'object' && before !== null ? (before as Record<string, unknown>) : {}
}
