import {
  CreateTagsCommand,
  DescribeInstancesCommand,
  DescribeSnapshotsCommand,
  ModifyNetworkInterfaceAttributeCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { awsEc2 } from '../../src/containment/aws-ec2.ts'
import {
  type AwsWorld,
  awsEnvironment,
  buildAwsWorld,
  connected,
  groupsOf,
  must,
  rulesOf,
  snapshotsOf,
} from '../testbed/aws-world.ts'
import { mcpIr, type Ran, workplace } from '../testbed/cli.ts'
import { type Emulator, skipWithoutEmulators, startMoto } from '../testbed/python.ts'
import { type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'

const skip = skipWithoutEmulators('isolate on EC2, by the command')

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

describe.skipIf(skip)('isolate and release on EC2, by the command', () => {
  const name = 'io.acme/crm'
  let world: AwsWorld
  let folder: string
  beforeEach(async () => {
    await use(await buildAwsWorld(moto.url))
  })
  afterEach(() => {
    proxy.fault = () => undefined
  })

  const use = async (one: AwsWorld): Promise<void> => {
    world = one
    folder = workplace(`
servers:
  - name: ${name}
    version: 1.0.0
    status: approved
    owner: crm-team
    package: {registryType: npm, identifier: crm, version: 1.0.0}
    deployments:
      - {id: prod, kind: aws-ec2, region: us-east-1, autoScalingGroup: ${one.group}}
`)
    proxy.calls.length = 0
  }
  const run = (...args: string[]): Promise<Ran> => mcpIr(args, { cwd: folder, env: awsEnvironment(proxy.url) })
  const changing = (): string[] => proxy.calls.filter(({ changes }) => changes).map(({ action }) => action)

  it('cuts every interface off, proves it, does nothing twice, and puts everything back', async () => {
    const original = await world.describe()
    const isolated = await run('isolate', name, '--yes', '--json')
    expect([0, 6], isolated.stderr + isolated.stdout).toContain(isolated.code)

    const groups = await groupsOf(world.aws, world.instances)
    expect(groups.size).toBe(4)
    const isolation = new Set([...groups.values()].flat())
    expect(isolation.size).toBe(1)
    expect(await rulesOf(world.aws, must([...isolation][0]))).toBe(0)
    // biome-ignore lint/suspicious/noExplicitAny: a test looks into it and fails where it is not as expected
    const now = (await world.describe()) as any
    // No new one was started.
    expect(now.instances.map(({ InstanceId }: { InstanceId: string }) => InstanceId).sort()).toEqual(world.instances)
    expect(now.scaling[0]).toMatchObject({ DesiredCapacity: 0, MinSize: 0, Instances: [] })
    expect(now.health).toEqual([])
    // The profile is another one, whose only role is denied everything.
    expect(now.profiles).toHaveLength(2)
    for (const { IamInstanceProfile } of now.profiles) expect(IamInstanceProfile.Arn).toContain('/mcp-ir-deny-')
    for (const instance of now.instances) {
      expect(instance.Tags.map(({ Key }: { Key: string }) => Key)).toContain('mcp-ir:case')
      expect(instance.MetadataOptions.HttpEndpoint).toBe('disabled')
      for (const { Ebs } of instance.BlockDeviceMappings) expect(Ebs.DeleteOnTermination).toBe(false)
    }
    for (const one of now.attributes) expect(one).toMatchObject({ termination: true, shutdown: 'stop' })
    const volumes = now.volumes.map(({ VolumeId }: { VolumeId: string }) => VolumeId).sort()
    expect(volumes).toHaveLength(4)
    expect(await snapshotsOf(world.aws, 'mcp-ir:change')).toEqual(volumes)

    // All of it is in the verdict as seen, not as asked for.
    const { observed } = isolated.json.result.verdict.operations[0]
    expect(observed.filter(({ holds }: { holds: boolean }) => !holds)).toEqual([])
    const claims = observed.map(({ claim }: { claim: string }) => claim).join('\n')
    for (const eni of groups.keys()) expect(claims).toContain(`${eni} of `)
    for (const volume of volumes) expect(claims).toContain(`volume ${volume} outlives`)
    for (const id of world.instances) {
      for (const claim of [
        `${id} is no longer in auto scaling group ${world.group}`,
        `${id} is protected from termination`,
        `${id} carries the case`,
        `${id} has no role that may do anything`,
        `the metadata service gives ${id} no more credentials`,
        `every volume of ${id} has a snapshot`,
      ]) {
        expect(claims).toContain(claim)
      }
    }
    expect(claims).toMatch(/target group \S+ sends nothing to i-/)

    const asked = [...proxy.calls]
    proxy.calls.length = 0
    const again = await run('isolate', name, '--yes', '--json')
    // Flows that were open before may still live: that is told every time.
    expect([again.code, again.json.status, changing()], again.stdout).toEqual([6, 'residual', []])
    expect(await world.describe()).toEqual(now)

    const released = await run('release', name, '--yes', '--json')
    expect(released.code, released.stderr + released.stdout).toBe(0)
    expect(await world.describe()).toEqual(original)
    // The snapshots are evidence.
    expect(await snapshotsOf(world.aws, 'mcp-ir:change')).toEqual(volumes)
    asked.push(...proxy.calls)
    const called = new Set(asked.map(({ service, action }) => `${service}:${action}`))
    expect([...called].filter((permission) => !awsEc2.permissions.includes(permission))).toEqual([])
  })

  it('makes no changing call in a dry run, and its hash is the one that --expect takes', async () => {
    const original = await world.describe()
    const dry = await run('isolate', name, '--dry-run', '--json')
    expect(dry.code, dry.stderr).toBe(0)
    expect(proxy.calls.length).toBeGreaterThan(10)
    expect(changing()).toEqual([])
    expect(await world.describe()).toEqual(original)
    const { hash } = dry.json.result.plan
    const [eni, groups] = must([...(await groupsOf(world.aws, world.instances))].find(([, list]) => list.length > 1))
    const set = (Groups: string[]) =>
      world.aws.ec2.send(new ModifyNetworkInterfaceAttributeCommand({ NetworkInterfaceId: eni, Groups }))
    await set(groups.slice(0, 1))
    expect((await run('isolate', name, '--yes', '--expect', hash)).code).toBe(4)
    expect(changing()).toEqual([])
    await set(groups)
    expect([0, 6]).toContain((await run('isolate', name, '--yes', '--expect', hash)).code)
  })

  it('cuts although tags, snapshots and ssm are denied, and says what somebody with the right runs', async () => {
    // As AWS does: who may not tag may not make anything with tags either.
    proxy.fault = ({ service, action, params }) =>
      service === 'ssm'
        ? { deny: 'AccessDeniedException' }
        : params.get('DryRun') !== 'true' &&
            (action === 'CreateSnapshots' || action === 'CreateTags' || params.has('TagSpecification.1.Tag.1.Key'))
          ? { deny: 'UnauthorizedOperation' }
          : undefined
    const isolated = await run('isolate', name, '--yes', '--json')
    expect(isolated.code, isolated.stderr).toBe(3)
    expect(await connected(world)).toBe(false)
    const { open } = isolated.json.result
    expect(open).toHaveLength(6)
    for (const instance of world.instances) {
      for (const command of [
        `aws ec2 create-tags --resources ${instance} --tags Key=mcp-ir:case,Value=${isolated.json.case} --region us-east-1`,
        `aws ec2 create-snapshots --instance-specification InstanceId=${instance} `,
        `aws ssm describe-sessions --state Active --filters key=Target,value=${instance} --region us-east-1`,
      ]) {
        expect(open.join('\n')).toContain(command)
      }
    }
    // With the right to take snapshots but none to tag, they are taken, once, and found again.
    proxy.fault = ({ params }) =>
      params.has('TagSpecification.1.Tag.1.Key') ? { deny: 'UnauthorizedOperation' } : undefined
    for (let round = 0; round < 2; round++) expect((await run('isolate', name, '--yes', '--json')).code).toBe(6)
    const { Snapshots } = await world.aws.ec2.send(
      new DescribeSnapshotsCommand({ Filters: [{ Name: 'description', Values: [`mcp-ir ${isolated.json.case} *`] }] }),
    )
    expect(Snapshots).toHaveLength(4)
  })

  it('goes on with the others when one instance cannot be cut, and finishes it later', async () => {
    await use(await buildAwsWorld(moto.url, 3))
    const bad = must(world.instances[2])
    const [eni = ''] = [...(await groupsOf(world.aws, [bad])).keys()]
    proxy.fault = ({ action, params }) =>
      action === 'ModifyNetworkInterfaceAttribute' &&
      params.get('NetworkInterfaceId') === eni &&
      params.get('DryRun') !== 'true'
        ? { deny: 'OperationNotPermitted' }
        : undefined
    const isolated = await run('isolate', name, '--yes', '--json')
    expect(isolated.code, isolated.stderr).toBe(3)
    const named = isolated.json.result.open.filter((one: string) => one.includes(eni))
    expect(named.join('\n')).toContain('OperationNotPermitted')
    expect(named.join('\n')).toContain(bad)
    expect(await connected({ ...world, instances: world.instances.slice(0, 2) })).toBe(false)
    expect(await connected({ ...world, instances: [bad] })).toBe(true)
    proxy.fault = () => undefined
    expect([0, 6]).toContain((await run('isolate', name, '--yes', '--json')).code)
    expect(await connected(world)).toBe(false)
  })

  it('says so when somebody changed the groups before the release', async () => {
    await run('isolate', name, '--yes', '--json')
    const [eni] = must([...(await groupsOf(world.aws, world.instances.slice(0, 1)))][0])
    const foreign = await buildAwsWorld(moto.url, 1)
    const Groups = must([...(await groupsOf(world.aws, foreign.instances)).values()][0])
    await world.aws.ec2.send(new ModifyNetworkInterfaceAttributeCommand({ NetworkInterfaceId: eni, Groups }))
    const released = await run('release', name, '--yes', '--json')
    expect(released.code).toBe(4)
    expect(released.stdout).toContain(eni)
    expect(released.stdout).toContain(must(Groups[0]))
    expect(await connected({ ...world, instances: world.instances.slice(1) })).toBe(false)
  })

  it('is isolated by --target; what is not there, or elsewhere, is refused', async () => {
    const [first, second] = [must(world.instances[0]), must(world.instances[1])]
    const by = (id: string, region = 'us-east-1', ...args: string[]): Promise<Ran> =>
      run('isolate', '--target', `aws-ec2:${id}`, '--region', region, '--yes', '--json', ...args)
    const elsewhere = await by(first, 'eu-west-1')
    expect([elsewhere.code, elsewhere.stdout]).toEqual([2, expect.stringContaining('eu-west-1')])
    await world.aws.ec2.send(
      new CreateTagsCommand({ Resources: [first], Tags: [{ Key: 'kubernetes.io/cluster/prod', Value: 'owned' }] }),
    )
    const node = await by(first)
    expect([node.code, node.stdout]).toEqual([4, expect.stringContaining('--force-node')])
    expect(changing()).toEqual([])
    const isolated = await by(first, 'us-east-1', '--force-node')
    expect([0, 6], isolated.stderr + isolated.stdout).toContain(isolated.code)
    expect(await connected({ ...world, instances: [first] })).toBe(false)
    expect(await connected({ ...world, instances: [second] })).toBe(true)
    await world.aws.ec2.send(new TerminateInstancesCommand({ InstanceIds: [second] }))
    const { Reservations } = await world.aws.ec2.send(new DescribeInstancesCommand({ InstanceIds: [second] }))
    expect(Reservations?.[0]?.Instances?.[0]?.State?.Name).toBe('terminated')
    const gone = await by(second)
    expect([gone.code, gone.stdout]).toEqual([2, expect.stringContaining('no living instance')])
  })
})
