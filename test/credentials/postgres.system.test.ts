import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { libpqLogin } from '../../src/credentials/postgres/libpq.ts'
import { adapter } from '../../src/credentials/postgres.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import { type CredentialsWorld, callFor, credentialsContract, drive, everything } from '../contracts/credentials.ts'
import { type Postgres, startPostgres } from '../testbed/postgres.ts'
import { type PostgresProxy, type StatementFault, startPostgresProxy } from '../testbed/postgres-proxy.ts'

type PostgresCredential = CredentialOf<'postgres'>

let postgres: Postgres
const before = { ...process.env }

beforeAll(async () => {
  postgres = await startPostgres()
  process.env.PGUSER = postgres.admin.user
  process.env.PGPASSWORD = postgres.admin.password
})

afterAll(async () => {
  process.env = before
  await postgres.stop()
})

const changing = /^(ALTER ROLE|SELECT pg_catalog.pg_terminate_backend)/

interface World extends CredentialsWorld<PostgresCredential> {
  readonly proxy: PostgresProxy
  readonly user: string
  readonly password: string
  readonly destination: string
  /** Opened by the suspect before, in a transaction, with a cursor of which one row is read. */
  readonly session: pg.Client
}

interface Options {
  readonly user?: string
  readonly password?: string
  readonly attributes?: string
}

async function startWorld(options: Options = {}): Promise<World> {
  const user = options.user ?? `Crm "Agent" ${randomBytes(4).toString('hex')}`
  const password = options.password ?? `old '"\\$ ${randomBytes(12).toString('base64url')}`
  const quoted = pg.escapeIdentifier(user)
  await postgres.sql(`CREATE ROLE ${quoted} LOGIN ${options.attributes ?? ''} PASSWORD ${pg.escapeLiteral(password)}`)
  const proxy = await startPostgresProxy(postgres.port)
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-pg-world-'))
  const destination = join(folder, 'next.env')
  const session = await postgres.connect({ user, password })
  await session.query('BEGIN')
  await session.query('DECLARE loot CURSOR FOR SELECT * FROM generate_series(1, 1000)')
  await session.query('FETCH 1 FROM loot')

  const takes = async (secret: string): Promise<boolean> => {
    const client = await postgres.connect({ user, password: secret }).catch(() => undefined)
    await client?.end()
    return client !== undefined
  }
  const delivered = (text: string): string | undefined => parseEnv(text).CRM_DB
  const fresh = new Set<string>()
  return {
    adapter,
    proxy,
    user,
    password,
    destination,
    session,
    target: {
      server: 'io.acme/crm',
      credential: {
        id: 'crm-db',
        kind: 'postgres',
        user,
        database: { engine: 'postgres', host: '127.0.0.1', port: proxy.port, name: 'postgres' },
      },
      sharedWith: [],
      deliverTo: { kind: 'file', path: destination },
      held: async () => [{ secret: password, where: '/srv/crm/.env' }],
    },
    oldWorks: async () => (await takes(password)) || (await fetches(session)),
    deliveredWorks: async () => {
      const secret = delivered(await readFile(destination, 'utf8'))
      return secret !== undefined && (await takes(secret))
    },
    // A role has one password: either it is the delivered one, or nobody has it.
    liveNew: async () => {
      const secret = delivered(await readFile(destination, 'utf8').catch(() => ''))
      return secret !== undefined && (await takes(secret)) ? 1 : 0
    },
    changingCalls: () => proxy.statements.filter((statement) => changing.test(statement)).length,
    secrets: () => {
      try {
        const secret = delivered(readFileSync(destination, 'utf8'))
        if (secret !== undefined) fresh.add(secret)
      } catch {
        // not rotated
      }
      return [password, postgres.admin.password, ...fresh]
    },
    fault: (_intent, fault, times = 1) => {
      const faults: Record<typeof fault, StatementFault> = {
        lost: 'lost',
        'reset-before': 'reset',
        'reset-after': 'lost',
        '5xx': { code: 'XX000' },
        throttled: { code: '53300' },
        denied: { code: '42501' },
      }
      let left = times
      proxy.fault = (statement) => (changing.test(statement) && left-- > 0 ? faults[fault] : undefined)
    },
    stop: async () => {
      await session.end().catch(() => undefined)
      await proxy.stop()
      await postgres.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, [user])
      await postgres.sql(`DROP ROLE IF EXISTS ${quoted}`)
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function fetches(session: pg.Client): Promise<boolean> {
  try {
    return (await session.query('FETCH 1 FROM loot')).rows.length === 1
  } catch {
    return false
  }
}

credentialsContract('postgres', () => startWorld(), { probed: true, rotates: true })

describe('a user of PostgreSQL', () => {
  it('loses its open session and cursor, also as whom it made itself, and nobody else does', async () => {
    const world = await startWorld()
    const group = `crm_group_${randomBytes(4).toString('hex')}`
    await postgres.sql(`CREATE ROLE ${group} ROLE ${pg.escapeIdentifier(world.user)}`)
    const second = await postgres.connect(world)
    await second.query(`SET ROLE ${group}`)
    const bystander = await startWorld()
    const { verdict, journal } = await drive(world, { intent: 'revoke' })
    expect(journal.planned?.map(({ action, stage }) => [action, stage])).toEqual([
      ['block-login', 0],
      ['end-sessions', 1],
    ])
    expect(verdict).toMatchObject({ state: 'verified', output: { state: 'dead', proof: 'probed' } })
    expect(await fetches(world.session)).toBe(false)
    await expect(second.query('SELECT 1')).rejects.toThrow()
    expect(await fetches(bystander.session)).toBe(true)
    const block = journal.planned?.find(({ action }) => action === 'block-login')
    expect(journal.applied.get(block?.id ?? '')).toMatchObject({ output: { count: 2 } })
    await world.stop()
    await bystander.stop()
    await postgres.sql(`DROP ROLE ${group}`)
  })

  it('is told by its whole name: not cut off, not folded, not a part of a statement', async () => {
    const long = 'x'.repeat(63)
    const names = [long, 'crm', 'CRM', 'crm"; DROP ROLE crm; --', "o'brien\\", 'Größe ☂']
    const worlds: World[] = []
    for (const user of names) worlds.push(await startWorld({ user }))
    for (const [at, world] of worlds.entries()) {
      const { verdict } = await drive(world, { intent: 'revoke' })
      expect([names[at], verdict.state]).toEqual([names[at], 'verified'])
      const alive = await Promise.all(worlds.map((one) => fetches(one.session)))
      expect(alive).toEqual(names.map((_, index) => index > at))
    }
    for (const world of worlds) await world.stop()
    // It would be cut off to the one of 63.
    const first = await startWorld({ user: long })
    const credential = { ...first.target.credential, user: `${long}y` }
    const longer = { ...first.target, credential }
    expect(await adapter.check(callFor(longer, 'revoke'))).toMatchObject([{ kind: 'warning' }])
    expect(await adapter.plan(callFor(longer, 'revoke'))).toEqual([])
    const ended = { ...first.target, credential: { ...credential, user: `${long}\0y` } }
    expect(await adapter.plan(callFor(ended, 'revoke'))).toEqual([])
    expect(await fetches(first.session)).toBe(true)
    await first.stop()
  })

  it('is refused when it is our own', async () => {
    const world = await startWorld({ attributes: 'SUPERUSER' })
    const problems = await asUser(world, () => adapter.check(callFor(world.target, 'revoke')))
    expect(problems).toMatchObject([{ kind: 'refused' }])
    await world.stop()
  })

  it('is left alone by who may not, who is told before anything is approved', async () => {
    const world = await startWorld()
    const weak = { user: `weak_${randomBytes(4).toString('hex')}`, password: 'weak-canary-1' }
    await postgres.sql(`CREATE ROLE ${weak.user} LOGIN CREATEROLE PASSWORD '${weak.password}'`)
    const told = async () =>
      await asUser(weak, async () =>
        (await adapter.check(callFor(world.target, 'revoke'))).map(
          ({ kind, message }) => `${kind}: ${message.replace(/.* lack (\S+).*/, '$1')}`,
        ),
      )
    expect(await told()).toEqual(['denied: ALTER', 'denied: pg_signal_backend', 'denied: pg_read_all_stats'])
    await postgres.sql(`GRANT pg_signal_backend, pg_read_all_stats TO ${weak.user}`)
    expect(await told()).toEqual(['warning: ALTER'])
    // Part of it is better than nothing.
    const { verdict, journal } = await asUser(weak, () => drive(world, { intent: 'revoke' }))
    expect(journal.failed.map(({ change }) => change.action)).toEqual(['block-login'])
    expect(verdict).toMatchObject({ state: 'failed', output: { state: 'alive' } })
    expect(await fetches(world.session)).toBe(false)
    await postgres.sql(`GRANT ${pg.escapeIdentifier(world.user)} TO ${weak.user} WITH ADMIN OPTION`)
    expect(await told()).toEqual([])
    const { verdict: later } = await asUser(weak, () => drive(world, { intent: 'revoke' }))
    expect(later.state).toBe('verified')
    await world.stop()
    await postgres.sql(`DROP ROLE ${weak.user}`)
  })

  it('that is gone already leaves sessions, which are ended', async () => {
    const world = await startWorld()
    await postgres.sql(`DROP ROLE ${pg.escapeIdentifier(world.user)}`)
    expect(await fetches(world.session)).toBe(true)
    expect(await adapter.check(callFor(world.target, 'revoke'))).toMatchObject([{ kind: 'warning' }])
    expect(await adapter.check(callFor(world.target, 'rotate'))).toMatchObject([{ kind: 'input' }])
    const { verdict, journal } = await drive(world, { intent: 'revoke' })
    expect(journal.planned?.map(({ action }) => action)).toEqual(['sweep-sessions'])
    expect(await fetches(world.session)).toBe(false)
    // A name that is not right would look the same.
    expect(verdict).toMatchObject({ state: 'residual', output: { state: 'unknown' } })
    await world.stop()
  })

  it('that this case saw, and that is gone since, is dead', async () => {
    const world = await startWorld()
    await drive(world, { intent: 'revoke' })
    await postgres.sql(`DROP ROLE ${pg.escapeIdentifier(world.user)}`)
    const { verdict } = await drive(world, { intent: 'revoke' })
    expect(verdict).toMatchObject({ state: 'verified', output: { state: 'dead' } })
    const mistyped = { ...world.target, credential: { ...world.target.credential, user: `${world.user}x` } }
    const { state } = await drive({ ...world, target: mistyped }, { intent: 'revoke' })
    expect(state.state).toBe('unknown')
    await world.stop()
  })

  it('leaves prepared transactions, and users that it made: both are told', async () => {
    const world = await startWorld({ attributes: 'CREATEROLE' })
    const back = `back_${randomBytes(4).toString('hex')}`
    const other = await postgres.connect(world)
    await other.query(`CREATE ROLE ${back} LOGIN PASSWORD 'way-back'`)
    await other.query('BEGIN')
    await other.query('SELECT 1')
    await other.query(`PREPARE TRANSACTION '${back}'`)
    const { verdict } = await drive(world, { intent: 'revoke' })
    expect(verdict).toMatchObject({ state: 'residual', output: { state: 'dead' } })
    expect(verdict.residue.join()).toContain(back)
    expect(verdict.residue.join()).toContain('1 prepared transaction(s)')
    await postgres.sql(`ROLLBACK PREPARED '${back}'`)
    await postgres.sql(`DROP ROLE ${back}`)
    await world.stop()
  })

  it('can log in again when that is undone, unless somebody did it before', async () => {
    const world = await startWorld()
    const { journal } = await drive(world, { intent: 'revoke' })
    const change = journal.planned?.find(({ action }) => action === 'block-login')
    const undo = adapter.actions['block-login']?.undo
    if (change === undefined || undo === undefined) throw new TypeError('nothing to undo')
    const receipt = journal.applied.get(change.id) ?? {}
    const call = { ...callFor(world.target, 'reinstate'), recorded: [], record: async () => undefined }
    expect(await undo.drift(change, receipt, call)).toEqual([])
    expect(await undo.settle(change, receipt, call)).toBeUndefined()
    await undo.apply(change, receipt, call)
    expect(await undo.settle(change, receipt, call)).toBeDefined()
    expect(await world.oldWorks()).toBe(true)
    expect(await undo.drift(change, receipt, call)).toEqual([expect.stringContaining('log in again already')])
    expect(await adapter.verify(call)).toMatchObject({ state: 'verified', output: { state: 'alive' } })
    await world.stop()
  })

  it('gets a password that no log of the server has seen, and says who must reload', async () => {
    const world = await startWorld()
    const target = { ...world.target, sharedWith: ['io.acme/billing'] }
    await drive({ adapter, target }, { intent: 'revoke' })
    const { verdict, journal } = await drive({ adapter, target }, { intent: 'rotate' })
    expect(journal.planned?.[0]?.breaks).toEqual(['io.acme/billing'])
    expect(verdict.limits.join()).toContain('io.acme/billing')
    const secret = parseEnv(await readFile(world.destination, 'utf8')).CRM_DB ?? ''
    expect(secret.length).toBeGreaterThan(40)
    expect(await world.deliveredWorks()).toBe(true)
    expect(postgres.log()).toContain("PASSWORD 'SCRAM-SHA-256$")
    expect(postgres.log()).not.toContain(secret)
    expect(everything(journal, verdict)).not.toContain(secret)
    // A session of the new holder is none of the old one.
    const fresh = await postgres.connect({ user: world.user, password: secret })
    expect(
      await adapter.verify({ ...callFor(target, 'rotate'), changes: journal.planned ?? [], receipts: journal.applied }),
    ).toMatchObject({ state: 'verified' })
    await fresh.end()
    await world.stop()
  })

  it('is dead with nothing to try, and says by whose word', async () => {
    const world = await startWorld()
    const { held: _, ...target } = world.target
    const { verdict } = await drive({ adapter, target }, { intent: 'revoke' })
    expect(verdict).toMatchObject({ state: 'verified', output: { proof: 'issuer says so (NOLOGIN, no session)' } })
    expect(verdict.limits.join()).toContain('not tried')
    // Something planted is refused too, and proves nothing.
    const planted = { ...target, held: async () => [{ secret: 'planted', where: '/srv/crm/.env' }] }
    expect(await adapter.verify(callFor(planted, 'revoke'))).toMatchObject({
      output: { proof: 'issuer says so (NOLOGIN, no session)' },
    })
    await world.stop()
  })

  it('cannot be reached: unreachable, in words that hold no secret', async () => {
    const world = await startWorld()
    await world.proxy.stop()
    const error = await adapter.check(callFor(world.target, 'revoke')).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'unreachable' })
    await world.stop().catch(() => undefined)
    await postgres.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, [world.user])
    const other = await startWorld()
    const denied = await asUser({ user: 'postgres', password: 'wrong-canary' }, () =>
      adapter.check(callFor(other.target, 'revoke')).catch((thrown: unknown) => thrown),
    )
    expect(denied).toMatchObject({ code: 'denied' })
    expect(String(denied)).not.toContain('wrong-canary')
    await other.stop()
  })

  it('waits for a server that has no connection left at the moment', async () => {
    const world = await startWorld()
    let full = 2
    world.proxy.fault = (statement) => (statement.startsWith('LOGIN') && full-- > 0 ? { code: '53300' } : undefined)
    expect(await adapter.check(callFor(world.target, 'revoke'))).toEqual([])
    expect(full).toBeLessThan(0)
    await world.stop()
  })
})

async function asUser<T>(
  login: { readonly user: string; readonly password: string },
  work: () => Promise<T>,
): Promise<T> {
  const { PGUSER, PGPASSWORD } = process.env
  Object.assign(process.env, { PGUSER: login.user, PGPASSWORD: login.password })
  try {
    return await work()
  } finally {
    Object.assign(process.env, { PGUSER, PGPASSWORD })
  }
}

describe('who logs in as administrator', () => {
  const database = { host: 'db.example', port: 5432, name: 'crm' }

  it('is found as psql finds it', async () => {
    const home = await mkdtemp(join(tmpdir(), 'mcp-ir-libpq-'))
    const pass = join(home, '.pgpass')
    await writeFile(pass, '# mine\nother:5432:*:ir:wrong\ndb.example:*:crm:ir:a\\:b\\\\c\n*:*:*:*:last\n', {
      mode: 0o600,
    })
    await writeFile(
      join(home, '.pg_service.conf'),
      '[one]\nuser=first\n\n[crm]\n# note\nuser=ir\nhost=elsewhere\nsslmode=disable\n[two]\nuser=second\n',
    )
    const env = { HOME: home }
    const login = (more: object) => libpqLogin(database, { ...env, ...more })
    expect(await login({ PGUSER: 'u', PGPASSWORD: 'p' })).toMatchObject({ user: 'u', password: 'p' })
    expect(await login({ PGSERVICE: 'crm', PGUSER: 'u' })).toMatchObject({
      user: 'ir',
      password: 'a:b\\c',
      ssl: [false],
    })
    expect(await login({ PGUSER: 'somebody' })).toMatchObject({ password: 'last' })
    await expect(login({ PGSERVICE: 'three' })).rejects.toThrow('three')
    // As libpq: others may read it, so that it is not used.
    await chmod(pass, 0o644)
    expect((await login({ PGUSER: 'ir' })).password).toBeUndefined()
    await rm(home, { recursive: true })
  })

  it('takes sslmode as libpq does', async () => {
    const modes = async (mode?: string, more: object = {}) =>
      (await libpqLogin(database, { HOME: '/nonexistent', PGUSER: 'u', PGSSLMODE: mode, ...more })).ssl.map((ssl) =>
        ssl === false ? 'plain' : ssl.rejectUnauthorized === false ? 'any' : ssl.checkServerIdentity ? 'ca' : 'full',
      )
    expect(await modes()).toEqual(['any', 'plain'])
    expect(await modes('allow')).toEqual(['plain', 'any'])
    expect(await modes('disable')).toEqual(['plain'])
    expect(await modes('require')).toEqual(['any'])
    expect(await modes('verify-full', { PGSSLROOTCERT: 'system' })).toEqual(['full'])
    await expect(modes('verify-full')).rejects.toThrow('root certificate')
    await expect(modes('verify-ful')).rejects.toThrow('verify-ful')
    const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-libpq-'))
    const ca = join(folder, 'root.crt')
    await writeFile(ca, 'x')
    expect(await modes('require', { PGSSLROOTCERT: ca })).toEqual(['ca'])
    expect(await modes('verify-ca', { PGSSLROOTCERT: ca })).toEqual(['ca'])
    await rm(folder, { recursive: true })
  })

  it('shows no password to a server that asks for it in the clear', async () => {
    const seen: string[] = []
    const server = createServer((socket) => {
      socket.on('data', (data) => {
        // An SSLRequest is answered with no, everything else with AuthenticationCleartextPassword.
        if (data.readInt32BE(0) === 8) return void socket.write('N')
        seen.push(data.toString('utf8'))
        socket.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]))
      })
      socket.on('error', () => undefined)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const world = await startWorld()
    const { credential } = world.target
    const target = { ...world.target, credential: { ...credential, database: { ...credential.database, port } } }
    await expect(adapter.check(callFor(target, 'revoke'))).rejects.toThrow('in the clear')
    expect(seen.length).toBeGreaterThan(0)
    expect(seen.join()).not.toContain(postgres.admin.password)
    server.close()
    await world.stop()
  })
})
