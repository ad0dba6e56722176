import type { EventEmitter } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Call, Json } from '../../change.ts'
import { IrError, systemCode } from '../../errors.ts'
import { sharedOf } from '../../shared-answers.ts'
import { gateOf } from '../gate.ts'
import { vaultClient } from '../vault/client.ts'
import { type Database, type Login, libpqLogin, type Ssl } from './libpq.ts'

/**
 * Connections to PostgreSQL: the responder's own, and attempts to log in with what a suspect holds. Messages hold host, user and
 * SQLSTATE, and nothing else that the server said.
 */
export interface Admin {
  /** Who we are in the database. */
  readonly user: string
  /** The same for people, and in every plan: a user that Vault makes for each look is named by its role. */
  readonly who: string
  /** One statement. `changes`: its lost answer makes it ambiguous. @throws IrError */
  query<Row>(what: string, text: string, values?: readonly unknown[], changes?: 'changes'): Promise<readonly Row[]>
  /** A question that many credentials ask, under a key of its own: see shared-answers.ts. */
  shared<T>(key: string, work: () => Promise<T>): Promise<T>
  next<T>(key: string, work: () => Promise<T>): Promise<T>
  /** A name as an identifier in a statement. */
  readonly quote: (name: string) => string
}

/** A database as the registry or Vault names it. Journalled in the parameters of changes. */
export interface Place extends Database {
  /** The Vault role that logs in as administrator: `role` of the mount `adminMount`. Undefined: by the libpq variables. */
  readonly adminRole?: string | undefined
  readonly adminMount?: string | undefined
}

export type PlaceCall = Pick<Call<{ readonly vault?: { readonly address?: string | undefined } }>, 'target' | 'signal'>

const connectMs = 10_000
const statementMs = 30_000

export function placeName({ host, port }: Database): string {
  return `${host}:${port}`
}

/** `adminRole` may name its mount: `database/ir-admin`. */
export function placeOf(
  { host, port, name, adminRole }: Database & { readonly adminRole?: string | undefined },
  mount = 'database',
): Place {
  if (adminRole === undefined) return { host, port, name }
  const end = adminRole.lastIndexOf('/')
  return {
    host,
    port,
    name,
    adminRole: adminRole.slice(end + 1),
    adminMount: end < 0 ? mount : adminRole.slice(0, end),
  }
}

export function asJson({ host, port, name, adminRole, adminMount }: Place): Json {
  return {
    host,
    port,
    name,
    ...(adminRole === undefined || adminMount === undefined ? {} : { adminRole, adminMount }),
  }
}

/** Logs in as administrator for the time of `work`. @throws IrError */
export async function withAdmin<T>(call: PlaceCall, place: Place, work: (admin: Admin) => Promise<T>): Promise<T> {
  const { signal } = call
  return await withLogin(call, place, async (login) => {
    const gate = gateOf(`postgres://${placeName(place)}`)
    return await gate.run(async () => {
      const key = keyOf(place, login)
      const connection = takeIdle(key) ?? (await patiently(signal, gate.throttled, () => connect(place, login, signal)))
      const stop = (): void => void connection.end()
      signal.addEventListener('abort', stop, { once: true })
      try {
        const result = await work(connection.admin(signal))
        keepIdle(key, connection)
        return result
      } catch (error) {
        await connection.end()
        throw error
      } finally {
        signal.removeEventListener('abort', stop)
      }
    }, signal)
  })
}

/** A server with all connections taken, or one that starts, is asked again: nothing was done yet. */
async function patiently<T>(signal: AbortSignal, throttled: () => void, work: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof Busy) || tried === 4) throw error
      throttled()
      await sleep(200 * 2 ** tried * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {
        throw interrupted()
      })
    }
  }
}

class Busy extends IrError {}

const logins = new WeakMap<AbortSignal, Map<string, Promise<Login>>>()

/** Read once in one command, from the files of the responder: a thousand looks at one database follow each other. */
async function ownLogin(signal: AbortSignal, { host, port, name }: Database): Promise<Login> {
  const known = logins.get(signal) ?? new Map<string, Promise<Login>>()
  logins.set(signal, known)
  const database = { host, port, name }
  const key = JSON.stringify(database)
  const found = known.get(key) ?? libpqLogin(database)
  known.set(key, found)
  return await found
}

// The administrator that Vault makes

interface Shared {
  readonly login: Promise<{ readonly login: Login; readonly leaseId: string | undefined }>
  users: number
}

const shared = new Map<string, Shared>()

/** Calls that run at the same time share one: it exists from the first to the last of them. */
async function withLogin<T>(call: PlaceCall, place: Place, work: (login: Login) => Promise<T>): Promise<T> {
  if (call.signal.aborted) throw interrupted()
  const { adminRole, adminMount } = place
  if (adminRole === undefined) return await work(await ownLogin(call.signal, place))
  const vault = vaultClient(call)
  const key = JSON.stringify([vault.address, vault.namespace ?? '', asJson(place)])
  const one = shared.get(key) ?? { login: fromVault(), users: 0 }
  shared.set(key, one)
  one.users++
  try {
    return await work((await one.login).login)
  } finally {
    if (--one.users === 0) {
      shared.delete(key)
      await handBack()
    }
  }

  async function fromVault(): Promise<{ login: Login; leaseId: string | undefined }> {
    const path = `${adminMount ?? 'database'}/creds/${adminRole}`
    const { data, leaseId } = await vault.request({ method: 'GET', path, nature: 'create' })
    const { username, password } = data
    if (typeof username !== 'string' || typeof password !== 'string')
      throw new IrError('input', `${path} in Vault gives no user and password for the database`)
    const { ssl } = await libpqLogin(place)
    return { login: { user: username, password, ssl, guarded: true }, leaseId }
  }

  async function handBack(): Promise<void> {
    const found = await one.login.catch(() => undefined)
    if (found === undefined) return
    await endIdle(keyOf(place, found.login))
    if (found.leaseId === undefined) return
    // Also after Ctrl-C. Where it fails, the lease ends by itself.
    const last = vaultClient({ ...call, signal: AbortSignal.timeout(10_000) })
    await last.write('sys/leases/revoke', { lease_id: found.leaseId }).catch((error: unknown) => {
      if (!(error instanceof IrError)) throw error
    })
  }
}

// One connection

interface Connected {
  admin(signal: AbortSignal): Admin
  readonly client: Client
  readonly alive: () => boolean
  end(): Promise<void>
}

async function connect(place: Place, login: Login, signal: AbortSignal): Promise<Connected> {
  const { adminRole, adminMount } = place
  const what = `logging in to ${placeName(place)} as ${login.user}`
  const client = await open(place, login, signal).catch((error: unknown) => {
    throw asIrError(error, what, { signal, changes: false, connecting: true })
  })
  let alive = true
  client.once('end', () => {
    alive = false
  })
  const connection: Connected = {
    client,
    alive: () => alive,
    admin: (during) => {
      const answers = sharedOf(during, `postgres://${login.user}@${placeName(place)}/${place.name}`)
      return {
        user: login.user,
        who: adminRole === undefined ? login.user : `Vault role ${adminMount}/${adminRole}`,
        quote: (name) => client.escapeIdentifier(name),
        shared: answers.ask,
        next: answers.next,
        async query<Row>(doing: string, text: string, values: readonly unknown[] = [], changes?: 'changes') {
          if (during.aborted) throw interrupted()
          const asking = () => client.query(text, [...values])
          try {
            const { rows } = await (changes === undefined ? asking() : answers.changing(asking))
            return rows as Row[]
          } catch (error) {
            throw asIrError(error, doing, { signal: during, changes: changes === 'changes', connecting: false })
          }
        },
      }
    },
    async end() {
      alive = false
      await client.end().catch(() => undefined) // it is gone already
    },
  }
  try {
    // What a suspect put into a schema must not stand in for a function or an operator of the system (CVE-2018-1058).
    await connection
      .admin(signal)
      .query(
        what,
        `SELECT pg_catalog.set_config('search_path', '', false), pg_catalog.set_config('statement_timeout', '${statementMs}', false), pg_catalog.set_config('lock_timeout', '10000', false)`,
      )
    return connection
  } catch (error) {
    await connection.end()
    throw error
  }
}

// Connections that are kept for a moment: one look is followed by the next, a thousand times

const idleMs = 1000
const idle = new Map<string, Connected[]>()

function keyOf(place: Place, { user, password }: Login): string {
  return JSON.stringify([asJson(place), user, password ?? null])
}

function takeIdle(key: string): Connected | undefined {
  const list = idle.get(key) ?? []
  for (let one = list.pop(); one !== undefined; one = list.pop()) {
    if (!one.alive()) continue
    one.client.ref()
    return one
  }
  return undefined
}

function keepIdle(key: string, connection: Connected): void {
  if (!connection.alive()) return
  const list = idle.get(key) ?? []
  idle.set(key, list)
  list.push(connection)
  // Nothing waits for it: the program may end.
  connection.client.unref()
  setTimeout(() => {
    const at = list.indexOf(connection)
    if (at < 0) return
    list.splice(at, 1)
    void connection.end()
  }, idleMs).unref()
}

async function endIdle(key: string): Promise<void> {
  const list = idle.get(key) ?? []
  idle.delete(key)
  await Promise.all(list.splice(0).map((one) => one.end()))
}

/** Its types leave out that it need not keep the program running. */
type Client = import('pg').Client & { ref(): void; unref(): void }

/** Servers that said in this command that they have no TLS: where that may be done without, they are not asked again. */
const withoutTls = new WeakMap<AbortSignal, Set<string>>()

async function open({ host, port, name }: Database, login: Login, signal: AbortSignal): Promise<Client> {
  const { default: pg } = await import('pg')
  const server = `${host}:${port}`
  const plain = withoutTls.get(signal) ?? new Set()
  withoutTls.set(signal, plain)
  const remembered = login.ssl.includes(false) && plain.has(server)
  const attempts: Ssl = host.startsWith('/') || remembered ? [false] : login.ssl
  for (const [index, ssl] of attempts.entries()) {
    if (signal.aborted) throw interrupted()
    const client = new pg.Client({
      host,
      port,
      database: name,
      user: login.user,
      // As a function, so that the library looks nowhere else for one.
      password: () => {
        if (login.password === undefined) throw noPassword(login.user)
        return login.password
      },
      ssl,
      application_name: 'mcp-ir',
      connectionTimeoutMillis: connectMs,
      keepAlive: true,
    }) as Client
    if (ssl === false || ssl.rejectUnauthorized === false) neverInTheClear(client, login, host)
    // A connection that dies between two statements is told by the next one.
    client.on('error', () => undefined)
    try {
      await client.connect()
      return client
    } catch (error) {
      await client.end().catch(() => undefined)
      if (remembered && sqlState(error) === '28000' && !isOfRole(error)) {
        // Another node behind the same address may ask for TLS.
        plain.delete(server)
        return await open({ host, port, name }, login, signal)
      }
      if (/does not support SSL/.test(error instanceof Error ? error.message : '')) plain.add(server)
      if (index === attempts.length - 1 || !aboutTls(error)) throw error
    }
  }
  throw new TypeError('nothing to try')
}

/**
 * A server that was not proven to be the right one is shown no password: it could only want to collect it. With SCRAM it learns
 * nothing. What a suspect holds itself may be shown.
 */
function neverInTheClear(client: Client, { user, guarded }: Login, host: string): void {
  if (!guarded || host.startsWith('/')) return
  const { connection } = client as unknown as { connection: EventEmitter & { stream: { destroy(error: Error): void } } }
  connection.once('authenticationCleartextPassword', () => {
    const message = `${host} asks for the password of ${user} in the clear, and has not proven who it is`
    connection.stream.destroy(
      new IrError('refused', message, { hints: ['Set PGSSLMODE=verify-full (and PGSSLROOTCERT) for such a server'] }),
    )
  })
}

/** With `prefer`, a server without TLS is spoken to in the clear; with `allow`, one that wants TLS gets it. */
function aboutTls(error: unknown): boolean {
  if (sqlState(error) === '28000') return true
  return error instanceof Error && /SSL connection|TLS|secure/i.test(error.message)
}

function noPassword(user: string): IrError {
  return new IrError('denied', `the database asks for the password of ${user}, and there is none`, {
    hints: ['Set PGPASSWORD, PGPASSFILE or PGSERVICE; or name adminRole in the registry'],
  })
}

// Trying what somebody else holds

export type Attempt =
  | { readonly answer: 'accepted' }
  /** `password`: not this one (any more); `login`: it may be right, and is refused all the same. */
  | { readonly answer: 'refused'; readonly why: 'password' | 'login' }
  | { readonly answer: 'unknown'; readonly why: string }

/** One log-in as the suspect would do it. Never throws but for an interruption. */
export async function tryLogin(
  database: Database,
  user: string,
  password: string,
  signal: AbortSignal,
): Promise<Attempt> {
  try {
    const { ssl } = await ownLogin(signal, database)
    const client = await open(database, { user, password, ssl, guarded: false }, signal)
    await client.end().catch(() => undefined)
    return { answer: 'accepted' }
  } catch (error) {
    if (signal.aborted) throw interrupted()
    const state = sqlState(error)
    if (state === '28P01') return { answer: 'refused', why: 'password' }
    // The role itself is refused, not the address that we come from (pg_hba.conf), which says nothing of the suspect's.
    if (state === '28000' && isOfRole(error)) return { answer: 'refused', why: 'login' }
    if (state === '28000') return { answer: 'unknown', why: 'pg_hba.conf lets nobody log in from here with it' }
    // Told only after the password was taken: no such database, no right to connect to it, too many connections of this role.
    if (state === '3D000' || state === '42501' || (state === '53300' && isOfRole(error))) return { answer: 'accepted' }
    return { answer: 'unknown', why: wordsOf(error) }
  }
}

// Errors

const words: Readonly<Record<string, string>> = {
  '28P01': 'the password is refused',
  '28000': 'the log-in is refused',
  '3D000': 'there is no such database',
  '42501': 'it is not permitted',
  '42704': 'there is no such role',
  '53300': 'too many connections',
  '57014': 'it took too long',
  '57P01': 'the connection was ended by an administrator',
  '57P03': 'the server is starting or stopping',
  '25006': 'it is a read-only standby',
}

interface Asked {
  readonly signal: AbortSignal
  readonly changes: boolean
  readonly connecting: boolean
}

function asIrError(error: unknown, what: string, { signal, changes, connecting }: Asked): IrError {
  if (error instanceof IrError) return error
  if (signal.aborted) return interrupted()
  const state = sqlState(error)
  const message = `${what}: ${wordsOf(error)}`
  if (state === undefined)
    return new IrError('unreachable', message, {
      ambiguous: changes,
      ...(connecting ? { hints: ['Is the database up, and can it be reached from here?'] } : {}),
    })
  if (/^28/.test(state))
    return new IrError('denied', message, {
      hints: ['PGUSER and PGPASSWORD (or PGSERVICE, .pgpass) say who logs in as administrator; or name adminRole'],
    })
  if (state === '42501') return new IrError('denied', message)
  if (connecting && /^(53|57P03)/.test(state)) return new Busy('unreachable', message)
  // Not made, or not known to be made; a moment later it may be.
  if (/^(08|40|53|55|57|58|XX)/.test(state)) return new IrError('unreachable', message, { ambiguous: changes })
  return new IrError(connecting ? 'input' : 'partial', message)
}

function wordsOf(error: unknown): string {
  const state = sqlState(error)
  if (state !== undefined) return `${words[state] ?? 'the server refuses it'} (${state})`
  const code = systemCode(error)
  if (code !== undefined) return `no answer (${code})`
  const message = error instanceof Error ? error.message : ''
  if (/timeout expired/.test(message)) return 'no answer in time'
  if (/terminated|ended|not queryable/i.test(message)) return 'the connection broke off'
  if (/SSL|TLS/.test(message)) return 'the server has no TLS, which PGSSLMODE asks for'
  if (/SASL|SCRAM|password/i.test(message)) return 'the server could not prove that it knows the password (SCRAM)'
  return 'no proper answer'
}

function sqlState(error: unknown): string | undefined {
  const code = systemCode(error)
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code) && error instanceof Error && 'severity' in error
    ? code
    : undefined
}

/** It is about the role itself, not about whence it comes (pg_hba.conf). */
function isOfRole(error: unknown): boolean {
  return error instanceof Error && 'routine' in error && error.routine === 'InitializeSessionUserId'
}

export function interrupted(): IrError {
  return new IrError('interrupted', 'Interrupted.')
}
