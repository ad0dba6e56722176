import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import {
  AssociateIamInstanceProfileCommand,
  DisassociateIamInstanceProfileCommand,
  type Instance,
  ModifyInstanceMetadataOptionsCommand,
  ReplaceIamInstanceProfileAssociationCommand,
} from '@aws-sdk/client-ec2'
import {
  AddRoleToInstanceProfileCommand,
  CreateInstanceProfileCommand,
  CreateRoleCommand,
  DeleteInstanceProfileCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  GetInstanceProfileCommand,
  GetRoleCommand,
  PutRolePolicyCommand,
  RemoveRoleFromInstanceProfileCommand,
} from '@aws-sdk/client-iam'
import { awsCode, awsError } from '../../aws/clients.ts'
import type { Call, Json } from '../../change.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Kind } from './action.ts'
import type { Drafting } from './aims.ts'
import { readInstance, readProfilesOf } from './read-instances.ts'
import { clients, groupName, type Reading, type Target } from './reading.ts'

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
}

interface DenyParams {
  name: string
}

export function roleAims({ world, call, aim }: Drafting): void {
  const denied = denyName(call)
  // The associations tell it; where they may not be read, the instance itself does.
  const arnOf = ({ InstanceId, IamInstanceProfile }: Instance): string | undefined =>
    (world.profiles.find((one) => one.InstanceId === InstanceId)?.IamInstanceProfile ?? IamInstanceProfile)?.Arn
  const wanted = world.instances.map(arnOf).some((arn) => arn !== undefined && !isNamed(arn, denied))
  const made = wanted
    ? aim('deny-profile', denyTarget(call), {
        holds: false,
        claim: `there is a profile that denies everything: ${denied}`,
        seen: 'instances have another one',
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
    const harmless = arn === undefined || isNamed(arn, denied)
    aim('replace-profile', `instance ${id}`, {
      holds: harmless,
      claim: `${id} has no role that may do anything`,
      seen: arn === undefined ? 'no instance profile' : harmless ? `${denied}, which is denied everything` : safe(arn),
      summary: `Replace the instance profile of ${id}${arn === undefined ? '' : ` (${safe(arn.split('/').at(-1) ?? arn)})`} by one that is denied everything`,
      priority: 'best-effort',
      after: made === undefined ? [] : [made],
      params: { instance: id, denied } satisfies ProfileParams,
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
        undo: metadataOptions(instance),
        command: `ec2 modify-instance-metadata-options --instance-id ${id} --http-endpoint disabled`,
      })
    }
  }
}

/** Told by the case, as the plan must be the same whatever the case is called; the name of the profile is a hash of it. */
const denyTarget = (call: Reading): string => `instance profile that denies everything, of ${groupName(call)}`

/** The same in every run of the case; IAM takes at most 64 characters. */
function denyName(call: Reading): string {
  return `mcp-ir-deny-${createHash('sha256').update(groupName(call)).digest('hex').slice(0, 16)}`
}

const isNamed = (arn: string, name: string): boolean => arn.endsWith(`/${name}`)

const policyName = 'mcp-ir-deny-everything'
const denyAll = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Deny', Action: '*', Resource: '*' }],
})
const trust = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { Service: 'ec2.amazonaws.com' }, Action: 'sts:AssumeRole' }],
})

/** Everything here goes by name, so that it can be sent again. */
export const denyProfile: Kind<DenyParams, unknown> = {
  async apply({ name }, call): Promise<Json> {
    const { iam } = clients(call)
    const unlessThere = (work: Promise<unknown>): Promise<unknown> =>
      work.catch((error) => {
        if (!/^EntityAlreadyExists/.test(awsCode(error) ?? '')) throw error
      })
    try {
      await unlessThere(
        iam.send(
          new CreateRoleCommand({
            RoleName: name,
            AssumeRolePolicyDocument: trust,
            Description: `mcp-ir ${call.caseId}: denied everything`,
          }),
        ),
      )
      // Before the profile, which without it would deny only for want of a permission.
      await iam.send(new PutRolePolicyCommand({ RoleName: name, PolicyName: policyName, PolicyDocument: denyAll }))
      await unlessThere(iam.send(new CreateInstanceProfileCommand({ InstanceProfileName: name })))
      await addRole(call, name)
      return { profile: name }
    } catch (error) {
      // It is an extra: without it the profiles are taken away instead of replaced.
      const known = awsError(error, 'Making a profile that denies everything')
      if (known.code === 'interrupted') throw known
      await remove(iam, name).catch(() => {})
      return { profile: null, why: known.message }
    }
  },
  holds: ({ name }, call) => hasRole(call, name),
  back: {
    drift: async () => [],
    async apply({ name }, _, call, output) {
      if (isMade(output)) await remove(clients(call).iam, name)
    },
    async holds({ name }, _, call, output) {
      if (!isMade(output)) return true
      const { iam } = clients(call)
      const left = await Promise.all([
        orNone(iam.send(new GetInstanceProfileCommand({ InstanceProfileName: name }))),
        orNone(iam.send(new GetRoleCommand({ RoleName: name }))),
      ])
      return left.every((one) => Object.keys(one).length === 0)
    },
  },
}

/** Whether the profile could be made, or was found to be there. */
function isMade(output: Json | undefined): boolean {
  if (output === undefined || output === null || typeof output !== 'object') return false
  return 'settled' in output || ('profile' in output && output.profile !== null)
}

async function remove(iam: ReturnType<typeof clients>['iam'], name: string): Promise<void> {
  const names = { InstanceProfileName: name, RoleName: name }
  await orNone(iam.send(new RemoveRoleFromInstanceProfileCommand(names)))
  await orNone(iam.send(new DeleteInstanceProfileCommand(names)))
  await orNone(iam.send(new DeleteRolePolicyCommand({ ...names, PolicyName: policyName })))
  await orNone(iam.send(new DeleteRoleCommand(names)))
}

/**
 * The SDK takes the refusal of a second role (LimitExceeded) for throttling and would wait on it: so it is sent once, and
 * after a lost answer it is asked whether the role is there.
 */
async function addRole(call: Call<Target>, name: string): Promise<void> {
  for (let tried = 1; ; tried++) {
    if (await hasRole(call, name)) return
    try {
      const names = { InstanceProfileName: name, RoleName: name }
      await clients(call).iamOnce.send(new AddRoleToInstanceProfileCommand(names))
      return
    } catch (error) {
      if (!awsError(error, 'Adding the role').ambiguous || tried === 3) throw error
    }
  }
}

async function hasRole(call: Call<Target>, name: string): Promise<boolean> {
  const asked = clients(call).iam.send(new GetInstanceProfileCommand({ InstanceProfileName: name }))
  return (await orNone(asked)).InstanceProfile?.Roles?.some(({ RoleName }) => RoleName === name) === true
}

/** What is not there is no error, neither when it is looked for nor when it is deleted. */
async function orNone<T>(asked: Promise<T>): Promise<Partial<T>> {
  try {
    return await asked
  } catch (error) {
    if (awsCode(error)?.startsWith('NoSuchEntity') !== true) throw error
    return {}
  }
}

/** How long a new profile may be unknown to EC2, and how often it is tried meanwhile. */
const known = { tries: 10, everyMs: 2000 }

export const replaceProfile: Kind<ProfileParams, { arn: string | null }> = {
  async apply({ instance, denied }, call) {
    const { ec2 } = clients(call)
    const made = wasMade(call)
    for (let tried = 0; ; tried++) {
      const now = (await readProfilesOf(call, instance)).filter(
        (one) => !isNamed(one.IamInstanceProfile?.Arn ?? '', denied),
      )
      if (now.length === 0) return { profile: made ? denied : null }
      for (const { AssociationId } of now) {
        if (!made || tried === known.tries) {
          await ec2.send(new DisassociateIamInstanceProfileCommand({ AssociationId }))
          continue
        }
        try {
          await ec2.send(
            new ReplaceIamInstanceProfileAssociationCommand({ AssociationId, IamInstanceProfile: { Name: denied } }),
          )
        } catch (error) {
          const { code, ambiguous } = awsError(error, 'Replacing the profile')
          if (code === 'interrupted' || ambiguous) throw error
          // What we may not hand out, and what EC2 does not know in time, is not waited for: then there is no role at all.
          if (code === 'denied') await ec2.send(new DisassociateIamInstanceProfileCommand({ AssociationId }))
          else await sleep(known.everyMs, undefined, { signal: call.signal })
        }
      }
    }
  },
  holds: async ({ instance, denied }, call) => {
    const now = await profileNow(call, instance)
    return now === null || isNamed(now, denied)
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

function wasMade(call: Call<Target>): boolean {
  const { changes, receipts } = call
  const change = changes.find(({ action, target }) => action === 'deny-profile' && target === denyTarget(call))
  return change !== undefined && isMade(receipts.get(change.id)?.output)
}

async function profileNow(call: Call<Target>, instance: string): Promise<string | null> {
  return (await readProfilesOf(call, instance))[0]?.IamInstanceProfile?.Arn ?? null
}

export const closeMetadata: Kind<InstanceParams, ReturnType<typeof metadataOptions>> = {
  async apply({ instance }, call) {
    await clients(call).ec2.send(
      new ModifyInstanceMetadataOptionsCommand({ InstanceId: instance, HttpEndpoint: 'disabled' }),
    )
  },
  holds: async ({ instance }, call) => (await metadataNow(call, instance))?.HttpEndpoint === 'disabled',
  back: {
    drift: async () => [],
    async apply({ instance }, options, call) {
      await clients(call).ec2.send(new ModifyInstanceMetadataOptionsCommand({ InstanceId: instance, ...options }))
    },
    async holds({ instance }, options, call) {
      const now = await metadataNow(call, instance)
      return now === undefined || isDeepStrictEqual(now, options)
    },
  },
}

/** What of the metadata service can be set, without what is not known. */
function metadataOptions({ MetadataOptions: now }: Instance) {
  return {
    ...(now?.HttpEndpoint === undefined ? {} : { HttpEndpoint: now.HttpEndpoint }),
    ...(now?.HttpTokens === undefined ? {} : { HttpTokens: now.HttpTokens }),
    ...(now?.HttpPutResponseHopLimit === undefined ? {} : { HttpPutResponseHopLimit: now.HttpPutResponseHopLimit }),
    ...(now?.HttpProtocolIpv6 === undefined ? {} : { HttpProtocolIpv6: now.HttpProtocolIpv6 }),
    ...(now?.InstanceMetadataTags === undefined ? {} : { InstanceMetadataTags: now.InstanceMetadataTags }),
  }
}

async function metadataNow(call: Call<Target>, id: string): Promise<ReturnType<typeof metadataOptions> | undefined> {
  const instance = await readInstance(call, id)
  return instance === undefined ? undefined : metadataOptions(instance)
}
