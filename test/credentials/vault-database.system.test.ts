import { randomBytes } from 'node:crypto'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { secondOf } from '../../src/credentials/postgres/vault-leases.ts'
import { placeIn } from '../../src/credentials/postgres/vault-role.ts'
import { adapter } from '../../src/credentials/vault-database.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import {
  type CredentialsWorld,
  callFor,
  credentialsContract,
  drive,
  emptyJournal,
  everything,
} from '../contracts/credentials.ts'
import { type FaultProxy, startFaultProxy } from '../testbed/fault-proxy.ts'
import { type Openbao, startOpenbao } from '../testbed/openbao.ts'
import { type Postgres, startPostgres } from '../testbed/postgres.ts'
import { type PostgresProxy, type StatementFault, startPostgresProxy } from '../testbed/postgres-proxy.ts'
import { skipWithoutEmulators } from '../testbed/python.ts'

type DatabaseCredential = CredentialOf<'vault-database'>
interface Login {
  readonly user: string
  readonly password: string
}

const vaultAdmin = { user: 'vault_admin', password: 'canary-vault-admin-81' }
const creation = `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`

describe.skipIf(skipWithoutEmulators('vault-database'))('roles of the database engine of OpenBao', () => {
  let bao: Openbao
  let postgres: Postgres
  const before = { ...process.env }

  beforeAll(async () => {
    ;[bao, postgres] = await Promise.all([startOpenbao(), startPostgres()])
    await postgres.sql(`CREATE ROLE ${vaultAdmin.user} SUPERUSER LOGIN PASSWORD '${vaultAdmin.password}'`)
    await bao.ok('POST', 'sys/mounts/database', { type: 'database' })
    await bao.ok('POST', 'database/config/crm', {
      plugin_name: 'postgresql-database-plugin',
      connection_url: `postgresql://{{username}}:{{password}}@127.0.0.1:${postgres.port}/postgres?sslmode=disable`,
      username: vaultAdmin.user,
      password: vaultAdmin.password,
      allowed_roles: '*',
    })
    Object.assign(process.env, {
      VAULT_TOKEN: bao.root,
      PGUSER: postgres.admin.user,
      PGPASSWORD: postgres.admin.password,
    })
    delete process.env.VAULT_ADDR
  })

  afterAll(async () => {
    process.env = before
    await Promise.all([bao.stop(), postgres.stop()])
  })

  interface World extends CredentialsWorld<DatabaseCredential> {
    readonly role: string
    readonly login: Login
    readonly session: pg.Client
    readonly vault: FaultProxy
    readonly database: PostgresProxy
  }

  const takes = async (login: Login): Promise<boolean> => {
    const client = await postgres.connect(login).catch(() => undefined)
    await client?.end()
    return client !== undefined
  }
  /** Opened before anything was revoked, with a cursor of which one row is read. */
  const openSession = async (login: Login): Promise<pg.Client> => {
    const session = await postgres.connect(login)
    await session.query('BEGIN')
    await session.query('DECLARE loot CURSOR FOR SELECT * FROM generate_series(1, 1000)')
    await session.query('FETCH 1 FROM loot')
    return session
  }
  const fetches = async (session: pg.Client): Promise<boolean> => {
    try {
      return (await session.query('FETCH 1 FROM loot')).rows.length === 1
    } catch {
      return false
    }
  }
  const makeRole = async (role: string, more: object = {}): Promise<void> => {
    const settings = { db_name: 'crm', creation_statements: creation, default_ttl: '1h', ...more }
    await bao.ok('POST', `database/roles/${role}`, settings)
  }
  const draw = async (role: string, token?: string): Promise<Login> => {
    const { data } = await bao.ok('GET', `database/creds/${role}`, undefined, token)
    return { user: String(data.username), password: String(data.password) }
  }
  const readStatic = async (role: string): Promise<Login> => {
    const { data } = await bao.ok('GET', `database/static-creds/${role}`)
    return { user: String(data.username), password: String(data.password) }
  }
  const unique = (name: string): string => `${name}-${randomBytes(3).toString('hex')}`

  const changingStatement = /^(ALTER ROLE|SELECT pg_catalog.pg_terminate_backend)/
  const changingRequest = /^\/v1\/(sys\/leases\/revoke|database\/rotate-role)/

  async function startWorld(type: 'dynamic' | 'static'): Promise<World> {
    const role = unique('crm-mcp')
    let login: Login
    if (type === 'dynamic') {
      await makeRole(role)
      login = await draw(role)
    } else {
      const user = `static ${role}`
      await postgres.sql(`CREATE ROLE "${user}" LOGIN PASSWORD 'before-vault'`)
      const settings = { db_name: 'crm', username: user, rotation_period: '24h' }
      await bao.ok('POST', `database/static-roles/${role}`, settings)
      login = await readStatic(role)
    }
    const session = await openSession(login)
    const [vault, database] = await Promise.all([startFaultProxy(bao.url), startPostgresProxy(postgres.port)])
    const changingCalls = (): number =>
      database.statements.filter((statement) => changingStatement.test(statement)).length +
      vault.calls.filter(({ path }) => changingRequest.test(path)).length
    const freshWorks = async (): Promise<boolean> => {
      const now = await readStatic(role)
      return now.password !== login.password && (await takes(now))
    }
    return {
      adapter,
      role,
      login,
      session,
      vault,
      database,
      target: {
        server: 'io.acme/crm',
        credential: {
          id: 'crm-db',
          kind: 'vault-database',
          mount: 'database',
          role,
          database: { engine: 'postgres', host: '127.0.0.1', port: database.port, name: 'postgres' },
        },
        sharedWith: [],
        vault: { address: vault.url },
        held: async () => [{ secret: login.password, where: '/srv/crm/.env' }],
      },
      oldWorks: async () => (await takes(login)) || (await fetches(session)),
      deliveredWorks: freshWorks,
      liveNew: async () => ((await freshWorks()) ? 1 : 0),
      changingCalls,
      secrets: () => [login.password, postgres.admin.password, vaultAdmin.password, bao.root],
      fault: (intent, fault, times = 1) => {
        const faults: Record<typeof fault, StatementFault> = {
          lost: 'lost',
          'reset-before': 'reset',
          'reset-after': 'lost',
          '5xx': { code: 'XX000' },
          throttled: { code: '53300' },
          denied: { code: '42501' },
        }
        let statements = times
        let requests = times
        database.fault = (statement) => {
          // A sweep that finds nothing changes nothing: what it reads is refused to it, once the plan is made.
          const sweeps = changingCalls() > 0 && times > 1 && /WHERE a.usesysid IS NOT NULL/.test(statement)
          return intent === 'revoke' && (changingStatement.test(statement) || sweeps) && statements-- > 0
            ? faults[fault]
            : undefined
        }
        vault.fault = ({ path }) => (changingRequest.test(path) && requests-- > 0 ? fault : undefined)
      },
      stop: async () => {
        await session.end().catch(() => undefined)
        await Promise.all([vault.stop(), database.stop()])
        await bao.call('PUT', `sys/leases/revoke-prefix/database/creds/${role}`, { sync: true })
        await bao.ok('DELETE', `database/${type === 'dynamic' ? 'roles' : 'static-roles'}/${role}`)
      },
    }
  }

  credentialsContract('vault-database, dynamic', () => startWorld('dynamic'), {
    probed: true,
    rotates: false,
    tries: 60,
  })
  credentialsContract('vault-database, static', () => startWorld('static'), { probed: true, rotates: true })

  describe('a dynamic role', () => {
    it('ends the session and its cursor, drops the user, and has told both beforehand', async () => {
      const world = await startWorld('dynamic')
      const { verdict, journal } = await drive(world, { intent: 'revoke' })
      expect(journal.planned?.map(({ action, stage }) => [action, stage]).sort()).toEqual([
        ['block-login', 0],
        ['end-sessions', 1],
        ['revoke-leases', 1],
        ['sweep-sessions', 2],
      ])
      const block = journal.planned?.find(({ action }) => action === 'block-login')
      expect(block?.params).toMatchObject({ users: [{ name: world.login.user }] })
      expect(block?.facts?.sessions).toContain('pid ')
      expect(await fetches(world.session)).toBe(false)
      expect(await takes(world.login)).toBe(false)
      expect(await postgres.sql('SELECT 1 FROM pg_roles WHERE rolname = $1', [world.login.user])).toEqual([])
      expect(verdict).toMatchObject({ state: 'verified', output: { state: 'dead' } })
      await world.stop()
    })

    it('finds the session that lost its role when something else revoked the lease before', async () => {
      const world = await startWorld('dynamic')
      const { auth } = await bao.ok('POST', 'auth/token/create', { policies: ['root'] })
      const other = await draw(world.role, auth.client_token)
      const session = await openSession(other)
      await bao.ok('PUT', `sys/leases/revoke-prefix/database/creds/${world.role}`, { sync: true })
      await bao.ok('POST', 'auth/token/revoke', { token: auth.client_token })
      expect(await takes(other)).toBe(false)
      expect(await fetches(session)).toBe(true)
      const before = await adapter.verify(callFor(world.target, 'revoke'))
      expect(before).toMatchObject({ state: 'failed', output: { state: 'alive' } })
      const { verdict, journal } = await drive(world, { intent: 'revoke' })
      expect(journal.planned?.map(({ action }) => action)).toEqual(['sweep-sessions'])
      expect(await fetches(session)).toBe(false)
      expect(verdict).toMatchObject({ state: 'verified', output: { state: 'dead' } })
      await world.stop()
    })

    it('still ends what was noted when another credential takes the leases away meanwhile', async () => {
      const world = await startWorld('dynamic')
      const planned = await adapter.plan(callFor(world.target, 'revoke'))
      await bao.ok('PUT', `sys/leases/revoke-prefix/database/creds/${world.role}`, { sync: true })
      expect(await fetches(world.session)).toBe(true)
      const { verdict, journal } = await drive(world, { intent: 'revoke', journal: { ...emptyJournal(), planned } })
      expect(journal.failed).toEqual([])
      expect(await fetches(world.session)).toBe(false)
      expect(verdict.state).toBe('verified')
      await world.stop()
    })

    it('finds the users of a connection that names them in a way of its own, by their role having gone', async () => {
      const world = await startWorld('dynamic')
      const connection = unique('own')
      await bao.ok('POST', `database/config/${connection}`, {
        plugin_name: 'postgresql-database-plugin',
        connection_url: `postgresql://{{username}}:{{password}}@127.0.0.1:${postgres.port}/postgres?sslmode=disable`,
        username: vaultAdmin.user,
        password: vaultAdmin.password,
        allowed_roles: '*',
        username_template: 'app_{{random 10}}',
      })
      await bao.ok('PUT', `sys/leases/revoke-prefix/database/creds/${world.role}`, { sync: true })
      await makeRole(world.role, { db_name: connection })
      const login = await draw(world.role)
      expect(login.user).toMatch(/^app_/)
      const session = await openSession(login)
      const { verdict, journal } = await drive(world, { intent: 'revoke' })
      expect(journal.planned?.map(({ action }) => action)).toEqual(['revoke-leases', 'sweep-sessions'])
      expect([await takes(login), await fetches(session)]).toEqual([false, false])
      expect(verdict.state).toBe('verified')
      await world.stop()
    })

    it('spares another role with the same first eight letters, drawn in the same second', async () => {
      const world = await startWorld('dynamic')
      const reader = `${world.role}-reader`
      await makeRole(reader)
      const [ours, other] = [await draw(world.role), await draw(reader)]
      const [session, spared] = [await openSession(ours), await openSession(other)]
      const { verdict } = await drive(world, { intent: 'revoke' })
      expect([await takes(ours), await fetches(session)]).toEqual([false, false])
      expect([await takes(other), await fetches(spared)]).toEqual([true, true])
      expect(verdict.state).toBe('verified')
      await bao.ok('PUT', `sys/leases/revoke-prefix/database/creds/${reader}`, { sync: true })
      await bao.ok('DELETE', `database/roles/${reader}`)
      await spared.end()
      await world.stop()
    })

    it('blocks a user that Vault cannot drop, says that its lease is left, and fails the change', async () => {
      const world = await startWorld('dynamic')
      await postgres.sql(`CREATE TABLE "${world.role}" (a int)`)
      await postgres.sql(`ALTER TABLE "${world.role}" OWNER TO "${world.login.user}"`)
      const { verdict, journal } = await drive(world, { intent: 'revoke' })
      expect(journal.failed.map(({ change }) => change.action)).toEqual(['revoke-leases'])
      expect([await takes(world.login), await fetches(world.session)]).toEqual([false, false])
      expect(verdict.state).toBe('residual')
      expect(verdict.residue.join()).toContain('1 lease(s) are still there')
      expect(everything(journal, verdict)).not.toContain(world.login.password)
      await postgres.sql(`DROP TABLE "${world.role}"`)
      await world.stop()
    })

    it('takes the database from Vault where the registry names none', async () => {
      const world = await startWorld('dynamic')
      const { database: _, ...credential } = world.target.credential
      const target = { ...world.target, credential }
      const { verdict } = await drive({ adapter, target }, { intent: 'revoke' })
      expect(await fetches(world.session)).toBe(false)
      expect(verdict.state).toBe('verified')
      await world.stop()
    })

    it('revokes one by one without sudo on the prefix', async () => {
      const world = await startWorld('dynamic')
      world.vault.fault = ({ path }) => (path.includes('revoke-prefix') ? 'denied' : undefined)
      const { verdict } = await drive(world, { intent: 'revoke' })
      expect(verdict.state).toBe('verified')
      expect(await world.oldWorks()).toBe(false)
      await world.stop()
    })

    it('names what the others lose, and that rotation delivers nothing', async () => {
      const world = await startWorld('dynamic')
      const target = { ...world.target, sharedWith: ['io.acme/billing'] }
      const { verdict } = await drive({ adapter, target }, { intent: 'revoke' })
      expect(verdict.limits.join()).toContain('io.acme/billing')
      const rotated = await drive({ adapter, target }, { intent: 'rotate' })
      expect(rotated.journal.planned).toEqual([])
      expect(rotated.state.delivered).toBeUndefined()
      expect(rotated.verdict.limits.join()).toContain('draws a user of its own')
      await world.stop()
    })
  })

  describe('an administrator made by Vault', () => {
    it('logs in by adminRole, and leaves neither lease nor user behind', async () => {
      const world = await startWorld('dynamic')
      const admins = unique('ir-admin')
      await makeRole(admins, { creation_statements: creation.replace('LOGIN', 'SUPERUSER LOGIN') })
      const { PGUSER, PGPASSWORD } = process.env
      delete process.env.PGUSER
      delete process.env.PGPASSWORD
      const { database } = world.target.credential
      if (database === undefined) throw new TypeError('no database')
      const credential = { ...world.target.credential, database: { ...database, adminRole: admins } }
      const target = { ...world.target, credential }
      expect(await adapter.check(callFor(target, 'revoke'))).toEqual([])
      expect(await adapter.plan(callFor(target, 'revoke'))).toEqual(await adapter.plan(callFor(target, 'revoke')))
      const { verdict } = await drive({ adapter, target }, { intent: 'revoke' })
      Object.assign(process.env, { PGUSER, PGPASSWORD })
      expect(verdict.state).toBe('verified')
      expect(await fetches(world.session)).toBe(false)
      expect((await bao.call('LIST', `sys/leases/lookup/database/creds/${admins}`)).status).toBe(404)
      const own = { ...target, credential: { ...credential, role: admins } }
      expect(await adapter.check(callFor(own, 'revoke'))).toMatchObject([{ kind: 'refused' }])
      await world.stop()
    })
  })

  describe('a static role', () => {
    it('refuses to rotate while the old identity can still read the new password', async () => {
      const world = await startWorld('static')
      const old = { id: 'crm-approle', kind: 'vault-approle', mount: 'approle', role: 'crm' } as const
      const problems = await adapter.check(callFor({ ...world.target, undead: [old] }, 'rotate'))
      expect(problems).toMatchObject([{ kind: 'refused' }])
      expect(problems[0]?.message).toContain('crm-approle')
      await world.stop()
    })

    it('makes one rotation of one whose answer was lost', async () => {
      const world = await startWorld('static')
      await drive(world, { intent: 'revoke' })
      world.fault('rotate', 'lost')
      const { verdict, state } = await drive(world, { intent: 'rotate' })
      expect(world.vault.calls.filter(({ path }) => path.includes('rotate-role'))).toHaveLength(1)
      expect(verdict.state).toBe('verified')
      expect(state.delivered).toEqual({ kind: 'vault-database', path: `database/static-creds/${world.role}` })
      await world.stop()
    })
  })

  describe('what cannot be reached', () => {
    it('says beforehand that sessions cannot be looked for, and does not call them dead', async () => {
      const world = await startWorld('dynamic')
      const { database } = world.target.credential
      if (database === undefined) throw new TypeError('no database')
      // Nobody listens there; Vault reaches the database all the same.
      const credential = { ...world.target.credential, database: { ...database, port: 1 } }
      const target = { ...world.target, credential }
      expect(await adapter.check(callFor(target, 'revoke'))).toMatchObject([{ kind: 'warning' }])
      const { verdict } = await drive({ adapter, target }, { intent: 'revoke' })
      expect(await takes(world.login)).toBe(false)
      expect(await fetches(world.session)).toBe(true)
      expect(verdict).toMatchObject({ state: 'failed', output: { state: 'unknown' } })
      expect(verdict.residue.join()).toContain('live on')
      const { verdict: later } = await drive(world, { intent: 'revoke' })
      expect(later.state).toBe('verified')
      expect(await fetches(world.session)).toBe(false)
      await world.stop()
    })

    it('says that there is no such role', async () => {
      const target = {
        server: 'io.acme/crm',
        credential: { id: 'crm-db', kind: 'vault-database', mount: 'database', role: 'nobody' },
        sharedWith: [],
        vault: { address: bao.url },
      } as const
      await expect(adapter.check(callFor(target, 'revoke'))).rejects.toThrow('no role nobody')
    })

    it('ends alive while the database is down, and dead once it is back', async () => {
      const world = await startWorld('dynamic')
      await postgres.halt()
      const { verdict, journal } = await drive(world, { intent: 'revoke' })
      expect(journal.failed.map(({ change }) => change.action)).toEqual(['revoke-leases'])
      expect(verdict).toMatchObject({ state: 'failed', output: { state: 'alive' } })
      await postgres.start()
      expect(await takes(world.login)).toBe(true)
      const { verdict: later } = await drive(world, { intent: 'revoke' })
      expect(later).toMatchObject({ state: 'verified', output: { state: 'dead' } })
      expect(await takes(world.login)).toBe(false)
      await world.stop()
    })
  })
})

describe('what Vault tells only by the way', () => {
  it('is whose a user is, by all parts of its name', () => {
    const random = 'ClRAzsVEtgdW5LNBVCv5'
    const at = (name: string, cut: string) => secondOf(`v-${name}-${random}-1795426444`, cut)
    expect(at('approle-crm-mcp-', 'crm-mcp-')).toBe(1795426444)
    expect(at('token-fo-crm', 'crm')).toBe(1795426444)
    // A name of a role that ends like ours is none of ours, nor is one that starts like it.
    expect(at('approle-my-crm', 'crm')).toBeUndefined()
    expect(at('approle-crm-read', 'crm')).toBeUndefined()
    expect(at('crm', 'crm')).toBeUndefined()
    expect(secondOf(`v-approle-crm-${random}`, 'crm')).toBeUndefined()
    expect(secondOf('crm', 'crm')).toBeUndefined()
  })

  it('is where the database is, with whatever is left out', () => {
    const at = (text: string) => placeIn(text)
    expect(at('postgresql://{{username}}:{{password}}@db.example:6432/crm?sslmode=verify-full')).toEqual({
      host: 'db.example',
      port: 6432,
      name: 'crm',
    })
    expect(at('postgres://{{ username }}:{{password}}@[::1]/a%20b')).toEqual({ host: '::1', port: 5432, name: 'a b' })
    expect(at('postgresql://u:p@one:1,two:2/crm')).toEqual({ host: 'one', port: 1, name: 'crm' })
    expect(at("host=db port=1 dbname='my db' user={{username}}")).toEqual({ host: 'db', port: 1, name: 'my db' })
    expect(at('{{username}}')).toBeUndefined()
  })
})
