import { CreateSnapshotsCommand, type Snapshot } from '@aws-sdk/client-ec2'
import { awsError } from '../../aws/clients.ts'
import type { Call, Json } from '../../change.ts'
import type { Kind } from './action.ts'
import type { Drafting } from './aims.ts'
import { snapshotsOf } from './read-instances.ts'
import { caseTag, clients, snapshotDescription, tagsFor } from './reading.ts'

/** All volumes of an instance at one moment. Evidence: they stay. */

interface SnapshotParams {
  instance: string
  volumes: string[]
  /** It was seen that this change made none so far. */
  none?: boolean
}

const targetOf = (instance: string): string => `volumes of ${instance}`

/** Id of the change that makes them. */
export function snapshotChange(call: Pick<Call<unknown>, 'changeId'>, instance: string): string {
  return call.changeId('snapshot-volumes', targetOf(instance))
}

export function snapshotAims({ world, call, aim }: Drafting): void {
  for (const instance of world.instances) {
    const id = instance.InstanceId ?? ''
    const volumes = (instance.BlockDeviceMappings ?? []).flatMap(({ Ebs }) => Ebs?.VolumeId ?? []).sort()
    if (volumes.length === 0) continue
    const taken = world.snapshots?.get(snapshotChange(call, id)) ?? []
    aim('snapshot-volumes', targetOf(id), {
      holds: volumes.every((volume) => taken.some(({ VolumeId }) => VolumeId === volume)),
      claim: `every volume of ${id} has a snapshot`,
      seen:
        world.snapshots === undefined
          ? 'could not be looked for'
          : taken.map((one) => `${one.SnapshotId} of ${one.VolumeId}: ${one.State} ${one.Progress ?? ''}`).join(', ') ||
            'none',
      summary: `Take snapshots of ${volumes.join(', ')} of ${id}, all at one moment; they stay after a release`,
      effect: 'creates',
      priority: 'best-effort',
      params: {
        instance: id,
        volumes,
        none: world.snapshots !== undefined && taken.length === 0,
      } satisfies SnapshotParams,
      undo: null,
      command: `ec2 create-snapshots --instance-specification InstanceId=${id} --description "mcp-ir ${call.caseId}" --tag-specifications 'ResourceType=snapshot,Tags=[{Key=${caseTag},Value=${call.caseId}}]'`,
    })
  }
}

export const snapshotVolumes: Kind<SnapshotParams, unknown> = {
  async apply({ instance, volumes, none }, call, change) {
    // What is made twice is paid twice.
    const before = none === true ? [] : await snapshotsOf(call, change.id)
    if (volumes.every((volume) => before.some(({ VolumeId }) => VolumeId === volume))) return listed(before)
    const take = async (tagged: boolean): Promise<Json> => {
      const { Snapshots } = await clients(call).ec2Once.send(
        new CreateSnapshotsCommand({
          InstanceSpecification: { InstanceId: instance },
          Description: snapshotDescription(call, change.id),
          ...(tagged ? { TagSpecifications: tagsFor('snapshot', call, change.id) } : {}),
        }),
      )
      return listed(Snapshots ?? [])
    }
    try {
      return await take(true)
    } catch (error) {
      // Who may not tag may still take them: the description tells whose they are.
      if (awsError(error, 'Taking snapshots').code !== 'denied') throw error
      return take(false)
    }
  },
  async holds({ volumes }, call, change) {
    const now = await snapshotsOf(call, change.id)
    return volumes.every((volume) => now.some(({ VolumeId }) => VolumeId === volume))
  },
}

function listed(snapshots: readonly Pick<Snapshot, 'SnapshotId' | 'VolumeId'>[]): Json {
  return snapshots.map(({ SnapshotId, VolumeId }) => ({ snapshot: SnapshotId ?? '', volume: VolumeId ?? '' }))
}
