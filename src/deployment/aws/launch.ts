import { RunInstancesCommand } from '@aws-sdk/client-ec2'
import { DescribeTargetHealthCommand, RegisterTargetsCommand } from '@aws-sdk/client-elastic-load-balancing-v2'
import type { ActionCall, JsonObject } from '../../change.ts'
import type { Kind } from './action.ts'
import {
  clients,
  isAlive,
  launchTag,
  type Reading,
  readStarted,
  rebuildOf,
  redeployMark,
  redeployTag,
  replacesTag,
  type Target,
  tagOf,
} from './reading.ts'
import { madeVersion } from './template.ts'

/** One new instance in the place of one old one. */

interface LaunchParams {
  readonly hash: string
  readonly replaces: string
  readonly subnet: string | null
}

export const launchInstance: Kind<LaunchParams> = {
  async apply({ hash, replaces, subnet }, call, change, template) {
    const token = await nextToken(call, change.id)
    const version = await madeVersion(call, template, hash)
    const rebuild = rebuildOf(call.target)
    const Tags = [
      { Key: redeployTag, Value: redeployMark(call) },
      { Key: launchTag, Value: token },
      { Key: replacesTag, Value: replaces },
    ]
    const { Instances } = await clients(call).ec2Once.send(
      new RunInstancesCommand({
        LaunchTemplate: { LaunchTemplateId: template.id, Version: `${version}` },
        // Said again, as a template that somebody alters meanwhile must not decide on it.
        IamInstanceProfile: { Name: rebuild.instanceProfile },
        SecurityGroupIds: [...rebuild.securityGroups],
        ...(subnet === null ? {} : { SubnetId: subnet }),
        MinCount: 1,
        MaxCount: 1,
        ClientToken: token,
        TagSpecifications: [{ ResourceType: 'instance', Tags }],
      }),
    )
    return { instance: Instances?.[0]?.InstanceId ?? '' }
  },
  async made(_, call) {
    const token = lastToken(call.recorded)
    const found = token === undefined ? undefined : await launchedBy(call, token)
    return found !== undefined && isAlive(found) ? { instance: found.InstanceId ?? '' } : undefined
  },
}

/**
 * The token of a launch: asked with it twice, EC2 starts one instance. Journalled before it is used; the next one is taken only
 * once what the last one started was taken out.
 */
async function nextToken(call: ActionCall<Target>, changeId: string): Promise<string> {
  const last = lastToken(call.recorded)
  const started = last === undefined ? undefined : await launchedBy(call, last)
  if (last !== undefined && (started === undefined || isAlive(started))) return last
  const token = `${changeId}-${call.recorded.length + 1}`
  await call.record({ token })
  return token
}

function lastToken(recorded: readonly JsonObject[]): string | undefined {
  const token = recorded.at(-1)?.token
  return typeof token === 'string' ? token : undefined
}

async function launchedBy(call: Reading, token: string) {
  return (await readStarted(call)).find((one) => tagOf(one, launchTag) === token)
}

export const registerTargets: Kind<{ readonly arn: string }> = {
  async apply({ arn }, call) {
    const ids = await living(call)
    await clients(call).balancing.send(
      new RegisterTargetsCommand({ TargetGroupArn: arn, Targets: ids.map((Id) => ({ Id })) }),
    )
    return { registered: ids }
  },
  async made({ arn }, call) {
    const ids = await living(call)
    const registered = await registeredWith(call, arn)
    return ids.length > 0 && ids.every((id) => registered.includes(id)) ? { registered: ids } : undefined
  },
}

async function living(call: Reading): Promise<string[]> {
  return (await readStarted(call)).filter(isAlive).flatMap(({ InstanceId }) => InstanceId ?? [])
}

/** Ids of what is registered; what is draining gets no new requests any more. */
export async function registeredWith(call: Reading, TargetGroupArn: string): Promise<string[]> {
  const { TargetHealthDescriptions } = await clients(call).balancing.send(
    new DescribeTargetHealthCommand({ TargetGroupArn }),
    { abortSignal: call.signal },
  )
  return (TargetHealthDescriptions ?? []).flatMap(({ Target: target, TargetHealth }) =>
    TargetHealth?.State === 'draining' ? [] : (target?.Id ?? []),
  )
}
