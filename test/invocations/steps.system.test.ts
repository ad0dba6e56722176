import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { BlastRadius } from '../../src/blast-radius/port.ts'
import { blastRadius } from '../../src/blast-radius/step.ts'
import type { Evidence } from '../../src/change.ts'
import type { InvocationsConfig } from '../../src/config.ts'
import type { Review } from '../../src/invocations/port.ts'
import { review } from '../../src/invocations/step.ts'
import type { StepInput } from '../../src/playbook/step.ts'
import { serverSchema } from '../../src/registry/schema.ts'

const server = serverSchema.parse({
  name: 'io.acme/crm',
  aliases: ['crm'],
  version: '1.0.0',
  status: 'approved',
  owner: 'crm-team',
  package: { registryType: 'npm', identifier: 'x', version: '1.0.0' },
  deployments: [],
  reaches: [{ system: 'ledger', kind: 'api', access: 'read', data: ['invoices'] }],
})

let folder: string
let path: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-test-'))
  path = join(folder, 'log.ndjson')
  const call = (minute: number, name: string, more: object) =>
    JSON.stringify({
      timestamp: new Date(Date.parse('2026-11-20T10:00:00Z') + minute * 60_000).toISOString(),
      'mcp.method.name': 'tools/call',
      'mcp.server.name': name,
      'gen_ai.tool.name': 'lookup',
      'gen_ai.agent.name': 'copilot',
      'mcp.session.id': 's1',
      span_id: `${name}-${minute}`,
      'gen_ai.tool.call.arguments': { key: 'CANARY-SECRET' },
      'gen_ai.tool.call.result': { rows: [{ token: 'CANARY-SECRET' }] },
      ...more,
    })
  await writeFile(
    path,
    `${[call(0, 'io.acme/crm', {}), call(1, 'crm', { 'error.type': 'timeout' }), call(2, 'wiki', {})].join('\n')}\n`,
  )
})
afterAll(async () => rm(folder, { recursive: true, force: true }))

/** A step's input as the runner makes it; evidence is kept in a map. */
function input(invocations: InvocationsConfig | undefined, values: Record<string, string> = {}) {
  const stored = new Map<string, string>()
  const evidence: Evidence = {
    async put(name, mediaType, content) {
      const pieces: Buffer[] = []
      if (typeof content === 'string' || content instanceof Uint8Array) pieces.push(Buffer.from(content))
      else for await (const piece of content) pieces.push(Buffer.from(piece))
      const bytes = Buffer.concat(pieces)
      stored.set(name, bytes.toString())
      return { name, mediaType, sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length }
    },
    get: () => Promise.reject(new Error('not used')),
    path: () => '',
  }
  const progress: string[] = []
  const given = {
    context: { config: { invocations }, now: () => new Date('2026-11-21T00:00:00Z') },
    case: {
      server,
      servers: [server],
      since: '2026-11-20T00:00:00Z',
      sinceFrom: 'knownGood',
      until: '2026-11-21T00:00:00Z',
    },
    with: values,
    evidence,
    signal: new AbortController().signal,
    progress: (text: string) => progress.push(text),
  } as unknown as StepInput
  return { given, stored }
}

const none = { operations: [], open: [] }

describe('invocations.review', () => {
  it('says what ran, for whom, and keeps the records as evidence and nowhere else', async () => {
    const { given, stored } = input({ kind: 'files', path, format: 'otel' })
    const result = await review.result(given, none)
    const output = result.output as Review
    expect(result.state).toBe('done')
    expect(output).toMatchObject({
      sinceFrom: 'knownGood',
      records: 2,
      tools: [{ tool: 'lookup', calls: 2, failed: 1, rows: 2 }],
      callers: [{ caller: 'copilot', calls: 2 }],
      evidence: { name: 'invocations.ndjson' },
    })
    expect(stored.get('invocations.ndjson')?.split('\n')).toHaveLength(3)
    expect(stored.get('invocations.ndjson')).toContain('CANARY-SECRET')
    expect(JSON.stringify(result)).not.toContain('CANARY')
  })

  it('is partial without a log, with an empty answer that says why', async () => {
    const result = await review.result(input(undefined).given, none)
    expect(result.state).toBe('partial')
    expect(result.open).toEqual([expect.stringContaining('No invocation log is configured')])
    expect(result.output).toMatchObject({ records: 0, tools: [] })
  })

  it('is partial when a source could not be read', async () => {
    const result = await review.result(
      input({ kind: 'files', path: join(folder, 'none-*'), format: 'otel' }).given,
      none,
    )
    expect(result).toMatchObject({ state: 'partial', open: [expect.stringContaining('No log file matches')] })
  })

  it('takes its own window, and refuses one in which nothing lies', async () => {
    const files = { kind: 'files', path, format: 'otel' } as const
    const { given } = input(files, { since: '2026-11-20T11:00:30+01:00' })
    expect((await review.result(given, none)).output).toMatchObject({
      records: 1,
      sinceFrom: 'flag',
      window: { since: '2026-11-20T10:00:30.000Z' },
    })
    await expect(review.result(input(files, { since: '2026-11-22T00:00:00Z' }).given, none)).rejects.toMatchObject({
      code: 'input',
    })
  })
})

describe('blast-radius.compute', () => {
  it('keeps the tiers apart and lists the calls that are suspect', async () => {
    const result = await blastRadius.result(input({ kind: 'files', path, format: 'otel' }).given, none)
    const output = result.output as BlastRadius
    expect(result.state).toBe('done')
    expect(output.couldReach).toMatchObject([{ system: 'ledger', via: 'not stated' }])
    expect(output.didReach).toEqual([
      expect.objectContaining({ system: 'ledger', coverage: 'accessed', calls: 2, rows: 2, data: ['invoices'] }),
    ])
    const sent = JSON.stringify({ key: 'CANARY-SECRET' }).length
    expect(output.exposed).toEqual([
      {
        context: 'session s1',
        caller: 'copilot',
        calls: 2,
        bytes: 2 * sent,
        parameters: [{ name: 'key', calls: 2, bytes: 2 * 'CANARY-SECRET'.length }],
        before: [],
      },
    ])
    expect(output.suspect).toEqual([
      {
        record: 'wiki-2',
        server: 'wiki',
        tool: 'lookup',
        at: '2026-11-20T10:02:00.000Z',
        hop: 1,
        by: 'session',
        chain: ['io.acme/crm-0', 'wiki-2'],
        context: 'session s1',
      },
    ])
    expect(output.worst).toEqual([{ record: 'wiki-2', why: 'reads, on a server that the registry does not know' }])
    expect(output).toMatchObject({ dataClasses: ['invoices'], owners: ['crm-team'] })
    expect(JSON.stringify(result)).not.toContain('CANARY')
  })

  it('has no visibility without a log', async () => {
    const result = await blastRadius.result(input(undefined).given, none)
    expect(result.state).toBe('partial')
    expect((result.output as BlastRadius).didReach).toEqual([
      expect.objectContaining({ system: 'ledger', coverage: 'no-visibility' }),
    ])
  })
})
