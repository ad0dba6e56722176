import { AutoScalingClient } from '@aws-sdk/client-auto-scaling'
import { EC2Client, type TagSpecification } from '@aws-sdk/client-ec2'
import { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2'
import { IAMClient } from '@aws-sdk/client-iam'
import { awsClient, awsError } from '../../aws/clients.ts'
import type { Call } from '../../change.ts'
import type { DeploymentOf } from '../../registry/port.ts'
import type { ContainmentTarget } from '../port.ts'

/** What reading AWS needs, whatever is read; and what we call the things that we make. */

export type Ec2 = DeploymentOf<'aws-ec2'>
export type Target = ContainmentTarget<Ec2>

/** What reading needs of a call. */
export type Reading = Pick<Call<Target>, 'target' | 'signal' | 'caseId' | 'changes'> & {
  /** When it is given up, where that is before the command is. */
  readonly until?: AbortSignal
}

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

/** For the SDK's `send`. */
export function ending({ signal, until = signal }: Pick<Reading, 'signal' | 'until'>): { abortSignal: AbortSignal } {
  return { abortSignal: until }
}

/** Every page of a list. */
export async function all<C, I, O, K extends keyof O>(
  paginate: (config: { client: C }, input: I, options: { abortSignal: AbortSignal }) => AsyncIterable<O>,
  client: C,
  call: Pick<Reading, 'signal' | 'until'>,
  key: K,
  input: I,
): Promise<NonNullable<O[K]> extends readonly (infer T)[] ? T[] : never> {
  const found: unknown[] = []
  for await (const page of paginate({ client }, input, ending(call))) {
    found.push(...((page[key] ?? []) as unknown as unknown[]))
  }
  return found as never
}

/** An SDK error while looking, in our words. */
export async function reading<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw awsError(error, 'Reading from AWS')
  }
}

/** How many values a filter takes; AWS takes 200. */
export const atOnce = 100

export function chunks<T>(items: readonly T[], size = atOnce): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  )
}

export function by<T>(key: (item: T) => string | undefined): (a: T, b: T) => number {
  return (a, b) => ((key(a) ?? '') < (key(b) ?? '') ? -1 : 1)
}

export const caseTag = 'mcp-ir:case'
export const changeTag = 'mcp-ir:change'

/**
 * Names of what we create: one pair of groups for each VPC, case and deployment, the same in every run of the case.
 */
export function groupName({ caseId, target }: Pick<Reading, 'caseId' | 'target'>): string {
  const slug = target.deployment.id.replace(/[^A-Za-z0-9._-]+/g, '-').slice(0, 80)
  return `mcp-ir-${caseId}-${slug}`
}

/** Of the open group that interfaces pass through. */
export const hopName = (isolation: string): string => `${isolation}-hop`

/** Tells what made a snapshot also where tags are not permitted. */
export function snapshotDescription({ caseId }: Pick<Reading, 'caseId'>, changeId: string): string {
  return `mcp-ir ${caseId} ${changeId}`
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
