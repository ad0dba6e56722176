import { safe } from '../../ui/safe-text.ts'
import type { Admin } from './connect.ts'
import type { Role } from './sessions.ts'

/** What outlives the sessions of a role, and what it may have made to come back with: one sentence each. A look. */
export async function leftovers(admin: Admin, role: Role): Promise<readonly string[]> {
  const { name, oid } = role
  const found: string[] = []
  const prepared = (await preparedByOwner(admin)).get(name) ?? []
  if (prepared.length > 0)
    found.push(
      `user ${name}: ${prepared.length} prepared transaction(s) outlive its sessions, with their locks (ROLLBACK PREPARED, in ${listed([...new Set(prepared.map(({ database }) => database))])})`,
    )
  if (role.superuser)
    return [...found, `user ${name} is a superuser: it may have made any other way in, in the database and on its host`]
  const ruled = (await ruledByRole(admin)).get(oid) ?? []
  if (ruled.length > 0)
    found.push(
      `user ${name} made, or may alter, other users that can log in: ${listed(ruled.map((one) => one.name))}; look whether they are its way back`,
    )
  if (role.replicates) {
    const slots = await admin.query<{ name: string }>(
      'reading the replication slots',
      'SELECT s.slot_name::text AS name FROM pg_catalog.pg_replication_slots s ORDER BY 1',
    )
    if (slots.length > 0)
      found.push(
        `user ${name} may replicate: see whether a replication slot is its (${listed(slots.map((one) => one.name))})`,
      )
  }
  return found
}

function preparedByOwner(admin: Admin) {
  return admin.shared('prepared transactions', async () =>
    Map.groupBy(
      await admin.query<{ owner: string; database: string }>(
        'reading the prepared transactions',
        'SELECT p.owner::text AS owner, p.database::text AS database FROM pg_catalog.pg_prepared_xacts p',
      ),
      ({ owner }) => owner,
    ),
  )
}

function ruledByRole(admin: Admin) {
  return admin.shared('ruled roles', async () =>
    Map.groupBy(
      await admin.query<{ member: string; name: string }>(
        'reading which roles rule others',
        `SELECT DISTINCT m.member::int8::text AS member, r.rolname::text AS name
          FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
          WHERE m.admin_option AND r.rolcanlogin ORDER BY 2`,
      ),
      ({ member }) => Number(member),
    ),
  )
}

function listed(names: readonly string[]): string {
  return `${names
    .slice(0, 10)
    .map((name) => safe(name))
    .join(', ')}${names.length > 10 ? ` and ${names.length - 10} more` : ''}`
}
