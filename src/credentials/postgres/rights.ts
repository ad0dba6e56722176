import type { Problem } from '../../change.ts'
import { type Admin, placeName } from './connect.ts'
import type { Database } from './libpq.ts'
import type { Role } from './sessions.ts'

/** What the administrator may do to a role, by the server's own functions. */
export interface Rights {
  readonly session: string
  readonly standby: boolean
  readonly superuser: boolean
  /** ALTER ROLE of the target. */
  readonly alters: boolean
  readonly signals: boolean
  readonly reads: boolean
}

/** For a look: our own are read once for all who ask, and a superuser has them over everybody. */
export async function rightsOver(admin: Admin, role: Pick<Role, 'oid' | 'superuser'> | undefined): Promise<Rights> {
  const own = await admin.shared('own rights', () => readRights(admin, undefined))
  return role === undefined || own.superuser ? own : await readRights(admin, role)
}

async function readRights(admin: Admin, role: Pick<Role, 'oid' | 'superuser'> | undefined): Promise<Rights> {
  const text = `SELECT session_user::text AS session, pg_catalog.pg_is_in_recovery() AS standby, me.rolsuper AS superuser,
      me.rolsuper OR (NOT $2::bool AND me.rolcreaterole AND
        (pg_catalog.current_setting('server_version_num')::int < 160000
          OR ($1::int8 IS NOT NULL AND pg_catalog.pg_has_role(current_user, $1::int8::oid, 'MEMBER WITH ADMIN OPTION')))) AS alters,
      me.rolsuper OR pg_catalog.pg_has_role(current_user, 'pg_signal_backend', 'USAGE') AS signals,
      me.rolsuper OR pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS reads
    FROM pg_catalog.pg_roles me WHERE me.rolname = current_user`
  const [rights] = await admin.query<Rights>('reading our own rights', text, [
    role?.oid ?? null,
    role?.superuser ?? false,
  ])
  if (rights === undefined) throw new TypeError('we have no role')
  return rights
}

/** What is missing, said before anything is approved. `alters` is false where no role is to be altered. */
export function missing(
  rights: Rights,
  wanted: { readonly alters: boolean; readonly name: string; readonly place: Database },
): readonly Problem[] {
  const { name, place } = wanted
  const where = placeName(place)
  if (rights.standby)
    return [
      {
        kind: 'input',
        message: `${where} is a read-only standby: nothing can be changed there`,
        hint: 'Name the primary in the registry',
      },
    ]
  const gaps: string[] = []
  if (wanted.alters && !rights.alters) gaps.push(`ALTER ROLE ${name} (CREATEROLE and ADMIN OPTION on it, or superuser)`)
  if (!rights.signals) gaps.push('pg_signal_backend')
  if (!rights.reads) gaps.push('pg_read_all_stats')
  if (gaps.length === 0) return []
  // Whoever can do neither can do nothing here; part of it is better than nothing.
  const kind = !rights.signals && (!wanted.alters || !rights.alters) ? 'denied' : 'warning'
  return gaps.map((gap) => ({
    kind,
    message: `we (${rights.session} on ${where}) lack ${gap}`,
    hint: gap.startsWith('pg_') ? `GRANT ${gap} TO ${rights.session}` : 'Log in as another administrator (PGUSER)',
  }))
}
