import type { Call, Problem, Verdict } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialOf } from '../registry/port.ts'
import type { Credentials, CredentialTarget } from './port.ts'
import { allowLogin, blockLogin, endUserSessions, sweepOrphans } from './postgres/actions.ts'
import { type Place, placeName, withAdmin } from './postgres/connect.ts'
import { looksAt } from './postgres/look.ts'
import { missing, rightsOver } from './postgres/rights.ts'
import { orWhy, planRevokeDynamic, revokeLeases, verifyRevokedDynamic } from './postgres/vault-dynamic.ts'
import { leaseIds } from './postgres/vault-leases.ts'
import { databaseOf, mountOf, readRole, type VaultRole } from './postgres/vault-role.ts'
import {
  planRevokeStatic,
  planRotateStatic,
  rotateRole,
  verifyReinstatedStatic,
  verifyRevokedStatic,
  verifyRotatedStatic,
} from './postgres/vault-static.ts'
import { type VaultClient, vaultClient } from './vault/client.ts'
import { mayGoOn, asJson as stateJson, stateOf } from './words.ts'

/**
 * A role of Vault's database engine, dynamic or static, and the sessions in the database that live on whatever Vault does: they are
 * looked for in the database itself. Its address comes from the registry, else from Vault.
 */
type DatabaseCredential = CredentialOf<'vault-database'>
type Target = CredentialTarget<DatabaseCredential>
type DatabaseCall = Call<Target>

export const adapter: Credentials<DatabaseCredential> = {
  permissions: [
    'vault: read <mount>/roles/<role>, <mount>/static-roles/<role> and <mount>/config/<connection>',
    'vault: list <mount>/roles',
    'vault: list and sudo on sys/leases/lookup/<mount>/creds',
    'vault: update on sys/leases/lookup',
    'vault: update and sudo on sys/leases/revoke-prefix/<mount>/creds/<role>, or update on sys/leases/revoke',
    'vault: update <mount>/rotate-role/<role>, read <mount>/static-creds/<role>',
    'postgres: LOGIN, pg_signal_backend, pg_read_all_stats',
    'postgres: CREATEROLE with ADMIN OPTION on the users, or SUPERUSER',
  ],

  check,

  async plan(call) {
    mayGoOn(call)
    const seen = await look(call)
    if (seen === undefined) return []
    const { role, ...rest } = seen
    if (role.type === 'static') {
      if (call.intent === 'revoke') return await planRevokeStatic({ ...rest, role })
      return call.intent === 'rotate' ? await planRotateStatic({ ...rest, role }) : []
    }
    // A dynamic role delivers nothing: its server draws a user of its own, once it may log in to Vault again.
    return call.intent === 'revoke' ? await planRevokeDynamic({ ...rest, role }) : []
  },

  async verify(call) {
    const seen = await look(call)
    if (seen === undefined) throw noRole(call)
    const { role, ...rest } = seen
    if (role.type === 'static') {
      if (call.intent === 'revoke') return await verifyRevokedStatic({ ...rest, role })
      return call.intent === 'rotate'
        ? await verifyRotatedStatic({ ...rest, role })
        : await verifyReinstatedStatic({ ...rest, role })
    }
    if (call.intent === 'reinstate') return reinstatedDynamic(call)
    const verdict = await verifyRevokedDynamic({ ...rest, role })
    if (call.intent === 'revoke') return verdict
    const why = `nothing was delivered: with its new log-in to Vault the server draws a user of its own from ${pathOf(call)}`
    return { ...verdict, limits: [...verdict.limits, why] }
  },

  actions: {
    'block-login': blockLogin<Target>(),
    'end-sessions': endUserSessions<Target>(),
    'revoke-leases': revokeLeases,
    'sweep-sessions': sweepOrphans<Target>(),
    'rotate-role': rotateRole,
    'allow-login': allowLogin<Target>(),
  },
}

interface Seen {
  readonly call: DatabaseCall
  readonly vault: VaultClient
  readonly role: VaultRole
  readonly place: Place | { readonly why: string }
}

/** Undefined when there is no such role. */
async function look(call: DatabaseCall): Promise<Seen | undefined> {
  const vault = vaultClient(call)
  const { credential } = call.target
  const role = await readRole(vault, credential)
  if (role === undefined) return undefined
  return { call, vault, role, place: await databaseOf(vault, credential, role) }
}

function pathOf({ target }: DatabaseCall): string {
  return `${mountOf(target.credential)}/creds/${target.credential.role}`
}

function noRole({ target }: DatabaseCall): IrError {
  const { role } = target.credential
  return new IrError('input', `There is no role ${role} in ${mountOf(target.credential)} in Vault.`, {
    hints: [`vault list ${mountOf(target.credential)}/roles, and …/static-roles`],
  })
}

async function check(call: DatabaseCall & { readonly intent: string }): Promise<readonly Problem[]> {
  const { credential, undead, server } = call.target
  const seen = await look(call)
  if (seen === undefined) throw noRole(call)
  const { vault, role, place } = seen
  if ('adminRole' in place && place.adminRole === credential.role && place.adminMount === mountOf(credential))
    return [
      {
        kind: 'refused',
        message: `${pathOf(call)} is the role that we log in with ourselves (adminRole): revoking it would lock us out`,
      },
    ]
  const problems: Problem[] = []
  const able = (undead ?? []).filter(({ kind }) => /^vault-(approle|token|entity)$/.test(kind))
  if (call.intent === 'rotate' && role.type === 'static' && able.length > 0)
    problems.push({
      kind: 'refused',
      message: `the new password of ${credential.role} could be read in Vault by what was not seen dead: ${able.map(({ id }) => id).join(', ')}`,
      hint: `Revoke it first: mcp-ir revoke ${server}`,
    })
  // Shows now whether the leases may be seen at all.
  if (call.intent === 'revoke' && role.type === 'dynamic')
    await leaseIds(vault.once.list, mountOf(credential), credential.role)
  const seenThere = 'why' in place ? place : await checkDatabase(call, role, place).catch(orWhy)
  if (!('why' in seenThere)) return [...problems, ...seenThere]
  return [
    ...problems,
    {
      kind: 'warning',
      message: `sessions in the database cannot be looked for, and live on: ${seenThere.why}`,
      hint: 'Name database in the registry entry, and who logs in there (PGUSER, PGPASSWORD, or adminRole)',
    },
  ]
}

async function checkDatabase(call: DatabaseCall, role: VaultRole, place: Place): Promise<readonly Problem[]> {
  return await withAdmin(call, place, async (admin): Promise<readonly Problem[]> => {
    const user = role.type === 'static' ? await looksAt(admin).role(role.username) : undefined
    const rights = await rightsOver(admin, user)
    if (user !== undefined && rights.session === user.name)
      return [
        {
          kind: 'refused',
          message: `we are user ${user.name} on ${placeName(place)} ourselves: blocking it would lock us out`,
        },
      ]
    if (role.type === 'static' && user === undefined)
      return [{ kind: 'warning', message: `there is no user ${role.username} on ${placeName(place)}` }]
    const name = user === undefined ? `the users of ${pathOf(call)}` : admin.quote(user.name)
    // Users that do not exist yet cannot be asked about: Vault drops them, whatever we may.
    return missing(rights, { alters: user !== undefined, name, place }).map((problem) =>
      problem.kind === 'denied' ? { ...problem, kind: 'warning' } : problem,
    )
  })
}

function reinstatedDynamic(call: DatabaseCall): Verdict {
  const seen = 'users that were dropped do not come back; the server draws a new one'
  return {
    state: 'residual',
    observed: [{ claim: `${pathOf(call)} was looked at`, seen, holds: true }],
    residue: [],
    limits: [],
    output: stateJson(stateOf(call.target, 'dead', `issuer says so (${seen})`)),
  }
}
