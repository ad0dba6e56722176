import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mcpIr, type Ran, workplace } from '../testbed/cli.ts'
import { type Elasticsearch, skipWithoutElasticsearch, startElasticsearch } from '../testbed/elasticsearch.ts'
import { makeLog } from '../testbed/search-log.ts'

const registry =
  'servers: [{name: io.acme/crm, version: "1", status: approved, owner: o, knownGood: 2026-11-20T00:00:00Z, package: {registryType: npm, identifier: a, version: "1"}, deployments: []}]\n'
const until = ['--until', '2026-11-21T00:00:00Z']
const size = 24_000

/** Calls of the server among others, with copies, many in the same millisecond. */
function* records(): Generator<object> {
  for (let n = 0; n < size; n += 1) {
    const record = {
      timestamp: new Date(Date.parse('2026-11-20T00:00:00Z') + ((n * 7919) % 8000) * 10_000).toISOString(),
      'mcp.method.name': n % 50 === 0 ? 'tools/list' : 'tools/call',
      'mcp.server.name': n % 10 === 0 ? 'wiki' : 'io.acme/crm',
      'gen_ai.tool.name': 'lookup',
      span_id: `span-${n}`,
      'gen_ai.tool.call.result': { text: '{"}[\\"'.repeat(100) },
    }
    yield record
    if (n % 100 === 1) yield record
  }
}

const calls = Array.from({ length: size }, (_, n) => n).filter((n) => n % 50 !== 0 && n % 10 !== 0).length
const hashOf = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')

/** The same for both: what is written, and what is never touched. */
function keepsItsWord(place: () => string): void {
  const run = (...args: string[]) => mcpIr(['review', 'io.acme/crm', ...until, ...args, '--json'], { cwd: place() })

  it('writes every call once, in time order, for its owner alone, and puts manifest and hash into the case', async () => {
    const file = join(place(), 'out.ndjson')
    const ran = await run('--export', 'out.ndjson')
    expect(ran.code).toBe(0)
    const { export: exported } = ran.json.result.output
    expect(exported).toMatchObject({ file, records: calls, bytes: statSync(file).size, sha256: hashOf(file) })
    expect(ran.json.result.output.records).toBe(calls)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const lines = readFileSync(file, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(new Set(lines.map((line) => line.span_id)).size).toBe(calls)
    const times = lines.map((line) => line.timestamp)
    expect(times).toEqual([...times].sort())
    const manifest = JSON.parse(
      readFileSync(join(place(), 'cases', ran.json.case, 'evidence', 'manifest.json'), 'utf8'),
    )
    const { sha256 } = manifest.find(({ name }: { name: string }) => name === 'invocations-export.json')
    const kept = JSON.parse(readFileSync(join(place(), 'cases', ran.json.case, 'evidence', sha256), 'utf8'))
    expect(kept).toMatchObject({ file, records: calls, sha256: hashOf(file) })

    // Again: nothing is written, and the answer is the same.
    const { mtimeMs } = statSync(file)
    expect((await run('--export', 'out.ndjson')).json.result.output.export).toEqual(exported)
    expect(statSync(file).mtimeMs).toBe(mtimeMs)
    expect((await mcpIr(['case', 'check'], { cwd: place() })).code).toBe(0)
  })

  it('writes over nothing, through no link, and not at all in a dry run', async () => {
    const at = (name: string) => join(place(), name)
    writeFileSync(at('theirs.ndjson'), 'theirs')
    writeFileSync(at('half.ndjson.part'), 'theirs')
    symlinkSync(at('elsewhere'), at('link.ndjson'))
    symlinkSync(at('elsewhere'), at('other.ndjson.part'))
    for (const name of ['theirs', 'half', 'link', 'other'])
      expect((await run('--export', `${name}.ndjson`)).code).toBe(2)
    expect(readFileSync(at('theirs.ndjson'), 'utf8')).toBe('theirs')
    expect(readFileSync(at('half.ndjson.part'), 'utf8')).toBe('theirs')
    expect(existsSync(at('elsewhere'))).toBe(false)
    mkdirSync(at('folder'))
    expect((await run('--export', 'folder')).code).toBe(2)
    expect((await run('--export', 'none/out.ndjson')).code).toBe(2)
    expect((await run('--export', 'dry.ndjson', '--dry-run')).code).toBe(0)
    expect(existsSync(at('dry.ndjson')) || existsSync(at('dry.ndjson.part'))).toBe(false)
  })

  it('goes on after a kill, to the same bytes; not with what somebody else changed', async () => {
    const part = join(place(), 'killed.ndjson.part')
    const killed = await mcpIr(['review', 'io.acme/crm', ...until, '--export', 'killed.ndjson'], {
      cwd: place(),
      started: (pid) => void whenLarger(part, 12 << 20, () => process.kill(pid, 'SIGKILL')),
    })
    expect(killed.signal).toBe('SIGKILL')
    expect(existsSync(join(place(), 'killed.ndjson'))).toBe(false)
    const whole = readFileSync(part)
    writeFileSync(part, Buffer.concat([Buffer.from('x'), whole.subarray(1)]))
    expect((await run('--export', 'killed.ndjson')).code).toBe(4)
    writeFileSync(part, Buffer.concat([whole, Buffer.from('half a li')]))
    const ran = await run('--export', 'killed.ndjson')
    expect(ran.code).toBe(0)
    expect(hashOf(join(place(), 'killed.ndjson'))).toBe(hashOf(join(place(), 'out.ndjson')))
    expect(existsSync(part)).toBe(false)
  })
}

async function whenLarger(file: string, bytes: number, then: () => void): Promise<void> {
  while (!existsSync(file) || statSync(file).size < bytes) await sleep(2)
  then()
}

/** A command that reads a log twice takes its time on a busy machine. */
const patience = { timeout: 600_000 }

describe('review --export from files', patience, () => {
  let folder: string
  beforeAll(() => {
    folder = workplace(registry, 'invocations: {kind: files, path: "./log.ndjson", format: otel}\n')
    writeFileSync(join(folder, 'log.ndjson'), [...records()].map((record) => `${JSON.stringify(record)}\n`).join(''))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  keepsItsWord(() => folder)
})

describe.skipIf(skipWithoutElasticsearch('review --export from Elasticsearch'))(
  'review --export from Elasticsearch',
  () => {
    let es: Elasticsearch
    let folder: string
    beforeAll(async () => {
      es = await startElasticsearch()
      folder = workplace(
        registry,
        `invocations: {kind: elasticsearch, node: "${es.url}", index: "mcp-*", format: otel}\n`,
      )
      for (const half of [0, 1]) {
        await makeLog(es, `mcp-${half}`)
        await es.index(
          `mcp-${half}`,
          [...records()].filter((_, at) => at % 2 === half),
        )
      }
    })
    afterAll(async () => {
      await es?.stop()
      rmSync(folder, { recursive: true, force: true })
    })
    keepsItsWord(() => folder)

    it('says how many calls the index could not be asked for, as the name of their server is too long', async () => {
      const place = workplace(
        registry,
        `invocations: {kind: elasticsearch, node: "${es.url}", index: "long", format: otel}\n`,
      )
      const short = { type: 'keyword', ignore_above: 5 }
      const properties = { timestamp: { type: 'date' }, 'mcp.server.name': short }
      await es.call('PUT', '/long', { mappings: { properties } })
      const call = (n: number) => ({
        timestamp: `2026-11-20T10:00:0${n}Z`,
        'mcp.method.name': 'tools/call',
        'mcp.server.name': 'io.acme/crm',
        'gen_ai.tool.name': 'lookup',
        span_id: `long-${n}`,
      })
      await es.index('long', [call(1), call(2)])
      const ran = await mcpIr(['review', 'io.acme/crm', ...until, '--export', 'out.ndjson', '--json'], { cwd: place })
      expect(ran.code).toBe(3)
      expect(ran.json.result.output).toMatchObject({ records: 2, export: { records: 0 } })
      expect(ran.json.result.output.gaps).toContainEqual(
        expect.stringMatching(/^The export holds 2 calls fewer than were counted: .*ignore_above/),
      )
      rmSync(place, { recursive: true, force: true })
    })

    it('goes on when the cluster has gone in the middle and has come back', async () => {
      let halted: Promise<void> | undefined
      const part = join(folder, 'halted.ndjson.part')
      const run = (started: () => void): Promise<Ran> =>
        mcpIr(['review', 'io.acme/crm', ...until, '--export', 'halted.ndjson', '--json'], { cwd: folder, started })
      const broken = await run(
        () =>
          void whenLarger(part, 1 << 20, () => {
            halted = es.halt()
          }),
      )
      await halted
      expect(broken.code).toBe(3)
      expect(broken.json.error.message).toMatch(/does not answer .* records were exported so far/)
      const size = statSync(part).size
      await es.start()
      const ran = await run(() => {
        expect(statSync(part).size).toBe(size)
      })
      expect(ran.code).toBe(0)
      expect(ran.json.result.output.export.records).toBe(calls)
      expect(hashOf(join(folder, 'halted.ndjson'))).toBe(hashOf(join(folder, 'out.ndjson')))
    })
  },
)
