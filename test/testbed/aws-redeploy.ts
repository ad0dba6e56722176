import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateLaunchTemplateCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DescribeInstancesCommand,
  type Instance,
  RegisterImageCommand,
  RunInstancesCommand,
} from '@aws-sdk/client-ec2'
import {
  AddRoleToInstanceProfileCommand,
  CreateInstanceProfileCommand,
  CreateRoleCommand,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam'
import type { DeploymentTarget } from '../../src/deployment/port.ts'
import { expectationsOf, provenance } from '../../src/provenance/index.ts'
import type { DeploymentOf } from '../../src/registry/port.ts'
import { serverSchema } from '../../src/registry/schema.ts'
import { type Bystander, must } from './aws-world.ts'
import { signedBuild, writeBuild } from './signed-build.ts'
import { approvedDigest } from './suspect.ts'

type Ec2 = DeploymentOf<'aws-ec2'>

let worlds = 0
const unique = (what: string) => `${what}-${++worlds}-${process.pid}`

const trustFor = (principal: object) =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: principal, Action: 'sts:AssumeRole' }],
  })
const ec2Only = trustFor({ Service: 'ec2.amazonaws.com' })
export const anybody = trustFor({ Service: 'ec2.amazonaws.com', AWS: 'arn:aws:iam::999999999999:root' })
const reads = { Action: 's3:GetObject', Resource: 'arn:aws:s3:::crm/*' }

/** An instance profile with a role of the same name that may do this. */
export async function makeProfile({ iam }: Bystander, may: object = reads, trust = ec2Only): Promise<string> {
  const name = unique('crm-role')
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', ...may }] })
  await iam.send(new CreateRoleCommand({ RoleName: name, AssumeRolePolicyDocument: trust }))
  await iam.send(new PutRolePolicyCommand({ RoleName: name, PolicyName: 'may', PolicyDocument }))
  await iam.send(new CreateInstanceProfileCommand({ InstanceProfileName: name }))
  await iam.send(new AddRoleToInstanceProfileCommand({ InstanceProfileName: name, RoleName: name }))
  return name
}

export async function makeGroup({ ec2 }: Bystander, vpc: string): Promise<string> {
  const { GroupId } = await ec2.send(
    new CreateSecurityGroupCommand({ GroupName: unique('crm-group'), Description: 'x', VpcId: vpc }),
  )
  await ec2.send(
    new AuthorizeSecurityGroupIngressCommand({
      GroupId,
      IpPermissions: [{ IpProtocol: 'tcp', FromPort: 443, ToPort: 443, IpRanges: [{ CidrIp: '10.8.0.0/16' }] }],
    }),
  )
  return must(GroupId)
}

export async function makeImage({ ec2 }: Bystander): Promise<string> {
  return must((await ec2.send(new RegisterImageCommand({ Name: unique('crm-image'), Architecture: 'x86_64' }))).ImageId)
}

export interface Replaceable {
  readonly vpc: string
  readonly subnet: string
  readonly template: string
  /** The compromised instance, in its old group and with its old profile. */
  readonly instance: string
  readonly old: { readonly group: string; readonly profile: string; readonly image: string }
  readonly next: { readonly group: string; readonly profile: string; readonly image: string }
}

/**
 * One instance that was started from a launch template, and what a new one is to get.
 * @param images the old and the new one, where an emulator starts nothing from those that are registered
 */
export async function replaceable(aws: Bystander, images: readonly string[] = []): Promise<Replaceable> {
  const { ec2 } = aws
  const vpc = must((await ec2.send(new CreateVpcCommand({ CidrBlock: '10.8.0.0/16' }))).Vpc?.VpcId)
  const subnet = must(
    (await ec2.send(new CreateSubnetCommand({ VpcId: vpc, CidrBlock: '10.8.0.0/20' }))).Subnet?.SubnetId,
  )
  const make = async (image: string | undefined) => ({
    group: await makeGroup(aws, vpc),
    profile: await makeProfile(aws),
    image: image ?? (await makeImage(aws)),
  })
  const [old, next] = [await make(images[0]), await make(images[1])]
  const name = unique('crm-template')
  const LaunchTemplateData = {
    ImageId: old.image,
    InstanceType: 't3.micro' as const,
    KeyName: 'of-the-attacker',
    SecurityGroupIds: [old.group],
    IamInstanceProfile: { Name: old.profile },
  }
  await ec2.send(new CreateLaunchTemplateCommand({ LaunchTemplateName: name, LaunchTemplateData }))
  const { Instances } = await ec2.send(
    new RunInstancesCommand({
      ImageId: old.image,
      InstanceType: 't3.micro',
      SubnetId: subnet,
      SecurityGroupIds: [old.group],
      IamInstanceProfile: { Name: old.profile },
      MinCount: 1,
      MaxCount: 1,
    }),
  )
  return { vpc, subnet, template: name, instance: must(Instances?.[0]?.InstanceId), old, next }
}

export interface RedeployOptions {
  readonly url: string
  readonly deployment: Partial<Ec2>
  /** The build: the manifest of this image, or an npm package with this file as user data. */
  readonly build: { readonly image: string } | { readonly userData: string }
  readonly toolsDigest?: string
}

/** What the step would hand to the adapter, the build and its registry entry in `folder`. */
export async function redeployTarget(folder: string, options: RedeployOptions): Promise<DeploymentTarget<Ec2>> {
  const server = serverSchema.parse({
    name: 'io.acme/crm',
    version: '1.4.0',
    status: 'approved',
    owner: 'crm-team',
    package: await packageOf(folder, options.build),
    tools: { digest: options.toolsDigest ?? approvedDigest() },
    deployments: [
      { id: unique('prod'), kind: 'aws-ec2', region: 'us-east-1', url: options.url, watch: 0, ...options.deployment },
    ],
  })
  const file = must(server.package.path)
  const verdict = await provenance.verify(file, expectationsOf(server), AbortSignal.timeout(20_000))
  const [deployment] = server.deployments
  if (deployment?.kind !== 'aws-ec2') throw new TypeError('no deployment')
  return { server, deployment, artifact: { file, verdict }, compromised: [], isolation: [] }
}

async function packageOf(folder: string, build: RedeployOptions['build']): Promise<object> {
  if ('userData' in build) {
    const signed = await signedBuild({ files: { 'deploy/user-data.sh': build.userData } })
    const files = await writeBuild(folder, signed)
    const { identifier, version, integrity } = signed
    return {
      registryType: 'npm',
      identifier,
      version,
      integrity,
      path: files.tarball,
      attestations: files.bundle,
      key: files.key,
      tlog: false,
    }
  }
  const path = join(folder, 'manifest.json')
  const text = JSON.stringify({ builds: [{ artifact_id: `eu-west-1:ami-00000000,us-east-1:${build.image}` }] })
  await writeFile(path, text)
  const integrity = `sha256:${createHash('sha256').update(text).digest('hex')}`
  return { registryType: 'file', identifier: 'crm-image', version: '1.4.0', integrity, path }
}

/** Every instance of a VPC, as AWS describes it. */
export async function instancesOf({ ec2 }: Bystander, vpc: string): Promise<Instance[]> {
  const { Reservations } = await ec2.send(
    new DescribeInstancesCommand({ Filters: [{ Name: 'vpc-id', Values: [vpc] }] }),
  )
  return (Reservations ?? []).flatMap(({ Instances }) => Instances ?? [])
}
