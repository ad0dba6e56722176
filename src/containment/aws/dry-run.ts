import {
  CreateSecurityGroupCommand,
  CreateSnapshotsCommand,
  CreateTagsCommand,
  ModifyNetworkInterfaceAttributeCommand,
} from '@aws-sdk/client-ec2'
import { awsCode, awsError } from '../../aws/clients.ts'
import type { Problem } from '../../change.ts'
import { caseTag, clients, groupName, type Reading } from './reading.ts'
import type { World } from './world.ts'

/**
 * Asks AWS whether we may, without doing it (`DryRun`). What the cut needs and is denied stops it; the rest is told.
 * Auto scaling and load balancing have no such question; the attributes of an instance are not asked for, as the emulator
 * that the tests run against changes them all the same.
 */
export async function permissionProblems(call: Reading, { instances, interfaces }: World): Promise<Problem[]> {
  const [eni] = interfaces
  const InstanceId = instances[0]?.InstanceId
  if (eni === undefined || InstanceId === undefined) return []
  const { ec2 } = clients(call)
  const options = { abortSignal: call.signal }
  const groups = (eni.Groups ?? []).flatMap(({ GroupId }) => GroupId ?? [])
  const questions: [permission: string, essential: boolean, ask: () => Promise<unknown>][] = [
    [
      'ec2:CreateSecurityGroup',
      true,
      () =>
        ec2.send(
          new CreateSecurityGroupCommand({
            DryRun: true,
            GroupName: groupName(call),
            Description: 'mcp-ir',
            VpcId: eni.VpcId,
          }),
          options,
        ),
    ],
    [
      'ec2:ModifyNetworkInterfaceAttribute',
      true,
      () =>
        ec2.send(
          new ModifyNetworkInterfaceAttributeCommand({
            DryRun: true,
            NetworkInterfaceId: eni.NetworkInterfaceId,
            Groups: groups,
          }),
          options,
        ),
    ],
    [
      'ec2:CreateTags',
      false,
      () =>
        ec2.send(
          new CreateTagsCommand({
            DryRun: true,
            Resources: [InstanceId],
            Tags: [{ Key: caseTag, Value: call.caseId }],
          }),
          options,
        ),
    ],
    [
      'ec2:CreateSnapshots',
      false,
      () => ec2.send(new CreateSnapshotsCommand({ DryRun: true, InstanceSpecification: { InstanceId } }), options),
    ],
  ]
  const answers = await Promise.all(
    questions.map(async ([permission, essential, ask]): Promise<Problem[]> => {
      try {
        await ask()
        return []
      } catch (error) {
        if (awsCode(error) === 'DryRunOperation') return []
        const known = awsError(error, `Asking for ${permission}`)
        if (known.code === 'interrupted') throw known
        // Anything else than a clear no is found out by the change itself.
        if (known.code !== 'denied') return []
        return [
          {
            kind: essential ? 'denied' : 'warning',
            message: `${permission} is not permitted${essential ? ': nothing can be cut off without it' : ''}.`,
          },
        ]
      }
    }),
  )
  return answers.flat()
}
