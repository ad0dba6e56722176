import {
  EnterStandbyCommand,
  ResumeProcessesCommand,
  SuspendProcessesCommand,
  UpdateAutoScalingGroupCommand,
} from '@aws-sdk/client-auto-scaling'
import {
  AllocateAddressCommand,
  AssociateAddressCommand,
  AttachNetworkInterfaceCommand,
  CreateNetworkAclEntryCommand,
  CreateNetworkInterfaceCommand,
  CreateSecurityGroupCommand,
  CreateTagsCommand,
  DeleteNetworkAclEntryCommand,
  DescribeAddressesCommand,
  DescribeIamInstanceProfileAssociationsCommand,
  DescribeInstancesCommand,
  DescribeNetworkAclsCommand,
  DescribeSecurityGroupRulesCommand,
  type Instance,
  ModifyInstanceMetadataOptionsCommand,
  ModifyNetworkInterfaceAttributeCommand,
  RevokeSecurityGroupEgressCommand,
  RunInstancesCommand,
  type RunInstancesCommandInput,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2'
import {
  CreateTargetGroupCommand,
  DescribeTargetHealthCommand,
  RegisterTargetsCommand,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import {
  AddRoleToInstanceProfileCommand,
  DeleteRolePolicyCommand,
  GetRolePolicyCommand,
  RemoveRoleFromInstanceProfileCommand,
} from '@aws-sdk/client-iam'
import { AssumeRoleCommand } from '@aws-sdk/client-sts'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { awsEc2 } from '../../src/containment/aws-ec2.ts'
import type { Containment, ContainmentTarget } from '../../src/containment/port.ts'
import { isolate, release } from '../../src/containment/step.ts'
import type { Deployment } from '../../src/registry/port.ts'
import { type ContainmentWorld, containmentContract, operate } from '../contracts/containment.ts'
import { AwsIncident } from '../testbed/aws-incident.ts'
import {
  type AwsWorld,
  awsBystander,
  awsEnvironment,
  buildAwsWorld,
  connected,
  groupsOf,
  must,
} from '../testbed/aws-world.ts'
import { type Emulator, skipWithoutEmulators, startMoto } from '../testbed/python.ts'
import { type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'

const adapter = awsEc2 as unknown as Containment
const skip = skipWithoutEmulators('containment aws-ec2')

let moto: Emulator
let proxy: RecordingProxy
beforeAll(async () => {
  if (skip) return
  moto = await startMoto()
  proxy = await startRecordingProxy(moto.url)
})
afterAll(async () => {
  await proxy?.stop()
  await moto?.stop()
})

type Ec2 = Omit<Extract<Deployment, { kind: 'aws-ec2' }>, 'id' | 'kind'>

let targets = 0

const target = (deployment: Partial<Ec2>): ContainmentTarget => ({
  server: 'io.acme/crm',
  owner: 'crm-team',
  consumers: ['agent sales'],
  // One of its own for each target: they all share the case id of the contract.
  deployment: {
    id: `prod-${++targets}`,
    kind: 'aws-ec2',
    allow: [],
    cut: 'groups',
    ...deployment,
  },
})

describe.skipIf(skip)('containment aws-ec2', () => {
  const before = { ...process.env }
  beforeAll(() => Object.assign(process.env, awsEnvironment(proxy.url)))
  afterAll(() => {
    for (const name of Object.keys(awsEnvironment(''))) delete process.env[name]
    Object.assign(process.env, before)
  })

  afterEach(() => {
    proxy.fault = () => undefined
  })

  let node: AwsWorld
  let gone: AwsWorld
  beforeAll(async () => {
    gone = await buildAwsWorld(moto.url, 1, { large: false })
    await gone.aws.ec2.send(new TerminateInstancesCommand({ InstanceIds: [...gone.instances] }))
    node = await buildAwsWorld(moto.url, 1)
    await node.aws.ec2.send(
      new CreateTagsCommand({
        Resources: [...node.instances],
        Tags: [{ Key: 'kubernetes.io/cluster/prod', Value: 'owned' }],
      }),
    )
  })

  containmentContract('aws-ec2', async (): Promise<ContainmentWorld> => {
    const world = await buildAwsWorld(moto.url)
    const { aws, group, instances } = world
    const original = await groupsOf(aws, instances)
    return {
      adapter,
      target: target({ autoScalingGroup: group }),
      absent: target({ instances: [...gone.instances] }),
      own: target({ instances: [...node.instances] }),
      secrets: [must(awsEnvironment('').AWS_SECRET_ACCESS_KEY)],
      connected: () => connected(world),
      half: async () => {
        await aws.scaling.send(
          new SuspendProcessesCommand({
            AutoScalingGroupName: group,
            ScalingProcesses: ['Launch', 'Terminate', 'HealthCheck', 'ReplaceUnhealthy', 'AZRebalance'],
          }),
        )
      },
      disturb: async () => {
        const [eni, Groups] = must([...original].find(([, groups]) => groups.length > 1))
        await aws.ec2.send(new ModifyNetworkInterfaceAttributeCommand({ NetworkInterfaceId: eni, Groups }))
        await aws.scaling.send(
          new ResumeProcessesCommand({ AutoScalingGroupName: group, ScalingProcesses: ['Launch'] }),
        )
      },
      stop: async () => {},
    }
  })

  it('refuses the instance that it runs on, by the name of its role session', async () => {
    const [own = '', other = ''] = (await buildAwsWorld(moto.url)).instances
    const { Credentials } = await awsBystander(moto.url).sts.send(
      new AssumeRoleCommand({ RoleArn: 'arn:aws:iam::123456789012:role/responder', RoleSessionName: own }),
    )
    Object.assign(process.env, {
      AWS_ACCESS_KEY_ID: Credentials?.AccessKeyId,
      AWS_SECRET_ACCESS_KEY: Credentials?.SecretAccessKey,
      AWS_SESSION_TOKEN: Credentials?.SessionToken,
    })
    try {
      const kinds = async (instance: string) =>
        (await operate({ adapter, target: target({ instances: [instance] }) }).check()).map(({ kind }) => kind)
      expect(await kinds(own)).toContain('refused')
      expect(await kinds(other)).not.toContain('refused')
    } finally {
      delete process.env.AWS_SESSION_TOKEN
      Object.assign(process.env, awsEnvironment(proxy.url))
    }
  })

  /** Isolates, looks, puts back, and compares all that can be described. */
  async function there(
    world: AwsWorld,
    deployment: Partial<Ec2>,
    look: (run: ReturnType<typeof operate>, instances: readonly Instance[]) => Promise<void>,
    over: Partial<ContainmentTarget> = {},
  ): Promise<void> {
    const original = await world.describe()
    const run = operate({ adapter, target: { ...target({ autoScalingGroup: world.group, ...deployment }), ...over } })
    const changes = await run.plan()
    await run.apply(changes)
    const verdict = await run.verify()
    expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
    expect(await connected(world)).toBe(false)
    const { Reservations } = await world.aws.ec2.send(
      new DescribeInstancesCommand({ InstanceIds: [...world.instances] }),
    )
    await look(
      run,
      (Reservations ?? []).flatMap(({ Instances }) => Instances ?? []),
    )
    expect(await run.plan()).toEqual([])
    expect((await run.undo(changes)).observed.filter(({ holds }) => !holds)).toEqual([])
    expect(await world.describe()).toEqual(original)
  }

  /** In no group. */
  async function standalone({ aws, subnet }: AwsWorld, over: Partial<RunInstancesCommandInput> = {}): Promise<string> {
    const { Instances } = await aws.ec2.send(
      new RunInstancesCommand({ MinCount: 1, MaxCount: 1, ImageId: 'ami-12c6146b', SubnetId: subnet, ...over }),
    )
    return must(Instances?.[0]?.InstanceId)
  }

  const small = (size = 1): Promise<AwsWorld> => buildAwsWorld(moto.url, size, { large: false })

  it('takes an Elastic IP off where that is asked for, and gives it back', async () => {
    const world = await small()
    const { AllocationId, PublicIp = '' } = await world.aws.ec2.send(new AllocateAddressCommand({ Domain: 'vpc' }))
    const [eni = ''] = (await groupsOf(world.aws, world.instances)).keys()
    await world.aws.ec2.send(new AssociateAddressCommand({ AllocationId, NetworkInterfaceId: eni }))
    await there(world, { elasticIp: 'disassociate', cut: 'auto' }, async (run) => {
      const { Addresses } = await world.aws.ec2.send(new DescribeAddressesCommand({ PublicIps: [PublicIp] }))
      expect(Addresses?.map(({ AssociationId }) => AssociationId)).toEqual([undefined])
      const verdict = await run.verify()
      expect(verdict.observed.map(({ claim }) => claim)).toContain(`${PublicIp} no longer leads to ${eni}`)
      // An interface that the internet can reach never passes through an open group.
      expect(run.receipts.size).toBeGreaterThan(5)
      expect(
        [...run.receipts.values()].some(({ output }) => JSON.stringify(output ?? null).includes('"hopped":true')),
      ).toBe(false)
    })
  })

  it('cuts the whole subnet off where that is asked for, and names everybody else in it', async () => {
    const world = await small(2)
    const [ours = '', other = ''] = world.instances
    const lambda = await world.aws.ec2.send(
      new CreateNetworkInterfaceCommand({ SubnetId: world.subnet, Description: 'AWS Lambda VPC ENI' }),
    )
    const original = await world.describe()
    const run = operate({ adapter, target: target({ instances: [ours], cut: 'nacl', allow: ['10.9.8.7/32'] }) })
    const changes = await run.plan()
    const breaks = changes.flatMap((change) => (change.action === 'cut-subnet' ? change.breaks : []))
    expect(breaks.join('\n')).toContain(other)
    expect(breaks.join('\n')).toContain(must(lambda.NetworkInterface?.NetworkInterfaceId))
    expect(breaks.join('\n')).not.toContain(ours)
    await run.apply(changes)
    const { NetworkAcls } = await world.aws.ec2.send(
      new DescribeNetworkAclsCommand({ Filters: [{ Name: 'association.subnet-id', Values: [world.subnet] }] }),
    )
    const allowed = NetworkAcls?.[0]?.Entries?.filter(({ RuleAction }) => RuleAction === 'allow')
    expect(allowed?.map(({ CidrBlock, Egress }) => `${CidrBlock} ${Egress}`).sort()).toEqual([
      '10.9.8.7/32 false',
      '10.9.8.7/32 true',
    ])
    expect((await run.verify()).observed.filter(({ holds }) => !holds)).toEqual([])
    expect(await run.plan()).toEqual([])
    // Held by its rules, not by being there.
    const acl = must(NetworkAcls?.[0]?.NetworkAclId)
    await world.aws.ec2.send(
      new CreateNetworkAclEntryCommand({
        NetworkAclId: acl,
        RuleNumber: 90,
        Protocol: '-1',
        RuleAction: 'allow',
        Egress: true,
        CidrBlock: '0.0.0.0/0',
      }),
    )
    await world.aws.ec2.send(new DeleteNetworkAclEntryCommand({ NetworkAclId: acl, RuleNumber: 100, Egress: false }))
    const opened = await run.verify()
    expect([opened.state, JSON.stringify(opened.observed)]).toEqual([
      'failed',
      expect.stringContaining(`${acl}, has allow 0.0.0.0/0 out, lacks 10.9.8.7/32 in`),
    ])
    await run.apply(await run.plan())
    expect((await run.verify()).observed.filter(({ holds }) => !holds)).toEqual([])
    expect((await run.undo(changes)).state).toBe('verified')
    expect(await world.describe()).toEqual(original)
  })

  it('cuts all four interfaces of an instance in two subnets, and goes on when one target group is denied', async () => {
    const world = await buildAwsWorld(moto.url, 1)
    const [id = ''] = world.instances
    const { NetworkInterface } = await world.aws.ec2.send(new CreateNetworkInterfaceCommand({ SubnetId: world.subnet }))
    await world.aws.ec2.send(
      new AttachNetworkInterfaceCommand({
        NetworkInterfaceId: must(NetworkInterface?.NetworkInterfaceId),
        InstanceId: id,
        DeviceIndex: 3,
      }),
    )
    expect((await groupsOf(world.aws, [id])).size).toBe(4)
    const original = await world.describe()
    proxy.fault = ({ action }) => (action === 'DeregisterTargets' ? { deny: 'AccessDenied' } : undefined)
    const incident = new AwsIncident({ group: world.group, cut: 'auto' })
    const denied = await incident.run(isolate)
    expect(denied.state).toBe('partial')
    expect(denied.open.join('\n')).toContain(
      `aws elbv2 deregister-targets --target-group-arn ${world.targetGroup} --targets Id=${id},Port=7001`,
    )
    const isolation = new Set([...(await groupsOf(world.aws, [id])).values()].flat())
    expect([isolation.size, await connected(world)]).toEqual([1, false])
    proxy.fault = () => undefined
    expect((await incident.run(isolate)).open).toEqual([])
    expect((await incident.run(release)).open).toEqual([])
    expect(await world.describe()).toEqual(original)
  })

  it('cuts a Kubernetes worker node off only when that is said, and says so', async () => {
    const forced = { ...target({ instances: [...node.instances] }), forceNode: true }
    const run = operate({ adapter, target: forced })
    const problems = await run.check()
    expect(problems.filter(({ kind }) => kind !== 'warning')).toEqual([])
    expect(problems.map(({ message }) => message).join()).toContain('all pods on it')
    const changes = await run.plan()
    await run.apply(changes)
    expect(await connected(node)).toBe(false)
    expect((await run.undo(changes)).state).toBe('verified')
  })

  // moto has no sessions: the answers are AWS's documented ones.
  it('ends the SSM sessions on its instances and nobody else’s', async () => {
    const world = await small()
    const [ours = ''] = world.instances
    const live = new Map([
      ['mallory-0a1b', ours],
      ['alice-0c2d', 'i-0aaaaaaaaaaaaaaaa'],
    ])
    proxy.fault = ({ service, action, body }) => {
      if (service !== 'ssm') return undefined
      if (action === 'TerminateSession') {
        const { SessionId } = JSON.parse(body) as { SessionId: string }
        live.delete(SessionId)
        return { json: { SessionId } }
      }
      const Sessions = [...live].map(([SessionId, Target]) => ({ SessionId, Target, Status: 'Connected', Owner: 'm' }))
      return { json: { Sessions } }
    }
    const run = operate({ adapter, target: target({ autoScalingGroup: world.group }) })
    const changes = await run.plan()
    await run.apply(changes)
    expect([...live.keys()]).toEqual(['alice-0c2d'])
    expect((await run.verify()).observed).toContainEqual({
      claim: `nobody has an SSM session on ${ours}`,
      seen: 'so',
      holds: true,
    })
  })

  it('puts an instance back into standby', async () => {
    const world = await small(2)
    const [standby = ''] = world.instances
    await world.aws.scaling.send(new UpdateAutoScalingGroupCommand({ AutoScalingGroupName: world.group, MinSize: 1 }))
    await world.aws.scaling.send(
      new EnterStandbyCommand({
        AutoScalingGroupName: world.group,
        InstanceIds: [standby],
        ShouldDecrementDesiredCapacity: true,
      }),
    )
    await there(world, {}, async () => {})
  })

  it('takes more than 20 instances out of their group, at most 20 at once, and no new one starts', async () => {
    const world = await small(21)
    const incident = new AwsIncident({ group: world.group })
    proxy.calls.length = 0
    const report = await incident.run(isolate)
    expect([report.state, report.open]).toEqual([expect.stringMatching(/^(done|residual)$/), []])
    expect(await connected(world)).toBe(false)
    const left = proxy.calls.filter(({ action }) => action === 'DetachInstances')
    const ids = left.map(({ params }) =>
      [...params].filter(([key]) => key.startsWith('InstanceIds.')).map(([, id]) => id),
    )
    expect(ids.flat().sort()).toEqual(world.instances)
    expect(Math.max(...ids.map((some) => some.length))).toBeLessThanOrEqual(20)
    expect(left.length).toBeLessThan(21)
    const { Reservations } = await world.aws.ec2.send(
      new DescribeInstancesCommand({ Filters: [{ Name: 'vpc-id', Values: [world.vpc] }] }),
    )
    expect((Reservations ?? []).flatMap(({ Instances }) => Instances ?? [])).toHaveLength(21)
  })

  it('works in several regions and accounts in one go', async () => {
    const role = 'arn:aws:iam::111111111111:role/responder'
    const { Credentials } = await awsBystander(moto.url).sts.send(
      new AssumeRoleCommand({ RoleArn: role, RoleSessionName: 'bystander' }),
    )
    const credentials = {
      accessKeyId: must(Credentials?.AccessKeyId),
      secretAccessKey: must(Credentials?.SecretAccessKey),
      sessionToken: must(Credentials?.SessionToken),
    }
    const worlds = [
      await small(),
      await buildAwsWorld(moto.url, 1, { large: false, region: 'eu-west-1' }),
      await buildAwsWorld(moto.url, 1, { large: false, region: 'eu-central-1', credentials }),
    ]
    const [home, abroad, foreign] = worlds.map(({ group }) => ({ group }))
    const incident = new AwsIncident(
      must(home),
      { ...must(abroad), region: 'eu-west-1' },
      { ...must(foreign), region: 'eu-central-1', role },
    )
    const originals = await Promise.all(worlds.map((world) => world.describe()))
    expect((await incident.run(isolate)).open).toEqual([])
    for (const world of worlds) expect(await connected(world)).toBe(false)
    expect((await incident.run(release)).open).toEqual([])
    expect(await Promise.all(worlds.map((world) => world.describe()))).toEqual(originals)
  })

  it('puts the profile that denies everything right again when somebody took its denial away', async () => {
    const world = await small()
    const run = operate({ adapter, target: target({ autoScalingGroup: world.group }) })
    await run.apply(await run.plan())
    expect(await run.plan()).toEqual([])
    const { IamInstanceProfileAssociations } = await world.aws.ec2.send(
      new DescribeIamInstanceProfileAssociationsCommand({
        Filters: [{ Name: 'instance-id', Values: [...world.instances] }],
      }),
    )
    const denied = must(IamInstanceProfileAssociations?.[0]?.IamInstanceProfile?.Arn?.split('/').at(-1))
    await world.aws.iam.send(new DeleteRolePolicyCommand({ RoleName: denied, PolicyName: 'mcp-ir-deny-everything' }))
    const seen = await run.verify()
    expect(seen.residue.join('\n')).toContain('there is a profile that denies everything')
    expect(seen.residue.join('\n')).toContain('has no role that may do anything')
    await run.apply(await run.plan())
    await world.aws.iam.send(new GetRolePolicyCommand({ RoleName: denied, PolicyName: 'mcp-ir-deny-everything' }))
    // Another role in its place, which may do everything.
    await world.aws.iam.send(
      new RemoveRoleFromInstanceProfileCommand({ InstanceProfileName: denied, RoleName: denied }),
    )
    await world.aws.iam.send(
      new AddRoleToInstanceProfileCommand({ InstanceProfileName: denied, RoleName: world.group }),
    )
    expect((await run.verify()).residue.join('\n')).toContain('there is a profile that denies everything')
    await run.apply(await run.plan())
    expect((await run.verify()).observed.filter(({ holds }) => !holds)).toEqual([])
  })

  it('tells what was changed of the metadata service, the minimum and the tag, and puts back only what it changed', async () => {
    const world = await small()
    const [id = ''] = world.instances
    const run = operate({ adapter, target: target({ autoScalingGroup: world.group }) })
    const changes = await run.plan()
    await run.apply(changes)
    expect(await run.drift(changes)).toEqual([])
    await world.aws.ec2.send(new ModifyInstanceMetadataOptionsCommand({ InstanceId: id, HttpTokens: 'required' }))
    await world.aws.ec2.send(
      new CreateTagsCommand({ Resources: [id], Tags: [{ Key: 'mcp-ir:case', Value: 'theirs' }] }),
    )
    await world.aws.scaling.send(
      new UpdateAutoScalingGroupCommand({ AutoScalingGroupName: world.group, MinSize: 2, MaxSize: 5 }),
    )
    expect([...(await run.drift(changes))].sort()).toEqual(
      [
        `HttpTokens of ${id} is required now, was optional, and stays as it is`,
        `${world.group} has a minimum of 2 now, and would get 1 back`,
        `${id} carries theirs as its case now, and would get none back`,
      ].sort(),
    )
    await run.undo(changes.filter(({ action }) => action === 'close-metadata'))
    const { Reservations } = await world.aws.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
    expect(Reservations?.[0]?.Instances?.[0]?.MetadataOptions).toMatchObject({
      HttpEndpoint: 'enabled',
      HttpTokens: 'required',
    })
  })

  it('registers each target again by itself: those that joined later, and all but the one that AWS refuses', async () => {
    const world = await small()
    const [kept, stopped, late] = [await standalone(world), await standalone(world), await standalone(world)]
    const { TargetGroups } = await world.aws.balancing.send(
      new CreateTargetGroupCommand({
        Name: `own-${world.group}`.slice(0, 32),
        Protocol: 'HTTP',
        Port: 7001,
        VpcId: world.vpc,
        TargetType: 'instance',
      }),
    )
    const TargetGroupArn = must(TargetGroups?.[0]?.TargetGroupArn)
    const register = (...Targets: { Id: string; Port: number }[]) =>
      world.aws.balancing.send(new RegisterTargetsCommand({ TargetGroupArn, Targets }))
    const registered = async () => {
      const { TargetHealthDescriptions } = await world.aws.balancing.send(
        new DescribeTargetHealthCommand({ TargetGroupArn }),
      )
      return (TargetHealthDescriptions ?? []).map(({ Target }) => `${Target?.Id}:${Target?.Port}`).sort()
    }
    await register({ Id: kept, Port: 7001 }, { Id: stopped, Port: 7001 })
    const incident = new AwsIncident({ instances: [kept, stopped, late], autoScalingGroup: undefined, group: '' })
    await incident.run(isolate)
    expect(await registered()).toEqual([])
    await register({ Id: late, Port: 7001 })
    await incident.run(isolate)
    expect(await registered()).toEqual([])
    await world.aws.ec2.send(new StopInstancesCommand({ InstanceIds: [stopped] }))
    const released = await incident.run(release)
    expect(await registered()).toEqual([`${kept}:7001`, `${late}:7001`].sort())
    expect(released.open.filter((one) => one.includes('out of target group')).join()).toContain(stopped)
    expect(released.open.join()).not.toContain(kept)
    expect(released.open.join()).not.toContain(late)
  })

  it('knows a stopped instance: no flow of it can live on, and nothing passes through an open group', async () => {
    const world = await small()
    const id = await standalone(world)
    await world.aws.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    const run = operate({ adapter, target: target({ instances: [id], cut: 'auto' }) })
    const changes = await run.plan()
    await run.apply(changes)
    const verdict = await run.verify()
    expect(await connected({ ...world, instances: [id] })).toBe(false)
    expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
    expect(verdict.residue.filter((one) => one.includes('flows'))).toEqual([])
    expect(JSON.stringify([...run.receipts.values()])).not.toContain('"hopped":true')
    expect((await run.undo(changes)).state).toBe('verified')
  })

  it('does not try to protect a Spot instance, which AWS refuses', async () => {
    const world = await small()
    const id = await standalone(world, { InstanceMarketOptions: { MarketType: 'spot' } })
    const run = operate({ adapter, target: target({ instances: [id] }) })
    const changes = await run.plan()
    expect(changes.map(({ action }) => action)).not.toContain('protect-termination')
    await run.apply(changes)
    expect((await run.verify()).observed.filter(({ holds }) => !holds)).toEqual([])
  })

  it('leaves an interface that somebody isolated before closed on its way', async () => {
    const world = await small()
    const { GroupId } = await world.aws.ec2.send(
      new CreateSecurityGroupCommand({ GroupName: 'theirs', Description: 'no rules', VpcId: world.vpc }),
    )
    const { SecurityGroupRules } = await world.aws.ec2.send(
      new DescribeSecurityGroupRulesCommand({ Filters: [{ Name: 'group-id', Values: [must(GroupId)] }] }),
    )
    for (const { SecurityGroupRuleId } of SecurityGroupRules ?? []) {
      await world.aws.ec2.send(
        new RevokeSecurityGroupEgressCommand({ GroupId, SecurityGroupRuleIds: [must(SecurityGroupRuleId)] }),
      )
    }
    const [eni = ''] = (await groupsOf(world.aws, world.instances)).keys()
    await world.aws.ec2.send(
      new ModifyNetworkInterfaceAttributeCommand({ NetworkInterfaceId: eni, Groups: [must(GroupId)] }),
    )
    await there(world, { cut: 'auto' }, async (run) => {
      expect(JSON.stringify([...run.receipts.values()])).not.toContain('"hopped":true')
    })
  })

  it('says what is not there, instead of calling it isolated', async () => {
    const world = await small()
    const [id = ''] = world.instances
    const check = (deployment: Partial<Ec2>) => operate({ adapter, target: target(deployment) }).check()
    expect(await check({ instances: ['i-0aaaaaaaaaaaaaaaa'] })).toEqual([
      expect.objectContaining({ kind: 'input', message: expect.stringContaining('us-east-1') }),
    ])
    expect(await check({ instances: [id], region: 'eu-west-1' })).toEqual([
      expect.objectContaining({ kind: 'input', message: expect.stringContaining('eu-west-1') }),
    ])
    expect(await check({ tags: { app: 'nobody' } })).toEqual([expect.objectContaining({ kind: 'input' })])
    // Of several, those that are there are cut off, and the verdict names the others.
    const some = operate({ adapter, target: target({ instances: [id, 'i-0aaaaaaaaaaaaaaaa'] }) })
    expect((await some.check()).filter(({ kind }) => kind !== 'warning')).toEqual([])
    await some.apply(await some.plan())
    expect(await connected(world)).toBe(false)
    const verdict = await some.verify()
    expect([verdict.state, verdict.residue.join()]).toEqual([
      'residual',
      expect.stringContaining('i-0aaaaaaaaaaaaaaaa'),
    ])
  })

  it('says which limit stands in the way, and what to run', async () => {
    const world = await small()
    proxy.fault = ({ action, params }) =>
      action === 'CreateSecurityGroup' && params.get('DryRun') !== 'true'
        ? { deny: 'SecurityGroupLimitExceeded' }
        : undefined
    const report = await new AwsIncident({ group: world.group }).run(isolate)
    expect(report.state).toBe('failed')
    expect(report.open.join('\n')).toContain('SecurityGroupLimitExceeded')
    expect(report.open.join('\n')).toContain('aws ec2 create-security-group ')
  })

  it('cuts although a target group may not be looked at, and says so', async () => {
    const world = await small()
    proxy.fault = ({ action }) => (action === 'DescribeTargetHealth' ? { deny: 'AccessDenied' } : undefined)
    const report = await new AwsIncident({ group: world.group }).run(isolate)
    expect(await connected(world)).toBe(false)
    expect(report.residue.join('\n')).toContain(world.targetGroup)
  })

  it('asks with the parameters that it acts with, and one denied thing does not stop the others', async () => {
    const world = await buildAwsWorld(moto.url)
    const enis = [...(await groupsOf(world.aws, world.instances)).keys()].sort()
    const [first = ''] = enis
    const check = async () =>
      (await operate({ adapter, target: target({ autoScalingGroup: world.group }) }).check())
        .map(({ kind, message }) => `${kind}: ${message}`)
        .filter((one) => one.includes('permitted'))
    // A policy that lets nobody make a group without the tag of the case, and nobody touch one interface.
    proxy.fault = ({ action, params }) =>
      (action === 'CreateSecurityGroup' && params.get('TagSpecification.1.Tag.1.Key') === null) ||
      params.get('NetworkInterfaceId') === first
        ? { deny: 'UnauthorizedOperation' }
        : undefined
    expect(await check()).toEqual([
      `warning: ec2:ModifyNetworkInterfaceAttribute is not permitted for ${first}, which will not be cut off.`,
    ])
    // Who may not tag may make it without.
    proxy.fault = ({ params }) =>
      params.has('TagSpecification.1.Tag.1.Key') ? { deny: 'UnauthorizedOperation' } : undefined
    expect(await check()).toEqual([])
    proxy.fault = ({ action }) =>
      action === 'ModifyNetworkInterfaceAttribute' ? { deny: 'UnauthorizedOperation' } : undefined
    expect(await check()).toEqual([
      'denied: ec2:ModifyNetworkInterfaceAttribute is not permitted: nothing can be cut off without it.',
    ])
  })

  it('cuts although what the cut does not need is never answered', async () => {
    const world = await small()
    let cut = false
    proxy.fault = ({ action, changes }) => {
      cut ||= action === 'ModifyNetworkInterfaceAttribute' && changes
      return !cut && /^Describe(TargetGroups|InstanceAttribute|Sessions)$/.test(action) ? 'hang' : undefined
    }
    const report = await new AwsIncident({ group: world.group }).run(isolate)
    expect(await connected(world)).toBe(false)
    expect(report.warnings.join('\n')).toContain('Reading target groups: no answer within 15 s')
  })

  it('cuts although nothing may be looked at but what the cut needs', async () => {
    const world = await small()
    const needed = new Set([
      'Instances',
      'NetworkInterfaces',
      'SecurityGroups',
      'SecurityGroupRules',
      'AutoScalingGroups',
    ])
    proxy.fault = ({ action }) =>
      action.startsWith('Describe') && !needed.has(action.slice('Describe'.length))
        ? { deny: 'UnauthorizedOperation' }
        : undefined
    const report = await new AwsIncident({ group: world.group }).run(isolate)
    expect(await connected(world)).toBe(false)
    expect(report.state).toBe('partial')
    // The group is known although its members may not be asked, and the profile although its associations may not.
    expect(report.verdict?.[0]?.observed).toContainEqual(
      expect.objectContaining({ claim: expect.stringContaining('neither starts nor'), holds: true }),
    )
    expect(report.verdict?.[0]?.observed).toContainEqual(
      expect.objectContaining({ claim: expect.stringContaining('has no role that may do anything'), holds: false }),
    )
  })

  it('takes the profile away where none can be made that denies everything', async () => {
    const world = await small()
    proxy.fault = ({ service }) => (service === 'iam' ? { deny: 'AccessDenied' } : undefined)
    await there(world, {}, async (_, [instance]) => {
      expect(instance?.IamInstanceProfile).toBeUndefined()
    })
  })
})
