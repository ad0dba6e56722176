import { EC2Client, ModifyInstanceMetadataOptionsCommand, paginateDescribeInstances } from '@aws-sdk/client-ec2'
import { type AwsScope, awsClient } from '../../aws/clients.ts'
import type { Action, Call, Change } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { DeploymentOf } from '../../registry/port.ts'
import { type CredentialTarget, stage } from '../port.ts'
import { field, mayGoOn, quoted, textField } from '../words.ts'
import { all, asked } from './iam.ts'

/** A machine of the server that can still fetch fresh sessions of the role, which no cutoff ends. */
export interface Machine extends AwsScope {
  readonly instance: string
  readonly launched: Date | undefined
}

export interface Machines {
  readonly open: readonly Machine[]
  /** Where it could not be looked, and why. */
  readonly unread: readonly string[]
}

/** @param profiles names of the instance profiles that hold the role */
export async function openMachines(call: Call<CredentialTarget>, profiles: readonly string[]): Promise<Machines> {
  const deployments = (call.target.deployments ?? []).filter((one) => one.kind === 'aws-ec2')
  if (profiles.length === 0 || deployments.length === 0) return { open: [], unread: [] }
  const unread: string[] = []
  const found = await Promise.all(
    deployments.map(async (deployment) => {
      try {
        return await inDeployment(call, deployment, profiles)
      } catch (error) {
        if (!(error instanceof IrError) || error.code === 'interrupted') throw error
        unread.push(`${deployment.id}: ${error.message}`)
        return []
      }
    }),
  )
  const byId = new Map(found.flat().map((one) => [one.instance, one]))
  return { open: [...byId.values()].sort((a, b) => (a.instance < b.instance ? -1 : 1)), unread }
}

async function inDeployment(
  { signal, target, caseId }: Call<CredentialTarget>,
  { id, region, role, instances, tags, autoScalingGroup }: DeploymentOf<'aws-ec2'>,
  profiles: readonly string[],
): Promise<readonly Machine[]> {
  const scope: AwsScope = { region: region ?? target.aws?.region, role }
  const filters = [
    ...(instances === undefined ? [] : [[{ Name: 'instance-id', Values: [...instances] }]]),
    ...(tags === undefined
      ? []
      : [Object.entries(tags).map(([name, value]) => ({ Name: `tag:${name}`, Values: [value] }))]),
    ...(autoScalingGroup === undefined
      ? []
      : [[{ Name: 'tag:aws:autoscaling:groupName', Values: [autoScalingGroup] }]]),
    // What containment marked: what it took out of a group has the group's tag no more.
    [{ Name: 'tag:mcp-ir:case', Values: [caseId] }],
  ]
  const found = await asked(`Reading the instances of deployment ${id}`, () => {
    const client = awsClient(EC2Client, scope, 'reads', signal)
    return Promise.all(
      filters.map((Filters) =>
        all(paginateDescribeInstances({ client }, { Filters }, { abortSignal: signal }), (page) =>
          page.Reservations?.flatMap(({ Instances }) => Instances ?? []),
        ),
      ),
    )
  })
  return found.flat().flatMap(({ InstanceId, IamInstanceProfile, MetadataOptions, State, LaunchTime }) => {
    const profile = IamInstanceProfile?.Arn?.split('/').at(-1)
    if (InstanceId === undefined || profile === undefined || !profiles.includes(profile)) return []
    if (State?.Name === 'terminated' || State?.Name === 'shutting-down') return []
    if (MetadataOptions?.HttpEndpoint === 'disabled') return []
    return [{ ...scope, instance: InstanceId, launched: LaunchTime }]
  })
}

export function closeChange(call: Call<CredentialTarget>, { instance, region, role }: Machine, name: string): Change {
  const target = `instance ${instance}`
  return {
    id: call.changeId('close-metadata', target),
    action: 'close-metadata',
    target,
    summary: `Close the metadata service to ${instance}, so that it fetches no fresh sessions of role ${name}`,
    effect: 'reversible',
    priority: 'essential',
    after: [],
    stage: stage.mint,
    params: {
      instance,
      ...(region === undefined ? {} : { region }),
      ...(role === undefined ? {} : { assume: role }),
    },
    undo: { endpoint: 'enabled' },
    breaks: [],
    command: `aws ec2 modify-instance-metadata-options --instance-id ${quoted(instance)} --http-endpoint disabled${region === undefined ? '' : ` --region ${quoted(region)}`}`,
  }
}

export function closeMetadata<T extends CredentialTarget>(): Action<T> {
  return {
    async apply(change, call) {
      mayGoOn(call)
      await set(change, call, 'disabled')
      return {}
    },
    async settle(change, call) {
      return (await now(change, call)) === 'enabled' ? undefined : {}
    },
    undo: {
      async drift(change, _receipt, call) {
        const endpoint = await now(change, call)
        if (endpoint === undefined) return ['it is gone']
        return endpoint === 'enabled' ? ['somebody opened it already'] : []
      },
      async apply(change, _receipt, call) {
        mayGoOn(call)
        await set(change, call, 'enabled')
        return {}
      },
      async settle(change, _receipt, call) {
        return (await now(change, call)) === 'disabled' ? undefined : {}
      },
    },
  }
}

function clientOf({ params }: Change, { signal }: Call<unknown>): EC2Client {
  const text = (name: string) => {
    const value = field(params, name)
    return typeof value === 'string' ? value : undefined
  }
  return awsClient(EC2Client, { region: text('region'), role: text('assume') }, 'reads', signal)
}

async function set(change: Change, call: Call<unknown>, HttpEndpoint: 'enabled' | 'disabled'): Promise<void> {
  const InstanceId = textField(change.params, 'instance')
  await asked(`Setting the metadata service of ${InstanceId}`, () =>
    clientOf(change, call).send(new ModifyInstanceMetadataOptionsCommand({ InstanceId, HttpEndpoint }), {
      abortSignal: call.signal,
    }),
  )
}

/** @returns undefined when the instance is gone */
async function now(change: Change, call: Call<unknown>): Promise<'enabled' | 'disabled' | undefined> {
  const instance = textField(change.params, 'instance')
  const client = clientOf(change, call)
  const Filters = [{ Name: 'instance-id', Values: [instance] }]
  const found = await asked(`Reading ${instance}`, () =>
    all(paginateDescribeInstances({ client }, { Filters }, { abortSignal: call.signal }), (page) =>
      page.Reservations?.flatMap(({ Instances }) => Instances ?? []),
    ),
  )
  const [one] = found
  if (one === undefined || one.State?.Name === 'terminated') return undefined
  return one.MetadataOptions?.HttpEndpoint === 'disabled' ? 'disabled' : 'enabled'
}
