import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dump } from 'js-yaml'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { describeServer } from '../../src/mcp/client.ts'
import { mcpIr } from '../testbed/cli.ts'
import { mcpServerBundle } from '../testbed/mcp-server-bundle.ts'
import { approvedDigest, below, type Suspect, startSuspect } from '../testbed/suspect.ts'

/** The whole way by the real command: a real MCP server on loopback, cut off and put back. */

const name = 'io.acme/crm'
let folder: string
let suspect: Suspect
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-redeploy-cli-'))
})
afterEach(async () => {
  await suspect.stop()
  await rm(folder, { recursive: true, force: true })
})

async function start(options: Parameters<typeof startSuspect>[1], log = ''): Promise<void> {
  suspect = await startSuspect(folder, options)
  const inputSchema = { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] }
  const approved = { tools: [{ name: 'get_customer', description: 'Reads one customer.', inputSchema }] }
  await writeFile(join(folder, 'tools.json'), JSON.stringify(approved))
  const { server } = suspect
  const entry = {
    ...server,
    knownGood: '2026-11-20T00:00:00Z',
    tools: { ...server.tools, document: './tools.json' },
    deployments: [{ ...suspect.deployment, watch: 1 }],
  }
  await writeFile(join(folder, 'registry.yaml'), dump({ servers: [entry] }), { mode: 0o600 })
  await mkdir(join(folder, 'logs'))
  await writeFile(join(folder, 'logs', 'gateway.ndjson'), log)
  const config = {
    registry: './registry.yaml',
    cases: './cases',
    invocations: { kind: 'files', path: './logs/*.ndjson', format: 'otel', writer: 'gateway' },
  }
  await writeFile(join(folder, 'mcp-ir.yaml'), dump(config), { mode: 0o600 })
  expect((await run('isolate', name, '--yes')).code).toBe(0)
}

const run = (...args: string[]) => mcpIr([...args, '--config', join(folder, 'mcp-ir.yaml')])
/** Processes of this folder that are not the compromised one. */
const started = async () => (await below(folder)).filter((pid) => pid !== suspect.process.pid)
const served = async () => await describeServer(suspect.url, { signal: AbortSignal.timeout(9000), timeoutMs: 5000 })

const call = (id: string, at: string, server: string, tool: string) =>
  `${JSON.stringify({
    timestamp: `2026-11-21T${at}Z`,
    'mcp.method.name': 'tools/call',
    'mcp.server.name': server,
    'gen_ai.tool.name': tool,
    'mcp.session.id': 'ann-1',
    span_id: id,
  })}\n`

describe('mcp-ir redeploy', () => {
  test('waits for the suspect records to be looked at; then the verified build serves what was approved', async () => {
    await start({}, call('r1', '10:00:00', name, 'get_customer') + call('r2', '10:01:00', 'mail', 'send'))
    expect((await run('blast-radius', name)).code).toBe(0)
    const refused = await run('redeploy', name, '--yes', '--json')
    expect([refused.code, refused.json.error.message], refused.stderr).toEqual([
      4,
      expect.stringContaining('1 suspect record of the blast radius: nobody has reviewed'),
    ])
    expect(await started()).toEqual([])

    const note = 'Suspect records reviewed: the mail was recalled'
    expect((await run('case', 'note', note, '--kind', 'decision')).code).toBe(0)
    const done = await run('redeploy', name, '--yes', '--json')
    expect([done.code, done.json.status], done.stderr).toEqual([0, 'done'])
    expect(done.json.result.output).toMatchObject({
      suspect: { records: 1, reviewed: note },
      deployments: [{ state: 'verified', toolsDigest: approvedDigest(), tools: ['get_customer'] }],
    })
    expect((await served()).tools).toMatchObject([{ description: 'Reads one customer.' }])
    expect(await started()).toHaveLength(1)
  })

  test('one other word of a description is refused, both words are shown, and the new server is taken out', async () => {
    await start({
      approved: await mcpServerBundle({ description: 'Reads one client.' }),
      toolsDigest: approvedDigest(),
    })
    const refused = await run('redeploy', name, '--yes', '--json')
    expect([refused.code, refused.json.status], refused.stderr).toEqual([4, 'refused'])
    for (const text of [refused.stderr, JSON.stringify(refused.json.result.open)]) {
      expect(text).toContain('[customer.]')
      expect(text).toContain('[client.]')
    }
    expect(await started()).toEqual([])
    await expect(served()).rejects.toMatchObject({ code: 'unreachable' })
    const closed = await run('case', 'close', '--json')
    expect([closed.code, closed.json.error.code]).toEqual([4, 'refused'])
    expect((await run('case', 'check')).code).toBe(0)
  })

  test('the build that was compromised is refused, whatever vouches for it, unless a root cause is recorded', async () => {
    const same = await mcpServerBundle()
    await start({ running: same, approved: same })
    const refused = await run('redeploy', name, '--yes', '--json')
    expect([refused.code, refused.json.error.message]).toEqual([
      4,
      expect.stringContaining('the build that was compromised'),
    ])
    expect(await started()).toEqual([])
    const cause = 'the token was stolen from a laptop'
    const done = await run('redeploy', name, '--yes', '--json', '--root-cause', cause)
    expect([done.code, done.json.result.output.rootCause], done.stderr).toEqual([0, cause])
  })
})
