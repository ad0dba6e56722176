import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { exec } from '../../src/deployment/exec.ts'
import type { DeploymentTarget } from '../../src/deployment/port.ts'
import type { Deployment } from '../../src/registry/port.ts'
import { Driver, deploymentContract } from '../contracts/deployment.ts'
import { redeployTarget } from '../testbed/aws-redeploy.ts'
import { mcpServerBundle } from '../testbed/mcp-server-bundle.ts'
import { freePort } from '../testbed/server-everything.ts'

const pipeline = fileURLToPath(new URL('../testbed/programs/pipeline.mjs', import.meta.url))

/** A deployment that a real program puts back: it starts a real MCP server. */
async function given(folder: string, description = 'Reads one customer.'): Promise<DeploymentTarget<Deployment>> {
  await writeFile(join(folder, 'server.mjs'), await mcpServerBundle({ description }))
  return await redeployTarget(folder, {
    url: `http://127.0.0.1:${await freePort()}/mcp`,
    build: { image: 'ami-0123456789abcdef0' },
    deployment: { instances: ['i-1'], redeploy: { command: [process.execPath, pipeline, folder] } },
  })
}

const stateOf = async (folder: string) =>
  JSON.parse(await readFile(join(folder, 'state.json'), 'utf8').catch(() => '{"deployed":{},"asked":[]}'))

async function end(folder: string): Promise<void> {
  const deployed: { pid: number }[] = Object.values((await stateOf(folder)).deployed)
  for (const { pid } of deployed) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It had ended.
    }
  }
}

deploymentContract<Deployment>('exec', exec, async (folder) => ({
  target: await given(folder),
  world: async () => JSON.stringify((await stateOf(folder)).deployed),
  started: async () => (await stateOf(folder)).started ?? 0,
  stop: () => end(folder),
}))

describe('a pipeline of the company', () => {
  let folder: string
  const mode = async (text: string) => await writeFile(join(folder, 'mode'), text)
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mcp-ir-pipeline-'))
  })
  afterEach(async () => {
    await end(folder)
    await rm(folder, { recursive: true, force: true })
  })

  async function planned(target: DeploymentTarget<Deployment>) {
    const driver = new Driver(exec, target, folder)
    const [deploy, prove] = await driver.plan()
    if (deploy === undefined || prove === undefined) throw new TypeError('no plan')
    return { driver, deploy, prove }
  }

  test('it is told what was verified, and nothing secret is said in arguments', async () => {
    const target = { ...(await given(folder)), credentialsFile: '/run/next.env' }
    const { driver, deploy } = await planned(target)
    await driver.apply(deploy)
    const { asked } = await stateOf(folder)
    expect(asked.at(-1)).toEqual({
      protocol: 'mcp-ir/deploy/1',
      operation: 'deploy',
      server: 'io.acme/crm',
      deployment: target.deployment.id,
      case: '20261123-crm-0000',
      changeId: deploy.id,
      url: target.deployment.url,
      artifact: {
        registryType: 'file',
        identifier: 'crm-image',
        version: '1.4.0',
        path: target.artifact.file,
        sha256: target.artifact.verdict.sha256,
        sha512: target.artifact.verdict.sha512,
      },
      credentialsFile: '/run/next.env',
    })
  })

  test('one that takes its time is waited for', async () => {
    const { driver, deploy, prove } = await planned(await given(folder))
    await mode('slow')
    await driver.apply(deploy)
    await driver.apply(prove)
    expect(await driver.verify()).toMatchObject({
      state: 'verified',
      output: { running: [expect.stringMatching(/^pid-/)] },
    })
  })

  test('an answer that is lost deploys nothing twice', async () => {
    const { driver, deploy } = await planned(await given(folder))
    await mode('lost deploy')
    await expect(driver.apply(deploy)).rejects.toMatchObject({ code: 'unreachable', ambiguous: true })
    await mode('')
    expect(await driver.settle(deploy)).toBeDefined()
    await driver.apply(deploy)
    expect((await stateOf(folder)).started).toBe(1)
  })

  test('a server that serves another word is removed again', async () => {
    const { driver, deploy, prove } = await planned(await given(folder, 'Reads one client.'))
    await driver.apply(deploy)
    await expect(driver.apply(prove)).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringMatching(/Reads one client.*node took it out again/),
    })
    expect((await stateOf(folder)).deployed).toEqual({})
    expect((await driver.verify()).state).toBe('failed')
  })

  test('another build than the verified one is refused and removed', async () => {
    const { driver, deploy, prove } = await planned(await given(folder))
    await driver.apply(deploy)
    await mode('other')
    await expect(driver.apply(prove)).rejects.toMatchObject({ message: expect.stringContaining('another build') })
    expect((await stateOf(folder)).deployed).toEqual({})
  })

  test('the build that it knows to be the compromised one is refused', async () => {
    const target = await given(folder)
    await mode('compromised')
    const driver = new Driver(exec, target, folder)
    expect(await driver.check()).toContainEqual(expect.objectContaining({ kind: 'refused' }))
    const recorded = new Driver(exec, { ...target, rootCause: 'a stolen key' }, folder)
    expect((await recorded.check()).map(({ kind }) => kind)).toEqual(['warning'])
  })

  test.each([
    ['denied status', { code: 'denied', message: expect.stringContaining('no right to do this') }],
    ['garbage status', { code: 'unreachable', message: expect.stringContaining('not one JSON object') }],
  ])('%s is told, without words that look like a secret', async (how, error) => {
    const driver = new Driver(exec, await given(folder), folder)
    await mode(how)
    const asked = driver.check()
    await expect(asked).rejects.toMatchObject(error)
    const hints = await asked.catch(({ hints: told }) => JSON.stringify(told))
    expect(hints).toContain('It wrote: ')
    expect(hints).not.toContain('abc123def456ghi789')
  })
})
