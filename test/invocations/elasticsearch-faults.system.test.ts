import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { elasticsearchInvocations } from '../../src/invocations/elasticsearch.ts'
import { linesOf } from '../contracts/invocations.ts'
import { type Elasticsearch, skipWithoutElasticsearch, startElasticsearch } from '../testbed/elasticsearch.ts'
import { type FaultProxy, startFaultProxy } from '../testbed/fault-proxy.ts'
import { makeLog } from '../testbed/search-log.ts'

const window = { since: '2026-11-20T00:00:00.000Z', until: '2026-11-21T00:00:00.000Z' }
const server = 'io.acme/crm'
const patience = { timeout: 600_000 }

describe.skipIf(skipWithoutElasticsearch('faults of Elasticsearch'))('Elasticsearch', patience, () => {
  let es: Elasticsearch
  let proxy: FaultProxy
  beforeAll(async () => {
    es = await startElasticsearch()
    await makeLog(es, 'log-whole')
    await es.index(
      'log-whole',
      Array.from({ length: 3000 }, (_, n) => call(n)),
    )
  })
  afterAll(() => es?.stop())
  beforeEach(async () => {
    proxy = await startFaultProxy(es.url)
  })
  afterEach(() => proxy.stop())

  const open = (index = 'log-whole', node = proxy.url) =>
    elasticsearchInvocations(
      { kind: 'elasticsearch', node, index, format: 'otel' },
      () => new Date('2026-11-21T00:00:00Z'),
    )
  const review = async (index?: string, names = [server]) => {
    const reviewed = await open(index).review(names, window, AbortSignal.timeout(300_000))
    try {
      const { records, gaps, tools } = reviewed.review
      return { records, gaps, tools, unread: reviewed.unread, lines: await linesOf(reviewed.raw) }
    } finally {
      await reviewed.close()
    }
  }
  const isPage = ({ path, body }: { path: string; body: { size?: number } }) =>
    path.startsWith('/_search') && (body.size ?? 0) > 0

  it('asks again after throttling and connections that break, and closes its view', async () => {
    const faults = ['throttled', 'reset-before', 'lost'] as const
    let asked = 0
    proxy.fault = () => {
      asked += 1
      return asked % 3 === 0 ? faults[(asked / 3) % faults.length] : undefined
    }
    expect(await review()).toMatchObject({ records: 3000, unread: [] })
    expect(proxy.calls.at(-1)).toMatchObject({ method: 'DELETE', path: '/_pit' })
  })

  it('says which part was read when the cluster goes half way, and that nothing was when it is gone', async () => {
    let pages = 0
    proxy.fault = (request) => {
      if (isPage(request)) pages += 1
      return pages > 2 ? 'reset-before' : undefined
    }
    const half = await review()
    expect(half.records).toBeGreaterThan(0)
    expect(half.records).toBeLessThan(3000)
    expect(half.unread.join('\n')).toMatch(/does not answer .* Only the first [\d,]+ records of this server were read/)
    expect(half.lines).toHaveLength(half.records)
    proxy.fault = () => 'reset-before'
    await expect(review()).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('does not answer'),
    })
    expect(await open().check(AbortSignal.timeout(60_000))).toEqual([expect.stringContaining('does not answer')])
  })

  // The one node of the test has no shards that fail by themselves: its answers are rewritten.
  it.each([
    ['"failed":0', '"failed":1', /1 of 2 shards .* was not read/],
    ['"timed_out":false', '"timed_out":true', /want of time/],
  ])('takes %s for %s as what it is: not the whole log', async (from, to, says) => {
    proxy.rewrite = (request, text) => (isPage(request as never) ? text.replace(from, to) : text)
    const { records, unread } = await review()
    expect(records).toBe(3000)
    expect(unread.join('\n')).toMatch(says)
  })

  it('does not show its key, and sends it nowhere in plain text', async () => {
    process.env.ELASTICSEARCH_API_KEY = 'CANARY-KEY'
    try {
      proxy.fault = () => 'denied'
      const denied = await review().catch((error: unknown) => error)
      expect(denied).toMatchObject({ code: 'denied' })
      expect(JSON.stringify([denied, String(denied)])).not.toContain('CANARY')
      await expect(
        open('x', 'http://logs.acme.example:9200').review([server], window, AbortSignal.timeout(60_000)),
      ).rejects.toMatchObject({ code: 'refused' })
    } finally {
      delete process.env.ELASTICSEARCH_API_KEY
    }
  })

  it('reads what is there of a red index, and of indices that are mapped otherwise, missing or closed', async () => {
    await makeLog(es, 'day-1')
    await es.index('day-1', [call(1), call(2)])
    await makeLog(es, 'day-2', { 'index.routing.allocation.require._name': 'nowhere' }).catch(() => undefined)
    const red = await review('day-*')
    expect(red.records).toBe(2)
    expect(red.unread.join('\n')).toMatch(/shards of the log did not answer/)
    await es.call('DELETE', '/day-2')

    await es.call('PUT', '/day-3', { mappings: { properties: { timestamp: { type: 'keyword' } } } })
    await es.index('day-3', [call(3)])
    const conflict = await review('day-*')
    expect(conflict.records).toBe(2)
    expect(conflict.unread).toEqual([
      'The index day-3 was not read: there timestamp is mapped as keyword, elsewhere as date.',
    ])
    await expect(review('day-3')).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('is a date'),
    })

    expect((await review('day-1,none')).unread.join('\n')).toMatch(/Not all indices .* are there/)
    await expect(review('none-*')).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('No index matches'),
    })
    await es.call('DELETE', '/day-1,day-3')
  })

  it('names what is closed, however it is asked for, and says so when all of it is', async () => {
    for (const day of [1, 2]) {
      await makeLog(es, `month-${day}`)
      await es.index(`month-${day}`, [call(day)])
    }
    await es.call('POST', '/_aliases', { actions: [{ add: { index: 'month-*', alias: 'every-month' } }] })
    await es.call('POST', '/month-2/_close')
    const closed = /^Closed, so that what they hold was not read: month-2 \(/
    for (const index of ['month-*', 'month-1,month-2', 'every-*', 'every-month', 'month-1,every-month']) {
      const read = await review(index)
      expect(read.records, index).toBe(1)
      expect(read.unread, index).toContainEqual(expect.stringMatching(closed))
      expect(read.gaps, index).toEqual(expect.arrayContaining([...read.unread]))
      expect(await open(index).check(AbortSignal.timeout(60_000)), index).toContainEqual(expect.stringMatching(closed))
    }
    expect((await review('month-1')).unread).toEqual([])
    await es.call('POST', '/month-1/_close')
    await expect(review('month-*')).rejects.toMatchObject({
      code: 'unreachable',
      message: 'All that month-* names is closed: nothing could be read.',
    })
    await es.call('DELETE', '/month-1,month-2')
  })

  it('takes names for names, and loses nothing to an odd document', async () => {
    const hostile = ['*', 'io.acme/*', '" OR "1"="1', 'a\\', '?', 'x'.repeat(300)]
    await makeLog(es, 'odd', { 'index.mapping.total_fields.limit': 20_000 })
    const wide = Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`field-${n}`, n]))
    await es.index('odd', [
      ...hostile.map((name, n) => call(n, { 'mcp.server.name': name, 'gen_ai.tool.name': name })),
      { ...call(10), wide },
      call(11, { timestamp: Date.parse('2026-11-20T10:00:00Z') / 1000 }),
      call(12, { timestamp: undefined }),
      call(13, { timestamp: '2031-01-01T00:00:00Z' }),
    ])
    // Shipped with line ends inside.
    const shipped = await fetch(`${es.url}/odd/_doc/pretty?refresh=true`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(call(14), undefined, 2),
    })
    expect(shipped.ok).toBe(true)
    for (const name of hostile) expect((await review('odd', [name])).records).toBe(1)
    const own = await review('odd')
    expect(own.records).toBe(3)
    expect(own.unread).toEqual([])
    expect(own.gaps.join('\n')).toMatch(/for want of a time that can be read: 1 calls/)
    expect(own.gaps.join('\n')).toMatch(/clock is wrong: 1 calls/)
    for (const line of own.lines) JSON.parse(line)
  })
})

function call(n: number, more: object = {}): object {
  return {
    timestamp: new Date(Date.parse('2026-11-20T08:00:00Z') + n * 1000).toISOString(),
    'mcp.method.name': 'tools/call',
    'mcp.server.name': server,
    'gen_ai.tool.name': 'lookup',
    span_id: `span-${n}`,
    'gen_ai.tool.call.result': { rows: [n] },
    ...more,
  }
}
