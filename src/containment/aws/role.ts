import { setTimeout as sleep } from 'node:timers/promises'
import {
  AssociateIamInstanceProfileCommand,
  DisassociateIamInstanceProfileCommand,
  type Instance,
  ModifyInstanceMetadataOptionsCommand,
  ReplaceIamInstanceProfileAssociationCommand,
} from '@aws-sdk/client-ec2'
import { awsError } from '../../aws/clients.ts'
import type { Call, Json } from '../../change.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Kind } from './action.ts'
import type { Drafting } from './aims.ts'
import { type DenyParams, deniesAll, denyName, denyTarget, isNamed, wasMade } from './deny-profile.ts'
import { readInstance, readProfilesOf } from './read-instances.ts'
import { clients, type Target } from './reading.ts'

/**
 * What the instances may do: their profile is replaced by one whose role is denied everything, or, where IAM lets us make
 * none, taken away; and the metadata service hands out no more credentials either way.
 */

interface InstanceParams {
  instance: string
}

interface ProfileParams extends InstanceParams {
  /** Name of the profile that denies everything. */
  denied: string
  /** The association that the plan saw. */
  association?: string
}

export function roleAims({ world, call, aim }: Drafting): void {
  const denied = denyName(call)
  // The associations tell it; where they may not be read, the instance itself does.
  const arnOf = ({ InstanceId, IamInstanceProfile }: Instance): string | undefined =>
    (world.profiles.find((one) => one.InstanceId === InstanceId)?.IamInstanceProfile ?? IamInstanceProfile)?.Arn
  const arns = world.instances.flatMap((instance) => arnOf(instance) ?? [])
  const others = arns.filter((arn) => !isNamed(arn, denied))
  const made =
    arns.length > 0
      ? aim('deny-profile', denyTarget(call), {
          holds: others.length === 0 && world.deniesAll,
          claim: `there is a profile that denies everything: ${denied}`,
          seen: others.length > 0 ? 'instances have another one' : world.deniesAll ? 'it does' : 'it is not seen to',
          summary: `Make instance profile ${denied}, whose role is denied everything`,
          effect: 'creates',
          priority: 'best-effort',
          params: { name: denied } satisfies DenyParams,
          undo: { delete: true },
          command: `iam create-instance-profile --instance-profile-name ${denied}`,
        })
      : undefined
  for (const instance of world.instances) {
    const id = instance.InstanceId ?? ''
    const profile = world.profiles.find(({ InstanceId }) => InstanceId === id)
    const arn = arnOf(instance)
    const harmless = arn === undefined || (isNamed(arn, denied) && world.deniesAll)
    aim('replace-profile', `instance ${id}`, {
      holds: harmless,
      claim: `${id} has no role that may do anything`,
      seen: arn === undefined ? 'no instance profile' : harmless ? `${denied}, which is denied everything` : safe(arn),
      summary: `Replace the instance profile of ${id}${arn === undefined ? '' : ` (${safe(arn.split('/').at(-1) ?? arn)})`} by one that is denied everything`,
      priority: 'best-effort',
      after: made === undefined ? [] : [made],
      params: {
        instance: id,
        denied,
        ...(profile?.AssociationId === undefined ? {} : { association: profile.AssociationId }),
      } satisfies ProfileParams,
      undo: { arn: arn ?? null },
      command: `ec2 disassociate-iam-instance-profile --association-id ${profile?.AssociationId ?? ''}`,
    })
    const endpoint = instance.MetadataOptions?.HttpEndpoint
    if (endpoint !== undefined) {
      aim('close-metadata', `instance ${id}`, {
        holds: endpoint === 'disabled',
        claim: `the metadata service gives ${id} no more credentials`,
        seen: endpoint,
        summary: `Close the metadata service to ${id}, so that it fetches no more credentials`,
        priority: 'best-effort',
        params: { instance: id } satisfies InstanceParams,
        undo: { ...metadataOptions(instance) } as Json,
        command: `ec2 modify-instance-metadata-options --instance-id ${id} --http-endpoint disabled`,
      })
    }
  }
}

/** How long a new profile may be unknown to EC2, and how often it is tried meanwhile. */
const known = { tries: 10, everyMs: 2000 }

export const replaceProfile: Kind<ProfileParams, { arn: string | null }> = {
  async apply({ instance, denied, association }, call) {
    const made = wasMade(call)
    if (made && association !== undefined && (await replaced(call, association, denied)) === 'replaced') {
      return { profile: denied }
    }
    for (let tried = 0; ; tried++) {
      const now = (await readProfilesOf(call, instance)).filter(
        (one) => !made || !isNamed(one.IamInstanceProfile?.Arn ?? '', denied),
      )
      if (now.length === 0) return { profile: made ? denied : null }
      for (const { AssociationId = '' } of now) {
        const wait = made && tried < known.tries
        const came = wait ? await replaced(call, AssociationId, denied) : 'denied'
        // What we may not hand out, and what EC2 does not know in time, is not waited for: then there is no role at all.
        if (came === 'denied')
          await clients(call).ec2.send(new DisassociateIamInstanceProfileCommand({ AssociationId }))
        if (came === 'unknown') await sleep(known.everyMs, undefined, { signal: call.signal })
      }
    }
  },
  holds: async ({ instance, denied }, call) => {
    const now = await profileNow(call, instance)
    return now === null || (isNamed(now, denied) && (await deniesAll(call, denied)))
  },
  back: {
    async drift({ instance, denied }, { arn }, call) {
      const now = await profileNow(call, instance)
      return now === null || now === arn || isNamed(now, denied)
        ? []
        : [`${instance} has another instance profile now: ${safe(now)}`]
    },
    async apply({ instance }, { arn }, call) {
      if (arn === null) return
      const { ec2, ec2Once } = clients(call)
      const IamInstanceProfile = { Arn: arn }
      const [now] = await readProfilesOf(call, instance)
      if (now?.IamInstanceProfile?.Arn === arn) return
      if (now === undefined) {
        await ec2Once.send(new AssociateIamInstanceProfileCommand({ InstanceId: instance, IamInstanceProfile }))
      } else {
        const { AssociationId } = now
        await ec2.send(new ReplaceIamInstanceProfileAssociationCommand({ AssociationId, IamInstanceProfile }))
      }
    },
    holds: async ({ instance }, { arn }, call) => (await profileNow(call, instance)) === arn,
  },
}

/** @returns `unknown`: the association is another one by now, or EC2 does not know the profile yet */
async function replaced(
  call: Call<Target>,
  AssociationId: string,
  Name: string,
): Promise<'replaced' | 'denied' | 'unknown'> {
  try {
    await clients(call).ec2.send(
      new ReplaceIamInstanceProfileAssociationCommand({ AssociationId, IamInstanceProfile: { Name } }),
    )
    return 'replaced'
  } catch (error) {
    const { code, ambiguous } = awsError(error, 'Replacing the profile')
    if (code === 'interrupted' || ambiguous) throw error
    return code === 'denied' ? 'denied' : 'unknown'
  }
}

async function profileNow(call: Call<Target>, instance: string): Promise<string | null> {
  return (await readProfilesOf(call, instance))[0]?.IamInstanceProfile?.Arn ?? null
}

export const closeMetadata: Kind<InstanceParams, MetadataOptions> = {
  apply: ({ instance }, call) => setEndpoint(call, instance, 'disabled'),
  holds: async ({ instance }, call) => (await metadataNow(call, instance))?.HttpEndpoint === 'disabled',
  back: {
    async drift({ instance }, before, call) {
      const now = await metadataNow(call, instance)
      if (now === undefined) return []
      // Nothing but the endpoint was changed, and nothing else is put back.
      const changed = otherOptions.filter((name) => now[name] !== undefined && now[name] !== before[name])
      return changed.map(
        (name) => `${name} of ${instance} is ${now[name]} now, was ${before[name]}, and stays as it is`,
      )
    },
    async apply({ instance }, before, call) {
      const now = await metadataNow(call, instance)
      if (now === undefined) return
      // As they are now, said once more: what is not said is left as it is by AWS, and lost by others.
      const { HttpEndpoint = 'enabled', ...others } = { ...before, ...now, HttpEndpoint: before.HttpEndpoint }
      await setEndpoint(call, instance, HttpEndpoint, others)
    },
    async holds({ instance }, { HttpEndpoint = 'enabled' }, call) {
      const now = await metadataNow(call, instance)
      return now === undefined || now.HttpEndpoint === HttpEndpoint
    },
  },
}

async function setEndpoint(
  call: Call<Target>,
  InstanceId: string,
  HttpEndpoint: 'enabled' | 'disabled',
  others: MetadataOptions = {},
): Promise<undefined> {
  await clients(call).ec2.send(new ModifyInstanceMetadataOptionsCommand({ InstanceId, ...others, HttpEndpoint }))
}

const otherOptions = ['HttpTokens', 'HttpPutResponseHopLimit', 'HttpProtocolIpv6', 'InstanceMetadataTags'] as const
const optionNames = ['HttpEndpoint', ...otherOptions] as const

type MetadataOptions = Pick<NonNullable<Instance['MetadataOptions']>, (typeof optionNames)[number]>

/** What of the metadata service can be set, without what is not known. */
function metadataOptions({ MetadataOptions: now }: Instance): MetadataOptions {
  const known = optionNames.flatMap((name) => (now?.[name] === undefined ? [] : [[name, now[name]]]))
  return Object.fromEntries(known)
}

async function metadataNow(call: Call<Target>, id: string): Promise<MetadataOptions | undefined> {
  const instance = await readInstance(call, id)
  return instance === undefined ? undefined : metadataOptions(instance)
}
