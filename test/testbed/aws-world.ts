import {
  AttachLoadBalancerTargetGroupsCommand,
  AutoScalingClient,
  CreateAutoScalingGroupCommand,
  DescribeAutoScalingGroupsCommand,
} from '@aws-sdk/client-auto-scaling'
import {
  AssociateIamInstanceProfileCommand,
  AttachNetworkInterfaceCommand,
  AttachVolumeCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateLaunchTemplateCommand,
  CreateNetworkInterfaceCommand,
  CreateSecurityGroupCommand,
  CreateSubnetCommand,
  CreateVolumeCommand,
  CreateVpcCommand,
  DescribeAddressesCommand,
  DescribeIamInstanceProfileAssociationsCommand,
  DescribeInstanceAttributeCommand,
  DescribeInstancesCommand,
  DescribeNetworkAclsCommand,
  DescribeNetworkInterfacesCommand,
  DescribeSecurityGroupRulesCommand,
  DescribeSecurityGroupsCommand,
  DescribeSnapshotsCommand,
  DescribeVolumesCommand,
  EC2Client,
  ModifyNetworkInterfaceAttributeCommand,
} from '@aws-sdk/client-ec2'
import {
  CreateTargetGroupCommand,
  DescribeTargetGroupsCommand,
  DescribeTargetHealthCommand,
  ElasticLoadBalancingV2Client,
  RegisterTargetsCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import {
  AddRoleToInstanceProfileCommand,
  CreateInstanceProfileCommand,
  CreateRoleCommand,
  IAMClient,
  ListInstanceProfilesCommand,
  ListRolesCommand,
} from '@aws-sdk/client-iam'
import { STSClient } from '@aws-sdk/client-sts'

/** What AWS looks like to the responder: an endpoint and credentials, by the environment. */
export type AwsEnvironment = Readonly<Record<string, string>>

export function awsEnvironment(endpoint: string): AwsEnvironment {
  return {
    AWS_ENDPOINT_URL: endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test',
    // moto takes any; this one is looked for in all that comes out.
    AWS_SECRET_ACCESS_KEY: 'canary-4f1d77-secret-key',
    AWS_EC2_METADATA_DISABLED: 'true',
  }
}

interface Place {
  readonly region?: string
  /** For another account: what assuming a role in it gave. */
  readonly credentials?: {
    readonly accessKeyId: string
    readonly secretAccessKey: string
    readonly sessionToken?: string
  }
}

/** Clients of a bystander, who asks the emulator directly. */
export function awsBystander(endpoint: string, place: Place = {}) {
  const config = {
    endpoint,
    region: 'us-east-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    ...place,
  }
  return {
    ec2: new EC2Client(config),
    scaling: new AutoScalingClient(config),
    balancing: new ElasticLoadBalancingV2Client(config),
    iam: new IAMClient(config),
    sts: new STSClient(config),
  }
}

export type Bystander = ReturnType<typeof awsBystander>

export interface AwsWorld {
  readonly aws: Bystander
  readonly group: string
  readonly targetGroup: string
  readonly vpc: string
  /** The first one of the two, which the first interface of every instance is in. */
  readonly subnet: string
  /** The first one has three interfaces in two subnets and three volumes, the others one of each. */
  readonly instances: readonly string[]
  readonly profile: string
  /** Everything that an isolation touches, in a form that can be compared: the same before and after. */
  readonly describe: () => Promise<unknown>
}

let worlds = 0

/** One that moto has in every region; to list them takes it seconds. */
const image = 'ami-12c6146b'

export interface WorldOptions extends Place {
  /** False: the first instance is like the others. */
  readonly large?: boolean
}

/** A VPC with an auto scaling group of `size` instances behind a target group, each with an instance profile. */
export async function buildAwsWorld(endpoint: string, size = 2, options: WorldOptions = {}): Promise<AwsWorld> {
  const { large = true, ...place } = options
  const region = place.region ?? 'us-east-1'
  const aws = awsBystander(endpoint, place)
  const { ec2, scaling, balancing, iam } = aws
  const name = `crm-${++worlds}-${process.pid}`
  const vpc = must((await ec2.send(new CreateVpcCommand({ CidrBlock: '10.7.0.0/16' }))).Vpc?.VpcId)
  const subnet = async (cidr: string, zone: string): Promise<string> =>
    must(
      (await ec2.send(new CreateSubnetCommand({ VpcId: vpc, CidrBlock: cidr, AvailabilityZone: zone }))).Subnet
        ?.SubnetId,
    )
  const [first, second] = [await subnet('10.7.0.0/20', `${region}a`), await subnet('10.7.16.0/20', `${region}b`)]
  const securityGroup = async (what: string): Promise<string> => {
    const { GroupId } = await ec2.send(
      new CreateSecurityGroupCommand({ GroupName: `${name}-${what}`, Description: what, VpcId: vpc }),
    )
    await ec2.send(
      new AuthorizeSecurityGroupIngressCommand({
        GroupId,
        IpPermissions: [{ IpProtocol: 'tcp', FromPort: 443, ToPort: 443, IpRanges: [{ CidrIp: '10.7.0.0/16' }] }],
      }),
    )
    return must(GroupId)
  }
  const [web, data] = [await securityGroup('web'), await securityGroup('data')]

  const trust = JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { Service: 'ec2.amazonaws.com' }, Action: 'sts:AssumeRole' }],
  })
  await iam.send(new CreateRoleCommand({ RoleName: name, AssumeRolePolicyDocument: trust }))
  const profile = must(
    (await iam.send(new CreateInstanceProfileCommand({ InstanceProfileName: name }))).InstanceProfile?.Arn,
  )
  await iam.send(new AddRoleToInstanceProfileCommand({ InstanceProfileName: name, RoleName: name }))

  const template = await ec2.send(
    new CreateLaunchTemplateCommand({
      LaunchTemplateName: name,
      LaunchTemplateData: { ImageId: image, InstanceType: 't3.micro' },
    }),
  )
  const targetGroup = must(
    (
      await balancing.send(
        new CreateTargetGroupCommand({ Name: name, Protocol: 'HTTP', Port: 7001, VpcId: vpc, TargetType: 'instance' }),
      )
    ).TargetGroups?.[0]?.TargetGroupArn,
  )
  await scaling.send(
    new CreateAutoScalingGroupCommand({
      AutoScalingGroupName: name,
      MinSize: size,
      MaxSize: size + 1,
      DesiredCapacity: size,
      VPCZoneIdentifier: first,
      LaunchTemplate: { LaunchTemplateId: must(template.LaunchTemplate?.LaunchTemplateId), Version: '$Latest' },
    }),
  )
  await scaling.send(
    new AttachLoadBalancerTargetGroupsCommand({ AutoScalingGroupName: name, TargetGroupARNs: [targetGroup] }),
  )
  const members = async (): Promise<string[]> => {
    const { AutoScalingGroups } = await scaling.send(
      new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: [name] }),
    )
    return (AutoScalingGroups?.[0]?.Instances ?? []).map(({ InstanceId }) => must(InstanceId)).sort()
  }
  const instances = await members()
  await balancing.send(
    new RegisterTargetsCommand({ TargetGroupArn: targetGroup, Targets: instances.map((Id) => ({ Id, Port: 7001 })) }),
  )
  for (const InstanceId of instances) {
    await ec2.send(new AssociateIamInstanceProfileCommand({ InstanceId, IamInstanceProfile: { Name: name } }))
  }
  // Not in the template: moto adds an instance's own groups to those of each of its interfaces for ever, which AWS does not.
  for (const eni of (await groupsOf(aws, instances)).keys()) {
    await ec2.send(new ModifyNetworkInterfaceAttributeCommand({ NetworkInterfaceId: eni, Groups: [web] }))
  }
  for (const [index, subnetId] of (large ? [first, second] : []).entries()) {
    const { NetworkInterface } = await ec2.send(
      new CreateNetworkInterfaceCommand({ SubnetId: subnetId, Groups: index === 0 ? [web, data] : [data] }),
    )
    await ec2.send(
      new AttachNetworkInterfaceCommand({
        NetworkInterfaceId: must(NetworkInterface?.NetworkInterfaceId),
        InstanceId: must(instances[0]),
        DeviceIndex: index + 1,
      }),
    )
    const { VolumeId } = await ec2.send(new CreateVolumeCommand({ AvailabilityZone: `${region}a`, Size: 8 }))
    await ec2.send(
      new AttachVolumeCommand({
        VolumeId: must(VolumeId),
        InstanceId: must(instances[0]),
        Device: `/dev/sd${'fg'[index]}`,
      }),
    )
  }

  const describe = async (): Promise<unknown> => {
    const reservations = await ec2.send(new DescribeInstancesCommand({ Filters: [{ Name: 'vpc-id', Values: [vpc] }] }))
    const found = (reservations.Reservations ?? []).flatMap(({ Instances }) => Instances ?? [])
    const enis = await ec2.send(new DescribeNetworkInterfacesCommand({ Filters: [{ Name: 'vpc-id', Values: [vpc] }] }))
    const groups = await ec2.send(new DescribeSecurityGroupsCommand({ Filters: [{ Name: 'vpc-id', Values: [vpc] }] }))
    const rules = await ec2.send(
      new DescribeSecurityGroupRulesCommand({
        Filters: [{ Name: 'group-id', Values: (groups.SecurityGroups ?? []).map(({ GroupId }) => must(GroupId)) }],
      }),
    )
    const acls = await ec2.send(new DescribeNetworkAclsCommand({ Filters: [{ Name: 'vpc-id', Values: [vpc] }] }))
    const volumes = await ec2.send(
      new DescribeVolumesCommand({
        Filters: [{ Name: 'attachment.instance-id', Values: found.map(({ InstanceId }) => must(InstanceId)) }],
      }),
    )
    const addresses = await ec2.send(new DescribeAddressesCommand({}))
    const targets = await balancing.send(new DescribeTargetGroupsCommand({ TargetGroupArns: [targetGroup] }))
    const ours = (one: object): boolean => /"(crm|mcp-ir)-/.test(JSON.stringify(one))
    const roles = await iam.send(new ListRolesCommand({}))
    const instanceProfiles = await iam.send(new ListInstanceProfilesCommand({}))
    const associations = await ec2.send(new DescribeIamInstanceProfileAssociationsCommand({}))
    const asg = await scaling.send(new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: [name] }))
    const health = await balancing.send(new DescribeTargetHealthCommand({ TargetGroupArn: targetGroup }))
    const attributes = await Promise.all(
      found.map(async ({ InstanceId }) => {
        const one = async (Attribute: 'disableApiTermination' | 'instanceInitiatedShutdownBehavior') =>
          (await ec2.send(new DescribeInstanceAttributeCommand({ InstanceId: must(InstanceId), Attribute })))[
            Attribute === 'disableApiTermination' ? 'DisableApiTermination' : 'InstanceInitiatedShutdownBehavior'
          ]?.Value ?? null
        return {
          InstanceId,
          termination: await one('disableApiTermination'),
          shutdown: await one('instanceInitiatedShutdownBehavior'),
        }
      }),
    )
    const sorted = <T>(list: readonly T[] | undefined): T[] =>
      [...(list ?? [])].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
    // An association gets another id when it is made again: who has which profile, address or network ACL is what counts.
    const again = new Set(['NetworkAclAssociationId', 'AssociationId'])
    const stable = (key: string, value: unknown) =>
      Array.isArray(value)
        ? sorted(value)
        : (key === 'Id' && String(value).startsWith('iip-assoc-')) || again.has(key)
          ? undefined
          : value
    return JSON.parse(
      JSON.stringify(
        {
          instances: found,
          enis: enis.NetworkInterfaces,
          groups: groups.SecurityGroups,
          rules: rules.SecurityGroupRules,
          acls: acls.NetworkAcls,
          volumes: volumes.Volumes,
          addresses: addresses.Addresses,
          targets: targets.TargetGroups,
          roles: roles.Roles?.filter((one) => ours(one)),
          instanceProfiles: instanceProfiles.InstanceProfiles?.filter((one) => ours(one)),
          profiles: associations.IamInstanceProfileAssociations?.filter(({ InstanceId }) =>
            found.some((one) => one.InstanceId === InstanceId),
          ).map(({ InstanceId, IamInstanceProfile, State }) => ({ InstanceId, IamInstanceProfile, State })),
          scaling: asg.AutoScalingGroups,
          health: health.TargetHealthDescriptions,
          attributes,
        },
        stable,
      ),
    )
  }
  return { aws, group: name, targetGroup, vpc, subnet: first, instances, profile, describe }
}

/** Groups of every interface of these instances, by interface. */
export async function groupsOf({ ec2 }: Bystander, instances: readonly string[]): Promise<Map<string, string[]>> {
  const { NetworkInterfaces } = await ec2.send(
    new DescribeNetworkInterfacesCommand({ Filters: [{ Name: 'attachment.instance-id', Values: [...instances] }] }),
  )
  return new Map(
    NetworkInterfaces?.map((eni) => [
      must(eni.NetworkInterfaceId),
      (eni.Groups ?? []).map(({ GroupId }) => must(GroupId)),
    ]),
  )
}

/** How many rules a security group has. */
export async function rulesOf({ ec2 }: Bystander, group: string): Promise<number> {
  const { SecurityGroupRules } = await ec2.send(
    new DescribeSecurityGroupRulesCommand({ Filters: [{ Name: 'group-id', Values: [group] }] }),
  )
  return SecurityGroupRules?.length ?? 0
}

/** Whether any interface of the instances is in a group that has a rule. */
export async function connected({ aws, instances }: Pick<AwsWorld, 'aws' | 'instances'>): Promise<boolean> {
  const groups = new Set([...(await groupsOf(aws, instances)).values()].flat())
  const rules = await Promise.all([...groups].map((group) => rulesOf(aws, group)))
  return rules.some((count) => count > 0)
}

/** Snapshots that carry this tag. */
export async function snapshotsOf({ ec2 }: Bystander, tag: string): Promise<string[]> {
  const { Snapshots } = await ec2.send(
    new DescribeSnapshotsCommand({ OwnerIds: ['self'], Filters: [{ Name: 'tag-key', Values: [tag] }] }),
  )
  return (Snapshots ?? []).map(({ VolumeId }) => must(VolumeId)).sort()
}

export function must<T>(value: T | undefined | null): T {
  if (value === undefined || value === null) throw new Error('the emulator gave no answer to what was asked')
  return value
}
