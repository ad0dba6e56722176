import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CreateAutoScalingGroupCommand,
  DescribeAutoScalingGroupsCommand,
  DescribeInstanceRefreshesCommand,
} from '@aws-sdk/client-auto-scaling'
import { DescribeInstancesCommand } from '@aws-sdk/client-ec2'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { awsEc2 } from '../../src/deployment/aws-ec2.ts'
import type { DeploymentOf } from '../../src/registry/port.ts'
import { Driver, deploymentContract } from '../contracts/deployment.ts'
import { redeployTarget, replaceable } from '../testbed/aws-redeploy.ts'
import { awsBystander, awsEnvironment, type Bystander, must } from '../testbed/aws-world.ts'
import { type McpServer, startMcpServer } from '../testbed/mcp-server.ts'
import { type Emulator, skipWithoutEmulators, startMinistack } from '../testbed/python.ts'
import { type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'

type Ec2 = DeploymentOf<'aws-ec2'>

const skip = skipWithoutEmulators('refresh of an auto scaling group')

let ministack: Emulator
let proxy: RecordingProxy
let aws: Bystander
let mcp: McpServer
const before = { ...process.env }
if (!skip) {
  beforeAll(async () => {
    ministack = await startMinistack()
    proxy = await startRecordingProxy(ministack.url)
    aws = awsBystander(ministack.url)
    mcp = await startMcpServer()
    Object.assign(process.env, awsEnvironment(proxy.url))
  })
  afterAll(async () => {
    for (const name of Object.keys(awsEnvironment(''))) delete process.env[name]
    Object.assign(process.env, before)
    await proxy?.stop()
    await ministack?.stop()
    await mcp?.stop()
  })
}

let groups = 0

/** An isolated instance, and a group of two that still run the old build: ministack has members of its own for it, without EC2. */
async function given(folder: string) {
  const world = await replaceable(aws, ['ami-0abcdef1234567890', 'ami-0c2023a1b2c3d4e5f'])
  const AutoScalingGroupName = `crm-${++groups}-${process.pid}`
  await aws.scaling.send(
    new CreateAutoScalingGroupCommand({
      AutoScalingGroupName,
      MinSize: 2,
      MaxSize: 3,
      DesiredCapacity: 2,
      VPCZoneIdentifier: world.subnet,
      LaunchTemplate: { LaunchTemplateName: world.template, Version: '$Latest' },
    }),
  )
  const target = await redeployTarget(folder, {
    url: mcp.url,
    build: { image: world.next.image },
    deployment: {
      instances: [world.instance],
      autoScalingGroup: AutoScalingGroupName,
      launchTemplate: world.template,
      redeploy: {
        image: world.next.image,
        securityGroups: [world.next.group],
        instanceProfile: world.next.profile,
      },
    },
  })
  return { world, target, group: AutoScalingGroupName }
}

const refreshes = async (AutoScalingGroupName: string) =>
  (await aws.scaling.send(new DescribeInstanceRefreshesCommand({ AutoScalingGroupName }))).InstanceRefreshes ?? []

describe.skipIf(skip)('an auto scaling group', () => {
  deploymentContract<Ec2>('aws-ec2, an auto scaling group', awsEc2, async (folder) => {
    const { target, group } = await given(folder)
    const describeGroup = new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: [group] })
    return {
      target,
      world: async () =>
        JSON.stringify([await refreshes(group), (await aws.scaling.send(describeGroup)).AutoScalingGroups]),
      started: async () => (await refreshes(group)).length,
      // ministack's members are no instances of its EC2.
      residue: [expect.stringContaining('EC2 does not describe')],
      stop: async () => {},
    }
  })

  describe('refresh', () => {
    let folder: string
    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'mcp-ir-refresh-'))
      proxy.fault = () => undefined
    })
    afterEach(async () => await rm(folder, { recursive: true, force: true }))

    test('what still runs the old build is replaced, what is in standby is left alone, the isolated one is untouched', async () => {
      const { world, target, group } = await given(folder)
      const isolated = async () =>
        JSON.stringify(
          await aws.ec2.send(new DescribeInstancesCommand({ InstanceIds: [world.instance] })),
          (key, value) => (key === '$metadata' ? undefined : value),
        )
      const untouched = await isolated()
      const driver = new Driver(awsEc2, target, folder)
      expect(await driver.check()).toEqual([])
      const plan = await driver.plan()
      expect(plan.map(({ action, effect }) => [action, effect])).toEqual([
        ['template-version', 'creates'],
        ['default-version', 'reversible'],
        ['refresh-instances', 'irreversible'],
        ['prove-server', 'reversible'],
      ])
      expect(plan[2]?.breaks[0]).toMatch(/^ends i-/)
      proxy.calls.length = 0
      await driver.applyAll()
      expect((await driver.verify()).observed.filter(({ holds }) => !holds)).toEqual([])
      expect(await isolated()).toBe(untouched)
      const changing = proxy.calls.filter(({ changes }) => changes)
      expect(changing.map(({ action }) => action)).toEqual([
        'CreateLaunchTemplateVersion',
        'ModifyLaunchTemplate',
        'StartInstanceRefresh',
      ])
      expect(changing.at(-1)?.params.get('Preferences.StandbyInstances')).toBe('Ignore')
      expect(changing.some(({ body }) => body.includes(world.instance))).toBe(false)
      expect(await refreshes(group)).toMatchObject([{ Status: 'Successful' }])
    })

    test('an answer that is lost starts no second refresh', async () => {
      const { target, group } = await given(folder)
      const driver = new Driver(awsEc2, target, folder)
      const [version, preset, refresh] = await driver.plan()
      await driver.apply(must(version))
      await driver.apply(must(preset))
      proxy.fault = ({ action }) => (action === 'StartInstanceRefresh' ? 'lost' : undefined)
      await expect(driver.apply(must(refresh))).rejects.toMatchObject({ ambiguous: true })
      proxy.fault = () => undefined
      expect(await driver.settle(must(refresh))).toBeDefined()
      await driver.apply(must(refresh))
      expect(await refreshes(group)).toHaveLength(1)
    })

    test('a group that is not started from one launch template is told to go by a pipeline', async () => {
      const { world, target } = await given(folder)
      const name = `mixed-${process.pid}`
      await aws.scaling.send(
        new CreateAutoScalingGroupCommand({
          AutoScalingGroupName: name,
          MinSize: 0,
          MaxSize: 0,
          VPCZoneIdentifier: world.subnet,
        }),
      )
      const deployment = { ...target.deployment, autoScalingGroup: name }
      expect(await new Driver(awsEc2, { ...target, deployment }, folder).check()).toContainEqual(
        expect.objectContaining({ kind: 'input', hint: expect.stringContaining('redeploy.command') }),
      )
    })
  })
})
