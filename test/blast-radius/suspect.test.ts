import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Suspect } from '../../src/blast-radius/port.ts'
import { type Following, follow } from '../../src/blast-radius/suspect.ts'
import type { TrailRecord } from '../../src/invocations/port.ts'
import { serverSchema } from '../../src/registry/schema.ts'
import { touchesOf } from '../../src/registry/touches.ts'

const second = 1_000_000
const idleGap = 100 * second
const start = Date.parse('2026-11-20T10:00:00Z') * 1000

const server = (name: string, resources: object[], more: object = {}) =>
  serverSchema.parse({
    name,
    version: '1.0.0',
    status: 'approved',
    owner: `${name}-team`,
    package: { registryType: 'npm', identifier: 'x', version: '1.0.0' },
    deployments: [],
    resources,
    ...more,
  })
const save = { tool: 'save', access: 'write', resource: 'note:${params.id}', system: 'notes-db' }
const load = { tool: 'load', access: 'read', resource: 'note:${params.id}', system: 'notes-db' }
const copy = [
  { tool: 'copy', access: 'read', resource: 'note:${params.id}', system: 'notes-db' },
  { tool: 'copy', access: 'write', resource: 'copy:${response.id}', system: 'notes-db' },
]
// Reads two things at once.
const compare = [load, { ...load, resource: 'copy:${response.id}' }].map((one) => ({ ...one, tool: 'compare' }))
const fetchCopy = { tool: 'fetch', access: 'read', resource: 'copy:${params.id}', system: 'notes-db' }
// Two servers that reach the same downstream system.
const servers = [
  server('notes', [save, load, ...copy, ...compare]),
  server('wiki', [load, fetchCopy], { aliases: ['wiki-mcp'] }),
  server('crm', [save]),
]

type Told = Partial<TrailRecord> & { id: string; at: number; takes?: number }

const record = ({ at, takes = 0, ...more }: Told): TrailRecord => ({
  time: start + at * second,
  ends: start + (at + takes) * second,
  own: more.server === 'crm',
  call: true,
  list: false,
  server: 'mail',
  tool: 'send',
  agent: undefined,
  user: undefined,
  session: undefined,
  trace: undefined,
  address: undefined,
  values: undefined,
  sent: undefined,
  ...more,
})

const inOrder = (records: readonly Told[]) =>
  records.map(record).sort((a, b) => a.time - b.time || Number(b.own) - Number(a.own) || (a.id < b.id ? -1 : 1))

/** In pieces of three, so that nothing depends on where they end. */
async function* pieces(records: readonly TrailRecord[]) {
  for (let from = 0; from < records.length; from += 3) yield records.slice(from, from + 3)
}

async function* inOne(records: readonly TrailRecord[]) {
  yield records
}

const following = (more: Partial<Following> = {}): Following => ({
  touches: touchesOf(servers).of,
  rank: () => 0,
  configured: new Set(),
  throughHubs: false,
  idleGap,
  ...more,
})

const followed = (records: readonly Told[], more: Partial<Following> = {}) =>
  follow(() => pieces(inOrder(records)), following(more))

/** Without what is only told to people: the reference does not know it. */
const plain = ({ context, resource, ...call }: Suspect): Suspect => call

/**
 * The same, slowly: every record is compared with every record before it. A record that carries the taint hands it to a later one
 * of the same session, else of the same trace, else of the same user and client without a long silence in between, else
 * through a resource that it wrote. Of several that do, the one counts from which it could be had first.
 */
function slowly(records: readonly TrailRecord[], cut: ReadonlySet<string> = new Set()): Slow {
  const { of } = touchesOf(servers)
  type Carrier = { index: number; record: TrailRecord; hop: number; chain: string[]; context: number; how: string }
  const carriers: Carrier[] = []
  const suspect: Suspect[] = []
  const joined = new Map<string, Set<string>>()
  const join = (hub: string, context: string | undefined) =>
    joined.set(hub, new Set([...(joined.get(hub) ?? []), ...(context === undefined ? [] : [context])]))
  const who = ({ user, agent }: TrailRecord) => (user === undefined ? undefined : `${user} ${agent}`)
  const silent = (from: number, to: number) => {
    const of = records.slice(0, to + 1).filter((one) => who(one) === who(records[to] as TrailRecord))
    const begin = of.indexOf(records[from] as TrailRecord)
    return of.some((one, index) => {
      const until = Math.max(...of.slice(0, index).map(({ ends }) => ends))
      return index > begin && one.time - until > idleGap
    })
  }
  for (const [index, one] of records.entries()) {
    if (one.own) {
      carriers.push({ index, record: one, hop: 1, chain: [one.id], context: one.ends, how: 'own' })
      continue
    }
    const first = (match: (carrier: Carrier) => boolean, at: (carrier: Carrier) => number) =>
      carriers.filter((carrier) => match(carrier) && at(carrier) <= one.time).sort((a, b) => at(a) - at(b))[0]
    const context = ({ context }: Carrier) => context
    const { session, trace } = one
    const found = (
      [
        ['session', first((c) => session !== undefined && c.record.session === session, context)],
        ['trace', first((c) => trace !== undefined && c.record.trace === trace, context)],
        [
          'idle-gap',
          first(
            (c) =>
              session === undefined &&
              trace === undefined &&
              who(one) !== undefined &&
              who(c.record) === who(one) &&
              !silent(c.index, index),
            context,
          ),
        ],
      ] as const
    ).find(([, carrier]) => carrier !== undefined)
    const reads = of(one).filter(({ access }) => access === 'read')
    const wrote = (c: Carrier) =>
      of(c.record).find(
        ({ access, key, name }) =>
          access === 'write' && !cut.has(`resource ${name}`) && reads.some((read) => read.key === key),
      )
    const writer = first(
      (c) => wrote(c) !== undefined,
      (c) => c.record.time,
    )
    const by = found?.[0] ?? (session !== undefined ? 'session' : trace !== undefined ? 'trace' : 'idle-gap')
    const cause = found?.[1] ?? writer
    if (cause === undefined) continue
    const begun = records.findIndex((other, at) => who(other) === who(one) && !silent(at, index))
    const told = session ?? trace ?? (who(one) === undefined ? undefined : `${who(one)} since ${begun}`)
    if (found === undefined) join(`resource ${wrote(cause)?.name}`, told)
    join(`account ${one.user ?? one.agent}`, told)
    if (cut.has(`account ${one.user ?? one.agent}`)) continue
    const written = cause.how === 'own' ? 0 : cause.hop
    const hop = found === undefined ? written + 1 : cause.hop
    const chain = [...cause.chain, one.id]
    carriers.push({ index, record: one, hop, chain, context: found === undefined ? one.ends : one.time, how: by })
    const at = new Date(one.time / 1000).toISOString()
    suspect.push({ record: one.id, server: one.server ?? '', tool: one.tool, at, hop, by, chain })
  }
  return { suspect, joined }
}

interface Slow {
  readonly suspect: readonly Suspect[]
  /** Contexts that each account or resource joins. */
  readonly joined: ReadonlyMap<string, ReadonlySet<string>>
}

const hostile = ['__proto__', 'constructor', 'hasOwnProperty', '\u0000', '{"$ne":1}', '', 's1 ']
const maybe = <T>(arbitrary: fc.Arbitrary<T>, freq = 1) => fc.option(arbitrary, { nil: undefined, freq })
const few = (...names: string[]) => fc.constantFrom(...names, ...hostile.slice(0, 2))
const told: fc.Arbitrary<Omit<Told, 'id'>> = fc
  .record({
    at: fc.oneof(fc.nat(40), fc.nat(600)),
    takes: fc.constantFrom(0, 0, 1, 5, 60),
    what: fc.constantFrom(
      ['crm', 'lookup'],
      ['crm', 'save'],
      ['notes', 'save'],
      ['notes', 'load'],
      ['notes', 'copy'],
      ['notes', 'compare'],
      ['wiki', 'load'],
      ['wiki-mcp', 'fetch'],
      ['mail', 'send'],
      ['mail', 'load'],
    ),
    values: maybe(fc.tuple(maybe(few('n1', 'n2'), 4), maybe(few('n1', 'n2'), 4)), 6),
    session: maybe(few('s1', 's2', 's3', 's4'), 2),
    trace: maybe(few('t1', 't2', 't3', 't4', 't5')),
    user: maybe(few('ann', 'bob'), 3),
    agent: few('copilot'),
  })
  .map(({ what, values, ...more }) => ({
    ...more,
    server: what[0] as string,
    tool: what[1] as string,
    values: values?.map((value) => value ?? null),
  }))
const log = fc
  .array(told, { minLength: 10, maxLength: 60, size: 'max' })
  .map((records) => inOrder(records.map((one, index): Told => ({ ...one, id: `r${index}` }))))

describe('suspect calls', () => {
  it('are those that a slow and plain reading of the definition finds, in 500 random logs', async () => {
    let found = 0
    let hops = 0
    await fc.assert(
      fc.asyncProperty(log, async (records) => {
        const { suspect, total, hubs } = await follow(() => pieces(records), following())
        const expected = slowly(records).suspect
        expect(suspect.map(plain)).toEqual(expected)
        expect(total).toBe(expected.length)
        expect(hubs).toEqual([])
        found += expected.length
        hops += expected.filter(({ hop }) => hop > 1).length
      }),
      { numRuns: 500, seed: 20261123 },
    )
    // The logs are not trivial ones.
    expect(found).toBeGreaterThan(2000)
    expect(hops).toBeGreaterThan(100)
  })

  it('are followed over two hops, with the chain of records that leads to each', async () => {
    const { suspect } = await followed([
      { id: 'before', at: 0, server: 'wiki', tool: 'load', values: ['7', null], session: 'ann-1' },
      { id: 'poison', at: 10, takes: 5, server: 'crm', tool: 'lookup', session: 'ann-1' },
      { id: 'meanwhile', at: 12, session: 'ann-1' },
      { id: 'write', at: 20, takes: 1, server: 'notes', tool: 'save', values: ['7', null], session: 'ann-1' },
      { id: 'other note', at: 30, server: 'wiki', tool: 'load', values: ['8', null], session: 'bob-1' },
      { id: 'read', at: 40, takes: 2, server: 'wiki', tool: 'load', values: ['7', null], session: 'bob-1', trace: 't' },
      { id: 'while reading', at: 41, session: 'bob-1' },
      { id: 'mail', at: 50, session: 'bob-1', trace: 'u' },
      { id: 'same turn', at: 51, session: 'bob-mail', trace: 'u' },
      { id: 'next turn', at: 3_000_000, session: 'bob-mail', trace: 'v' },
      { id: 'poisoned again', at: 3_000_001, server: 'crm', tool: 'lookup', session: 'bob-1' },
      { id: 'keeps its hop', at: 3_000_002, session: 'bob-1' },
      { id: 'stranger', at: 3_000_003, session: 'eve-1', trace: 'w', user: 'eve' },
    ])
    expect(suspect.map(({ record, hop, by, chain }) => [record, hop, by, chain.join(' > ')])).toEqual([
      ['write', 1, 'session', 'poison > write'],
      ['read', 2, 'session', 'poison > write > read'],
      ['mail', 2, 'session', 'poison > write > read > mail'],
      ['same turn', 2, 'trace', 'poison > write > read > mail > same turn'],
      ['next turn', 2, 'session', 'poison > write > read > mail > same turn > next turn'],
      ['keeps its hop', 2, 'session', 'poison > write > read > keeps its hop'],
    ])
  })

  it('are told by user and client where the log has neither session nor trace, up to a long silence', async () => {
    const { suspect } = await followed([
      { id: 'poison', at: 0, server: 'crm', tool: 'lookup', user: 'ann', agent: 'copilot' },
      { id: 'soon', at: 90, user: 'ann', agent: 'copilot' },
      { id: 'other client', at: 91, user: 'ann', agent: 'editor' },
      { id: 'kept alive', at: 180, user: 'ann', agent: 'copilot', session: 'own context' },
      { id: 'late', at: 270, user: 'ann', agent: 'copilot' },
      { id: 'next day', at: 371, user: 'ann', agent: 'copilot' },
    ])
    expect(suspect.map(({ record, by }) => [record, by])).toEqual([
      ['soon', 'idle-gap'],
      ['late', 'idle-gap'],
    ])
  })

  it('name the first in the log where two things could be had from the same instant', async () => {
    const { suspect } = await followed([
      { id: 'a', at: 0, server: 'crm', tool: 'lookup', session: 'a' },
      { id: 'b', at: 0, server: 'crm', tool: 'lookup', session: 'b' },
      { id: 'copied', at: 1, server: 'notes', tool: 'copy', values: ['1', 'n'], session: 'a' },
      { id: 'saved', at: 1, server: 'notes', tool: 'save', values: ['n', null], session: 'b' },
      { id: 'compared', at: 2, server: 'notes', tool: 'compare', values: ['n', 'n'], session: 'c' },
    ])
    expect(suspect.at(-1)).toMatchObject({ record: 'compared', hop: 2, chain: ['a', 'copied', 'compared'] })
  })

  it('begin when a list, prompt or resource of the server was taken in, too', async () => {
    const { suspect } = await followed([
      { id: 'list', at: 0, takes: 1, server: 'crm', tool: 'unknown', call: false, session: 's' },
      { id: 'call', at: 2, session: 's' },
    ])
    expect(suspect).toMatchObject([{ record: 'call', hop: 1, chain: ['list', 'call'] }])
  })

  it('are inferred for agents that have the server configured, and these are not followed', async () => {
    const { suspect } = await followed(
      [
        { id: 'write', at: 0, server: 'notes', tool: 'save', values: ['7', null], agent: 'copilot', session: 'a' },
        { id: 'read', at: 1, server: 'wiki', tool: 'load', values: ['7', null], agent: 'other', session: 'b' },
      ],
      { configured: new Set(['copilot']) },
    )
    expect(suspect).toMatchObject([{ record: 'write', hop: 1, by: 'inferred', chain: ['write'] }])
  })
})

describe('hubs', () => {
  const contexts = 40_000
  const service = (index: number): Told[] => [
    { id: `p${index}`, at: index, server: 'crm', tool: 'lookup', session: `s${index}`, user: 'svc-agents' },
    { id: `c${index}`, at: index + 0.5, session: `s${index}`, user: 'svc-agents' },
  ]
  const ann: Told[] = [
    { id: 'ann took', at: 50_000, server: 'crm', tool: 'lookup', session: 'ann-1', user: 'ann' },
    { id: 'ann sent', at: 50_001, session: 'ann-1', user: 'ann' },
  ]

  it('40,000 contexts on one service account end in one hub, and others are still listed', async () => {
    // In order as they are; sorting them would take longer than following them.
    const records = [...Array.from({ length: contexts }, (_, index) => service(index)).flat(), ...ann].map(record)
    const { suspect, hubs, total } = await follow(() => inOne(records), following())
    expect(hubs).toEqual([{ context: 'account svc-agents', kind: 'account', contexts, calls: contexts }])
    expect(suspect.map((call) => call.record)).toEqual(['ann sent'])
    expect(total).toBe(1)
  })

  it('a resource that everybody reads is a hub, at which following ends', async () => {
    const records: Told[] = [
      ...ann,
      { id: 'write', at: 50_002, server: 'notes', tool: 'save', values: ['7', null], session: 'ann-1', user: 'ann' },
      ...Array.from({ length: 60 }, (_, index): Told[] => [
        {
          id: `r${index}`,
          at: 60_000 + index,
          server: 'wiki',
          tool: 'load',
          values: ['7', null],
          session: `s${index}`,
        },
        { id: `after${index}`, at: 60_000.5 + index, session: `s${index}` },
      ]).flat(),
    ]
    const { suspect, hubs } = await followed(records)
    expect(hubs).toEqual([{ context: 'resource note:7 in notes-db', kind: 'resource', contexts: 60, calls: 60 }])
    expect(suspect.map((call) => call.record)).toEqual(['ann sent', 'write'])

    const through = await followed(records, { throughHubs: true })
    expect(through.suspect).toHaveLength(2 + 120)
    expect(through.hubs).toMatchObject([{ context: 'resource note:7 in notes-db', contexts: 60, calls: 0 }])
  })

  it('are those that a slow and plain reading finds, and what is left without them, in 500 random logs', async () => {
    let found = 0
    await fc.assert(
      fc.asyncProperty(log, async (records) => {
        const { suspect, hubs } = await follow(() => pieces(records), following({ hubAbove: 2 }))
        const above = [...slowly(records).joined].filter(([, joined]) => joined.size > 2)
        const expected = new Map(above.map(([name, joined]) => [name, joined.size]))
        expect(new Map(hubs.map(({ context, contexts }) => [context, contexts]))).toEqual(expected)
        expect(suspect.map(plain)).toEqual(slowly(records, new Set(expected.keys())).suspect)
        found += hubs.length
      }),
      { numRuns: 500, seed: 20261124 },
    )
    expect(found).toBeGreaterThan(100)
  })

  it('at the bound there is none yet', async () => {
    const few = Array.from({ length: 50 }, (_, index) => service(index)).flat()
    expect((await followed(few)).hubs).toEqual([])
    const { hubs } = await followed([...few, ...service(50)])
    expect(hubs).toMatchObject([{ contexts: 51 }])
  })
})

describe('the worst', () => {
  it('stay in the list when there is too much, and come first', async () => {
    const many = Array.from({ length: 12_000 }, (_, index): Told => ({ id: `c${index}`, at: 2 + index, session: 's' }))
    const { suspect, total, worst } = await followed(
      [
        { id: 'poison', at: 0, server: 'crm', tool: 'lookup', session: 's' },
        ...many,
        { id: 'pay', at: 20_000, tool: 'pay', session: 's' },
      ],
      { rank: ({ tool }) => (tool === 'pay' ? 7 : 1) },
    )
    expect(total).toBe(12_001)
    expect(suspect).toHaveLength(10_000)
    expect(suspect.at(-1)?.record).toBe('pay')
    expect(worst[0]).toMatchObject({ suspect: { record: 'pay' }, rank: 7 })
  })
})
