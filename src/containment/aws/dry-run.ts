import {
  CreateSecurityGroupCommand,
  CreateSnapshotsCommand,
  CreateTagsCommand,
  ModifyNetworkInterfaceAttributeCommand,
} from '@aws-sdk/client-ec2'
import { awsCode, awsError } from '../../aws/clients.ts'
import { bounded } from '../../bounded.ts'
import type { Call, Problem } from '../../change.ts'
import { within } from './deadline.ts'
import { groupDescription } from './isolation-group.ts'
import { caseTag, clients, groupName, type Target, tagsFor } from './reading.ts'
import type { World } from './world.ts'

/**
 * Asks AWS whether we may, without doing it (`DryRun`), with the very parameters that it would be done with, as policies
 * look at those. What the cut needs and is denied everywhere stops it; what is denied for some of it, and the rest, is told.
 * Auto scaling and load balancing have no such question; the attributes of an instance are not asked for, as the emulator
 * that the tests run against changes them all the same.
 */
export async function permissionProblems(call: Call<Target>, world: World): Promise<Problem[]> {
  const { ec2 } = clients(call)
  const vpcs = [...new Set(world.interfaces.map(({ VpcId }) => VpcId ?? ''))]
  const grouped = vpcs.filter((vpc) => !world.isolation.has(vpc))
  const left = world.interfaces.filter(({ VpcId, Groups }) =>
    Groups?.some(({ GroupId }) => GroupId !== world.isolation.get(VpcId ?? '')?.id),
  )
  const mayMakeGroup = (vpc: string, tagged: boolean): Promise<boolean> =>
    permitted(call, (abortSignal) =>
      ec2.send(
        new CreateSecurityGroupCommand({
          DryRun: true,
          GroupName: groupName(call),
          Description: groupDescription,
          VpcId: vpc,
          ...(tagged ? { TagSpecifications: tagsFor('security-group', call, 'dry-run') } : {}),
        }),
        { abortSignal },
      ),
    )
  const mayCut = (eni: string): Promise<boolean> =>
    permitted(call, (abortSignal) =>
      ec2.send(
        new ModifyNetworkInterfaceAttributeCommand({
          DryRun: true,
          NetworkInterfaceId: eni,
          Groups: groupsOf(world, eni),
        }),
        { abortSignal },
      ),
    )
  const [InstanceId = ''] = world.instances.map((one) => one.InstanceId ?? '')
  if (InstanceId === '') return []
  const mayTag = (): Promise<boolean> =>
    permitted(call, (abortSignal) =>
      ec2.send(
        new CreateTagsCommand({
          DryRun: true,
          Resources: [InstanceId],
          Tags: [{ Key: caseTag, Value: call.caseId }],
        }),
        { abortSignal },
      ),
    )
  const mayTakeSnapshots = (): Promise<boolean> =>
    permitted(call, (abortSignal) =>
      ec2.send(new CreateSnapshotsCommand({ DryRun: true, InstanceSpecification: { InstanceId } }), { abortSignal }),
    )
  const problems = await Promise.all([
    // Without the tags where they are not permitted, as it is then made.
    needed('ec2:CreateSecurityGroup', grouped, vpcs.length, async (vpc) =>
      (await mayMakeGroup(vpc, true)) ? true : mayMakeGroup(vpc, false),
    ),
    needed(
      'ec2:ModifyNetworkInterfaceAttribute',
      left.map(({ NetworkInterfaceId }) => NetworkInterfaceId ?? ''),
      world.interfaces.length,
      mayCut,
    ),
    wanted('ec2:CreateTags', mayTag),
    wanted('ec2:CreateSnapshots', mayTakeSnapshots),
  ])
  return problems.flat()
}

/** @param all how many there are, with those that nothing is to be done to any more */
async function needed(
  permission: string,
  things: readonly string[],
  all: number,
  may: (thing: string) => Promise<boolean>,
): Promise<Problem[]> {
  const [first, ...others] = things
  if (first === undefined || (await may(first))) return []
  const denied = [first, ...(await bounded(others, async (one) => ((await may(one)) ? [] : [one]))).flat()]
  return denied.length === all
    ? [{ kind: 'denied', message: `${permission} is not permitted: nothing can be cut off without it.` }]
    : [
        {
          kind: 'warning',
          message: `${permission} is not permitted for ${denied.join(', ')}, which will not be cut off.`,
        },
      ]
}

async function wanted(permission: string, may: () => Promise<boolean>): Promise<Problem[]> {
  return (await may()) ? [] : [{ kind: 'warning', message: `${permission} is not permitted.` }]
}

/** How long AWS has for its answer. */
const answerMs = 15_000

/** Anything else than a clear no is found out by the change itself. */
async function permitted(call: Call<Target>, ask: (until: AbortSignal) => Promise<unknown>): Promise<boolean> {
  try {
    await within(answerMs, 'Asking for permissions', call.signal, ask)
    return true
  } catch (error) {
    if (awsCode(error) === 'DryRunOperation') return true
    const known = awsError(error, 'Asking for permissions')
    if (known.code === 'interrupted') throw known
    return known.code !== 'denied'
  }
}

function groupsOf(world: World, id: string): string[] {
  const eni = world.interfaces.find(({ NetworkInterfaceId }) => NetworkInterfaceId === id)
  return (eni?.Groups ?? []).flatMap(({ GroupId }) => GroupId ?? [])
}
