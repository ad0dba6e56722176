import type { TagSpecification } from '@aws-sdk/client-ec2'
import { ec2Clients } from '../../aws/ec2-clients.ts'
import type { Call } from '../../change.ts'
import type { DeploymentOf } from '../../registry/port.ts'
import type { ContainmentTarget } from '../port.ts'

export { all, atOnce, by, chunks, ending, reading } from '../../aws/reading.ts'

/** What reading AWS needs, whatever is read; and what we call the things that we make. */

export type Ec2 = DeploymentOf<'aws-ec2'>
export type Target = ContainmentTarget<Ec2>

/** What reading needs of a call. */
export type Reading = Pick<Call<Target>, 'target' | 'signal' | 'caseId' | 'changes'> & {
  /** When it is given up, where that is before the command is. */
  readonly until?: AbortSignal
}

export function clients({ target: { deployment }, signal }: Pick<Reading, 'target' | 'signal'>) {
  return ec2Clients(deployment, signal)
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
