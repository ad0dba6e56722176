import type { Call, Change, JsonObject, Problem } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialOf } from '../registry/port.ts'
import { type Issued, type Issuing, issueAndDeliver, issuedBy } from './issue.ts'
import { type Credentials, type CredentialTarget, stage } from './port.ts'
import {
  blockLogin,
  endUserSessions,
  placeJson,
  placeOfChange,
  sweepOrphans,
  usersJson,
  usersOf,
} from './postgres/actions.ts'
import { placeName, placeOf, tryLogin, withAdmin } from './postgres/connect.ts'
import { looksAt } from './postgres/look.ts'
import { missing, rightsOver } from './postgres/rights.ts'
import { newPassword, scramVerifier } from './postgres/scram.ts'
import { type Role, rolesByOid } from './postgres/sessions.ts'
import {
  type DatabaseUser,
  nameOf,
  planRevokeUser,
  verifyReinstatedUser,
  verifyRevokedUser,
  verifyRotatedUser,
} from './postgres/user.ts'
import { fingerprint } from './secret-source.ts'
import { destinationOf } from './stores/index.ts'
import { field, mayGoOn } from './words.ts'

/**
 * A user of PostgreSQL and its password. Its log-in is blocked, which can be undone, then its sessions are ended: none of them dies
 * with the password, nor with the role. Rotation gives it a new password and lets it log in again.
 */
type PostgresCredential = CredentialOf<'postgres'>
type Target = CredentialTarget<PostgresCredential>
type PostgresCall = Call<Target>

export const adapter: Credentials<PostgresCredential> = {
  permissions: [
    'postgres: LOGIN, and CONNECT to the database',
    'postgres: CREATEROLE with ADMIN OPTION on the user, or SUPERUSER',
    'postgres: pg_signal_backend',
    'postgres: pg_read_all_stats',
    'vault: read database/creds/<adminRole>, where one is named',
  ],

  check,

  async plan(call) {
    mayGoOn(call)
    if (call.intent === 'revoke') return await planRevokeUser(userOf(call), [])
    return call.intent === 'rotate' ? await planRotate(call) : []
  },

  async verify(call) {
    if (call.intent === 'revoke') return await verifyRevokedUser(userOf(call))
    return call.intent === 'rotate' ? await verifyRotated(call) : await verifyReinstatedUser(userOf(call))
  },

  actions: {
    'block-login': blockLogin<Target>(),
    'end-sessions': endUserSessions<Target>(),
    'sweep-sessions': sweepOrphans<Target>(),
    'issue-and-deliver': issueAndDeliver<Target>(issuing(), destinationOf),
  },
}

function userOf(call: PostgresCall): DatabaseUser {
  const { user, database } = call.target.credential
  return { call, user, place: placeOf(database) }
}

async function check(call: PostgresCall & { readonly intent: string }): Promise<readonly Problem[]> {
  const { user, place } = userOf(call)
  const problems = await withAdmin(call, place, async (admin): Promise<Problem[]> => {
    const role = await looksAt(admin).role(user)
    const rights = await rightsOver(admin, role)
    if (role !== undefined && rights.session === role.name)
      return [
        {
          kind: 'refused',
          message: `we are user ${role.name} on ${placeName(place)} ourselves: blocking it would lock us out`,
          hint: 'Log in as another administrator (PGUSER, PGSERVICE, or adminRole in the registry)',
        },
      ]
    const found = [...missing(rights, { alters: role !== undefined, name: admin.quote(user), place })]
    if (role === undefined) found.push(noRole(call))
    else if (call.intent === 'rotate' && expired(role, call.now()))
      found.push({
        kind: 'input',
        message: `user ${role.name} is valid until ${role.validUntil} only: no password of it would be taken`,
        hint: `ALTER ROLE ${admin.quote(user)} VALID UNTIL 'infinity'`,
      })
    return found
  })
  if (call.intent !== 'rotate' || problems.some(({ kind }) => kind === 'refused')) return problems
  const { store } = await destinationOf(call)
  return [...problems, ...(await store.check(call))]
}

function noRole(call: PostgresCall): Problem {
  const hint = 'Is the name in the registry right? Roles are case-sensitive there'
  const message = `there is no ${nameOf(userOf(call))}`
  if (call.intent === 'rotate') return { kind: 'input', message, hint }
  return { kind: 'warning', message: `${message}: only sessions that have lost their role are looked for`, hint }
}

function expired({ validUntil }: Role, now: Date): boolean {
  return validUntil !== null && validUntil !== 'infinity' && new Date(validUntil) <= now
}

// Rotate

async function planRotate(call: PostgresCall): Promise<readonly Change[]> {
  const { sharedWith, server } = call.target
  const of = userOf(call)
  const { store } = await destinationOf(call)
  const target = issueTarget(of, store.path)
  const id = call.changeId('issue-and-deliver', target)
  if (await isDelivered(call, issuedBy(call.receipts.get(id)))) return []
  return await withAdmin(call, of.place, async (admin) => {
    const role = await looksAt(admin).role(of.user)
    if (role === undefined) throw new IrError('input', `there is no ${nameOf(of)}`)
    const reload = sharedWith.length === 0 ? '' : `; ${sharedWith.join(', ')} must be given it, too`
    return [
      {
        id,
        action: 'issue-and-deliver',
        target,
        summary: `Give ${nameOf(of)} of ${server} a new password and the right to log in, and deliver it to ${store.path}${reload}`,
        effect: 'creates',
        priority: 'essential',
        after: [],
        stage: stage.issue,
        chain: [nameOf(of)],
        params: { place: placeJson(of.place), users: usersJson([{ oid: role.oid, name: role.name }]) },
        breaks: sharedWith,
        facts: {
          database: `${placeName(of.place)}/${of.place.name}`,
          'we are': admin.who,
          'delivered to': store.path,
        },
      },
    ]
  })
}

function issueTarget(of: DatabaseUser, path: string): string {
  return `new password of ${nameOf(of)}, to ${path}`
}

/** What was issued by this run, where it lies; undefined when it does not. */
async function deliveredSecret(call: PostgresCall, issued: Issued | undefined): Promise<string | undefined> {
  if (issued === undefined) return undefined
  const { store, key } = await destinationOf(call)
  const there = await store.get(key, call)
  return there !== undefined && fingerprint(call.caseId, there.secret) === issued.fingerprint ? there.secret : undefined
}

async function isDelivered(call: PostgresCall, issued: Issued | undefined): Promise<boolean> {
  const secret = await deliveredSecret(call, issued)
  if (secret === undefined) return false
  const { user, place } = userOf(call)
  return (await tryLogin(place, user, secret, call.signal)).answer === 'accepted'
}

/** A user has one password: the new one replaces the old, and a try whose answer was lost is replaced by the next. */
function issuing(): Issuing<Target> {
  const alter = async (change: Change, call: PostgresCall, attributes: string): Promise<string> =>
    await withAdmin(call, placeOfChange(change), async (admin) => {
      const [user] = usersOf(change)
      const [role] = await rolesByOid(admin, user === undefined ? [] : [user.oid])
      if (role === undefined) throw new IrError('partial', `user ${user?.name} is gone: it can be given no password`)
      const clock = `SELECT pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at`
      const [now] = await admin.query<{ readonly at: string }>("reading the server's clock", clock)
      const text = `ALTER ROLE ${admin.quote(role.name)} ${attributes}`
      await admin.query(`changing the password of ${role.name}`, text, [], 'changes')
      return now?.at ?? ''
    })
  return {
    async issue(change, call) {
      mayGoOn(call)
      const secret = newPassword()
      const at = await alter(change, call, `LOGIN PASSWORD '${scramVerifier(secret)}'`)
      return { secret, ref: { user: call.target.credential.user, at } }
    },
    async discard(_ref: JsonObject, change, call) {
      await alter(change, call, 'NOLOGIN PASSWORD NULL')
    },
  }
}

async function verifyRotated(call: PostgresCall) {
  const of = userOf(call)
  const { store } = await destinationOf(call)
  const issued = issuedBy(call.receipts.get(call.changeId('issue-and-deliver', issueTarget(of, store.path))))
  const secret = await deliveredSecret(call, issued)
  const at = field(issued?.ref, 'at')
  return await verifyRotatedUser(of, {
    secret,
    observed: {
      claim: `the new password is in ${store.path}`,
      seen: secret === undefined ? 'it is not' : (issued?.fingerprint ?? ''),
      holds: secret !== undefined,
    },
    at: typeof at === 'string' ? at : undefined,
    delivered: secret === undefined ? undefined : issued?.delivered,
  })
}
