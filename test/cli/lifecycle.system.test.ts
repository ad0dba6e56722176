import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { mcpIr, type Ran, workplace } from '../testbed/cli.ts'
import { processState } from '../testbed/incident.ts'

/** One server of two processes, d1 and d2, each with a folder, a program and a pid file of its own. */
const name = 'io.example/two'
let folder: string
let children: ChildProcess[]

const registry = (deployments = ['d1', 'd2'], more = '') => `
servers:
  - name: ${name}
    aliases: [two]
    version: 1.0.0
    status: approved
    owner: team
    knownGood: 2026-11-20T00:00:00Z
    package: {registryType: npm, identifier: two, version: 1.0.0}
    deployments:
${deployments.map((id) => `      - {id: ${id}, kind: local-process, pidFile: ./${id}/pid}`).join('\n')}
${more}`

beforeEach(() => {
  folder = workplace(registry())
  children = ['d1', 'd2'].map((id) => {
    mkdirSync(join(folder, id))
    writeFileSync(join(folder, id, `${id}.mjs`), 'setInterval(() => {}, 50)\n')
    const child = spawn(process.execPath, [`${id}.mjs`], { cwd: join(folder, id), detached: true, stdio: 'ignore' })
    writeFileSync(join(folder, id, 'pid'), `${child.pid}\n`)
    return child
  })
})
afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
})

const run = (...args: string[]): Promise<Ran> => mcpIr(args, { cwd: folder })
const states = () => children.map((child) => (processState(child.pid ?? 0) === 'T' ? 'stopped' : 'running'))
const cases = () => (existsSync(join(folder, 'cases')) ? readdirSync(join(folder, 'cases')) : [])
const stepState = async (id: string) => {
  const shown = await run('case', 'show', '--json')
  return shown.json.result.steps.find((step: { id: string }) => step.id === id)
}
const playbook = () => {
  const file = join(folder, 'own.yaml')
  writeFileSync(
    file,
    'name: own\nsummary: Ours\nsteps:\n  - {id: isolate, use: network.isolate}\n  - {id: report, use: report.write}\n',
  )
  return file
}

test('an attempt that is refused, mistyped or not agreed to leaves what was done as it is', async () => {
  expect((await run('isolate', name, '--yes')).code).toBe(0)
  expect((await run('isolate', name, '--yes', '--expect', '0'.repeat(64))).code).toBe(4)
  expect((await run('isolate', name, '--deployment', 'nope', '--yes')).code).toBe(2)
  expect((await run('isolate', name)).code).toBe(0)
  expect(await stepState('isolate')).toMatchObject({
    state: expect.stringMatching(/done|nothing-to-do/),
    undone: false,
  })
})

test('a deployment that was released alone is cut off again by the playbook', async () => {
  expect((await run('isolate', name, '--yes')).code).toBe(0)
  expect((await run('release', name, '--deployment', 'd1', '--yes')).code).toBe(0)
  expect(states()).toEqual(['running', 'stopped'])
  expect((await run('case', 'list')).stdout).not.toContain('open, isolated')
  expect((await run('respond', name, '--playbook', playbook(), '--yes')).code).toBe(0)
  expect(states()).toEqual(['stopped', 'stopped'])
  expect((await run('release', name, '--yes')).code).toBe(0)
  expect(states()).toEqual(['running', 'running'])
})

test('a deployment that left the registry while it was cut off is told, not forgotten', async () => {
  expect((await run('isolate', name, '--yes')).code).toBe(0)
  writeFileSync(join(folder, 'registry.yaml'), registry(['d1']))
  const released = await run('release', name, '--yes')
  expect([released.code, released.stderr]).toEqual([3, expect.stringContaining('d2 is no longer in the registry')])
  expect(states()).toEqual(['running', 'stopped'])
})

test('a case is not closed over a server that is held, and a closed one is named by release', async () => {
  expect((await run('isolate', name, '--yes')).code).toBe(0)
  const refused = await run('case', 'close')
  expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining('neither rebuilt nor released')])
  expect((await run('case', 'close', '--reason', 'retired for good')).code).toBe(0)
  const released = await run('release', name, '--yes')
  expect([released.code, released.stderr]).toEqual([2, expect.stringContaining(cases()[0] ?? '?')])
  expect(cases()).toHaveLength(1)
})

test('one name is one target; a registered name is no name for a stranger', async () => {
  const target = (index: number, as: string) =>
    run('isolate', '--target', `pid:${children[index]?.pid}`, '--as', as, '--yes')
  expect((await target(0, 'evil')).code).toBe(0)
  const other = await target(1, 'evil')
  expect([other.code, other.stderr]).toEqual([2, expect.stringContaining('another target')])
  expect((await target(1, name)).code).toBe(2)
  expect((await target(1, 'two')).code).toBe(2)
  expect((await target(1, '../../x')).code).toBe(2)
  expect((await run('isolate', name, '--target', `pid:${children[1]?.pid}`, '--yes')).code).toBe(2)
  expect(states()).toEqual(['stopped', 'running'])
})

test('two responders at once open one case', async () => {
  const both = await Promise.all([run('isolate', name, '--yes'), run('isolate', name, '--yes')])
  expect(cases()).toHaveLength(1)
  expect(both.map(({ code }) => code).sort()).toEqual([0, 4])
  expect(states()).toEqual(['stopped', 'stopped'])
})

test('a damaged journal stops what needs it, and never a cut', async () => {
  expect((await run('isolate', name, '--deployment', 'd1', '--yes')).code).toBe(0)
  const [id = ''] = cases()
  const file = join(folder, 'cases', id, 'journal.ndjson')
  const bytes = readFileSync(file)
  bytes[bytes.lastIndexOf('"kind"') + 9] = 0x5a
  writeFileSync(file, bytes)
  expect((await run('release', name, '--yes')).code).toBe(4)
  expect((await run('isolate', name, '--case', id, '--yes')).code).toBe(4)
  expect((await run('case', 'list')).code).toBe(3)
  const cut = await run('isolate', name, '--yes')
  expect([cut.code, cut.stderr]).toEqual([0, expect.stringContaining('That case is left as it is')])
  expect(states()).toEqual(['stopped', 'stopped'])
})

test('whoever breaks the registry stops neither a release nor another cut of a server that a case knows', async () => {
  expect((await run('isolate', name, '--yes')).code).toBe(0)
  writeFileSync(join(folder, 'registry.yaml'), 'servers: [{')
  const released = await run('release', 'two', '--yes')
  expect([released.code, released.stderr]).toEqual([0, expect.stringContaining('registry cannot be read')])
  expect((await run('isolate', name, '--yes')).code).toBe(0)
  expect(states()).toEqual(['stopped', 'stopped'])
  expect((await run('isolate', '--target', `pid:${children[0]?.pid}`, '--as', 'stranger', '--yes')).code).toBe(0)
})

test('what is mistyped leaves no trace', async () => {
  for (const args of [
    ['review', name, '--until', 'garbage'],
    ['review', name, '--since', '2026-02-30'],
    ['isolate', name, '--aware', 'soon', '--yes'],
    ['isolate', '--target', 'nonsense', '--yes'],
    ['isolate', '--target', 'pid:999999999', '--yes'],
    ['respond', name, '--answer', 'nosuchstep=x', '--yes'],
    ['isolate', name, '--by', ' ', '--yes'],
    ['isolate', name, '--approved-by', '', '--yes'],
    ['release', name, '--yes'],
    ['case', 'note', ' '],
  ]) {
    const ran = await run(...args)
    expect([ran.code, cases()], args.join(' ')).toEqual([2, []])
  }
})

test('when nobody reads any more, the cut is finished all the same', async () => {
  const bin = fileURLToPath(new URL('../../bin/run.js', import.meta.url))
  const child = spawn(process.execPath, [bin, 'isolate', name, '--yes', '--json'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  child.stderr.once('data', () => {
    child.stderr.destroy()
    child.stdout.destroy()
  })
  const code = await new Promise((resolve) => child.on('exit', resolve))
  expect(code).toBe(0)
  expect(states()).toEqual(['stopped', 'stopped'])
  expect(await stepState('isolate')).toMatchObject({ state: 'done' })
})

test('killed at work on one deployment, the whole cut goes on with both', async () => {
  const died = join(folder, 'died')
  // Every kind is there already but the one at which it is to die.
  writeFileSync(died, ['case.opened', 'step.started', 'step.planned', 'step.approved', ''].join('\n'))
  const preload = fileURLToPath(new URL('../testbed/programs/die-at-append.mjs', import.meta.url))
  const killed = await mcpIr(['isolate', name, '--deployment', 'd1', '--yes'], {
    cwd: folder,
    node: ['--import', preload],
    env: { DIE_AT: died, DIE_BY: 'kind', DIE_WHEN: 'after' },
  })
  expect(killed.signal).toBe('SIGKILL')
  const whole = await run('isolate', name, '--yes')
  expect(whole.code, whole.stderr).toBe(0)
  expect(states()).toEqual(['stopped', 'stopped'])
  expect((await run('release', name, '--yes')).code).toBe(0)
  expect(states()).toEqual(['running', 'running'])
})
