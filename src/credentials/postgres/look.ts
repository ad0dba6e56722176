import type { Admin } from './connect.ts'
import { everyRole, everySession, orphans, type Role, type Session } from './sessions.ts'

/**
 * What sessions.ts reads, for a look at very many credentials: roles and sessions of a server are read whole, once for all who look
 * (see shared-answers.ts). Never right before a change, nor to see whether one happened.
 */
export interface Looks {
  role(name: string): Promise<Role | undefined>
  roles(oids: readonly number[]): Promise<readonly Role[]>
  everyRole(): Promise<readonly Role[]>
  /** Those of these roles, whether the roles still exist or not. */
  sessions(oids: readonly number[]): Promise<readonly Session[]>
  /**
   * Always read after it was asked for, and to be asked for last: the session of a user that vanishes after its lease or its role was
   * looked for is among them.
   */
  orphans(): Promise<readonly Session[]>
}

export function looksAt(admin: Admin): Looks {
  const roles = () =>
    admin.shared('roles', async () => {
      const all = await everyRole(admin)
      return {
        all,
        byName: new Map(all.map((role) => [role.name, role])),
        byOid: new Map(all.map((role) => [role.oid, role])),
      }
    })
  return {
    role: async (name) => (await roles()).byName.get(name),
    async roles(oids) {
      if (oids.length === 0) return []
      const { byOid } = await roles()
      return oids.flatMap((oid) => byOid.get(oid) ?? [])
    },
    everyRole: async () => (await roles()).all,
    async sessions(oids) {
      if (oids.length === 0) return []
      const all = await admin.shared('sessions', async () => Map.groupBy(await everySession(admin), ({ oid }) => oid))
      return oids.flatMap((oid) => all.get(oid) ?? []).sort((a, b) => a.pid - b.pid)
    },
    orphans: () => admin.next('orphans', () => orphans(admin)),
  }
}
