import type { Admin } from './connect.ts'
import { everyRole, everySession, orphans, type Role, type Session } from './sessions.ts'

/**
 * What sessions.ts reads, for a look at very many credentials: roles and sessions of a server are read whole, once for all who look
 * in the same moment (see shared-answers.ts). Never right before a change, nor to see whether one happened.
 */
export interface Looks {
  role(name: string): Promise<Role | undefined>
  roles(oids: readonly number[]): Promise<readonly Role[]>
  everyRole(): Promise<readonly Role[]>
  /** Those of these roles, whether the roles still exist or not. */
  sessions(oids: readonly number[]): Promise<readonly Session[]>
  orphans(): Promise<readonly Session[]>
}

/**
 * @param when `lately` for a plan: since the last change; `now` for a verdict: begun after it was asked for, so that what is read
 * later was later. The session of a user that vanishes between two reads is among the orphans of the second.
 */
export function looksAt(admin: Admin, when: 'lately' | 'now'): Looks {
  const ask = when === 'now' ? admin.next : admin.shared
  const roles = () =>
    ask('roles', async () => {
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
      const all = await ask('sessions', async () => Map.groupBy(await everySession(admin), ({ oid }) => oid))
      return oids.flatMap((oid) => all.get(oid) ?? []).sort((a, b) => a.pid - b.pid)
    },
    orphans: () => ask('orphans', () => orphans(admin)),
  }
}
