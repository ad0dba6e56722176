import type { Action, Call, Change, Observation, Verdict } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { CredentialOf } from '../../registry/port.ts'
import { safe } from '../../ui/safe-text.ts'
import { type CredentialTarget, stage } from '../port.ts'
import { type VaultClient, vaultClient } from '../vault/client.ts'
import { mayGoOn, quoted, asJson as stateJson, stateOf, textField } from '../words.ts'
import { notedSessions, usersOf as usersOfChange } from './actions.ts'
import { blockChange, endChange, sweepChange, tellAll } from './changes.ts'
import { type Place, placeName, tryLogin, withAdmin } from './connect.ts'
import { looksAt } from './look.ts'
import { rightsOver } from './rights.ts'
import { isSame, type Role, type Session, without } from './sessions.ts'
import { leaseIds, leasesLeft, type Users, usersOf } from './vault-leases.ts'
import { mountOf, type VaultRole } from './vault-role.ts'

/**
 * A dynamic role: every lease is a database user of its own. Its users are blocked and their sessions noted while they can still be
 * told; then the leases are revoked, which drops the users; then what lost its role is swept. Other Vault roles are not touched.
 */
type Target = CredentialTarget<CredentialOf<'vault-database'>>
type DatabaseCall = Call<Target>

export interface Dynamic {
  readonly call: DatabaseCall
  readonly vault: VaultClient
  readonly role: Extract<VaultRole, { type: 'dynamic' }>
  readonly place: Place | { readonly why: string }
}

/** `database/creds/crm`. */
function pathOf({ target }: DatabaseCall): string {
  return `${mountOf(target.credential)}/creds/${target.credential.role}`
}

interface InDatabase {
  readonly users: Users
  readonly sessions: readonly Session[]
  readonly lost: readonly Session[]
}

// Revoke

export async function planRevokeDynamic({ call, vault, place }: Dynamic): Promise<readonly Change[]> {
  const { credential } = call.target
  const mount = mountOf(credential)
  const { role } = credential
  const leases = await leaseIds(vault.once.list, mount, role)
  const path = pathOf(call)
  const changes: Change[] = leases.length === 0 ? [] : [revokeChange(call, vault, leases)]
  if ('why' in place) return changes
  const inDatabase = await withAdmin(call, place, async (admin): Promise<readonly Change[]> => {
    const looks = looksAt(admin)
    const users = await usersOf(vault, looks, { mount, role, leases })
    const sessions = await looks.sessions(users.ours.map(({ oid }) => oid))
    const lost = await looks.orphans()
    const target = `users of ${path} on ${placeName(place)}`
    const chain = [path, `${leases.length} leases`]
    const open = users.ours.filter(({ login }) => login)
    // Where Vault's users are not ours to alter, dropping them has to do.
    const blocks = open[0] !== undefined && (await rightsOver(admin, open[0])).alters
    const about = { call, admin, place, target, sessions, chain }
    return [
      ...(blocks ? [blockChange({ ...about, users: open.map(asUser) })] : []),
      ...(open.length + sessions.length > 0 ? [endChange({ ...about, users: users.ours.map(asUser) })] : []),
      // Also for leases whose users cannot be told beforehand: then their role is what is missed.
      ...(leases.length + lost.length > 0 ? [sweepChange({ call, admin, place, chain }, lost)] : []),
    ]
  }).catch(orWhy)
  return 'why' in inDatabase ? changes : [...changes, ...inDatabase]
}

function asUser({ oid, name }: Role): { readonly oid: number; readonly name: string } {
  return { oid, name }
}

/** A database that cannot be asked does not save the leases: it is told, and the verdict says what is not known. */
export function orWhy(error: unknown): { readonly why: string } {
  if (error instanceof IrError && /^(unreachable|denied|input)$/.test(error.code)) return { why: error.message }
  throw error
}

function revokeChange(call: DatabaseCall, vault: VaultClient, leases: readonly string[]): Change {
  const { server, sharedWith, credential } = call.target
  const path = pathOf(call)
  const target = `leases of ${path}`
  const namespace = vault.namespace === undefined ? '' : `-namespace=${quoted(vault.namespace)} `
  return {
    id: call.changeId('revoke-leases', target),
    action: 'revoke-leases',
    target,
    summary: `Revoke every lease of ${path}, ${leases.length} at the moment, for ${server}: Vault drops their database users`,
    effect: 'irreversible',
    priority: 'essential',
    after: [],
    stage: stage.end,
    chain: [path],
    params: { mount: mountOf(credential), role: credential.role },
    breaks: sharedWith,
    command: `vault lease revoke ${namespace}-sync -prefix ${quoted(path)}`,
    facts: { vault: vault.address, leases: `${leases.length}` },
  }
}

export const revokeLeases: Action<Target> = {
  async apply(change, call) {
    mayGoOn(call)
    const vault = vaultClient(call)
    const mount = textField(change.params, 'mount')
    const role = textField(change.params, 'role')
    const prefix = `${mount}/creds/${role}`
    // Vault's yes is not taken for it: what is left is looked for when all is done.
    if ((await revokePrefix(vault, prefix)) === 'done') return {}
    const before = await leaseIds(vault.list, mount, role)
    await revokeEach(vault, prefix, before)
    // Leases that somebody drew meanwhile are not ours to count.
    const after = await leaseIds(vault.list, mount, role)
    const left = before.filter((id) => after.includes(id))
    if (left.length > 0) throw notRevoked(left.length, mount, role)
    return {}
  },
  async settle(change, call) {
    const left = await leaseIds(
      vaultClient(call).list,
      textField(change.params, 'mount'),
      textField(change.params, 'role'),
    )
    return left.length === 0 ? {} : undefined
  },
}

const patience = { nature: 'repeat', timeoutMs: 120_000, expected: [400, 403] } as const

/** With `sync`: without it, it would only be queued. Never forced: Vault would forget the lease and leave the user alive. */
async function revokePrefix(vault: VaultClient, prefix: string): Promise<'done' | 'not all'> {
  const path = `sys/leases/revoke-prefix/${prefix}`
  const { status } = await vault.request({ method: 'PUT', path, body: { sync: true }, ...patience })
  return status < 400 ? 'done' : 'not all'
}

/** The prefix takes sudo; one by one does not. One that cannot be revoked does not save the others. */
async function revokeEach(vault: VaultClient, prefix: string, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    const path = 'sys/leases/revoke'
    const one = await vault.request({ method: 'PUT', path, body: { lease_id: id, sync: true }, ...patience })
    if (one.status === 403)
      throw new IrError('denied', `Vault does not permit us to revoke the leases of ${prefix} (403)`, {
        hints: [`Grant update and sudo on sys/leases/revoke-prefix/${prefix}, or update on sys/leases/revoke`],
      })
  }
}

function notRevoked(count: number, mount: string, role: string): IrError {
  return new IrError('unreachable', `Vault could not revoke ${count} lease(s) of ${mount}/creds/${role}`, {
    hints: ['Is the database up? Does a user own objects there (REASSIGN OWNED)? The log of Vault says why'],
    ambiguous: true,
  })
}

// The verdict

export async function verifyRevokedDynamic({ call, vault, role, place }: Dynamic): Promise<Verdict> {
  const { credential, sharedWith } = call.target
  const path = pathOf(call)
  const mount = mountOf(credential)
  const leases = await leasesLeft(vault, mount, credential.role)
  const seen = 'why' in place ? place : await look(call, vault, place, leases).catch(orWhy)
  const residue: string[] = []
  const limits = [`${path}: what its users left in the database (functions, triggers, data) is not looked for`]
  const inDatabase: Observation[] = []
  let blocked = false
  let probed = false
  if ('why' in seen) {
    const why = `${path}: sessions that were opened before live on, and could not be looked for: ${seen.why}`
    residue.push(why)
    inDatabase.push({ claim: 'the database was looked into', seen: seen.why, holds: false })
  } else {
    const { users, sessions, lost, open } = seen
    const noted = notedSessions(call)
    const left = noted.filter((one) => [...sessions, ...lost].some((other) => isSame(one, other)))
    inDatabase.push(
      {
        claim: `no user of ${path} can log in`,
        seen: open.length === 0 ? 'none' : names(open),
        holds: open.length === 0,
      },
      { claim: `no session of ${path} is open`, seen: tellAll(sessions), holds: sessions.length === 0 },
      { claim: 'no session without a role is open', seen: tellAll(lost), holds: lost.length === 0 },
    )
    if (noted.length > 0)
      inDatabase.push({
        claim: `the ${noted.length} session(s) noted or ended are gone`,
        seen: `${left.length} left`,
        holds: left.length === 0,
      })
    const tried = await tryHeld(call, place as Place, users)
    inDatabase.push(...tried)
    probed = tried.length > 0
    // A user that Vault cannot drop, as it owns something, is as good as dead when it can neither log in nor has a session.
    blocked = users.untold === 0 && users.ours.length >= leases.length && inDatabase.every(({ holds }) => holds)
    if (users.strays.length > 0)
      residue.push(
        `${path}: ${users.strays.length} user(s) are named as its own and have no lease (${names(users.strays)}): Vault will never end them; see whose they are`,
      )
    if (role.ownRevocation)
      limits.push(`${path} has revocation statements of its own: whether they end a user wholly is theirs to say`)
  }
  const observed: Observation[] = [
    { claim: `${path} has no lease`, seen: `${leases.length}`, holds: leases.length === 0 },
    ...inDatabase,
  ]
  const dead = observed.every(({ holds }) => holds) || (blocked && leases.length > 0)
  if (leases.length > 0) residue.push(...(await leftLeases(call, vault, leases.length)))
  const unknown = !dead && leases.length === 0 && 'why' in seen
  const proof = dead
    ? probed
      ? 'probed'
      : `issuer says so (${leases.length === 0 ? 'no lease, no user' : 'its users cannot log in'}, no session)`
    : observed
        .filter(({ holds }) => !holds)
        .map(({ claim, seen: what }) => `not so: ${claim} (${what})`)
        .join('; ')
  limits.push(
    `${path}: who may read it in Vault draws a new user: that is stopped at the AppRole, token or entity, not here${sharedWith.length === 0 ? '' : `; ${sharedWith.join(', ')} use it too and draw new ones`}`,
  )
  return {
    state: dead ? (residue.length > 0 ? 'residual' : 'verified') : 'failed',
    observed,
    residue,
    limits,
    output: stateJson(stateOf(call.target, dead ? 'dead' : unknown ? 'unknown' : 'alive', proof)),
  }
}

async function look(
  call: DatabaseCall,
  vault: VaultClient,
  place: Place,
  leases: readonly string[],
): Promise<InDatabase & { readonly open: readonly Role[] }> {
  const { credential } = call.target
  return await withAdmin(call, place, async (admin) => {
    const looks = looksAt(admin)
    const users = await usersOf(vault, looks, { mount: mountOf(credential), role: credential.role, leases })
    const known = call.changes.flatMap((change) => usersOfChange(change).map(({ oid }) => oid))
    const oids = [...new Set([...known, ...users.ours.map(({ oid }) => oid)])]
    const sessions = await looks.sessions(oids)
    const open = (await looks.roles(oids)).filter(({ login }) => login)
    const lost = without(sessions, await looks.orphans())
    return { users, sessions, lost, open }
  })
}

/** What the suspect holds, with each user that is known. Nothing of it may be taken. */
async function tryHeld(call: DatabaseCall, place: Place, users: Users): Promise<readonly Observation[]> {
  const planned = call.changes.flatMap((change) => usersOfChange(change).map(({ name }) => name))
  const known = [...new Set([...planned, ...users.ours.map(({ name }) => name)])].slice(0, 5)
  const held = known.length === 0 ? [] : ((await call.target.held?.(call.signal)) ?? [])
  const tried: Observation[] = []
  for (const { secret, where } of held.filter((one) => one.secret !== '')) {
    for (const user of known) {
      const { answer } = await tryLogin(place, user, secret, call.signal)
      if (answer === 'unknown') continue
      tried.push({
        claim: `${user} is refused with the password from ${where}`,
        seen: answer,
        holds: answer === 'refused',
      })
    }
  }
  return tried
}

async function leftLeases(call: DatabaseCall, vault: VaultClient, count: number): Promise<readonly string[]> {
  const path = pathOf(call)
  const told = [`${path}: ${count} lease(s) are still there, or were drawn since`]
  const request = { method: 'GET', path: 'sys/leases/count', query: { type: 'irrevocable' }, nature: 'read' } as const
  const { data } = await vault.request({ ...request, expected: [400, 403, 404, 405] })
  if (typeof data.lease_count === 'number' && data.lease_count > 0)
    told.push(`Vault counts ${data.lease_count} irrevocable lease(s) in all: it has given up on them`)
  return told
}

function names(roles: readonly Role[]): string {
  const shown = roles.slice(0, 5).map(({ name }) => safe(name))
  return `${shown.join(', ')}${roles.length > 5 ? ` and ${roles.length - 5} more` : ''}`
}
