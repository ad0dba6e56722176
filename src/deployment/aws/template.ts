import { createHash } from 'node:crypto'
import {
  CreateLaunchTemplateVersionCommand,
  type LaunchTemplateVersion,
  ModifyLaunchTemplateCommand,
  type RequestLaunchTemplateData,
  type ResponseLaunchTemplateData,
  type Tag,
} from '@aws-sdk/client-ec2'
import canonicalize from 'canonicalize'
import type { Call } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { Kind } from './action.ts'
import {
  artifactTag,
  clients,
  type Reading,
  readTemplate,
  readVersions,
  rebuildOf,
  redeployMark,
  redeployTag,
  type Target,
  type Template,
} from './reading.ts'
import { sourceOf } from './source.ts'

/**
 * The new version of the launch template. It takes over what the machine is like from the version before, and nothing that the
 * attacker could have left there: no key pair, no user data, no groups, no profile, no network interfaces, no snapshots.
 */

const hardware = [
  'InstanceType',
  'InstanceRequirements',
  'EbsOptimized',
  'CpuOptions',
  'CreditSpecification',
  'InstanceMarketOptions',
  'Monitoring',
  'Placement',
] as const

export interface Draft {
  readonly data: RequestLaunchTemplateData
  /** Of all that the version is made of, whatever the case. */
  readonly hash: string
  /** What it is found by. */
  readonly description: string
}

export async function draftOf(call: Reading, base: LaunchTemplateVersion): Promise<Draft> {
  const { target, signal } = call
  const rebuild = rebuildOf(target)
  const region = await clients(call).ec2.config.region()
  const { image, userData } = await sourceOf(target, rebuild, region, signal)
  const { deployment, artifact } = target
  const before = base.LaunchTemplateData ?? {}
  const tags = { ...tagsOf(before), ...deployment.tags, [artifactTag]: artifact.verdict.sha256 }
  const data: RequestLaunchTemplateData = {
    ...(Object.fromEntries(
      hardware.flatMap((key) => (before[key] === undefined ? [] : [[key, before[key]]])),
    ) as RequestLaunchTemplateData),
    ...disks(before),
    ImageId: image,
    SecurityGroupIds: [...rebuild.securityGroups],
    IamInstanceProfile: { Name: rebuild.instanceProfile },
    // A server that can be talked into fetching a URL hands out no credentials: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
    MetadataOptions: { HttpTokens: 'required', HttpEndpoint: 'enabled' },
    ...(userData === undefined ? {} : { UserData: userData.toString('base64') }),
  }
  const hash = createHash('sha256')
    .update(canonicalize({ data, tags }) ?? '')
    .digest('hex')
    .slice(0, 16)
  const all = { ...tags, [redeployTag]: redeployMark(call) }
  const Tags: Tag[] = Object.entries(all).map(([Key, Value]) => ({ Key, Value }))
  return {
    data: { ...data, TagSpecifications: [{ ResourceType: 'instance', Tags }] },
    hash,
    description: `mcp-ir ${call.caseId} ${hash}`,
  }
}

function tagsOf({ TagSpecifications }: ResponseLaunchTemplateData): Record<string, string> {
  const tags = TagSpecifications?.find(({ ResourceType }) => ResourceType === 'instance')?.Tags ?? []
  return Object.fromEntries(
    tags.flatMap(({ Key = '', Value = '' }) => (/^(aws|mcp-ir):/.test(Key) ? [] : [[Key, Value]])),
  )
}

/** How large and of which kind, never what is on them. */
function disks({
  BlockDeviceMappings,
}: ResponseLaunchTemplateData): Pick<RequestLaunchTemplateData, 'BlockDeviceMappings'> {
  const mappings = (BlockDeviceMappings ?? []).filter(({ Ebs }) => Ebs?.VolumeSize !== undefined)
  if (mappings.length === 0) return {}
  return {
    BlockDeviceMappings: mappings.map(({ DeviceName, Ebs }) => {
      const { SnapshotId: _, ...disk } = Ebs ?? {}
      return { DeviceName, Ebs: disk }
    }),
  }
}

/** The version that others are made from: the default one, unless it is ours. */
export function baseOf(template: Template, versions: readonly LaunchTemplateVersion[]): LaunchTemplateVersion {
  const foreign = versions.filter(({ VersionDescription }) => !VersionDescription?.startsWith('mcp-ir '))
  const base = foreign.find(({ VersionNumber }) => Number(VersionNumber) === template.defaultVersion) ?? foreign.at(-1)
  if (base !== undefined) return base
  throw new IrError('input', `Launch template ${template.name} has no version that says what the machine is like`)
}

interface VersionParams {
  readonly base: number
  readonly hash: string
}

/** The number of the version that was made from this draft, by this case. */
export async function versionOf(call: Reading, description: string, template?: Template): Promise<number | undefined> {
  const versions = await readVersions(call, template ?? (await readTemplate(call, undefined)))
  const found = versions.find((one) => one.VersionDescription === description)
  return found === undefined ? undefined : Number(found.VersionNumber)
}

/** @throws IrError partial when the version is not there */
export async function madeVersion(call: Call<Target>, template: Template, hash: string): Promise<number> {
  const version = await versionOf(call, `mcp-ir ${call.caseId} ${hash}`, template)
  if (version !== undefined) return version
  throw new IrError('partial', `The new version of ${template.name} is not there.`)
}

export const templateVersion: Kind<VersionParams> = {
  async apply({ base, hash }, call, change, template) {
    const versions = await readVersions(call, template)
    const from = versions.find(({ VersionNumber }) => Number(VersionNumber) === base)
    const draft = from === undefined ? undefined : await draftOf(call, from)
    if (draft?.hash !== hash) {
      throw new IrError('refused', 'The launch template, or the build, is no longer what was planned from.')
    }
    const { LaunchTemplateVersion: made } = await clients(call).ec2Once.send(
      new CreateLaunchTemplateVersionCommand({
        LaunchTemplateId: template.id,
        ClientToken: change.id,
        VersionDescription: draft.description,
        LaunchTemplateData: draft.data,
      }),
    )
    return { version: Number(made?.VersionNumber) }
  },
  async made({ hash }, call, _, template) {
    const version = await versionOf(call, `mcp-ir ${call.caseId} ${hash}`, template)
    return version === undefined ? undefined : { version }
  },
}

/** Whoever launches from the template without naming a version starts the verified build, not the compromised one. */
export const defaultVersion: Kind<{ readonly hash: string }> = {
  async apply({ hash }, call, _, template) {
    const version = await madeVersion(call, template, hash)
    await clients(call).ec2.send(
      new ModifyLaunchTemplateCommand({ LaunchTemplateId: template.id, DefaultVersion: `${version}` }),
    )
    return { version }
  },
  async made({ hash }, call, _, template) {
    const version = await versionOf(call, `mcp-ir ${call.caseId} ${hash}`, template)
    return version !== undefined && version === template.defaultVersion ? { version } : undefined
  },
}
