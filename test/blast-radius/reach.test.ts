import { describe, expect, it } from 'vitest'
import { leftWith, observedIn } from '../../src/blast-radius/observed.ts'
import { type Ask, reachOf } from '../../src/blast-radius/reach.ts'
import type { Reviewed, ToolUse } from '../../src/invocations/port.ts'
import { type Server, serverSchema } from '../../src/registry/schema.ts'

const base = {
  version: '1.0.0',
  status: 'approved',
  owner: 'crm-team',
  package: { registryType: 'npm', identifier: 'x', version: '1.0.0' },
  deployments: [],
}
const server = (more: object): Server => serverSchema.parse({ name: 'io.acme/crm', ...base, ...more })

const crm = server({
  credentials: [
    { id: 'db', kind: 'vault-database', mount: 'database', role: 'crm' },
    { id: 'smtp', kind: 'aws-secret', secret: 'mcp/smtp', region: 'us-east-1' },
    { id: 'legacy', kind: 'vault-kv', mount: 'secret', path: 'crm/legacy' },
  ],
  reaches: [
    {
      system: 'crm-db',
      kind: 'database',
      via: 'db',
      access: 'read-write',
      data: ['customer-pii'],
      classification: 'restricted',
      owner: 'data-team',
    },
  ],
})
const billing = serverSchema.parse({
  name: 'io.acme/billing',
  ...base,
  owner: 'billing-team',
  credentials: [
    { id: 'mail', kind: 'aws-secret', secret: 'mcp/smtp', region: 'us-east-1' },
    { id: 'other', kind: 'aws-secret', secret: 'mcp/smtp', region: 'eu-west-1' },
  ],
  reaches: [
    { system: 'mail-relay', kind: 'smtp', via: 'mail', access: 'write' },
    { system: 'elsewhere', kind: 'smtp', via: 'other', access: 'write' },
  ],
})

/** Nobody can be asked. */
const nobody: Ask = async () => undefined

const use = (tool: string, calls: number, more: Partial<ToolUse> = {}): ToolUse => ({
  tool,
  calls,
  failed: 0,
  first: '',
  last: '',
  ...more,
})
const reviewed = (
  tools: readonly ToolUse[],
  more: Partial<Reviewed> = {},
): Pick<Reviewed, 'review' | 'unread' | 'covered'> => ({
  review: {
    window: { since: '', until: '' },
    source: { kind: 'files', name: '', format: '' },
    records: 0,
    duplicates: 0,
    tools,
    callers: [],

    gaps: [],
  },
  unread: [],
  covered: true,
  ...more,
})

describe('what it could reach', () => {
  it('lists the downstream systems, what others reach with the same secret, and each credential nobody described', async () => {
    const reach = await reachOf(crm, [crm, billing], nobody)
    expect(reach.couldReach).toEqual([
      {
        system: 'crm-db',
        kind: 'database',
        via: 'db',
        way: ['db'],
        access: 'read-write',
        data: ['customer-pii'],
        classification: 'restricted',
        owner: 'data-team',
      },
      {
        system: 'mail-relay',
        kind: 'smtp',
        via: 'smtp (shared with io.acme/billing, there mail)',
        way: ['smtp (shared with io.acme/billing, there mail)'],
        access: 'write',
        data: [],
      },
      {
        system: 'whatever legacy opens',
        kind: 'vault-kv',
        via: 'legacy',
        way: ['legacy'],
        access: 'unknown',
        data: [],
      },
    ])
    expect(reach.owners).toEqual(['crm-team', 'data-team', 'billing-team'])
    expect(reach.gaps).toEqual([expect.stringContaining('the credential legacy opens is not in the registry')])
  })

  it('says so when the registry knows nothing', async () => {
    expect((await reachOf(server({}), [], nobody)).gaps).toEqual([expect.stringContaining('is not known')])
  })
})

describe('what it could reach by way of others', () => {
  const named = (name: string, more: object) => serverSchema.parse({ name, ...base, owner: `${name}-team`, ...more })
  const vault = (id: string) => ({ id, kind: 'vault-approle', mount: 'approle', role: id })
  const kv = (id: string, path: string) => ({ id, kind: 'vault-kv', mount: 'secret', path })
  const reaches = (system: string, via?: string) => ({ system, kind: 'api', access: 'read', ...(via ? { via } : {}) })
  /** Each AppRole reads what it is said to. */
  const asking =
    (reads: Readonly<Record<string, readonly string[]>>): Ask =>
    async (credential, others) =>
      credential.kind === 'vault-approle'
        ? {
            opens: [{ system: 'Vault', kind: 'vault', access: 'read', permissions: [] }],
            holds: others
              .filter((other) => reads[credential.role]?.includes('path' in other ? other.path : other.id))
              .map((other) => ({ credential: other, how: `Vault ${'path' in other ? other.path : other.id}` })),
            gaps: [],
            unread: [],
          }
        : undefined
  const ways = async (start: Server, servers: readonly Server[], ask: Ask) =>
    (await reachOf(start, servers, ask)).couldReach.map(({ system, via }) => `${system}: ${via}`)

  it('goes on with every credential that one opens, and says the whole way; circles end', async () => {
    const a = named('a', { credentials: [vault('a-role')] })
    const b = named('b', {
      credentials: [vault('b-role'), kv('smtp', 'b/smtp')],
      reaches: [reaches('mail-relay', 'smtp')],
    })
    const c = named('c', { credentials: [kv('ledger', 'c/ledger')], reaches: [reaches('ledger', 'ledger')] })
    const ask = asking({ 'a-role': ['b-role'], 'b-role': ['b/smtp', 'c/ledger', 'a-role', 'b-role'] })
    expect(await ways(a, [a, b, c], ask)).toEqual([
      'Vault: a-role',
      'Vault: a-role → Vault b-role → b-role of b',
      'mail-relay: a-role → Vault b-role → b-role of b → Vault b/smtp → smtp of b',
      'ledger: a-role → Vault b-role → b-role of b → Vault c/ledger → ledger of c',
    ])
    expect((await reachOf(a, [a, b, c], ask)).owners).toEqual(['a-team', 'b-team', 'c-team'])
  })

  it('has all of a server whose new secrets lie where it may read, and says what nobody wrote down', async () => {
    const a = named('a', { credentials: [vault('a-role')] })
    const b = named('b', {
      credentials: [{ id: 'key', kind: 'exec', command: ['true'] }],
      deliverTo: { kind: 'vault-kv', mount: 'secret', path: 'next/b' },
    })
    const reach = await reachOf(a, [a, b], asking({ 'a-role': ['next/b'] }))
    expect(reach.couldReach.at(-1)).toMatchObject({
      system: 'whatever key of b opens',
      way: ['a-role', 'Vault next/b', 'key of b'],
    })
    expect(reach.gaps).toEqual([expect.stringContaining('What the credential key of b opens is not in the registry')])
  })

  it('goes through a downstream that is itself a server of the registry, once', async () => {
    const a = named('a', { credentials: [kv('token', 'a/token')], reaches: [reaches('b-mcp', 'token')] })
    const b = named('b', { aliases: ['b-mcp'], reaches: [reaches('b-db'), reaches('a'), reaches('c')] })
    const c = named('c', { reaches: [reaches('b'), reaches('c-db')] })
    expect(await ways(a, [a, b, c], nobody)).toEqual([
      'b-mcp: token',
      'b-db: token → the tools of b',
      'a: token → the tools of b',
      'c: token → the tools of b',
      'b: token → the tools of b → the tools of c',
      'c-db: token → the tools of b → the tools of c',
    ])
  })

  it('keeps two entries of one path apart, as each may be another field', async () => {
    const a = named('a', {
      credentials: [kv('one', 'a/all'), kv('two', 'a/all')],
      reaches: [reaches('x', 'one'), reaches('y', 'two')],
    })
    expect(await ways(a, [a], nobody)).toEqual(['x: one', 'y: two'])
  })
})

describe('what it did reach', () => {
  const two = server({
    reaches: [
      { system: 'crm-db', kind: 'database', access: 'read', data: ['pii'] },
      { system: 'mail', kind: 'smtp', access: 'write' },
    ],
    resources: [
      { tool: 'search', access: 'read', resource: 'row:${params.id}', system: 'crm-db' },
      { tool: 'search', access: 'read', resource: 'table:${params.table}', system: 'crm-db' },
      { tool: 'export', access: 'read', resource: 'row', system: 'crm-db' },
    ],
  })
  const couldReach = [{ system: 'crm-db', kind: 'database', via: '', access: 'read', data: ['pii'] }]
  const coverage = (...input: Parameters<typeof observedIn>) =>
    Object.fromEntries(observedIn(...input).didReach.map(({ system, coverage }) => [system, coverage]))

  it('counts the calls of the tools that the registry maps to a system, once', () => {
    const { didReach, gaps } = observedIn(
      two,
      couldReach,
      reviewed([use('search', 3, { rows: 5 }), use('export', 1, { rows: 2, bytes: 9 }), use('odd', 7)]),
      false,
    )
    expect(didReach).toEqual([
      { system: 'crm-db', coverage: 'accessed', calls: 4, rows: 7, bytes: 9, data: ['pii'] },
      { system: 'mail', coverage: 'no-visibility', calls: 0, rows: 0, bytes: 0, data: [] },
    ])
    expect(gaps.join('\n')).toContain('7 calls of 1 tools cannot be told')
  })

  it('says not-seen only where a call would have shown', () => {
    expect(coverage(two, couldReach, reviewed([]), false)).toEqual({ 'crm-db': 'not-seen', mail: 'no-visibility' })
    const blind = { 'crm-db': 'no-visibility', mail: 'no-visibility' }
    expect(coverage(two, couldReach, undefined, false)).toEqual(blind)
    expect(coverage(two, couldReach, reviewed([]), true)).toEqual(blind)
    expect(coverage(two, couldReach, reviewed([], { covered: false }), false)).toEqual(blind)
    expect(coverage(two, couldReach, reviewed([], { unread: ['3 lines'] }), false)).toEqual(blind)
  })

  it('takes every call for one on the only downstream, and says that this is inferred', () => {
    const one = server({ reaches: [{ system: 'ledger', kind: 'api', access: 'read', data: ['x'] }] })
    const { didReach, gaps } = observedIn(
      one,
      [{ system: 'ledger', kind: 'api', via: '', access: 'read', data: ['x'] }],
      reviewed([use('a', 2), use('b', 1)]),
      false,
    )
    expect(didReach).toEqual([{ system: 'ledger', coverage: 'accessed', calls: 3, rows: 0, bytes: 0, data: ['x'] }])
    expect(gaps.join('\n')).toContain('(inferred)')
    expect(gaps.join('\n')).toContain('used directly leave no invocation')
  })
})

describe('what left', () => {
  it('is told by who got it, most bytes first; what the log does not say is not made up', () => {
    const use = (caller: string, more: object) => ({ caller, calls: 1, failed: 0, first: '', last: '', ...more })
    expect(
      leftWith({ callers: [use('ann', { rows: 5 }), use('bob', { rows: 2, bytes: 900, sent: 7 }), use('eve', {})] }),
    ).toEqual([
      { caller: 'bob', calls: 1, rows: 2, bytes: 900 },
      { caller: 'ann', calls: 1, rows: 5 },
      { caller: 'eve', calls: 1 },
    ])
  })
})
