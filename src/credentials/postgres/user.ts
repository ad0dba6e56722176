import { randomBytes } from 'node:crypto'
import type { Call, Change, Observation, Verdict } from '../../change.ts'
import type { CredentialState, CredentialTarget } from '../port.ts'
import { fingerprint } from '../secret-source.ts'
import { asJson, stateOf } from '../words.ts'
import { notedSessions, usersOf } from './actions.ts'
import { blockChange, endChange, sweepChange, tellAll } from './changes.ts'
import { type Attempt, type Place, placeName, tryLogin, withAdmin } from './connect.ts'
import { leftovers } from './leftovers.ts'
import { looksAt } from './look.ts'
import { isSame, type Role, type Session, without } from './sessions.ts'

/** One user of a database that keeps its name: how it is revoked, and what became of it. */
export interface DatabaseUser {
  readonly call: Call<CredentialTarget>
  readonly place: Place
  readonly user: string
  /** Vault names it: then it is no mistake of ours that there is no such role. */
  readonly certain?: boolean
}

/** Stays the same, and makes the ids. */
export function nameOf({ user, place }: Pick<DatabaseUser, 'user' | 'place'>): string {
  return `user ${user} on ${placeName(place)}`
}

// Revoke

export async function planRevokeUser(of: DatabaseUser, chain: readonly string[]): Promise<readonly Change[]> {
  const { call, place, user } = of
  const target = nameOf(of)
  return await withAdmin(call, place, async (admin) => {
    const looks = looksAt(admin)
    const role = await looks.role(user)
    if (role === undefined) {
      const lost = await looks.orphans()
      return lost.length === 0 ? [] : [sweepChange({ call, admin, place, chain: [...chain, target] }, lost)]
    }
    const sessions = await looks.sessions([role.oid])
    const about = { call, admin, place, target, users: [{ oid: role.oid, name: role.name }], sessions, chain }
    return [
      ...(role.login ? [blockChange(about)] : []),
      ...(role.login || sessions.length > 0 ? [endChange(about)] : []),
    ]
  })
}

interface Seen {
  readonly role: Role | undefined
  readonly sessions: readonly Session[]
  /** Without a role, whose they were cannot be told: they count. */
  readonly lost: readonly Session[]
  readonly residue: readonly string[]
}

async function look({ call, place, user }: DatabaseUser): Promise<Seen> {
  return await withAdmin(call, place, async (admin) => {
    const looks = looksAt(admin)
    const role = await looks.role(user)
    const known = call.changes.flatMap((change) => usersOf(change).map(({ oid }) => oid))
    const oids = [...new Set([...known, ...(role === undefined ? [] : [role.oid])])]
    const sessions = await looks.sessions(oids)
    return {
      role,
      sessions,
      lost: role === undefined ? without(sessions, await looks.orphans()) : [],
      residue: role === undefined ? [] : await leftovers(admin, role),
    }
  })
}

interface Tried {
  readonly where: string
  readonly attempt: Attempt
}

/** Every old password that is to be had. @param spare fingerprint of the new one, which may lie where the old one did */
async function tryHeld({ call, place, user }: DatabaseUser, spare: string | undefined): Promise<readonly Tried[]> {
  const tried: Tried[] = []
  for (const { secret, where } of (await call.target.held?.(call.signal)) ?? []) {
    if (secret === '' || fingerprint(call.caseId, secret) === spare) continue
    tried.push({ where, attempt: await tryLogin(place, user, secret, call.signal) })
  }
  return tried
}

function observe(tried: readonly Tried[]): readonly Observation[] {
  return tried
    .filter(({ attempt }) => attempt.answer !== 'unknown')
    .map(({ where, attempt }) => ({
      claim: `the old password (${where}) is refused`,
      seen: attempt.answer === 'refused' ? `refused (${attempt.why})` : attempt.answer,
      holds: attempt.answer === 'refused',
    }))
}

function gone(name: string, sessions: readonly Session[]): Observation {
  return { claim: `no session of ${name} is open`, seen: tellAll(sessions), holds: sessions.length === 0 }
}

function notSo(observed: readonly Observation[]): string {
  return observed
    .filter(({ holds }) => !holds)
    .map(({ claim, seen }) => `not so: ${claim} (${seen})`)
    .join('; ')
}

export async function verifyRevokedUser(of: DatabaseUser): Promise<Verdict> {
  const { call, user } = of
  const name = nameOf(of)
  const { role, sessions, lost, residue } = await look(of)
  const tried = await tryHeld(of, undefined)
  const noted = notedSessions(call)
  const left = noted.filter((one) => sessions.some((other) => isSame(one, other)))
  const observed: Observation[] = [
    {
      claim: `${name} cannot log in`,
      seen: role === undefined ? 'no such role' : role.login ? 'it can' : 'NOLOGIN',
      holds: role?.login !== true,
    },
    ...observe(tried),
    gone(name, sessions),
  ]
  if (noted.length > 0) {
    const claim = `the ${noted.length} session(s) noted or ended are gone`
    observed.push({ claim, seen: `${left.length} left`, holds: left.length === 0 })
  }
  if (role === undefined) observed.push(gone('a role that is gone', lost))
  const dead = observed.every(({ holds }) => holds)
  const unseen = dead && role === undefined && of.certain !== true && !wasSeen(of)
  // Refused although it is right: then it is the old one, and not something planted. Without a role, whatever is held is refused.
  const probed = tried.some(
    ({ attempt }) => attempt.answer === 'refused' && (attempt.why === 'login' || role === undefined),
  )
  const said = `issuer says so (${role === undefined ? 'no such role' : 'NOLOGIN'}, no session)`
  const state = unseen
    ? stateOf(call.target, 'unknown', `there is no ${name}, and this case never saw one: is the name right?`)
    : stateOf(call.target, dead ? 'dead' : 'alive', dead ? (probed ? 'probed' : said) : notSo(observed))
  return {
    state: !dead ? 'failed' : residue.length > 0 || unseen ? 'residual' : 'verified',
    observed,
    residue,
    limits: [...limitsOf(of), ...untried(user, tried)],
    output: asJson(state),
  }
}

/** Whoever mistypes a name sees no such role either. */
function wasSeen({ call, user }: DatabaseUser): boolean {
  const past = call.target.past?.().map(({ change }) => change) ?? []
  return [...past, ...call.changes].some((change) => usersOf(change).some(({ name }) => name === user))
}

function untried(user: string, tried: readonly Tried[]): readonly string[] {
  if (tried.length === 0) return [`user ${user}: its old password is not to be had here, so that it was not tried`]
  return tried.flatMap(({ attempt, where }) =>
    attempt.answer === 'unknown' ? [`user ${user}: the password from ${where} could not be tried: ${attempt.why}`] : [],
  )
}

function limitsOf({ user, place }: DatabaseUser): readonly string[] {
  return [
    `user ${user}: sessions are looked for on ${placeName(place)} alone; those on read replicas have to be ended there`,
    `user ${user}: what it left in its databases (functions, triggers, jobs, data) is not looked for`,
  ]
}

// Rotate

/** The new password where its holder reads it from, in memory. */
export interface Renewed {
  readonly secret: string | undefined
  /** That it is the one that was made, where it should be. */
  readonly observed: Observation
  /** Since when it holds, RFC 3339: sessions from before were opened with the old one. Undefined: not known. */
  readonly at: string | undefined
  readonly delivered: CredentialState['delivered'] | undefined
}

export async function verifyRotatedUser(of: DatabaseUser, renewed: Renewed): Promise<Verdict> {
  const { call, place, user } = of
  const { server, sharedWith } = call.target
  const observed: Observation[] = [renewed.observed]
  const residue: string[] = []
  if (renewed.secret !== undefined) {
    const attempt = await tryLogin(place, user, renewed.secret, call.signal)
    observed.push({
      claim: `${nameOf(of)} can log in with the new password`,
      seen: attempt.answer === 'accepted' ? 'accepted' : `${attempt.answer} (${attempt.why})`,
      holds: attempt.answer === 'accepted',
    })
    const any = await tryLogin(place, user, randomBytes(24).toString('base64url'), call.signal)
    if (any.answer === 'accepted')
      residue.push(
        `user ${user}: ${placeName(place)} takes any password from here (pg_hba.conf says trust): the new one proves nothing`,
      )
  }
  const fresh = observed.every(({ holds }) => holds)
  const { sessions, residue: left } = await look(of)
  const { at } = renewed
  const old = sessions.filter(({ since }) => at === undefined || since === null || Date.parse(since) < Date.parse(at))
  const spare = renewed.secret === undefined ? undefined : fingerprint(call.caseId, renewed.secret)
  const tried = await tryHeld(of, spare)
  const before: Observation[] = [gone(`${nameOf(of)} from before`, old), ...observe(tried)]
  const dead = fresh && before.every(({ holds }) => holds)
  const lives = old.length > 0 ? `; revoke it: mcp-ir revoke ${server}` : ''
  const proof = !dead
    ? `${notSo([...observed, ...before])}${lives}`
    : tried.some(({ attempt }) => attempt.answer === 'refused')
      ? 'probed'
      : 'issuer says so (a user has one password, and the new one is taken)'
  const state = stateOf(call.target, dead ? 'dead' : 'alive', proof)
  const reload = `user ${user}: ${sharedWith.join(', ')} use it too: they need the new password, and to be reloaded`
  return {
    state: !dead ? 'failed' : residue.length + left.length > 0 ? 'residual' : 'verified',
    observed: [...observed, ...before],
    residue: [...left, ...residue],
    limits: [...limitsOf(of), ...(sharedWith.length === 0 ? [] : [reload])],
    output: asJson(renewed.delivered === undefined ? state : { ...state, delivered: renewed.delivered }),
  }
}

// Reinstate

export async function verifyReinstatedUser(of: DatabaseUser): Promise<Verdict> {
  const { role } = await look(of)
  const free = role?.login === true
  const seen = role === undefined ? 'no such role' : free ? 'LOGIN' : 'NOLOGIN'
  return {
    state: free ? 'verified' : 'residual',
    observed: [{ claim: `${nameOf(of)} can log in again`, seen, holds: free }],
    residue: [],
    limits: [],
    output: asJson(stateOf(of.call.target, free ? 'alive' : 'dead', `issuer says so (${seen})`)),
  }
}
