import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { localProcess } from '../../src/deployment/local-process.ts'
import type { Redeployed } from '../../src/deployment/port.ts'
import { describeServer } from '../../src/mcp/client.ts'
import * as proc from '../../src/processes/proc.ts'
import type { DeploymentOf } from '../../src/registry/port.ts'
import { Driver, deploymentContract } from '../contracts/deployment.ts'
import { mcpServerBundle } from '../testbed/mcp-server-bundle.ts'
import { approvedDigest, below, type Suspect, startSuspect } from '../testbed/suspect.ts'

async function tree(folder: string): Promise<string> {
  const names = await readdir(folder, { recursive: true })
  return JSON.stringify(names.sort())
}

deploymentContract<DeploymentOf<'local-process'>>('local-process', localProcess, async (folder) => {
  const suspect = await startSuspect(folder)
  suspect.freeze()
  return {
    target: await suspect.target(),
    world: async () => `${await tree(folder)} ${await below(folder)} ${await readFile(suspect.pidFile, 'utf8')}`,
    started: async () => (await below(folder)).filter((pid) => proc.link(pid, 'cwd') !== suspect.deployment.cwd).length,
    stop: suspect.stop,
  }
})

describe('redeploy of a local process', () => {
  let folder: string
  let suspect: Suspect
  const start = async (options: Parameters<typeof startSuspect>[1] = {}) => {
    suspect = await startSuspect(folder, options)
    return suspect
  }
  const driverOf = async (changed: object = {}) =>
    new Driver(localProcess, { ...(await suspect.target()), ...changed }, folder)
  /** Processes of new servers, by the folder that they run in. */
  const started = async () => {
    const old = suspect.deployment.cwd
    return (await below(folder)).filter((pid) => proc.link(pid, 'cwd') !== old)
  }
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mcp-ir-redeploy-'))
  })
  afterEach(async () => {
    await suspect.stop()
    await rm(folder, { recursive: true, force: true })
  })

  test('the frozen one is ended, the verified one answers with the approved tools and the fresh credential', async () => {
    await start()
    suspect.freeze()
    const credentialsFile = join(folder, 'next.env')
    await writeFile(credentialsFile, 'TOKEN="canary"\n', { mode: 0o600 })
    const driver = await driverOf({ credentialsFile })
    expect((await driver.check()).filter(({ kind }) => kind !== 'warning')).toEqual([])
    expect((await driver.plan()).map(({ action, effect }) => [action, effect])).toEqual([
      ['end-frozen-process', 'irreversible'],
      ['unpack-build', 'creates'],
      ['start-server', 'creates'],
      ['prove-server', 'reversible'],
    ])
    await driver.applyAll()
    const verdict = await driver.verify()
    expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
    expect(verdict.state).toBe('verified')

    const [pid = 0] = await started()
    expect(await readFile(suspect.pidFile, 'utf8')).toBe(`${pid}\n`)
    const environment = (proc.environment(pid) ?? []).map((entry) => entry.split('=')[0])
    expect(environment.sort()).toEqual(expect.arrayContaining(['CREDENTIALS_FILE', 'HOST', 'PATH', 'PORT']))
    expect(environment.filter((name) => !/^(PATH|HOME|LANG|TZ|HOST|PORT|CREDENTIALS_FILE)$/.test(name ?? ''))).toEqual(
      [],
    )
    expect(proc.readProcess(pid)?.session).toBe(pid)
    const { serverInfo } = await describeServer(suspect.url, { signal: AbortSignal.timeout(9000), timeoutMs: 5000 })
    expect(serverInfo).toEqual({ name: 'crm', version: '1.4.0' })
    // Nothing that is journalled or kept holds the secret.
    expect(JSON.stringify([driver.changes, [...driver.receipts], [...driver.recorded], verdict])).not.toContain(
      'canary',
    )
  })

  test('how the compromised folder differs from the build is told', async () => {
    await start()
    suspect.freeze()
    await writeFile(join(suspect.deployment.cwd ?? '', 'backdoor.js'), '')
    await mkdir(join(suspect.deployment.cwd ?? '', 'node_modules/evil'), { recursive: true })
    await rm(join(suspect.deployment.cwd ?? '', 'lib/data.json'))
    const driver = await driverOf()
    await driver.plan()
    await driver.applyAll()
    expect(((await driver.verify()).output as unknown as Redeployed).tampered).toEqual({
      folder: suspect.deployment.cwd,
      changed: ['server.js'],
      removed: ['lib/data.json'],
      added: ['backdoor.js', 'node_modules/'],
      same: 1,
      cut: false,
    })
  })

  test('a server that still runs is refused; a dry run plans it all the same', async () => {
    await start()
    expect(await (await driverOf()).check()).toContainEqual(expect.objectContaining({ kind: 'refused' }))
    const dry = await driverOf({ assumeStopped: true })
    expect((await dry.check()).map(({ kind }) => kind)).not.toContain('refused')
    expect((await dry.plan()).map(({ action }) => action)).toContain('end-frozen-process')
  })

  test('one that was continued after the plan is not ended', async () => {
    await start()
    suspect.freeze()
    const driver = await driverOf()
    const [end] = await driver.plan()
    process.kill(suspect.process.pid ?? 0, 'SIGCONT')
    if (end === undefined) throw new TypeError('no plan')
    await expect(driver.apply(end)).rejects.toMatchObject({ code: 'refused' })
    expect(proc.readProcess(suspect.process.pid ?? 0)).toBeDefined()
  })

  test('the very build that was compromised is refused unless the root cause is recorded', async () => {
    const same = await mcpServerBundle()
    await start({ running: same, approved: same })
    suspect.freeze()
    const refused = await (await driverOf()).check()
    expect(refused).toContainEqual(
      expect.objectContaining({ kind: 'refused', hint: expect.stringContaining('--root-cause') }),
    )
    const recorded = await (await driverOf({ rootCause: 'the token was stolen from a laptop' })).check()
    expect(recorded.map(({ kind }) => kind)).not.toContain('refused')
  })

  test('a command that names a file of the compromised folder is refused', async () => {
    await start({ command: [process.execPath, join(folder, 'crm', 'server.js')] })
    suspect.freeze()
    expect(await (await driverOf()).check()).toContainEqual(
      expect.objectContaining({ kind: 'refused', message: expect.stringContaining('compromised deployment') }),
    )
  })

  test.each([
    ['serves one other word', 'description', /approved tools.*"Reads one client\."/],
    ['serves other tools the second time', 'later', /approved tools/],
    ['ends at once', 'exit', /ended by itself/],
  ])('a new server that %s is taken out again and the old one stays stopped', async (_, approved, message) => {
    const bundle = await mcpServerBundle(
      approved === 'description'
        ? { description: 'Reads one client.' }
        : approved === 'later'
          ? { later: 'Reads all.', before: 'lists = 1;' }
          : { before: 'process.exit(3);' },
    )
    await start({ approved: bundle, toolsDigest: approvedDigest() })
    suspect.freeze()
    const driver = await driverOf()
    const changes = await driver.plan()
    expect(changes).toHaveLength(4)
    const applied = (async () => await driver.applyAll())()
    await expect(applied).rejects.toMatchObject({ code: 'refused', message: expect.stringMatching(message) })
    expect(await started()).toEqual([])
    for (const change of changes.slice(2)) expect(await driver.settle(change)).toBeUndefined()
    expect((await driver.verify()).state).toBe('failed')
  })

  test('a crash right after the start, before it was recorded, never makes two', async () => {
    await start()
    suspect.freeze()
    const first = await driverOf()
    const [end, unpack, begin] = await first.plan()
    if (end === undefined || unpack === undefined || begin === undefined) throw new TypeError('no plan')
    await first.apply(end)
    await first.apply(unpack)
    await first.apply(begin)
    // The journal of the crashed run has neither the record nor the receipt, and the pid file was not written yet.
    await writeFile(suspect.pidFile, `${suspect.process.pid}\n`)
    const running = await started()
    const resumed = await driverOf()
    resumed.changes = first.changes
    expect(await resumed.settle(begin)).toBeUndefined()
    await resumed.apply(begin)
    expect(await started()).toEqual(running)
    expect(await readFile(suspect.pidFile, 'utf8')).toBe(`${running[0]}\n`)
    expect(await resumed.settle(begin)).toBeDefined()
  })

  test('an interruption while it starts ends it', async () => {
    await start({
      approved: await mcpServerBundle({ before: 'await new Promise(() => setInterval(() => {}, 1000));' }),
    })
    suspect.freeze()
    const driver = await driverOf()
    const [end, unpack, begin] = await driver.plan()
    if (end === undefined || unpack === undefined || begin === undefined) throw new TypeError('no plan')
    await driver.apply(end)
    await driver.apply(unpack)
    const stop = new AbortController()
    driver.signal = stop.signal
    const applying = driver.apply(begin)
    while ((await started()).length === 0) await new Promise((done) => setTimeout(done, 20))
    stop.abort()
    await expect(applying).rejects.toThrow()
    expect(await started()).toEqual([])
  })

  test('a tarball that was exchanged after it was verified is not unpacked', async () => {
    await start()
    suspect.freeze()
    const driver = await driverOf()
    const [, unpack] = await driver.plan()
    const bytes = await readFile(suspect.files.tarball)
    // Operating system byte of the gzip header: the content unpacks just the same.
    bytes[9] = (bytes[9] ?? 0) ^ 1
    await writeFile(suspect.files.tarball, bytes)
    if (unpack === undefined) throw new TypeError('no plan')
    const before = await tree(folder)
    await expect(driver.apply(unpack)).rejects.toMatchObject({ code: 'refused' })
    expect(await tree(folder)).toBe(before)
  })

  test('a build that was changed after it was unpacked is not started', async () => {
    await start()
    suspect.freeze()
    const driver = await driverOf()
    const [end, unpack, begin] = await driver.plan()
    if (end === undefined || unpack === undefined || begin === undefined) throw new TypeError('no plan')
    await driver.apply(end)
    await driver.apply(unpack)
    await writeFile(join(unpack.target, 'package', 'server.js'), 'console.log("evil")')
    await expect(driver.apply(begin)).rejects.toMatchObject({ code: 'refused' })
    await expect(driver.settle(unpack)).rejects.toMatchObject({ code: 'refused' })
    expect(await started()).toEqual([])
  })

  test('without approved tools the verdict is residual and says so', async () => {
    await start({ toolsDigest: null })
    suspect.freeze()
    const driver = await driverOf()
    await driver.plan()
    await driver.applyAll()
    expect(await driver.verify()).toMatchObject({
      state: 'residual',
      residue: [expect.stringContaining('tools digest')],
    })
  })

  test('a server that died since, or whose files were changed, fails the verdict', async () => {
    await start()
    suspect.freeze()
    const driver = await driverOf()
    await driver.plan()
    await driver.applyAll()
    const unpacked = driver.changes.find(({ action }) => action === 'unpack-build')?.target ?? ''
    await writeFile(join(unpacked, 'package', 'lib', 'data.json'), '{"more":1}')
    expect((await driver.verify()).state).toBe('failed')
    await writeFile(join(unpacked, 'package', 'lib', 'data.json'), '{}')
    expect((await driver.verify()).state).toBe('verified')
    for (const pid of await started()) process.kill(pid, 'SIGKILL')
    expect((await driver.verify()).state).toBe('failed')
  })
})
