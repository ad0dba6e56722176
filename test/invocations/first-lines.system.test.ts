import { appendFile, mkdtemp, open, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Format } from '../../src/config.ts'
import type { ReadingWays } from '../../src/invocations/engine/ingest.ts'
import { filesInvocations } from '../../src/invocations/files.ts'
import type { Reviewed } from '../../src/invocations/port.ts'
import { linesOf } from '../contracts/invocations.ts'

const signal = new AbortController().signal
const window = { since: '2026-11-20T00:00:00.000Z', until: '2026-11-21T00:00:00.000Z' }
const usual = 300

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-test-'))
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

function call(n: number, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    timestamp: new Date(Date.parse('2026-11-20T08:00:00Z') + n * 1000).toISOString(),
    duration_ms: n,
    'mcp.method.name': 'tools/call',
    'mcp.server.name': 'io.acme/crm',
    'mcp.session.id': `session-${n % 7}`,
    'gen_ai.tool.name': `tool-${n % 3}`,
    'gen_ai.agent.name': 'copilot',
    'user.name': 'jane',
    span_id: `span-${n}`,
    'gen_ai.tool.call.arguments': { q: n },
    'gen_ai.tool.call.result': { structuredContent: { rows: [n] } },
    ...more,
  }
}

async function reading<T>(
  path: string,
  ways: ReadingWays,
  work: (reviewed: Reviewed) => Promise<T>,
  format: Format = 'otel',
): Promise<T> {
  const log = filesInvocations({ kind: 'files', path, format }, () => new Date('2026-11-22T00:00:00Z'), ways)
  const reviewed = await log.review(['io.acme/crm'], window, signal, { tools: [], paths: [], trail: false })
  try {
    return await work(reviewed)
  } finally {
    await reviewed.close()
  }
}

/** All that the log says. */
async function said({ review, unread, raw, usage }: Reviewed) {
  return {
    review,
    unread,
    raw: await linesOf(raw),
    usage: await usage({ offsets: [{ from: 0, offset: 0 }] }),
  }
}

let logs = 0
async function logOf(lines: readonly (string | object)[]): Promise<string> {
  logs += 1
  const path = join(folder, `log-${logs}.ndjson`)
  await writeFile(path, lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join(''))
  return path
}

describe('a log of which only the first lines are asked how they are', () => {
  const own = { records: usual + 1, failed: 0, duplicates: 0, callers: ['copilot'] }
  it.each<[string, string | object | (string | object)[], Partial<typeof own>]>([
    ['one like the others', call(500), {}],
    [
      'a time that counts before the usual one',
      call(500, { startTimeUnixNano: '1700000000000000000' }),
      { records: usual },
    ],
    ['a time elsewhere', call(500, { timestamp: undefined, time: '2026-11-20T12:00:00Z' }), {}],
    ['a time that nobody can read', call(500, { timestamp: '2026-11-20T10:00:00.  NZ' }), { records: usual }],
    ['a copy', call(299), { records: usual, duplicates: 1 }],
    ['a copy but for its trace', call(299, { trace_id: 'abc' }), {}],
    ['a copy but for its trace, nested', call(299, { trace: { id: 'abc' } }), {}],
    [
      'an agent that is named elsewhere',
      call(500, { 'gen_ai.agent.name': undefined, 'mcp.client.name': 'cline' }),
      { callers: ['copilot', 'cline'] },
    ],
    [
      'an agent under attributes',
      call(500, { 'gen_ai.agent.name': undefined, attributes: { gen_ai: { agent: { name: 'cline' } } } }),
      { callers: ['copilot', 'cline'] },
    ],
    [
      'nobody who called',
      call(500, { 'gen_ai.agent.name': undefined, 'user.name': undefined, 'mcp.session.id': undefined }),
      { callers: ['copilot', 'unknown'] },
    ],
    ['no id', call(500, { span_id: undefined }), {}],
    ['an id of zeros', call(500, { span_id: '0000000000000000' }), {}],
    ['another id', call(500, { span_id: undefined, jsonrpc: { 'request.id': 7 } }), {}],
    ['a server under another name', call(500, { 'mcp.server.name': undefined, 'server.address': 'io.acme/crm' }), {}],
    ['another server', call(500, { 'mcp.server.name': 'io.acme/wiki' }), { records: usual }],
    [
      'a list of tools',
      call(500, { 'mcp.method.name': 'tools/list', 'gen_ai.tool.name': undefined }),
      { records: usual },
    ],
    ['no response', call(500, { 'gen_ai.tool.call.result': undefined }), {}],
    ['a response of null', call(500, { 'gen_ai.tool.call.result': null }), {}],
    ['a failure', call(500, { 'error.type': 'timeout' }), { failed: 1 }],
    ['a failure, nested', call(500, { error: { type: 'timeout' } }), { failed: 1 }],
    ['a failure under attributes', call(500, { 'attributes.error.type': 'timeout' }), { failed: 1 }],
    [
      'a failure in a key that JSON writes otherwise',
      JSON.stringify(call(500, { 'error.type': 'timeout' })).replace('error.type', String.raw`\u0065rror.type`),
      { failed: 1 },
    ],
    ['a failure that the tool tells', call(500, { 'gen_ai.tool.call.result': { isError: true } }), { failed: 1 }],
    [
      'a failure that the tool tells in a text',
      call(500, { 'gen_ai.tool.call.result': '{"isError":true}' }),
      { failed: 1 },
    ],
    [
      'a failure that the tool tells in an answer',
      call(500, { 'gen_ai.tool.call.result': { jsonrpc: '2.0', id: 1, result: { isError: true } } }),
      { failed: 1 },
    ],
    [
      'the word isError in what a tool gives',
      call(500, { 'gen_ai.tool.call.result': { rows: [{ isError: true }] } }),
      {},
    ],
    ['a call that was refused', call(500, { 'http.response.status_code': 403, 'error.type': '403' }), { failed: 1 }],
    ['half a line', '{"timestamp":"2026-11-20T08:00:01.000Z","mcp.method.na', { records: usual }],
    ['null', 'null', { records: usual }],
    ['two halves of nothing', ['{', '}'], { records: usual }],
    ['two halves of a list', [`[${JSON.stringify(call(500))},`, `${JSON.stringify(call(501))}]`], { records: usual }],
    ['a call on many lines', JSON.stringify(call(500), null, 2).split('\n'), { records: usual }],
    ['an empty result', call(500, { 'gen_ai.tool.call.result': '' }), {}],
    ['a failure that is flattened', call(500, { 'gen_ai.tool.call.result.isError': true }), { failed: 1 }],
    [
      'the same under attributes',
      call(500, { attributes: { 'gen_ai.tool.call.result.isError': true } }),
      { failed: 1 },
    ],
    ['a list', '[1]', { records: usual }],
    ['a call in a list', JSON.stringify([call(500)]), { records: usual }],
  ])('finds %s after them', async (_, odd, expected) => {
    const lines: (string | object)[] = Array.from({ length: usual }, (_, n) => call(n))
    lines.splice(200, 0, ...(Array.isArray(odd) ? odd : [odd]))
    const path = await logOf(lines)
    const guessed = await reading(path, { firstLines: 50 }, said)
    const { records, duplicates, tools, callers } = guessed.review
    const failed = tools.reduce((all, use) => all + use.failed, 0)
    expect({ records, failed, duplicates, callers: callers.map(({ caller }) => caller) }).toEqual({
      ...own,
      ...expected,
    })
    // Line by line, and by asking all of them.
    expect(guessed).toEqual(await reading(path, { oneByOne: 1 }, said))
    expect(guessed).toEqual(await reading(path, { firstLines: 2 * usual }, said))
  })
})

it('tells a name from parameters that a map takes from the same place', async () => {
  const lines: object[] = Array.from({ length: usual }, (_, n) => ({
    ts: window.since,
    id: `i${n}`,
    'call.name': 'tool',
  }))
  lines.splice(200, 0, { ts: window.since, id: 'odd', 'call.name': '', call: { name: 'odd' } })
  const path = await logOf(lines)
  const map = { time: 'ts', tool: 'call.name', params: 'call.name', id: 'id' }
  const tools = await reading(path, { firstLines: 50 }, async ({ review }) => review.tools.map(({ tool }) => tool), {
    map,
  })
  expect(tools).toEqual(['tool', 'odd'])
})

describe('a log that changes between two readings', () => {
  const lines = Array.from({ length: usual }, (_, n) => call(n))
  const rawAfter = async (change: (path: string) => Promise<void>) => {
    const path = await logOf(lines)
    return reading(path, {}, async ({ raw }) => {
      await change(path)
      return linesOf(raw)
    })
  }

  it('gives what it held when it has only grown', async () => {
    const raw = await rawAfter((path) => appendFile(path, `${JSON.stringify(call(400))}\n`))
    expect(raw).toHaveLength(usual)
  })

  it('says so when something in its middle was written over', async () => {
    const many = Array.from({ length: 4 * usual }, (_, n) => call(n))
    const path = await logOf(many)
    const text = many.map((line) => `${JSON.stringify(line)}\n`).join('')
    await reading(path, {}, async ({ raw }) => {
      const file = await open(path, 'r+')
      await file.write('john', text.indexOf('jane', text.length / 2))
      await file.close()
      await expect(linesOf(raw)).rejects.toMatchObject({ code: 'partial' })
    })
  })

  it.each<[string, (path: string) => Promise<void>]>([
    [
      'was rotated',
      async (path) => {
        await rename(path, `${path}.1`)
        await writeFile(path, lines.map((_, n) => `${JSON.stringify(call(n + 1))}\n`).join(''))
      },
    ],
    ['was removed', (path) => rm(path)],
    ['was cut off', (path) => truncate(path, 1000)],
    [
      'was cut off and has grown again',
      async (path) => {
        await truncate(path, 0)
        await appendFile(path, Array.from({ length: 2 * usual }, (_, n) => `${JSON.stringify(call(n + 1))}\n`).join(''))
      },
    ],
  ])('says so when it %s', async (_, change) => {
    await expect(rawAfter(change)).rejects.toMatchObject({
      code: 'partial',
      message: expect.stringMatching(/^The invocation log .* changed while it was read/),
    })
  })
})
