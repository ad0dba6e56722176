import { CreateTagsCommand, DeleteTagsCommand, ModifyInstanceAttributeCommand } from '@aws-sdk/client-ec2'
import type { Call } from '../../change.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Kind } from './action.ts'
import type { Drafting } from './aims.ts'
import { readAttributesOf, readInstance } from './read-instances.ts'
import { atOnce, caseTag, clients, type Target } from './reading.ts'
import { together } from './together.ts'

/** The instance and its volumes are kept, and marked with the case. */

interface InstanceParams {
  instance: string
}

interface VolumeParams extends InstanceParams {
  device: string
}

export function protectionAims({ world, call, aim }: Drafting): void {
  for (const instance of world.instances) {
    const id = instance.InstanceId ?? ''
    const spot = instance.InstanceLifecycle === 'spot'
    const attributes = world.attributes.get(id)
    // AWS refuses both on Spot instances; nothing can be protected there.
    if (attributes !== undefined && !spot) {
      aim('protect-termination', `instance ${id}`, {
        holds: attributes.terminationProtected,
        claim: `${id} is protected from termination`,
        seen: attributes.terminationProtected ? 'protected' : 'not protected',
        summary: `Protect ${id} from termination`,
        priority: 'best-effort',
        params: { instance: id } satisfies InstanceParams,
        undo: { protected: false },
        command: `ec2 modify-instance-attribute --instance-id ${id} --disable-api-termination`,
      })
      if (instance.RootDeviceType === 'ebs') {
        aim('stop-on-shutdown', `instance ${id}`, {
          holds: attributes.stopsOnShutdown,
          claim: `${id} is kept when it shuts itself down`,
          seen: attributes.stopsOnShutdown ? 'stop' : 'terminate',
          summary: `Keep ${id} when it shuts itself down`,
          priority: 'best-effort',
          params: { instance: id } satisfies InstanceParams,
          undo: { behavior: 'terminate' },
          command: `ec2 modify-instance-attribute --instance-id ${id} --instance-initiated-shutdown-behavior stop`,
        })
      }
    }
    for (const { DeviceName = '', Ebs } of instance.BlockDeviceMappings ?? []) {
      const volume = Ebs?.VolumeId
      if (volume === undefined) continue
      const kept = Ebs?.DeleteOnTermination !== true
      aim('keep-volume', `volume ${volume} of ${id}`, {
        holds: kept,
        claim: `volume ${volume} outlives ${id}`,
        seen: kept ? 'kept on termination' : 'deleted on termination',
        summary: `Keep volume ${volume} when ${id} is terminated`,
        priority: 'best-effort',
        params: { instance: id, device: DeviceName } satisfies VolumeParams,
        undo: { deleteOnTermination: true },
        command: `ec2 modify-instance-attribute --instance-id ${id} --block-device-mappings '[{"DeviceName":"${DeviceName}","Ebs":{"DeleteOnTermination":false}}]'`,
      })
    }
    const tag = instance.Tags?.find(({ Key }) => Key === caseTag)?.Value
    aim('tag-instance', `instance ${id}`, {
      holds: tag === call.caseId,
      claim: `${id} carries the case`,
      seen: tag === undefined ? 'no tag' : safe(tag),
      summary: `Tag ${id} with the case`,
      priority: 'best-effort',
      params: { instance: id } satisfies InstanceParams,
      undo: { value: tag ?? null },
      command: `ec2 create-tags --resources ${id} --tags Key=${caseTag},Value=${call.caseId}`,
    })
  }
}

export const protectTermination: Kind<InstanceParams, unknown> = {
  apply: ({ instance }, call) => setTermination(call, instance, true),
  holds: async ({ instance }, call) => (await readAttributesOf(call, instance)).terminationProtected,
  back: {
    drift: async () => [],
    apply: ({ instance }, _, call) => setTermination(call, instance, false),
    holds: async ({ instance }, _, call) => !(await readAttributesOf(call, instance)).terminationProtected,
  },
}

export const stopOnShutdown: Kind<InstanceParams, unknown> = {
  apply: ({ instance }, call) => setShutdown(call, instance, 'stop'),
  holds: async ({ instance }, call) => (await readAttributesOf(call, instance)).stopsOnShutdown,
  back: {
    drift: async () => [],
    apply: ({ instance }, _, call) => setShutdown(call, instance, 'terminate'),
    holds: async ({ instance }, _, call) => !(await readAttributesOf(call, instance)).stopsOnShutdown,
  },
}

export const keepVolume: Kind<VolumeParams, unknown> = {
  apply: ({ instance, device }, call) => setVolume(call, instance, device, false),
  holds: async ({ instance, device }, call) => (await deletesVolume(call, instance, device)) !== true,
  back: {
    drift: async () => [],
    apply: ({ instance, device }, _, call) => setVolume(call, instance, device, true),
    holds: async ({ instance, device }, _, call) => (await deletesVolume(call, instance, device)) !== false,
  },
}

export const tagInstance: Kind<InstanceParams, { value: string | null }> = {
  together: atOnce,
  async apply({ instance }, call) {
    await setTag(call, instance, call.caseId)
  },
  holds: async ({ instance }, call) => (await tagNow(call, instance)) === call.caseId,
  back: {
    async drift({ instance }, { value }, call) {
      const now = await tagNow(call, instance)
      return now === null || now === value || now === call.caseId
        ? []
        : [
            `${instance} carries ${safe(now)} as its case now, and would get ${value === null ? 'none' : safe(value)} back`,
          ]
    },
    async apply({ instance }, { value }, call) {
      await setTag(call, instance, value)
    },
    holds: async ({ instance }, { value }, call) => (await tagNow(call, instance)) === value,
  },
}

// AWS takes one attribute a call.
async function setTermination(call: Call<Target>, InstanceId: string, Value: boolean): Promise<undefined> {
  await clients(call).ec2.send(new ModifyInstanceAttributeCommand({ InstanceId, DisableApiTermination: { Value } }))
}

async function setShutdown(call: Call<Target>, InstanceId: string, Value: 'stop' | 'terminate'): Promise<undefined> {
  await clients(call).ec2.send(
    new ModifyInstanceAttributeCommand({ InstanceId, InstanceInitiatedShutdownBehavior: { Value } }),
  )
}

async function setVolume(
  call: Call<Target>,
  InstanceId: string,
  DeviceName: string,
  DeleteOnTermination: boolean,
): Promise<undefined> {
  await clients(call).ec2.send(
    new ModifyInstanceAttributeCommand({
      InstanceId,
      BlockDeviceMappings: [{ DeviceName, Ebs: { DeleteOnTermination } }],
    }),
  )
}

/** The same one of many instances in one call. */
async function setTag(call: Call<Target>, instance: string, Value: string | null): Promise<void> {
  const { ec2 } = clients(call)
  await together(call, `tag ${Value ?? ''}`, instance, atOnce, (instances) => {
    const Resources = [...instances]
    return Value === null
      ? ec2.send(new DeleteTagsCommand({ Resources, Tags: [{ Key: caseTag }] }))
      : ec2.send(new CreateTagsCommand({ Resources, Tags: [{ Key: caseTag, Value }] }))
  })
}

async function deletesVolume(call: Call<Target>, instance: string, device: string): Promise<boolean | undefined> {
  const found = await readInstance(call, instance)
  return found?.BlockDeviceMappings?.find(({ DeviceName }) => DeviceName === device)?.Ebs?.DeleteOnTermination
}

async function tagNow(call: Call<Target>, instance: string): Promise<string | null> {
  const found = await readInstance(call, instance)
  return found?.Tags?.find(({ Key }) => Key === caseTag)?.Value ?? null
}
