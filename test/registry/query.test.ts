import { describe, expect, it } from 'vitest'
import type { Credential, Registry, Server } from '../../src/registry/port.ts'
import { findServer, registryDifference, sharedCredential } from '../../src/registry/query.ts'
import { serverSchema } from '../../src/registry/schema.ts'

const server = (name: string, more: object = {}): Server =>
  serverSchema.parse({
    name,
    version: '1.0.0',
    status: 'approved',
    owner: 'team',
    package: { registryType: 'npm', identifier: name, version: '1.0.0' },
    deployments: [],
    ...more,
  })

const registry = (...servers: Server[]): Registry => ({ file: '/etc/registry.yaml', hash: '00', servers })

function thrown(work: () => unknown): { code: string; message: string; hints: readonly string[] } {
  try {
    work()
  } catch (error) {
    return error as { code: string; message: string; hints: readonly string[] }
  }
  throw new Error('nothing was thrown')
}

describe('findServer', () => {
  const some = registry(
    server('io.acme/crm', { aliases: ['crm-mcp', 'shared'] }),
    server('io.acme/billing', { aliases: ['shared'] }),
    server('io.acme/mail'),
  )

  it('finds by name and by alias', () => {
    expect(findServer(some, 'io.acme/mail').name).toBe('io.acme/mail')
    expect(findServer(some, 'crm-mcp').name).toBe('io.acme/crm')
  })

  it.each([
    ['io.acme/crn', 'io.acme/crm'],
    ['IO.ACME/CRM', 'io.acme/crm'],
    ['crm', 'io.acme/crm'],
    ['biling', 'io.acme/billing'],
  ])('names for %s the nearest first, and the way that needs no registry', (name, expected) => {
    const error = thrown(() => findServer(some, name))
    expect(error.code).toBe('input')
    expect(error.message).toContain(name)
    expect(error.hints[0]).toMatch(new RegExp(`^nearest: ${expected}`))
    expect(error.hints.join('\n')).toContain('--target pid:PID or --target url:URL')
  })

  it('names nothing when nothing is near', () => {
    expect(thrown(() => findServer(some, 'zzzzzzzzzzzz')).hints).toHaveLength(1)
    expect(thrown(() => findServer(registry(), 'a')).hints[0]).toBe('the registry is empty')
  })

  it('says so when an alias is that of several', () => {
    const error = thrown(() => findServer(some, 'shared'))
    expect(error).toMatchObject({ code: 'input', hints: ['name the one that is meant: io.acme/crm, io.acme/billing'] })
  })

  it('says so when there is no registry', () => {
    expect(thrown(() => findServer(undefined, 'a'))).toMatchObject({ code: 'input' })
  })

  it('escapes what was typed', () => {
    expect(thrown(() => findServer(some, 'a\u001b[2J')).message).not.toContain('\u001b')
  })
})

describe('sharedCredential', () => {
  const database = { engine: 'postgres', host: 'db', port: 5432, name: 'a' }
  const oauth = { kind: 'oauth', tokenEndpoint: 'https://a/token', clientId: 'c' }
  const cases: [string, object, object, boolean][] = [
    ['the same role', { kind: 'aws-iam-role', role: 'r' }, { kind: 'aws-iam-role', role: 'r' }, true],
    [
      'the same role, once by its ARN',
      { kind: 'aws-iam-role', role: 'r' },
      { kind: 'aws-iam-role', role: 'arn:aws:iam::123456789012:role/team/r' },
      true,
    ],
    [
      'a role of that name in another account',
      { kind: 'aws-iam-role', role: 'arn:aws:iam::210987654321:role/r' },
      { kind: 'aws-iam-role', role: 'arn:aws:iam::123456789012:role/r' },
      false,
    ],
    ['another role', { kind: 'aws-iam-role', role: 'r' }, { kind: 'aws-iam-role', role: 's' }, false],
    ['a user named like a role', { kind: 'aws-iam-role', role: 'r' }, { kind: 'aws-iam-user', user: 'r' }, false],
    [
      'the same secret, its region left to the default in one',
      { kind: 'aws-secret', secret: 's', region: 'eu-west-1' },
      { kind: 'aws-secret', secret: 's' },
      true,
    ],
    [
      'a secret of that name in another region',
      { kind: 'aws-secret', secret: 's', region: 'eu-west-1' },
      { kind: 'aws-secret', secret: 's', region: 'us-east-1' },
      false,
    ],
    [
      'the same PostgreSQL user through another database',
      { kind: 'postgres', user: 'u', database },
      { kind: 'postgres', user: 'u', database: { ...database, name: 'b' } },
      true,
    ],
    [
      'a PostgreSQL user of that name elsewhere',
      { kind: 'postgres', user: 'u', database },
      { kind: 'postgres', user: 'u', database: { ...database, host: 'other' } },
      false,
    ],
    [
      'the same path, written with a slash',
      { kind: 'vault-kv', mount: 'secret/', path: 'a/b' },
      { kind: 'vault-kv', mount: 'secret', path: '/a/b' },
      true,
    ],
    [
      'other fields of the same path',
      { kind: 'vault-kv', mount: 'm', path: 'p', fields: ['a'] },
      { kind: 'vault-kv', mount: 'm', path: 'p', fields: ['b'] },
      false,
    ],
    [
      'the client that a stored secret is issued to',
      { kind: 'vault-kv', mount: 'm', path: 'p', issuer: oauth },
      oauth,
      true,
    ],
    [
      'another secret of the same issuing program',
      { kind: 'vault-kv', mount: 'm', path: 'p', issuer: { kind: 'exec', command: ['x'] } },
      { kind: 'vault-kv', mount: 'm', path: 'q', issuer: { kind: 'exec', command: ['x'] } },
      false,
    ],
  ]

  it.each(cases)('%s', (_, mine, theirs, shared) => {
    const own = server('own', { credentials: [{ id: 'one', ...mine }] })
    const other = server('other', { credentials: [{ id: 'two', ...theirs }] })
    const credential = own.credentials[0] as Credential
    expect(sharedCredential([own, other], own, credential)).toEqual(shared ? ['other'] : [])
    expect(sharedCredential([own, other], other, other.credentials[0] as Credential)).toEqual(shared ? ['own'] : [])
  })

  it('does not name the server itself', () => {
    const own = server('own', {
      credentials: [
        { id: 'a', kind: 'exec', command: ['x'] },
        { id: 'b', kind: 'exec', command: ['x'] },
      ],
    })
    expect(sharedCredential([own], own, own.credentials[0] as Credential)).toEqual([])
  })
})

describe('registryDifference', () => {
  const before = server('a', {
    deployments: [{ id: 'prod', kind: 'local-process', pidFile: '/run/a.pid', command: ['node', 'a.js'] }],
    credentials: [
      { id: 'x', kind: 'exec', command: ['x'] },
      { id: 'y', kind: 'exec', command: ['y'] },
    ],
    reaches: [{ system: 'db', kind: 'database', access: 'read' }],
    consumers: ['one', 'two'],
  })

  it('is empty for the same entry, also after a journal', () => {
    expect(registryDifference(JSON.parse(JSON.stringify(before)), before)).toEqual([])
  })

  it('says in words what changed, was added and was removed', () => {
    const after = server('a', {
      version: '1.0.1',
      knownGood: '2026-11-20T00:00:00Z',
      deployments: [
        { id: 'prod', kind: 'local-process', pidFile: '/run/a.pid', command: ['node', '--inspect', 'a.js'] },
      ],
      credentials: [
        { id: 'z', kind: 'exec', command: ['z'] },
        { id: 'y', kind: 'exec', command: ['y'] },
      ],
      reaches: [{ system: 'db', kind: 'database', access: 'write' }],
      consumers: ['two', 'three'],
    })
    expect(registryDifference(before, after).sort()).toEqual(
      [
        'version changed from 1.0.0 to 1.0.1',
        'knownGood was added: 2026-11-20T00:00:00.000Z',
        'deployments prod command changed from ["node","a.js"] to ["node","--inspect","a.js"]',
        'credentials: x was removed',
        'credentials: z was added',
        'reaches db access changed from read to write',
        'consumers: one was removed',
        'consumers: three was added',
      ].sort(),
    )
  })
})
