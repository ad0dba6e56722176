import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Format } from '../../src/config.ts'
import type { Invocations, TrailRecord, Window } from '../../src/invocations/port.ts'
import { inOrder, type PlainCall, plainUsage } from './plain-usage.ts'

/** A source under test: puts records where the adapter reads them. */
export interface LogFactory {
  readonly name: string
  /** How often the property is tried. */
  readonly runs: number
  open(
    records: readonly object[],
    format: Format,
    offset?: string,
  ): Promise<{ readonly log: Invocations; close(): Promise<void> }>
}

/** One call, as a person would write it down; `undefined` where the log does not say. */
interface Told {
  readonly id?: string | undefined
  readonly time: string
  readonly server: string
  readonly tool: string
  readonly agent?: string | undefined
  readonly user?: string | undefined
  readonly session?: string | undefined
  readonly trace?: string | undefined
  readonly ok?: boolean | undefined
  readonly params?: object | undefined
  readonly response?: object | undefined
  readonly durationMs?: number | undefined
}

/** Every format under contract, with the same call written in it. */
const writers: Readonly<Record<string, { format: Format; write: (told: Told) => object }>> = {
  'otel, flat': {
    format: 'otel',
    write: (told) => ({
      timestamp: told.time,
      duration_ms: told.durationMs,
      'mcp.method.name': 'tools/call',
      'gen_ai.tool.name': told.tool,
      'mcp.session.id': told.session,
      'mcp.server.name': told.server,
      'gen_ai.agent.name': told.agent,
      'user.name': told.user,
      trace_id: told.trace,
      span_id: told.id,
      'gen_ai.tool.call.arguments': told.params,
      'gen_ai.tool.call.result': told.response,
      'error.type': told.ok === false ? 'tool_error' : undefined,
    }),
  },
  'otel, with attributes': {
    format: 'otel',
    write: (told) => ({
      startTimeUnixNano: `${Date.parse(told.time)}000000`,
      endTimeUnixNano: `${Date.parse(told.time) + (told.durationMs ?? 0)}000000`,
      traceId: told.trace,
      spanId: told.id,
      attributes: {
        'mcp.method.name': 'tools/call',
        'gen_ai.tool.name': told.tool,
        'mcp.session.id': told.session,
        'mcp.server.name': told.server,
        'gen_ai.agent.name': told.agent,
        'user.name': told.user,
        'gen_ai.tool.call.arguments': told.params === undefined ? undefined : JSON.stringify(told.params),
        'gen_ai.tool.call.result': told.response === undefined ? undefined : JSON.stringify(told.response),
        'error.type': told.ok === false ? 'tool_error' : undefined,
      },
    }),
  },
  'otel, nested': {
    format: 'otel',
    write: (told) => ({
      '@timestamp': told.time,
      duration_ms: told.durationMs,
      trace: { id: told.trace },
      span: { id: told.id },
      mcp: { method: { name: 'tools/call' }, session: { id: told.session }, server: { name: told.server } },
      gen_ai: {
        agent: { name: told.agent },
        tool: { name: told.tool, call: { arguments: told.params, result: told.response } },
      },
      user: { name: told.user },
      error: told.ok === false ? { type: '500' } : undefined,
    }),
  },
  toolhive: {
    format: 'toolhive',
    write: (told) => ({
      audit_id: told.id,
      type: 'mcp_tool_call',
      logged_at: told.time,
      outcome: told.ok === undefined ? undefined : told.ok ? 'success' : 'denied',
      component: told.server,
      source: { type: 'network', value: '10.0.0.9', extra: { user_agent: 'x' } },
      subjects: { user: told.user, client_name: told.agent },
      target: { endpoint: '/mcp', method: 'tools/call', type: 'tool', name: told.tool },
      metadata: { extra: { duration_ms: told.durationMs, transport: 'http' } },
      data: { request: told.params, response: told.response },
    }),
  },
  map: {
    format: {
      map: {
        id: 'call.id',
        time: 'ts',
        server: 'srv',
        tool: 'call.tool',
        agent: 'who.agent',
        user: 'who.user',
        session: 'ctx.s',
        trace: 'ctx.t',
        outcome: 'status',
        durationMs: 'ms',
        params: 'call.in',
        response: 'call.out',
      },
    },
    write: (told) => ({
      ts: Date.parse(told.time),
      srv: told.server,
      call: { id: told.id, tool: told.tool, in: told.params, out: told.response },
      who: { agent: told.agent, user: told.user },
      'ctx.s': told.session,
      ctx: { t: told.trace },
      status: told.ok === undefined ? undefined : told.ok ? 200 : 503,
      ms: told.durationMs,
    }),
  },
}

const hostile = [
  `'; DROP TABLE lines; --`,
  `" OR 1=1 --`,
  `$names`,
  `%`,
  `_`,
  `*`,
  `[a-z]?`,
  `<script>alert(1)</script>`,
  `\u001b[31mred\u001b]0;title\u0007`,
  `a\u0000b`,
  `\u202Egnp.exe`,
  `../../etc/passwd`,
  `\\`,
  `"`,
  `{"$ne":1}`,
  '\n',
  `😀`,
  `null`,
]

const others = ['io.acme/billing', `io.acme/crm' OR '1'='1`, 'IO.ACME/CRM', 'io.acme/crm%']
const start = Date.parse('2026-11-20T00:00:00Z')
const window: Window = { since: '2026-11-20T06:00:00.000Z', until: '2026-11-21T00:00:00.000Z' }
const names = ['io.acme/crm', 'crm-mcp']

const text = fc.oneof(
  fc.constantFrom('search', 'export', ...hostile),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }),
)
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 4 })
const response = fc.oneof(
  fc.record({ rows: fc.array(fc.record({ a: fc.integer() }), { maxLength: 4 }) }),
  fc.record({ structuredContent: fc.record({ items: fc.array(fc.string(), { maxLength: 3 }) }) }),
  fc.record({ content: fc.constant([{ type: 'text', text: 'plain' }]) }),
  fc.record({
    content: fc.array(fc.integer(), { maxLength: 5 }).map((list) => [{ type: 'text', text: JSON.stringify(list) }]),
  }),
  fc.record({ rowCount: fc.nat(1000) }),
  fc.record({ text }),
)

const told: fc.Arbitrary<Told> = fc.record({
  time: fc.nat(30 * 3600).map((second) => new Date(start + second * 1000).toISOString()),
  server: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...names) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  ),
  tool: text,
  agent: maybe(text),
  user: maybe(text),
  session: maybe(fc.constantFrom('s1', 's2', `s'3`)),
  trace: maybe(fc.constantFrom('t1', 't2')),
  ok: maybe(fc.boolean()),
  params: maybe(fc.record({ q: text })),
  response: maybe(response),
  durationMs: maybe(fc.nat(5000)),
})

const log = fc.array(told, { maxLength: 60, size: 'max' }).chain((records) =>
  fc.record({
    records: fc.constant(records.map((record, index): Told => ({ ...record, id: `id-${index}` }))),
    copies: fc.array(fc.nat(Math.max(0, records.length - 1)), { maxLength: records.length === 0 ? 0 : 10 }),
  }),
)

/** What a review must say, in the slowest and plainest way. */
function expected(records: readonly Told[]) {
  const mine = records.filter(
    ({ server, time }) => names.includes(server) && time >= window.since && time < window.until,
  )
  const once = [...new Map(mine.map((record) => [record.id, record])).values()]
  const by = (name: (record: Told) => string) => {
    const groups = new Map<string, Told[]>()
    for (const record of once) groups.set(name(record), [...(groups.get(name(record)) ?? []), record])
    return [...groups]
      .map(([key, calls]) => {
        const times = calls.map(({ time }) => time).sort()
        const sum = (values: readonly (number | undefined)[]) =>
          values.every((value) => value === undefined)
            ? undefined
            : values.reduce<number>((all, value) => all + (value ?? 0), 0)
        return {
          name: key,
          calls: calls.length,
          failed: calls.filter(({ ok }) => ok === false).length,
          rows: sum(calls.map((call) => rowsOf(call.response))),
          bytes: sum(calls.map((call) => sizeOf(call.response))),
          first: times[0],
          last: times.at(-1),
        }
      })
      .sort((a, b) => b.calls - a.calls || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))
  }
  const times = once.map(({ time }) => time).sort()
  return {
    records: once.length,
    duplicates: mine.length - once.length,
    first: times[0],
    last: times.at(-1),
    tools: by(({ tool }) => tool),
    callers: by(({ agent, user, session }) => agent ?? user ?? session ?? 'unknown'),
  }
}

function sizeOf(value: object | undefined): number | undefined {
  return value === undefined ? undefined : Buffer.byteLength(JSON.stringify(value))
}

function rowsOf(value: unknown): number | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if ('rows' in value && Array.isArray(value.rows)) return value.rows.length
  if ('rowCount' in value) return Number(value.rowCount)
  if ('structuredContent' in value) return (value.structuredContent as { items: unknown[] }).items.length
  if ('content' in value) {
    const first = (value.content as { text: string }[])[0]?.text ?? ''
    return first.startsWith('[') ? (JSON.parse(first) as unknown[]).length : undefined
  }
  return undefined
}

/** What a format cannot carry is taken away from the record before it is expected. */
function asCarried(format: Format, record: Told): Told {
  if (format === 'toolhive') return { ...record, session: undefined, trace: undefined }
  return record
}

function ownCalls(records: readonly Told[], format: Format): PlainCall[] {
  return records
    .filter(({ server }) => names.includes(server))
    .map(({ id, time, tool, agent, user, ok, response }) => ({
      id: id ?? '',
      time,
      tool,
      agent,
      user,
      address: format === 'toolhive' ? '10.0.0.9' : undefined,
      // Of the outcomes that are written here only that of ToolHive tells a refusal from another failure.
      refused: format === 'toolhive' && ok === false,
      rows: rowsOf(response),
      bytes: sizeOf(response),
    }))
}

const utc = { offsets: [{ from: 0, offset: 0 }] }

/** The contract that every adapter of the invocations port keeps. */
export function invocationsContract(factory: LogFactory): void {
  const signal = new AbortController().signal

  describe(`invocations contract: ${factory.name}`, () => {
    for (const [name, { format, write }] of Object.entries(writers)) {
      it(`counts as a plain reading of ${name} does, whatever the log holds`, async () => {
        await fc.assert(
          fc.asyncProperty(log, async ({ records, copies }) => {
            const all = [...records, ...copies.flatMap((index) => records[index] ?? [])]
            const source = await factory.open(all.map(write), format)
            try {
              const reviewed = await source.log.review(names, window, signal)
              try {
                const { review } = reviewed
                const told = expected(all.map((record) => asCarried(format, record)))
                expect({
                  records: review.records,
                  duplicates: review.duplicates,
                  first: review.first,
                  last: review.last,
                  tools: review.tools.map(({ tool, ...use }) => ({ name: tool, ...use })),
                  callers: review.callers.map(({ caller, sent: _, ...use }) => ({ name: caller, ...use })),
                }).toEqual(told)
                expect(reviewed.unread).toEqual([])

                const lines = await linesOf(reviewed.raw)
                expect(lines).toHaveLength(told.records)
                const times = lines.map((line) => timeOf(JSON.parse(line) as Record<string, unknown>))
                expect(times).toEqual([...times].sort((a, b) => a - b))
              } finally {
                await reviewed.close()
              }
            } finally {
              await source.close()
            }
          }),
          { numRuns: factory.runs, seed: 20261123 },
        )
      })
    }

    for (const name of ['otel, flat', 'toolhive']) {
      it(`counts what findings are made of as a plain reading of ${name} does`, async () => {
        const { format, write } = writers[name] as (typeof writers)[string]
        await fc.assert(
          fc.asyncProperty(log, async ({ records, copies }) => {
            const all = [...records, ...copies.flatMap((index) => records[index] ?? [])]
            const source = await factory.open(all.map(write), format)
            try {
              const reviewed = await source.log.review(names, window, signal)
              try {
                const calls = ownCalls(
                  records.map((record) => asCarried(format, record)),
                  format,
                )
                const usage = await reviewed.usage(utc)
                const plain = plainUsage(calls, window)
                expect(inOrder(usage)).toEqual(inOrder(plain))
                for (const tool of new Set(plain.now.flatMap((hour) => hour.tool ?? []))) {
                  const its = calls.filter(
                    (call) => call.tool === tool && call.time >= window.since && call.time < window.until,
                  )
                  const found = await reviewed.select({ tool })
                  expect({ calls: found.calls, ids: [...found.ids].sort() }).toEqual({
                    calls: its.length,
                    ids: its.map(({ id }) => id).sort(),
                  })
                }
              } finally {
                await reviewed.close()
              }
            } finally {
              await source.close()
            }
          }),
          { numRuns: factory.runs, seed: 20261124 },
        )
      })
    }

    it('gives the records of all servers in time order, each once, with what a taint is followed by', async () => {
      const { format, write } = writers['otel, flat'] as (typeof writers)[string]
      const at = (minute: number) => new Date(Date.parse('2026-11-20T10:00:00Z') + minute * 60_000).toISOString()
      const call = (id: string, minute: number, server: string, more: Partial<Told> = {}): Told => ({
        id,
        time: at(minute),
        server,
        tool: 'x',
        ...more,
      })
      const note = {
        tool: 'get_note',
        params: { id: 7, deep: { er: 'x' } },
        response: { structuredContent: { id: 'n' } },
      }
      const records = [
        write(call('last', 5000, 'mail')),
        write(call('note', 4, 'wiki', { ...note, durationMs: 1500, agent: 'copilot', user: 'ann' })),
        write(
          call('poison', 1, 'io.acme/crm', { session: 's1', trace: 't1', durationMs: 60_000, params: { 'a/b': 'é' } }),
        ),
        write(
          call('poison', 1, 'io.acme/crm', { session: 's1', trace: 't1', durationMs: 60_000, params: { 'a/b': 'é' } }),
        ),
        write(call('too early', -600, 'wiki')),
        write(call('too late', 5000, 'crm-mcp')),
        { ...write(call('list', 0, 'crm-mcp')), 'mcp.method.name': 'tools/list', 'gen_ai.tool.name': undefined },
        { ...write(call('ping', 0, 'crm-mcp')), 'mcp.method.name': 'ping' },
        { ...write(call('list elsewhere', 0, 'wiki')), 'mcp.method.name': 'tools/list' },
        write(call('same instant', 1, 'a wiki', { session: 's2' })),
      ]
      const source = await factory.open(records, format)
      try {
        const touched = { tools: ['get_note'], paths: ['params.id', 'response.id', 'params.deep.er', 'params.not'] }
        const reviewed = await source.log.review(names, window, signal, touched)
        const us = (minute: number) => Date.parse(at(minute)) * 1000
        // What is of no context of the own server may have to be asked for.
        await reviewed.widen?.({ sessions: ['s2'] })
        expect(await reviewed.widen?.({ sessions: ['s1', 's2'] })).not.toBe(true)
        const all = await allOf(reviewed.trail('all'))
        expect(all.map((record) => [record.id, record.server, record.own, record.call])).toEqual([
          ['list', 'crm-mcp', true, false],
          ['poison', 'io.acme/crm', true, true],
          ['same instant', 'a wiki', false, true],
          ['note', 'wiki', false, true],
          ['last', 'mail', false, true],
        ])
        expect(all[1]).toMatchObject({ time: us(1), ends: us(2), session: 's1', trace: 't1', values: undefined })
        expect(all[1]?.sent).toEqual({ bytes: '{"a/b":"é"}'.length + 1, parameters: [{ name: 'a/b', bytes: 2 }] })
        expect(all[3]).toMatchObject({ time: us(4), ends: us(4) + 1_500_000, agent: 'copilot', user: 'ann' })
        expect(all[3]?.values).toEqual(['7', 'n', 'x', null])
        expect(all[3]?.sent).toBeUndefined()
        expect(await allOf(reviewed.trail('own'))).toEqual(all.slice(0, 2))
        await reviewed.close()
      } finally {
        await source.close()
      }
    })

    it('follows a session that was logged as a list', async () => {
      const { format, write } = writers['otel, flat'] as (typeof writers)[string]
      const of = (id: string, server: string, second: number, session: unknown) => ({
        ...write({ id, server, tool: 'x', time: `2026-11-20T10:00:0${second}.000Z` }),
        'mcp.session.id': session,
      })
      const records = [
        of('poison', 'io.acme/crm', 1, ['a', 'b']),
        of('carried', 'wiki', 2, ['a', 'b']),
        of(
          'long poison',
          'io.acme/crm',
          3,
          Array.from({ length: 100 }, (_, n) => `member-${n}`),
        ),
      ]
      const source = await factory.open(records, format)
      try {
        const reviewed = await source.log.review(names, window, signal)
        const trail = await allOf(reviewed.trail('all'))
        expect(trail.filter(({ session }) => session === '["a","b"]').map(({ id }) => id)).toEqual([
          'poison',
          'carried',
        ])
        // Whoever has to ask for it says that it could not.
        expect(reviewed.unread).toEqual(
          reviewed.widen === undefined
            ? []
            : [expect.stringMatching(/^The session of some records is a list .*: 1 were/)],
        )
        await reviewed.close()
      } finally {
        await source.close()
      }
    })

    it.each([
      ['otel, flat', '90s', 90_000],
      ['otel, with attributes', '-2m', -120_000],
      ['otel, flat', '-3600001ms', -3_600_001],
    ] as const)('says of %s by a clock that is %s ahead what it says by the right one', async (name, offset, ms) => {
      const { format, write } = writers[name] as (typeof writers)[string]
      const moved = (time: string, by: number) => new Date(Date.parse(time) + by).toISOString()
      const told: Told[] = [
        ['earlier', window.since, -26 * 3_600_000, 'io.acme/crm'],
        ['just before', window.since, -1, 'io.acme/crm'],
        ['first', window.since, 0, 'io.acme/crm'],
        ['middle', window.since, 3_600_000, 'crm-mcp'],
        ['elsewhere', window.since, 3_600_001, 'wiki'],
        ['last', window.until, -1, 'io.acme/crm'],
        ['at the end', window.until, 0, 'io.acme/crm'],
        ['elsewhere later', window.until, 30_000, 'wiki'],
      ].map(([id, time, by, server]) => ({
        id: Buffer.from(String(id)).toString('hex'),
        time: moved(String(time), Number(by)),
        server: String(server),
        tool: 'x',
        user: 'ann',
        session: 's',
        ok: true,
        durationMs: 1500,
        response: { rows: [1, 2] },
      }))
      const said = async (by: number, configured?: string) => {
        const records = told.map((one) => write({ ...one, time: moved(one.time, by) }))
        const source = await factory.open(records, format, configured)
        try {
          const reviewed = await source.log.review(names, window, signal)
          const all = { ...reviewed.review, source: undefined }
          const trail = await allOf(reviewed.trail('all'))
          const usage = inOrder(await reviewed.usage(utc))
          const raw = await linesOf(reviewed.raw)
          await reviewed.close()
          const exported: string[] = []
          for await (const { bytes } of source.log.export(names, window, signal))
            exported.push(Buffer.from(bytes).toString())
          return { all, trail, usage, raw, exported: exported.join('') }
        } finally {
          await source.close()
        }
      }
      const right = await said(0)
      const wrong = await said(ms, offset)
      const stated = `The clock of this log is taken to be ${offset} ahead (offset in mcp-ir.yaml): all times were set back by that, but in the raw records.`
      expect(wrong.all.gaps).toContain(stated)
      expect({ ...wrong.all, gaps: wrong.all.gaps.filter((gap) => gap !== stated) }).toEqual(right.all)
      expect(right.all).toMatchObject({ records: 3, first: window.since, last: moved(window.until, -1) })
      expect(right.trail).toHaveLength(5)
      expect({ trail: wrong.trail, usage: wrong.usage }).toEqual({ trail: right.trail, usage: right.usage })
      // Evidence and export hold what was logged, in the same order.
      expect(wrong.exported).toBe(`${wrong.raw.join('\n')}\n`)
      expect(wrong.raw).toHaveLength(3)
      expect(wrong.raw).not.toEqual(right.raw)
    })

    it('says what it could not see, and never that nothing happened', async () => {
      const { format, write } = writers['otel, flat'] as (typeof writers)[string]
      const source = await factory.open(
        [{ id: 'a', time: '2026-11-25T10:00:00.000Z', server: 'wiki', tool: 'x' }].map(write),
        format,
      )
      try {
        const reviewed = await source.log.review(names, window, signal)
        expect(reviewed.covered).toBe(false)
        expect(reviewed.review.gaps.join('\n')).toMatch(
          /holds no line at all between .* not the same as that nothing happened/,
        )
        await reviewed.close()
      } finally {
        await source.close()
      }
    })
  })
}

async function allOf(trail: AsyncIterable<readonly TrailRecord[]>): Promise<TrailRecord[]> {
  const records: TrailRecord[] = []
  for await (const piece of trail) records.push(...piece)
  return records
}

/** The lines of a reviewed log's raw records. */
export async function linesOf(raw: AsyncIterable<string | Uint8Array>): Promise<string[]> {
  const pieces: Buffer[] = []
  for await (const piece of raw) pieces.push(Buffer.from(piece))
  const text = Buffer.concat(pieces).toString('utf8')
  return text === '' ? [] : text.replace(/\n$/, '').split('\n')
}

function timeOf(line: Record<string, unknown>): number {
  if (typeof line.startTimeUnixNano === 'string') return Number(line.startTimeUnixNano) / 1e6
  return new Date((line.timestamp ?? line['@timestamp'] ?? line.logged_at ?? line.ts) as string | number).getTime()
}
