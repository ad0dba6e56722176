import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DescribeAutoScalingGroupsCommand } from '@aws-sdk/client-auto-scaling'
import { DescribeInstancesCommand } from '@aws-sdk/client-ec2'
import { dump } from 'js-yaml'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeGroup, makeImage, makeProfile, redeployTarget } from '../testbed/aws-redeploy.ts'
import { type AwsWorld, awsEnvironment, buildAwsWorld, connected, must } from '../testbed/aws-world.ts'
import { mcpIr } from '../testbed/cli.ts'
import { type McpServer, startMcpServer } from '../testbed/mcp-server.ts'
import { type Emulator, skipWithoutEmulators, startMoto } from '../testbed/python.ts'

/** The whole way by the real command: an auto scaling group on moto that is isolated, and filled again from the verified image. */

const skip = skipWithoutEmulators('redeploy of a group by the command')
const name = 'io.acme/crm'

let moto: Emulator
beforeAll(async () => {
  if (!skip) moto = await startMoto()
})
afterAll(async () => await moto?.stop())

let folder: string
let mcp: McpServer | undefined
let world: AwsWorld
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-redeploy-aws-'))
})
afterEach(async () => {
  await mcp?.stop()
  await rm(folder, { recursive: true, force: true })
})

const run = (...args: string[]) =>
  mcpIr([...args, '--config', join(folder, 'mcp-ir.yaml')], { env: awsEnvironment(moto.url) })

async function isolated(description?: string): Promise<void> {
  mcp = await startMcpServer(description === undefined ? {} : { description })
  world = await buildAwsWorld(moto.url, 2, { large: false })
  const { aws, group } = world
  const { LaunchTemplate } = must(
    (await aws.scaling.send(new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: [group] })))
      .AutoScalingGroups?.[0],
  )
  const image = await makeImage(aws)
  const { server } = await redeployTarget(folder, {
    url: mcp.url,
    build: { image },
    deployment: {
      id: 'prod',
      autoScalingGroup: group,
      launchTemplate: must(LaunchTemplate?.LaunchTemplateName),
      cut: 'groups',
      redeploy: {
        image,
        securityGroups: [await makeGroup(aws, world.vpc)],
        instanceProfile: await makeProfile(aws),
      },
    },
  })
  await writeFile(join(folder, 'registry.yaml'), dump({ servers: [server] }), { mode: 0o600 })
  await writeFile(join(folder, 'mcp-ir.yaml'), 'registry: ./registry.yaml\ncases: ./cases\n', { mode: 0o600 })
  expect((await run('isolate', name, '--yes')).code).toBe(6)
}

/** Everything that AWS says of the isolated instances. */
async function untouched(): Promise<string> {
  const { Reservations } = await world.aws.ec2.send(new DescribeInstancesCommand({ InstanceIds: [...world.instances] }))
  return JSON.stringify((Reservations ?? []).flatMap(({ Instances }) => Instances))
}

async function group() {
  const input = { AutoScalingGroupNames: [world.group] }
  return must((await world.aws.scaling.send(new DescribeAutoScalingGroupsCommand(input))).AutoScalingGroups?.[0])
}

const aboutGroup = async () => {
  const { MinSize, DesiredCapacity, Instances, SuspendedProcesses } = await group()
  return {
    MinSize,
    DesiredCapacity,
    instances: Instances?.length,
    suspended: SuspendedProcesses?.map(({ ProcessName }) => ProcessName).sort(),
  }
}

describe.skipIf(skip)('mcp-ir redeploy of an auto scaling group', () => {
  test('it is filled again from the new version, at its former size; the isolated ones are untouched', async () => {
    await isolated()
    const before = await untouched()
    expect(await aboutGroup()).toMatchObject({ MinSize: 0, DesiredCapacity: 0, instances: 0 })
    const dry = await run('redeploy', name, '--dry-run', '--json')
    expect([dry.code, dry.json.result.plan.changes.map(({ action }: { action: string }) => action)]).toEqual([
      0,
      ['template-version', 'default-version', 'resume-scaling', 'resize-group', 'prove-server'],
    ])
    const done = await run('redeploy', name, '--yes', '--json', '--expect', dry.json.result.plan.hash)
    // moto gives no instance profile to what its auto scaling starts.
    expect([done.code, done.json.result.verdict.residue], done.stderr).toEqual([
      6,
      [expect.stringContaining('no instance profile'), expect.stringContaining('no instance profile')],
    ])
    expect(await untouched()).toBe(before)
    expect(await connected(world)).toBe(false)
    expect(await aboutGroup()).toEqual({ MinSize: 2, DesiredCapacity: 2, instances: 2, suspended: [] })
    expect(done.json.result.output.deployments[0].running.sort()).toEqual(
      (await group()).Instances?.map(({ InstanceId }) => InstanceId).sort(),
    )
  })

  test('one other word is refused with code 4, and the group is as the isolation left it', async () => {
    await isolated('Reads one client.')
    const [before, group] = [await untouched(), await aboutGroup()]
    const refused = await run('redeploy', name, '--yes', '--json')
    expect([refused.code, refused.json.status], refused.stderr).toEqual([4, 'refused'])
    expect(refused.stderr).toContain('Reads one client.')
    expect(await aboutGroup()).toEqual(group)
    expect(await untouched()).toBe(before)
    expect(await connected(world)).toBe(false)
    const { Reservations } = await world.aws.ec2.send(
      new DescribeInstancesCommand({ Filters: [{ Name: 'tag-key', Values: ['mcp-ir:taken-out'] }] }),
    )
    const taken = (Reservations ?? []).flatMap(({ Instances }) => Instances ?? [])
    expect(taken.map(({ State }) => State?.Name)).toEqual(['stopped', 'stopped'])
  })
})
