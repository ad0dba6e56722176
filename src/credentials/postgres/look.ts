import type { Admin } from './connect.ts'
import { everyRole, everySession, orphans, type Role, type Session } from './sessions.ts'

/**
 * What sessions.ts reads, for a look at very many credentials: roles and sessions of a server are read whole, once for all who look
 * in the same moment (see ../shared.ts). Never right before a change, nor to see whether one happened.
 */
export async function lookForRole(admin: Admin, name: string): Promise<Role | undefined> {
  return (await roles(admin)).byName.get(name)
}

export async function lookForRoles(admin: Admin, oids: readonly number[]): Promise<readonly Role[]> {
  if (oids.length === 0) return []
  const { byOid } = await roles(admin)
  return oids.flatMap((oid) => byOid.get(oid) ?? [])
}

/** Those of these roles, whether the roles still exist or not. */
export async function lookForSessions(admin: Admin, oids: readonly number[]): Promise<readonly Session[]> {
  if (oids.length === 0) return []
  const all = await admin.shared('sessions', async () => Map.groupBy(await everySession(admin), ({ oid }) => oid))
  return oids.flatMap((oid) => all.get(oid) ?? []).sort((a, b) => a.pid - b.pid)
}

export function lookForOrphans(admin: Admin): Promise<readonly Session[]> {
  return admin.shared('orphans', () => orphans(admin))
}

/** The same once all else is changed, for all credentials that sweep a server. The verdict asks again: more may be orphaned by then. */
export function lookForSweeping(admin: Admin): Promise<readonly Session[]> {
  return admin.shared('orphans to end', () => orphans(admin))
}

/** A question about all roles, such as which of them Vault made. */
export function lookAtRoles<T>(admin: Admin, key: string, ask: (roles: readonly Role[]) => T): Promise<T> {
  return admin.shared(key, async () => ask((await roles(admin)).all))
}

function roles(admin: Admin) {
  return admin.shared('roles', async () => {
    const all = await everyRole(admin)
    return {
      all,
      byName: new Map(all.map((role) => [role.name, role])),
      byOid: new Map(all.map((role) => [role.oid, role])),
    }
  })
}
