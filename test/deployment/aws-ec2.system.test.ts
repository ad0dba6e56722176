import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DescribeLaunchTemplateVersionsCommand } from '@aws-sdk/client-ec2'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { awsEc2 } from '../../src/deployment/aws-ec2.ts'
import type { DeploymentOf } from '../../src/registry/port.ts'
import { Driver, deploymentContract } from '../contracts/deployment.ts'
import {
  anybody,
  instancesOf,
  makeGroup,
  makeProfile,
  type RedeployOptions,
  type Replaceable,
  redeployTarget,
  replaceable,
} from '../testbed/aws-redeploy.ts'
import { awsBystander, awsEnvironment, type Bystander, must } from '../testbed/aws-world.ts'
import { type McpServer, startMcpServer } from '../testbed/mcp-server.ts'
import { type Emulator, skipWithoutEmulators, startMoto } from '../testbed/python.ts'
import { type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'

type Ec2 = DeploymentOf<'aws-ec2'>

const skip = skipWithoutEmulators('redeploy on EC2')

let moto: Emulator
let proxy: RecordingProxy
let aws: Bystander
let mcp: McpServer
if (!skip) {
  beforeAll(async () => {
    moto = await startMoto()
    proxy = await startRecordingProxy(moto.url)
    aws = awsBystander(moto.url)
    mcp = await startMcpServer()
    Object.assign(process.env, awsEnvironment(proxy.url))
  })
  afterAll(async () => {
    await proxy?.stop()
    await moto?.stop()
    await mcp?.stop()
  })
}

async function given(folder: string, over: Partial<RedeployOptions> & { redeploy?: object } = {}) {
  const world = await replaceable(aws)
  const target = await redeployTarget(folder, {
    url: mcp.url,
    build: { image: world.next.image },
    ...over,
    deployment: {
      instances: [world.instance],
      launchTemplate: world.template,
      redeploy: {
        image: world.next.image,
        securityGroups: [world.next.group],
        instanceProfile: world.next.profile,
        ...over.redeploy,
      },
      ...over.deployment,
    },
  })
  return { world, target }
}

const versionsOf = async ({ template }: Replaceable) =>
  (await aws.ec2.send(new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateName: template })))
    .LaunchTemplateVersions ?? []

const only = async (world: Replaceable, id: string) =>
  JSON.stringify((await instancesOf(aws, world.vpc)).find(({ InstanceId }) => InstanceId === id))

describe.skipIf(skip)('EC2', () => {
  deploymentContract<Ec2>('aws-ec2, one instance', awsEc2, async (folder) => {
    const { world, target } = await given(folder)
    return {
      target,
      world: async () => JSON.stringify([await instancesOf(aws, world.vpc), await versionsOf(world)]),
      started: async () => (await instancesOf(aws, world.vpc)).length - 1,
      stop: async () => {},
    }
  })

  describe('redeploy of an instance', () => {
    let folder: string
    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'mcp-ir-redeploy-aws-'))
      proxy.fault = () => undefined
    })
    afterEach(async () => await rm(folder, { recursive: true, force: true }))

    test('a new one runs from the verified build with new groups and a new role; the old one is untouched', async () => {
      const script = '#!/bin/sh -e\nnpm install "$MCP_PACKAGE@$MCP_VERSION"\n'
      const { world, target } = await given(folder, {
        build: { userData: script },
        redeploy: { userData: 'deploy/user-data.sh' },
      })
      const before = await only(world, world.instance)
      const driver = new Driver(awsEc2, target, folder)
      expect(await driver.check()).toEqual([])
      expect((await driver.plan()).map(({ action }) => action)).toEqual([
        'template-version',
        'default-version',
        'launch-instance',
        'prove-server',
      ])
      await driver.applyAll()
      const verdict = await driver.verify()
      expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
      expect(verdict.state).toBe('verified')
      expect(await only(world, world.instance)).toBe(before)
      // Not even looked at by a call that could change it.
      expect(
        proxy.calls.filter(
          ({ changes, body }) => changes && body.includes(world.instance) && !/Action=RunInstances/.test(body),
        ),
      ).toEqual([])

      const [fresh, ...more] = (await instancesOf(aws, world.vpc)).filter((one) => one.InstanceId !== world.instance)
      expect(more).toEqual([])
      expect(fresh).toMatchObject({
        ImageId: world.next.image,
        InstanceType: 't3.micro',
        SubnetId: world.subnet,
        State: { Name: 'running' },
        SecurityGroups: [{ GroupId: world.next.group }],
        IamInstanceProfile: { Arn: expect.stringMatching(new RegExp(`/${world.next.profile}$`)) },
      })
      expect(fresh?.KeyName).toBeUndefined()
      const data = (await versionsOf(world)).at(-1)?.LaunchTemplateData
      expect(data).toMatchObject({ MetadataOptions: { HttpTokens: 'required' } })
      const told = Buffer.from(must(data?.UserData), 'base64').toString()
      const { sha512 } = target.artifact.verdict
      expect(told).toBe(
        `#!/bin/sh -e\nexport MCP_PACKAGE='@acme/crm-mcp'\nexport MCP_VERSION='1.4.0'\nexport MCP_INTEGRITY='sha512-${Buffer.from(sha512, 'hex').toString('base64')}'\nnpm install "$MCP_PACKAGE@$MCP_VERSION"\n`,
      )
    })

    test('one other word is refused: the new instance is stopped, the old one untouched, and the default is as before', async () => {
      const wrong = await startMcpServer({ description: 'Reads one client.' })
      const { world, target } = await given(folder, { url: wrong.url })
      const before = await only(world, world.instance)
      const driver = new Driver(awsEc2, target, folder)
      await driver.plan()
      await expect(driver.applyAll()).rejects.toMatchObject({
        code: 'refused',
        message: expect.stringMatching(/Reads one client.*stopped, kept as evidence/),
      })
      await wrong.stop()
      expect(await only(world, world.instance)).toBe(before)
      const states = async () =>
        (await instancesOf(aws, world.vpc))
          .filter(({ InstanceId }) => InstanceId !== world.instance)
          .map(({ State }) => State?.Name)
      expect(await states()).toEqual(['stopped'])
      expect((await versionsOf(world)).find(({ DefaultVersion }) => DefaultVersion)?.VersionNumber).toBe(1)

      // Once the cause is removed: one more, from the same version.
      driver.target = { ...target, deployment: { ...target.deployment, url: mcp.url } }
      expect((await driver.plan()).map(({ action }) => action)).toEqual([
        'default-version',
        'launch-instance',
        'prove-server',
      ])
      for (const change of driver.changes) if ((await driver.settle(change)) === undefined) await driver.apply(change)
      expect((await states()).sort()).toEqual(['running', 'stopped'])
      expect(await driver.verify()).toMatchObject({ state: 'verified' })
      expect(await versionsOf(world)).toHaveLength(2)
    })

    test('a lost answer makes nothing twice', async () => {
      const { world, target } = await given(folder)
      const driver = new Driver(awsEc2, target, folder)
      const asked: string[] = []
      for (const change of await driver.plan()) {
        proxy.fault = ({ action }) => {
          if (!/^(CreateLaunchTemplateVersion|RunInstances)$/.test(action)) return undefined
          asked.push(action)
          return 'lost'
        }
        await driver.apply(change).catch((error) => expect(error).toMatchObject({ ambiguous: true }))
        const receipt = await driver.settle(change)
        expect(receipt).toBeDefined()
        if (receipt !== undefined) driver.receipts.set(change.id, receipt)
      }
      proxy.fault = () => undefined
      expect(asked).toEqual(['CreateLaunchTemplateVersion', 'RunInstances'])
      expect(await versionsOf(world)).toHaveLength(2)
      expect(await instancesOf(aws, world.vpc)).toHaveLength(2)
      const verdict = await driver.verify()
      expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
    })

    test.each<[string, (world: Replaceable) => Promise<object>, RegExp]>([
      [
        'the old security group',
        async (w) => ({ securityGroups: [w.next.group, w.old.group] }),
        /was in security group/,
      ],
      ['the old role', async (w) => ({ instanceProfile: w.old.profile }), /role of the compromised server/],
      [
        'a role that somebody else may assume',
        async () => ({ instanceProfile: await makeProfile(aws, undefined, anybody) }),
        /assumed by somebody else/,
      ],
      [
        'a role that may do everything',
        async () => ({ instanceProfile: await makeProfile(aws, { Action: '*', Resource: '*' }) }),
        /may do everything/,
      ],
    ])('%s is refused', async (_, redeploy, message) => {
      const { world, target } = await given(folder)
      const over = { ...target.deployment.redeploy, ...(await redeploy(world)) }
      const driver = new Driver(awsEc2, { ...target, deployment: { ...target.deployment, redeploy: over } }, folder)
      expect(await driver.check()).toContainEqual(
        expect.objectContaining({ kind: 'refused', message: expect.stringMatching(message) }),
      )
    })

    test('an image that the build does not vouch for is refused, also after it was exchanged', async () => {
      const { world, target } = await given(folder)
      const redeploy = { ...must(target.deployment.redeploy), image: world.old.image }
      const other = new Driver(awsEc2, { ...target, deployment: { ...target.deployment, redeploy } }, folder)
      await expect(other.check()).rejects.toMatchObject({
        code: 'refused',
        message: expect.stringContaining('does not name'),
      })
      const driver = new Driver(awsEc2, target, folder)
      const [version] = await driver.plan()
      await writeFile(
        target.artifact.file,
        JSON.stringify({ builds: [{ artifact_id: `us-east-1:${world.old.image}` }] }),
      )
      await expect(driver.apply(must(version))).rejects.toMatchObject({ code: 'refused' })
      expect(await versionsOf(world)).toHaveLength(1)
    })

    test('the image that the compromised instance ran is refused, unless a root cause is recorded', async () => {
      const { world } = await given(folder)
      const target = await redeployTarget(folder, {
        url: mcp.url,
        build: { image: world.old.image },
        deployment: {
          instances: [world.instance],
          launchTemplate: world.template,
          redeploy: {
            image: world.old.image,
            securityGroups: [world.next.group],
            instanceProfile: world.next.profile,
          },
        },
      })
      expect(await new Driver(awsEc2, target, folder).check()).toContainEqual(
        expect.objectContaining({
          kind: 'refused',
          message: expect.stringContaining('the build that was compromised'),
        }),
      )
      const recorded = await new Driver(awsEc2, { ...target, rootCause: 'a stolen key' }, folder).check()
      expect(recorded.map(({ kind }) => kind)).toEqual(['warning'])
    })

    test('what the registry does not say, or AWS does not have, is told with what to do', async () => {
      const { target } = await given(folder)
      const { redeploy, ...bare } = target.deployment
      const without = new Driver(awsEc2, { ...target, deployment: bare }, folder)
      await expect(without.check()).rejects.toMatchObject({
        code: 'input',
        hints: [expect.stringContaining('redeploy:')],
      })
      const absent = {
        ...must(redeploy),
        image: 'ami-00000001',
        securityGroups: ['sg-00000001'],
        instanceProfile: 'none',
      }
      await writeFile(target.artifact.file, '{}')
      const gone = { ...target, deployment: { ...target.deployment, redeploy: absent } }
      await expect(new Driver(awsEc2, gone, folder).check()).rejects.toMatchObject({ code: 'refused' })
      const other = await makeGroup(aws, (await replaceable(aws)).vpc)
      const { target: fresh } = await given(folder, { redeploy: { securityGroups: [other], instanceProfile: 'none' } })
      const problems = await new Driver(awsEc2, fresh, folder).check()
      expect(problems.map(({ kind }) => kind)).toEqual(['input', 'input'])
      expect(problems.map(({ message }) => message).join()).toMatch(/is not in vpc-.*there is no instance profile/)
    })
  })
})
