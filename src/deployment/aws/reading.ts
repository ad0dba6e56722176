import { type AutoScalingGroup, paginateDescribeAutoScalingGroups } from '@aws-sdk/client-auto-scaling'
import {
  type Filter,
  type Instance,
  type LaunchTemplate,
  type LaunchTemplateVersion,
  paginateDescribeInstances,
  paginateDescribeLaunchTemplates,
  paginateDescribeLaunchTemplateVersions,
} from '@aws-sdk/client-ec2'
import { ec2Clients } from '../../aws/ec2-clients.ts'
import { all, by } from '../../aws/reading.ts'
import type { Call, Change } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { DeploymentOf } from '../../registry/port.ts'
import { safe } from '../../ui/safe-text.ts'
import type { DeploymentTarget } from '../port.ts'

/** What is read of AWS before and after a redeploy: nothing here changes anything. */

export type Ec2 = DeploymentOf<'aws-ec2'>
export type Target = DeploymentTarget<Ec2>
export type Reading = Pick<Call<Target>, 'target' | 'signal' | 'caseId'>

export function clients({ target: { deployment }, signal }: Pick<Reading, 'target' | 'signal'>) {
  return ec2Clients(deployment, signal)
}

/** On what we start, so that it is found again: the case and the deployment. */
export const redeployTag = 'mcp-ir:redeploy'
/** On what we start: SHA-256 of the build, so that it is known should it be the one that is compromised next. */
export const artifactTag = 'mcp-ir:artifact'
/** On a new instance: the launch that made it. */
export const launchTag = 'mcp-ir:launch'
/** On a new instance: the isolated one that it is in place of. */
export const replacesTag = 'mcp-ir:replaces'

export const redeployMark = ({ caseId, target }: Pick<Reading, 'caseId' | 'target'>): string =>
  `${caseId} ${target.deployment.id}`.slice(0, 256)

export interface Rebuild {
  readonly image: string
  readonly userData?: string | undefined
  readonly securityGroups: readonly string[]
  readonly instanceProfile: string
  readonly targetGroups: readonly string[]
}

/** @throws IrError input when the registry does not say what the new instances are made of */
export function rebuildOf({ deployment }: Target): Rebuild {
  const { image, userData, securityGroups, instanceProfile, targetGroups = [] } = deployment.redeploy ?? {}
  if (image === undefined || securityGroups === undefined || instanceProfile === undefined) {
    throw new IrError('input', `Deployment ${safe(deployment.id)} cannot be put back: the registry names no redeploy`, {
      hints: [
        'redeploy: {image: ami-…, securityGroups: [sg-…], instanceProfile: …}: new ones, not those of the compromised server (docs/redeploy.md).',
      ],
    })
  }
  return { image, userData, securityGroups, instanceProfile, targetGroups }
}

export interface Template {
  readonly id: string
  readonly name: string
  readonly defaultVersion: number
  readonly latestVersion: number
}

/** @throws IrError input when there is none of that name or id, or none is known */
export async function readTemplate(call: Reading, group: AutoScalingGroup | undefined): Promise<Template> {
  const { deployment } = call.target
  const named =
    deployment.launchTemplate ?? group?.LaunchTemplate?.LaunchTemplateId ?? group?.LaunchTemplate?.LaunchTemplateName
  if (named === undefined) {
    throw new IrError('input', `Deployment ${safe(deployment.id)} names no launch template`, {
      hints: ['launchTemplate: its name or id; a new version of it starts the new instances.'],
    })
  }
  const input = named.startsWith('lt-') ? { LaunchTemplateIds: [named] } : { LaunchTemplateNames: [named] }
  const [found] = await all<
    unknown,
    typeof input,
    { LaunchTemplates?: LaunchTemplate[] | undefined },
    'LaunchTemplates'
  >(paginateDescribeLaunchTemplates as never, clients(call).ec2, call, 'LaunchTemplates', input)
  if (found === undefined) throw new IrError('input', `There is no launch template ${safe(named)}`)
  return {
    id: found.LaunchTemplateId ?? '',
    name: found.LaunchTemplateName ?? '',
    defaultVersion: Number(found.DefaultVersionNumber ?? 1),
    latestVersion: Number(found.LatestVersionNumber ?? 1),
  }
}

/** Oldest first. */
export async function readVersions(call: Reading, template: Template): Promise<readonly LaunchTemplateVersion[]> {
  const found = await all(paginateDescribeLaunchTemplateVersions, clients(call).ec2, call, 'LaunchTemplateVersions', {
    LaunchTemplateId: template.id,
  })
  return found.sort((a, b) => Number(a.VersionNumber) - Number(b.VersionNumber))
}

/** @throws IrError input when there is none of that name */
export async function readGroup(call: Reading): Promise<AutoScalingGroup | undefined> {
  const { autoScalingGroup } = call.target.deployment
  if (autoScalingGroup === undefined) return undefined
  const [group] = await all(paginateDescribeAutoScalingGroups, clients(call).scaling, call, 'AutoScalingGroups', {
    AutoScalingGroupNames: [autoScalingGroup],
  })
  if (group !== undefined) return group
  throw new IrError('input', `There is no auto scaling group ${safe(autoScalingGroup)}`)
}

async function describe(call: Reading, Filters: Filter[]): Promise<Instance[]> {
  const found = await all(paginateDescribeInstances, clients(call).ec2, call, 'Reservations', { Filters })
  return found.flatMap(({ Instances }) => Instances ?? []).sort(by(({ InstanceId }) => InstanceId))
}

export async function readInstances(call: Reading, ids: readonly string[]): Promise<Instance[]> {
  if (ids.length === 0) return []
  const found = await describe(call, [{ Name: 'instance-id', Values: [...ids] }])
  return found.filter(({ InstanceId = '' }) => ids.includes(InstanceId))
}

/** Everything that this case started for this deployment, whatever became of it. */
export async function readStarted(call: Reading): Promise<Instance[]> {
  const mark = redeployMark(call)
  const found = await describe(call, [{ Name: `tag:${redeployTag}`, Values: [mark] }])
  return found.filter((one) => tagOf(one, redeployTag) === mark)
}

export const isAlive = ({ State }: Instance): boolean => State?.Name === 'pending' || State?.Name === 'running'

export const tagOf = ({ Tags }: Instance, key: string): string | undefined =>
  Tags?.find(({ Key }) => Key === key)?.Value

/** The compromised instances: those that were isolated, those that the registry names; none of what we started. */
export async function readReplaced(call: Reading): Promise<Instance[]> {
  const { deployment, isolation } = call.target
  const ids = new Set([...(deployment.instances ?? []), ...isolatedInstances(isolation)])
  const tags = Object.entries(deployment.tags ?? {})
  const found = [
    ...(await readInstances(call, [...ids])),
    ...(tags.length === 0
      ? []
      : await describe(
          call,
          tags.map(([key, value]) => ({ Name: `tag:${key}`, Values: [value] })),
        )),
  ]
  const instances = new Map(found.map((one) => [one.InstanceId ?? '', one]))
  return [...instances.values()]
    .filter((one) => tagOf(one, redeployTag) === undefined || ids.has(one.InstanceId ?? ''))
    .filter(({ State }) => State?.Name !== 'terminated' && State?.Name !== 'shutting-down')
    .sort(by(({ InstanceId }) => InstanceId))
}

type Fields = Readonly<Record<string, unknown>>

/** What the isolation journalled: data of another capability, so nothing of it is taken for granted. */
export function journalled(isolation: readonly Change[], action: string): readonly { params: Fields; undo: Fields }[] {
  const fields = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {})
  return isolation
    .filter((change) => change.action === action)
    .map(({ params, undo }) => ({ params: fields(params), undo: fields(undo) }))
}

export const texts = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []

export function isolatedInstances(isolation: readonly Change[]): string[] {
  const ids = journalled(isolation, 'isolate-interface').flatMap(({ params }) => texts([params.instance]))
  return [...new Set(ids)].sort()
}
