import { bounded } from '../../bounded.ts'
import { IrError } from '../../errors.ts'
import { madeOnce } from '../made-once.ts'
import type { VaultClient } from '../vault/client.ts'
import type { Looks } from './look.ts'
import type { Role } from './sessions.ts'

/** The leases of one dynamic role, and which database users they stand for. */
interface Lease {
  readonly id: string
  /** Seconds since 1970, whole. */
  readonly issued: number
}

/**
 * Which they are now. Needs sudo, as Vault asks for it.
 * @param list `once.list` of the client for a look, `list` right before or after a change
 * @throws IrError denied
 */
export async function leaseIds(list: VaultClient['list'], mount: string, role: string): Promise<readonly string[]> {
  const prefix = `${mount}/creds/${role}`
  const keys = await list(`sys/leases/lookup/${prefix}`)
  return keys.filter((key) => !key.endsWith('/')).map((key) => `${prefix}/${key}`)
}

/**
 * The same where very many roles are looked at and few have any: which have is one question for all of them.
 * @throws IrError denied
 */
export async function leasesLeft(vault: VaultClient, mount: string, role: string): Promise<readonly string[]> {
  const having = await vault.once.list(`sys/leases/lookup/${mount}/creds`).catch((error: unknown) => {
    if (error instanceof IrError && error.code === 'denied') return undefined
    throw error
  })
  return having === undefined || having.includes(`${role.split('/')[0]}/`)
    ? await leaseIds(vault.once.list, mount, role)
    : []
}

/** With the moment of each; what ended meanwhile is left out. */
async function leasesOf(vault: VaultClient, ids: readonly string[]): Promise<readonly Lease[]> {
  const found = await bounded(ids, async (id): Promise<Lease | undefined> => {
    // A lease that is gone is a bad request to Vault.
    const request = { method: 'POST', path: 'sys/leases/lookup', body: { lease_id: id }, nature: 'read' } as const
    const { status, data } = await vault.request({ ...request, expected: [400, 404] })
    const issued = Date.parse(String(data.issue_time))
    return status >= 400 || Number.isNaN(issued) ? undefined : { id, issued: Math.floor(issued / 1000) }
  })
  return found.filter((one) => one !== undefined)
}

export interface Users {
  /** Surely made for this role. */
  readonly ours: readonly Role[]
  /** Leases whose user cannot be told. */
  readonly untold: number
  /** Named as for this role and for no other, and no lease is from then: nothing of Vault's ends them. */
  readonly strays: readonly Role[]
}

/**
 * A look-up of a lease does not tell its user. By default Vault names it `v-<8 of the token>-<8 of the role>-<20 random>-<second>`, so
 * that roles with the same first eight letters look alike, and may be drawn in the same second. They are ours when about a moment there
 * are no more of them than leases of ours; else they are told by nothing but that they vanish with the lease.
 */
export async function usersOf(
  vault: VaultClient,
  looks: Looks,
  { mount, role, leases: ids }: { readonly mount: string; readonly role: string; readonly leases: readonly string[] },
): Promise<Users> {
  const leases = await leasesOf(vault, ids)
  const cut = cutName(role)
  const named = madeByVault(await looks.everyRole()).filter(({ middle }) => isMadeFor(middle, cut))
  const ours: Role[] = []
  const strays: Role[] = []
  for (const { users, leases: count } of moments(named, leases)) {
    if (count === 0) strays.push(...users)
    else if (users.length <= count) ours.push(...users)
  }
  return {
    ours,
    untold: leases.length - ours.length,
    strays: strays.length > 0 && (await isAlone(vault, mount, role)) ? strays : [],
  }
}

/** A user is named at most a moment before its lease is written. */
const momentSeconds = 2

/** What was made at about the same time, in seconds: whatever follows within a moment belongs together. */
function moments(
  named: readonly { readonly user: Role; readonly at: number }[],
  leases: readonly Lease[],
): readonly { readonly users: readonly Role[]; readonly leases: number }[] {
  const all = [...named, ...leases.map(({ issued }) => ({ user: undefined, at: issued }))].sort((a, b) => a.at - b.at)
  const found: { users: Role[]; leases: number }[] = []
  let last = Number.NEGATIVE_INFINITY
  for (const { user, at } of all) {
    if (at - last > momentSeconds) found.push({ users: [], leases: 0 })
    last = at
    const moment = found.at(-1)
    if (moment === undefined) continue
    if (user === undefined) moment.leases++
    else moment.users.push(user)
  }
  return found
}

/** Whether no other role of the mount has users that look alike. */
async function isAlone(vault: VaultClient, mount: string, role: string): Promise<boolean> {
  try {
    const names = await vault.list(`${mount}/roles`)
    return !names.some((name) => name !== role && cutName(name) === cutName(role))
  } catch (error) {
    if (error instanceof IrError && error.code === 'denied') return false
    throw error
  }
}

function cutName(role: string): string {
  return [...role].slice(0, 8).join('')
}

interface Made {
  readonly user: Role
  /** Of its name, the cut display name of a token and the cut name of the role. */
  readonly middle: string
  /** Second of its name. */
  readonly at: number
}

const madeByVault = madeOnce((roles: readonly Role[]): readonly Made[] =>
  roles.flatMap((user) => {
    const parts = partsOf(user.name)
    return parts === undefined ? [] : [{ user, ...parts }]
  }),
)

function partsOf(user: string): { readonly middle: string; readonly at: number } | undefined {
  const parts = /^v-(.*)-[A-Za-z0-9]{20}-(\d+)$/.exec(user)
  return parts === null ? undefined : { middle: parts[1] ?? '', at: Number(parts[2]) }
}

function isMadeFor(middle: string, cut: string): boolean {
  // In front of it is the cut display name of a token, and nothing else.
  return middle.endsWith(`-${cut}`) && [...middle.slice(0, -cut.length - 1)].length <= 8
}

/** The second in the name of a user that was made for a role of this (cut) name; undefined when it was not. */
export function secondOf(user: string, cut: string): number | undefined {
  const parts = partsOf(user)
  return parts !== undefined && isMadeFor(parts.middle, cut) ? parts.at : undefined
}
