import type { Call, Change } from '../../change.ts'
import { type CredentialTarget, stage } from '../port.ts'
import { quoted } from '../words.ts'
import { placeJson, type User, usersJson } from './actions.ts'
import { type Admin, type Place, placeName } from './connect.ts'
import { type Session, tell } from './sessions.ts'

/** The changes that end what database users can do, as both adapters plan them. */
export interface About {
  readonly call: Pick<Call<CredentialTarget>, 'changeId' | 'target'>
  readonly admin: Admin
  readonly place: Place
  /** What the users are to people, and what names the changes: `user crm on db:5432`. */
  readonly target: string
  readonly users: readonly User[]
  /** Of these users, as they are now. */
  readonly sessions: readonly Session[]
  readonly chain: readonly string[]
}

export function blockChange({ call, admin, place, target, users, sessions, chain }: About): Change {
  const { server, sharedWith } = call.target
  return {
    id: call.changeId('block-login', target),
    action: 'block-login',
    target,
    summary: `Let nobody log in any more as ${target}, for ${server}`,
    effect: 'reversible',
    priority: 'essential',
    after: [],
    stage: stage.mint,
    chain,
    params: { place: placeJson(place), users: usersJson(users) },
    undo: { login: true },
    breaks: sharedWith,
    command: psql(place, users.map(({ name }) => `ALTER ROLE ${admin.quote(name)} NOLOGIN`).join('; ')),
    facts: factsOf(admin, place, sessions),
  }
}

export function endChange({ call, admin, place, target, users, sessions, chain }: About): Change {
  return {
    id: call.changeId('end-sessions', `sessions of ${target}`),
    action: 'end-sessions',
    target: `sessions of ${target}`,
    summary: `End every session of ${target}, ${sessions.length} at the moment: none ends with its password or its role`,
    effect: 'irreversible',
    priority: 'essential',
    after: [],
    stage: stage.end,
    chain: [...chain, target],
    params: { place: placeJson(place), users: usersJson(users) },
    breaks: call.target.sharedWith,
    command: psql(
      place,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid IN (${users.map(({ oid }) => oid).join(', ')})`,
    ),
    facts: factsOf(admin, place, sessions),
  }
}

/** @param lost the sessions without a role that there are now; there will be more when roles are dropped meanwhile */
export function sweepChange(
  about: Pick<About, 'call' | 'admin' | 'place' | 'chain'>,
  lost: readonly Session[],
): Change {
  const { call, admin, place, chain } = about
  const target = `sessions without a role on ${placeName(place)}, for ${chain[0] ?? ''}`
  return {
    id: call.changeId('sweep-sessions', target),
    action: 'sweep-sessions',
    target,
    summary: 'End the sessions whose role is gone: they stay open, and a cursor in them goes on giving rows',
    effect: 'irreversible',
    priority: 'essential',
    after: [],
    stage: stage.sweep,
    chain,
    params: { place: placeJson(place) },
    // Whose they were cannot be told: whoever it is, has lost its rights with the role.
    breaks: [],
    command: psql(
      place,
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity a WHERE usesysid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.usesysid)',
    ),
    facts: factsOf(admin, place, lost),
  }
}

function psql({ host, port, name }: Place, statement: string): string {
  return `psql -h ${quoted(host)} -p ${port} -d ${quoted(name)} -c ${quoted(statement)}`
}

function factsOf(admin: Admin, place: Place, sessions: readonly Session[]): Readonly<Record<string, string>> {
  return { database: `${placeName(place)}/${place.name}`, 'we are': admin.who, sessions: tellAll(sessions) }
}

const shown = 5

export function tellAll(sessions: readonly Session[]): string {
  if (sessions.length === 0) return 'none'
  const more = sessions.length > shown ? `; ${sessions.length - shown} more` : ''
  return `${sessions.slice(0, shown).map(tell).join('; ')}${more}`
}
