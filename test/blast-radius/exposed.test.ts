import { describe, expect, it } from 'vitest'
import { exposedBy } from '../../src/blast-radius/exposed.ts'
import type { TrailRecord } from '../../src/invocations/port.ts'
import { serverSchema } from '../../src/registry/schema.ts'

const minute = 60_000_000
const hr = serverSchema.parse({
  name: 'io.acme/hr',
  aliases: ['hr'],
  version: '1.0.0',
  status: 'approved',
  owner: 'hr-team',
  package: { registryType: 'npm', identifier: 'x', version: '1.0.0' },
  deployments: [],
  reaches: [{ system: 'hr-db', kind: 'database', access: 'read', data: ['salaries'] }],
})

const record = (at: number, more: Partial<TrailRecord>): TrailRecord => ({
  id: `r${at}`,
  time: at * minute,
  ends: at * minute,
  own: false,
  call: true,
  list: false,
  server: 'hr',
  tool: 'read_salary',
  agent: undefined,
  user: undefined,
  session: undefined,
  trace: undefined,
  address: undefined,
  values: undefined,
  sent: undefined,
  ...more,
})
const sent = (...parameters: [string, number][]) => ({
  bytes: parameters.reduce((sum, [, bytes]) => sum + bytes, 2),
  parameters: parameters.map(([name, bytes]) => ({ name, bytes })),
})
const own = (at: number, more: Partial<TrailRecord>) =>
  record(at, { own: true, server: 'crm', tool: 'lookup', ...more })

async function exposed(records: readonly TrailRecord[]) {
  const trail = async function* (which: 'own' | 'all') {
    for (const one of records) if (which === 'all' || one.own) yield [one]
  }
  return exposedBy(trail, [hr])
}

describe('what was sent to the server', () => {
  it('is told by context, as names and sizes, the most first', async () => {
    const found = await exposed([
      own(1, { session: 'a', agent: 'copilot', sent: sent(['query', 10], ['__proto__', 4]) }),
      own(2, { session: 'a', agent: 'copilot', sent: sent(['query', 30]) }),
      own(3, { trace: 't', user: 'ann', sent: sent(['note', 100]) }),
      own(4, { session: 'c' }),
      own(5, { session: 'list only', call: false }),
    ])
    expect(found.exposed).toEqual([
      {
        context: 'trace t',
        caller: 'ann',
        calls: 1,
        bytes: 102,
        parameters: [{ name: 'note', calls: 1, bytes: 100 }],
        before: [],
      },
      {
        context: 'session a',
        caller: 'copilot',
        calls: 2,
        bytes: 48,
        parameters: [
          { name: 'query', calls: 2, bytes: 40 },
          { name: '__proto__', calls: 1, bytes: 4 },
        ],
        before: [],
      },
      { context: 'session c', caller: 'c', calls: 1, parameters: [], before: [] },
    ])
  })

  it('may hold what the context had called elsewhere before, and not what it called afterwards', async () => {
    const { exposed: found, data } = await exposed([
      record(1, { session: 'a' }),
      record(2, { session: 'other', trace: 't' }),
      record(3, { session: 'stranger' }),
      own(4, { session: 'a', trace: 't' }),
      record(5, { session: 'a', tool: 'afterwards' }),
      own(6, { session: 'b' }),
      record(7, { session: 'b', server: 'wiki', tool: 'read' }),
      own(8, { session: 'b' }),
    ])
    expect(found.map(({ context, before }) => [context, before])).toEqual([
      ['session b', [{ server: 'wiki', tool: 'read', calls: 1, data: [] }]],
      ['session a', [{ server: 'hr', tool: 'read_salary', calls: 2, data: ['salaries'] }]],
    ])
    expect(data).toEqual(['salaries'])
  })

  it('leaves out what a user with one client called before a long silence', async () => {
    const ann = { user: 'ann', agent: 'copilot' }
    const { exposed: found } = await exposed([
      record(0, { ...ann, tool: 'yesterday' }),
      record(600, { ...ann, tool: 'just now' }),
      own(620, ann),
      record(640, ann),
    ])
    expect(found).toMatchObject([{ context: 'user ann with copilot', before: [{ tool: 'just now' }] }])
  })

  it('stays bounded, whatever a caller makes up', async () => {
    const many = Array.from({ length: 1500 }, (_, index) =>
      own(index, { session: `s${index % 1200}`, sent: sent([`p${index}`, 1]) }),
    )
    const names = Array.from({ length: 500 }, (_, index) =>
      own(5000 + index, { session: 'x', sent: sent([`n${index}`, 1]) }),
    )
    const { exposed: found, more } = await exposed([...many, ...names])
    expect(found).toHaveLength(1000)
    expect(more).toBe(201)
    expect(found[0]).toMatchObject({ context: 'session x', calls: 500 })
    expect(found[0]?.parameters).toHaveLength(100)
  })
})
