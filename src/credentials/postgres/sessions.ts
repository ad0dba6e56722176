import { setTimeout as sleep } from 'node:timers/promises'
import type { Json } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import { type Admin, interrupted } from './connect.ts'

/** What is read of roles and their sessions, and how sessions are ended. */
export interface Role {
  readonly oid: number
  readonly name: string
  readonly login: boolean
  readonly superuser: boolean
  readonly createsRoles: boolean
  readonly replicates: boolean
  /** RFC 3339; `infinity` where it never ends. */
  readonly validUntil: string | null
}

const utc = (column: string): string =>
  `pg_catalog.to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`

const roleColumns = `r.oid::int8::text AS oid, r.rolname::text AS name, r.rolcanlogin AS login, r.rolsuper AS superuser,
  r.rolcreaterole AS "createsRoles", r.rolreplication AS replicates,
  CASE WHEN r.rolvaliduntil IS NULL THEN NULL WHEN pg_catalog.isfinite(r.rolvaliduntil) THEN ${utc('r.rolvaliduntil')} ELSE 'infinity' END AS "validUntil"`

type RoleRow = Omit<Role, 'oid'> & { readonly oid: string }

const asRole = (row: RoleRow): Role => ({ ...row, oid: Number(row.oid) })

export async function rolesByOid(admin: Admin, oids: readonly number[]): Promise<readonly Role[]> {
  if (oids.length === 0) return []
  const text = `SELECT ${roleColumns} FROM pg_catalog.pg_roles r WHERE r.oid::int8 = ANY($1::int8[]) ORDER BY r.oid`
  return (await admin.query<RoleRow>('reading the roles', text, [oids])).map(asRole)
}

/** For looks: see look.ts. */
export async function everyRole(admin: Admin): Promise<readonly Role[]> {
  const text = `SELECT ${roleColumns} FROM pg_catalog.pg_roles r ORDER BY r.oid`
  return (await admin.query<RoleRow>('reading the roles', text)).map(asRole)
}

/** A live session. `pid` and `since` together name it: a process id alone is used again. */
export interface Session {
  readonly pid: number
  /** Who logged in, whatever it became by SET ROLE since: the role's oid, also once the role is gone. */
  readonly oid: number
  /** Start of the backend, RFC 3339 with microseconds; null where we may not see it. */
  readonly since: string | null
  readonly database: string | null
  readonly client: string | null
  readonly type: string | null
}

const sessionColumns = `a.pid, a.usesysid::int8::text AS oid, ${utc('a.backend_start')} AS since, a.datname::text AS database,
  pg_catalog.host(a.client_addr) AS client, a.backend_type AS type`

type SessionRow = Omit<Session, 'oid'> & { readonly oid: string }

const asSession = (row: SessionRow): Session => ({ ...row, oid: Number(row.oid) })

/** Those of these roles, whether the roles still exist or not. */
export async function sessionsOf(admin: Admin, oids: readonly number[]): Promise<readonly Session[]> {
  if (oids.length === 0) return []
  const text = `SELECT ${sessionColumns} FROM pg_catalog.pg_stat_activity a WHERE a.usesysid::int8 = ANY($1::int8[]) ORDER BY a.pid`
  return (await admin.query<SessionRow>('reading the sessions', text, [oids])).map(asSession)
}

/** For looks: see look.ts. */
export async function everySession(admin: Admin): Promise<readonly Session[]> {
  const text = `SELECT ${sessionColumns} FROM pg_catalog.pg_stat_activity a WHERE a.usesysid IS NOT NULL ORDER BY a.pid`
  return (await admin.query<SessionRow>('reading the sessions', text)).map(asSession)
}

const roleIsGone = `a.usesysid IS NOT NULL AND a.usesysid::int8 <> 0
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = a.usesysid)`

/**
 * Those whose role is gone: by name they are not to be found any more. Looked for twice, as a role that was made and logged in within
 * one statement is not seen in it.
 */
export async function orphans(admin: Admin): Promise<readonly Session[]> {
  const text = `SELECT ${sessionColumns} FROM pg_catalog.pg_stat_activity a WHERE ${roleIsGone} ORDER BY a.pid`
  const first = (await admin.query<SessionRow>('reading the sessions without a role', text)).map(asSession)
  if (first.length === 0) return []
  const again = (await admin.query<SessionRow>('reading the sessions without a role', text)).map(asSession)
  return again.filter((one) => first.some((other) => isSame(one, other)))
}

export function isSame(one: Session, other: Session): boolean {
  return one.pid === other.pid && one.since === other.since && one.oid === other.oid
}

/** Those of `all` that are none of `told`. */
export function without(told: readonly Session[], all: readonly Session[]): readonly Session[] {
  return all.filter((one) => !told.some((other) => isSame(one, other)))
}

/** How long an ended session may take to go, in looks. */
const looks = 40
const pauseMs = 125

export interface Ended {
  readonly sessions: readonly Session[]
}

/**
 * Ends what `find` finds until it finds nothing. Each is ended in a statement of its own, by process id and start: one that may not be
 * ended does not save the others, and a process id that was used again is not hit.
 * @throws IrError denied, or partial when some do not go
 */
export async function endSessions(
  admin: Admin,
  find: () => Promise<readonly Session[]>,
  signal: AbortSignal,
): Promise<Ended> {
  const ended = new Map<string, Session>()
  const denied = new Set<number>()
  for (let look = 0; ; look++) {
    const live = await find()
    const left = live.filter(({ pid }) => !denied.has(pid))
    if (left.length === 0 && live.length === 0) return { sessions: [...ended.values()] }
    if (left.length === 0)
      throw new IrError('denied', `ending sessions is not permitted: pid ${pids(live)}`, {
        hints: ['Grant pg_signal_backend, for sessions of a superuser be a superuser'],
      })
    if (look === looks) throw new IrError('partial', `sessions do not end: pid ${pids(left)}`)
    for (const session of left) {
      // Once asked, it is given time; asked again where it hangs in something that holds signals up.
      if (ended.has(keyOf(session)) && look % 8 !== 0) continue
      try {
        await end(admin, session)
        ended.set(keyOf(session), session)
      } catch (error) {
        if (!(error instanceof IrError && error.code === 'denied')) throw error
        denied.add(session.pid)
      }
    }
    await sleep(look === 0 ? 20 : pauseMs, undefined, { signal }).catch(() => {
      throw interrupted()
    })
  }
}

async function end(admin: Admin, { pid, oid, since }: Session): Promise<void> {
  const text = `SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
    WHERE a.pid = $1 AND a.usesysid::int8 = $2::int8 AND ${utc('a.backend_start')} IS NOT DISTINCT FROM $3::text`
  await admin.query('ending a session', text, [pid, oid, since], 'changes')
}

function keyOf({ pid, since }: Session): string {
  return `${pid} ${since}`
}

function pids(sessions: readonly Session[]): string {
  const shown = sessions.slice(0, 10).map(({ pid }) => pid)
  return `${shown.join(', ')}${sessions.length > 10 ? ` and ${sessions.length - 10} more` : ''}`
}

/** `pid 123 since … from 10.0.0.1 in crm`. */
export function tell({ pid, since, client, database, type }: Session): string {
  const kind = type === null || type === 'client backend' ? '' : `, ${type}`
  return `pid ${pid} since ${since ?? 'unknown'} from ${client ?? 'the same machine'}${database === null ? '' : ` in ${safe(database)}`}${kind}`
}

const kept = 500

/** For the journal; the list is cut where it is long, the number is not. */
export function journalled(sessions: readonly Session[]): Json {
  return { count: sessions.length, sessions: sessions.slice(0, kept).map((one) => ({ ...one })) }
}
