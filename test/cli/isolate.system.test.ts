import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mcpIr, workplace } from '../testbed/cli.ts'
import { type RunningServer, startServerEverything } from '../testbed/server-everything.ts'

const name = 'io.example/everything'
let server: RunningServer
let folder: string

beforeAll(async () => {
  server = await startServerEverything()
  folder = workplace(registry())
})
afterAll(() => server.stop())

function registry(more = ''): string {
  return `
servers:
  - name: ${name}
    version: 1.0.0
    status: approved
    owner: platform-team
    knownGood: 2026-11-20T00:00:00Z
    package: {registryType: npm, identifier: "@modelcontextprotocol/server-everything", version: 1.0.0}
    deployments:
      - {id: local, kind: local-process, pidFile: ${server.pidFile}, url: "${server.url}"}
${more}`
}

const run = (...args: string[]) => mcpIr(args, { cwd: folder })
const cases = () => (existsSync(join(folder, 'cases')) ? readdirSync(join(folder, 'cases')) : [])

/** By the official client, which knows nothing of us: how many tools are served, or nothing within two seconds. */
async function tools(): Promise<number | 'silent'> {
  const client = new Client({ name: 'test', version: '1' })
  try {
    await client.connect(new StreamableHTTPClientTransport(new URL(server.url)), { timeout: 2000 })
    return (await client.listTools({}, { timeout: 2000 })).tools.length
  } catch {
    return 'silent'
  } finally {
    await client.close()
  }
}

const stateOf = (pid: number) => readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '')[0]

describe('a real MCP server that is not ours', () => {
  test('is not touched by a dry run, nor without consent, and nothing is written', async () => {
    const files = () =>
      readdirSync(folder, { recursive: true }).map((file) => [file, statSync(join(folder, String(file))).mtimeMs])
    const before = files()
    for (const args of [['--dry-run'], ['--dry-run', '--json'], ['--dry-run', '--yes']]) {
      const dry = await run('isolate', name, ...args)
      expect([dry.code, dry.stderr]).toEqual([0, expect.stringContaining('isolate would make 1 change')])
    }
    const asked = await run('isolate', name)
    expect(asked.code).toBe(2)
    expect(asked.stderr).toContain('--yes')
    const json = await run('isolate', name, '--json')
    expect(json.code).toBe(2)
    expect(json.json).toMatchObject({ schema: 'mcp-ir/isolate/1', status: 'consent-required', case: null })
    expect(json.json.result.plan.changes).toHaveLength(1)
    expect(files()).toEqual(before)
    expect(stateOf(server.pid)).not.toBe('T')
    expect(await tools()).toBeGreaterThan(0)
  })

  test('is isolated, silent, released and answers again, twice in a row in the same case', async () => {
    const before = await tools()
    for (let round = 0; round < 2; round++) {
      const isolated = await run('isolate', name, '--yes', '--json')
      expect(isolated.code, isolated.stderr).toBe(0)
      expect(isolated.json).toMatchObject({
        status: 'done',
        result: { verdict: { state: 'done' }, plan: { hash: expect.stringMatching(/^[0-9a-f]{64}$/) } },
      })
      expect(isolated.json.result.verdict.operations[0].observed.length).toBeGreaterThan(2)
      expect(stateOf(server.pid)).toBe('T')
      expect(await tools()).toBe('silent')

      const again = await run('isolate', name, '--yes', '--json')
      expect([again.code, again.json.status]).toEqual([0, 'nothing-to-do'])

      const released = await run('release', name, '--yes', '--json')
      expect(released.code, released.stderr).toBe(0)
      expect(await tools()).toBe(before)
    }
    expect(cases()).toHaveLength(1)
    expect((await run('case', 'check')).code).toBe(0)
  })

  test('the hash of the dry run is the one that --expect takes; another is refused', async () => {
    const dry = await run('isolate', name, '--dry-run', '--json')
    const { hash } = dry.json.result.plan
    const wrong = await run(
      'isolate',
      name,
      '--yes',
      '--json',
      '--expect',
      hash.replace(/^./, (digit: string) => (digit === '0' ? '1' : '0')),
    )
    expect([wrong.code, wrong.json.status]).toEqual([4, 'refused'])
    expect(stateOf(server.pid)).not.toBe('T')
    expect((await run('isolate', name, '--yes', '--expect', hash)).code).toBe(0)
    expect(stateOf(server.pid)).toBe('T')
    expect((await run('release', name, '--yes')).code).toBe(0)
  })

  test.each(['url', 'pid'])(
    'is isolated and released by --target %s, as a server that no registry knows',
    async (kind) => {
      const target = kind === 'url' ? `url:${server.url}` : `pid:${server.pid}`
      const unknown = await mcpIr(['isolate', '--target', target, '--as', 'stranger', '--yes', '--json'], {
        env: { MCP_IR_CASES: join(folder, `${kind}-cases`) },
      })
      expect(unknown.code, unknown.stderr).toBe(0)
      expect(await tools()).toBe('silent')
      const released = await mcpIr(['release', 'stranger', '--yes', '--json'], {
        env: { MCP_IR_CASES: join(folder, `${kind}-cases`) },
      })
      expect(released.code, released.stderr).toBe(0)
      expect(await tools()).toBeGreaterThan(0)
    },
  )
})

describe('what a tired responder types', () => {
  test('an unknown server: the nearest name and --target are told, nothing is written', async () => {
    const before = cases()
    const wrong = await run('isolate', 'io.example/everythin', '--yes')
    expect(wrong.code).toBe(2)
    expect(wrong.stderr).toContain(name)
    expect(wrong.stderr).toContain('--target')
    expect(cases()).toEqual(before)
  })

  test('a registry with a mistake: file, line and hint', async () => {
    const broken = workplace(registry('    ownr: somebody\n'))
    const wrong = await mcpIr(['isolate', name, '--yes', '--json'], { cwd: broken })
    expect(wrong.code).toBe(2)
    expect(wrong.json).toMatchObject({ schema: 'mcp-ir/error/1', status: 'error', error: { code: 'input' } })
    expect(wrong.json.error.message).toMatch(/registry\.yaml:11: servers\[0\]\.ownr/)
    expect(JSON.stringify(wrong.json.error.hints)).toContain('owner')
  })

  test('a playbook with a mistake: file, line and hint, and nothing is changed', async () => {
    const file = join(folder, 'own.yaml')
    writeFileSync(
      file,
      'name: own\nsummary: Ours\nsteps:\n  - {id: a, use: network.isolat}\n  - {id: b, manual: Do it, when: "${steps.c.output}"}\n',
    )
    const wrong = await run('respond', name, '--playbook', file, '--yes')
    expect(wrong.code).toBe(2)
    expect(wrong.stderr).toContain('own.yaml:4')
    expect(wrong.stderr).toContain('network.isolate')
    expect(wrong.stderr).toContain('own.yaml:5')
    expect(stateOf(server.pid)).not.toBe('T')
  })

  test('a configuration that others can write is refused', async () => {
    const open = workplace(registry())
    const { chmodSync } = await import('node:fs')
    chmodSync(join(open, 'mcp-ir.yaml'), 0o666)
    const refused = await mcpIr(['isolate', name, '--yes'], { cwd: open })
    expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining('chmod')])
  })

  test('a flag that does not exist, a command that does not exist: code 2 and one object with --json', async () => {
    expect((await run('isolate', name, '--froce')).code).toBe(2)
    expect((await run('isolatte', name)).code).toBe(2)
    const json = await run('isolate', name, '--json', '--froce')
    expect([json.code, json.json.schema]).toEqual([2, 'mcp-ir/error/1'])
  })

  test('two open cases on the same server: both are named', async () => {
    const own = workplace(registry())
    expect((await mcpIr(['isolate', name, '--yes'], { cwd: own })).code).toBe(0)
    expect((await mcpIr(['release', name, '--yes'], { cwd: own })).code).toBe(0)
    const [first] = readdirSync(join(own, 'cases'))
    const { cpSync } = await import('node:fs')
    cpSync(join(own, 'cases', first ?? ''), join(own, 'cases', `${first}-copy`), { recursive: true })
    const wrong = await mcpIr(['isolate', name, '--yes'], { cwd: own })
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('--case')])
  })

  test("the tool's own process and its parents are no target", async () => {
    const refused = await run('isolate', '--target', `pid:${process.pid}`, '--yes', '--json')
    expect([refused.code, refused.json.status]).toEqual([4, 'refused'])
    expect(stateOf(process.pid)).not.toBe('T')
  })

  test('a registry that changed since the case was opened: the difference is shown and needs a yes', async () => {
    const own = workplace(registry())
    const here = (...args: string[]) => mcpIr(args, { cwd: own })
    expect((await here('isolate', name, '--yes')).code).toBe(0)
    writeFileSync(join(own, 'registry.yaml'), registry().replace('platform-team', 'somebody-else'))
    const asked = await here('release', name)
    expect([asked.code, asked.stderr]).toEqual([2, expect.stringMatching(/platform-team[\s\S]*somebody-else/)])
    expect(stateOf(server.pid)).toBe('T')
    expect((await here('release', name, '--yes')).code).toBe(0)
    const shown = await here('case', 'show', '--json')
    expect(readFileSync(join(shown.json.result.folder, 'journal.ndjson'), 'utf8')).toContain(
      '"kind":"registry.accepted"',
    )
  })

  test('a server of high criticality needs the approval of somebody else', async () => {
    const own = workplace(registry('    criticality: high\n'))
    const here = (...args: string[]) => mcpIr(['isolate', name, '--yes', '--by', 'alice', ...args], { cwd: own })
    expect([(await here()).code, (await here('--approved-by', 'alice')).code]).toEqual([2, 2])
    expect(stateOf(server.pid)).not.toBe('T')
    expect((await here('--approved-by', 'bob')).code).toBe(0)
    expect((await mcpIr(['release', name, '--yes', '--by', 'alice', '--approved-by', 'bob'], { cwd: own })).code).toBe(
      0,
    )
  })
})
