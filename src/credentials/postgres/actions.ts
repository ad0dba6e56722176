import type { Action, ActionCall, Call, Change, Json } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { CredentialTarget } from '../port.ts'
import { field, mayGoOn } from '../words.ts'
import { type Admin, asJson, type Place, withAdmin } from './connect.ts'
import { looksAt } from './look.ts'
import { endSessions, journalled, orphans, type Role, rolesByOid, type Session, sessionsOf } from './sessions.ts'

/** What both adapters do to database users; each change carries the place and the users in its parameters. */

/** A user by its oid, which nobody else gets; the name is for people. */
export interface User {
  readonly oid: number
  readonly name: string
}

export function usersJson(users: readonly User[]): Json {
  return users.map(({ oid, name }) => ({ oid, name }))
}

export function usersOf(change: Change): readonly User[] {
  const found = field(change.params, 'users')
  return Array.isArray(found) ? (found as unknown as readonly User[]) : []
}

export function placeOfChange(change: Change): Place {
  const place = field(change.params, 'place')
  if (place === undefined) throw new TypeError(`${change.action} names no database`)
  return place as unknown as Place
}

export function placeJson(place: Place): Json {
  return asJson(place)
}

/** Sessions that the changes of this call noted or ended so far. */
export function notedSessions({ changes, receipts }: Pick<Call<unknown>, 'changes' | 'receipts'>): readonly Session[] {
  return changes.flatMap(({ id }) => {
    const sessions = field(receipts.get(id)?.output, 'sessions')
    return Array.isArray(sessions) ? (sessions as unknown as readonly Session[]) : []
  })
}

async function current(admin: Admin, change: Change): Promise<readonly Role[]> {
  return await rolesByOid(
    admin,
    usersOf(change).map(({ oid }) => oid),
  )
}

/** NOLOGIN or LOGIN, by the name that the role has now. */
async function setLogin(admin: Admin, { name }: Role, login: boolean): Promise<void> {
  const attribute = login ? 'LOGIN' : 'NOLOGIN'
  await admin.query(
    `${login ? 'allowing' : 'blocking'} the log-in of ${name}`,
    `ALTER ROLE ${admin.quote(name)} ${attribute}`,
    [],
    'changes',
  )
}

/** Nobody logs in as them any more; the sessions that they have are noted before their roles can vanish. */
export function blockLogin<T extends CredentialTarget>(): Action<T> {
  return {
    async apply(change, call) {
      mayGoOn(call)
      return await withAdmin(call, placeOfChange(change), async (admin) => {
        const sessions = await sessionsOf(
          admin,
          usersOf(change).map(({ oid }) => oid),
        )
        const refused: IrError[] = []
        for (const role of (await current(admin, change)).filter(({ login }) => login)) {
          mayGoOn(call)
          await setLogin(admin, role, false).catch((error: unknown) => {
            // Of many users, one that may not be altered does not save the others.
            if (!(error instanceof IrError && error.code === 'denied')) throw error
            refused.push(error)
          })
        }
        if (refused[0] !== undefined) throw refused[0]
        return { output: journalled(sessions) }
      })
    },

    async settle(change, call) {
      return await withAdmin(call, placeOfChange(change), async (admin) => {
        const roles = await current(admin, change)
        if (roles.some(({ login }) => login)) return undefined
        return {
          output: journalled(
            await sessionsOf(
              admin,
              usersOf(change).map(({ oid }) => oid),
            ),
          ),
        }
      })
    },

    undo: {
      async drift(change, _receipt, call) {
        return await withAdmin(call, placeOfChange(change), async (admin) => {
          const roles = await current(admin, change)
          return usersOf(change).flatMap(({ oid, name }) => {
            const role = roles.find((one) => one.oid === oid)
            if (role === undefined) return [`role ${name} is gone: it cannot be given back`]
            if (role.login) return [`somebody let ${role.name} log in again already`]
            return role.name === name ? [] : [`role ${name} is called ${role.name} now`]
          })
        })
      },
      async apply(change, _receipt, call) {
        mayGoOn(call)
        return await withAdmin(call, placeOfChange(change), async (admin) => {
          for (const role of (await current(admin, change)).filter(({ login }) => !login))
            await setLogin(admin, role, true)
          return {}
        })
      },
      async settle(change, _receipt, call) {
        return await withAdmin(call, placeOfChange(change), async (admin) =>
          (await current(admin, change)).every(({ login }) => login) ? {} : undefined,
        )
      },
    },
  }
}

/** Every session that logged in as them, also once the role has gone meanwhile. */
export function endUserSessions<T extends CredentialTarget>(): Action<T> {
  return ending((admin, change) =>
    sessionsOf(
      admin,
      usersOf(change).map(({ oid }) => oid),
    ),
  )
}

/**
 * Every session whose role is gone: whose it was cannot be told any more, and it has no rights of its own left. Every credential of a
 * database sweeps it: whether there is any is asked once for those that sweep in the same moment.
 */
export function sweepOrphans<T extends CredentialTarget>(): Action<T> {
  return ending(
    (admin) => orphans(admin),
    (admin) => looksAt(admin).orphans(),
  )
}

/** @param first asked before all else, whether there is anything to end at all */
function ending<T extends CredentialTarget>(
  find: (admin: Admin, change: Change) => Promise<readonly Session[]>,
  first?: (admin: Admin) => Promise<readonly Session[]>,
): Action<T> {
  return {
    async apply(change, call: ActionCall<T>) {
      mayGoOn(call)
      return await withAdmin(call, placeOfChange(change), async (admin) => {
        if (first !== undefined && (await first(admin)).length === 0) return { output: journalled([]) }
        const { sessions } = await endSessions(admin, () => find(admin, change), call.signal)
        return { output: journalled(sessions) }
      })
    },
    async settle(change, call) {
      return await withAdmin(call, placeOfChange(change), async (admin) =>
        (await find(admin, change)).length === 0 ? { output: journalled([]) } : undefined,
      )
    },
  }
}

/** They may log in again, with a password that was just changed. */
export function allowLogin<T extends CredentialTarget>(): Action<T> {
  return {
    async apply(change, call) {
      mayGoOn(call)
      return await withAdmin(call, placeOfChange(change), async (admin) => {
        for (const role of (await current(admin, change)).filter(({ login }) => !login))
          await setLogin(admin, role, true)
        return {}
      })
    },
    async settle(change, call) {
      return await withAdmin(call, placeOfChange(change), async (admin) =>
        (await current(admin, change)).every(({ login }) => login) ? {} : undefined,
      )
    },
  }
}
