import type { Admin } from './connect.ts'
import { everyRole, everySession, orphans, type Role, type Session } from './sessions.ts'

/**
 * What sessions.ts reads, for a look at very many credentials: roles and sessions of a server are read whole, once for all who look
 * (see shared-answers.ts). Never right before a change, nor to see whether one happened. One of these is one look: its roles
 * and sessions stay the same, the sessions read after the roles.
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

interface Seen {
  readonly roles: readonly Role[]
  readonly byName: ReadonlyMap<string, Role>
  readonly byOid: ReadonlyMap<number, Role>
  readonly sessions: ReadonlyMap<number, readonly Session[]>
}

export function looksAt(admin: Admin): Looks {
  let one: Promise<Seen> | undefined
  const seen = (): Promise<Seen> => {
    one ??= admin.shared('roles and sessions', () => read(admin))
    return one
  }
  return {
    role: async (name) => (await seen()).byName.get(name),
    async roles(oids) {
      const { byOid } = await seen()
      return oids.flatMap((oid) => byOid.get(oid) ?? [])
    },
    everyRole: async () => (await seen()).roles,
    async sessions(oids) {
      const { sessions } = await seen()
      return oids.flatMap((oid) => sessions.get(oid) ?? []).sort((a, b) => a.pid - b.pid)
    },
    orphans: () => admin.next('orphans', () => orphans(admin)),
  }
}

async function read(admin: Admin): Promise<Seen> {
  const roles = await everyRole(admin)
  const sessions = Map.groupBy(await everySession(admin), ({ oid }) => oid)
  return {
    roles,
    byName: new Map(roles.map((role) => [role.name, role])),
    byOid: new Map(roles.map((role) => [role.oid, role])),
    sessions,
  }
}
