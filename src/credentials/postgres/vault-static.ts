import type { Action, Call, Change, Verdict } from '../../change.ts'
import type { CredentialOf } from '../../registry/port.ts'
import { type CredentialTarget, stage } from '../port.ts'
import { type VaultClient, vaultClient } from '../vault/client.ts'
import { field, mayGoOn, quoted, asJson as stateJson, stateOf, textField } from '../words.ts'
import { placeJson, usersJson } from './actions.ts'
import { type Place, withAdmin } from './connect.ts'
import { looksAt } from './look.ts'
import { nameOf, planRevokeUser, verifyReinstatedUser, verifyRevokedUser, verifyRotatedUser } from './user.ts'
import { orWhy } from './vault-dynamic.ts'
import { mountOf, readRole, type VaultRole } from './vault-role.ts'

/**
 * A static role: one database user whose password Vault changes from time to time. It is revoked like any user; rotation lets Vault
 * make the new password, which the server reads there, so that nothing is delivered.
 */
type Target = CredentialTarget<CredentialOf<'vault-database'>>
type DatabaseCall = Call<Target>

export interface Static {
  readonly call: DatabaseCall
  readonly vault: VaultClient
  readonly role: Extract<VaultRole, { type: 'static' }>
  readonly place: Place | { readonly why: string }
}

function pathOf({ target }: DatabaseCall): string {
  return `${mountOf(target.credential)}/static-creds/${target.credential.role}`
}

/** Without the database, all that can be done is to change the password: its sessions live on, which the verdict says. */
export async function planRevokeStatic(of: Static): Promise<readonly Change[]> {
  const { call, role, place } = of
  const planned =
    'why' in place ? place : await planRevokeUser({ call, place, user: role.username }, [pathOf(call)]).catch(orWhy)
  if (!('why' in planned)) return planned
  return rotatedAt(call) === undefined ? [rotateChange(of, stage.end)] : []
}

export async function planRotateStatic(of: Static): Promise<readonly Change[]> {
  const { call, role, place } = of
  if (rotatedAt(call) !== undefined) return []
  const rotate = rotateChange(of, stage.issue)
  if ('why' in place) return [rotate]
  const user = { place, user: role.username }
  const found = await withAdmin(call, place, (admin) => looksAt(admin).role(role.username)).catch(orWhy)
  if (found === undefined || 'why' in found || found.login) return [rotate]
  const target = `${nameOf(user)} may log in`
  return [
    rotate,
    {
      id: call.changeId('allow-login', target),
      action: 'allow-login',
      target,
      summary: `Let ${role.username} log in again, with its new password`,
      effect: 'reversible',
      priority: 'essential',
      // Never with the old one.
      after: [rotate.id],
      stage: stage.issue,
      chain: [pathOf(call), nameOf(user)],
      params: { place: placeJson(place), users: usersJson([{ oid: found.oid, name: found.name }]) },
      breaks: [],
    },
  ]
}

function rotateTarget(call: DatabaseCall): string {
  return `password of ${pathOf(call)}`
}

/** When this run rotated it. */
function rotatedAt(call: DatabaseCall): string | undefined {
  const receipt = call.receipts.get(call.changeId('rotate-role', rotateTarget(call)))
  const at = field(receipt?.output, 'rotatedAt')
  return typeof at === 'string' ? at : undefined
}

function rotateChange({ call, vault, role }: Static, at: number): Change {
  const { server, sharedWith, credential } = call.target
  const mount = mountOf(credential)
  const namespace = vault.namespace === undefined ? '' : `-namespace=${quoted(vault.namespace)} `
  const reload = sharedWith.length === 0 ? '' : `; ${sharedWith.join(', ')} must read it again`
  return {
    id: call.changeId('rotate-role', rotateTarget(call)),
    action: 'rotate-role',
    target: rotateTarget(call),
    summary: `Let Vault give ${role.username}, the database user of ${server}, a new password${reload}`,
    effect: 'creates',
    priority: 'essential',
    after: [],
    stage: at,
    chain: [pathOf(call)],
    params: { mount, role: credential.role, before: role.rotatedAt },
    breaks: sharedWith,
    command: `vault write ${namespace}-f ${quoted(`${mount}/rotate-role/${credential.role}`)}`,
    facts: { vault: vault.address, user: role.username, 'last rotated': role.rotatedAt },
  }
}

/** Vault tells when it rotated last: an answer that was lost makes no second one. */
export const rotateRole: Action<Target> = {
  async apply(change, call) {
    mayGoOn(call)
    const path = `${textField(change.params, 'mount')}/rotate-role/${textField(change.params, 'role')}`
    await vaultClient(call).create(path, {})
    return { output: { rotatedAt: (await lastRotation(change, call)) ?? null } }
  },
  async settle(change, call) {
    const at = await lastRotation(change, call)
    return at === undefined || at === field(change.params, 'before') ? undefined : { output: { rotatedAt: at } }
  },
}

async function lastRotation(change: Change, call: DatabaseCall): Promise<string | undefined> {
  const named = { mount: textField(change.params, 'mount'), role: textField(change.params, 'role') }
  const role = await readRole(vaultClient(call), named)
  return role?.type === 'static' ? role.rotatedAt : undefined
}

// The verdict

export async function verifyRevokedStatic(of: Static): Promise<Verdict> {
  const { call, role, place } = of
  const verdict =
    'why' in place ? place : await verifyRevokedUser({ call, place, user: role.username, certain: true }).catch(orWhy)
  if (!('why' in verdict)) return verdict
  const changed = rotatedAt(call) !== undefined
  const why = `the database could not be looked into: ${verdict.why}`
  return {
    state: 'failed',
    observed: [
      { claim: `${role.username} has a new password`, seen: changed ? 'Vault says so' : 'no', holds: changed },
      { claim: `no session of ${role.username} is open`, seen: why, holds: false },
    ],
    residue: [`user ${role.username}: sessions that were opened before live on, and could not be looked for; ${why}`],
    limits: [],
    output: stateJson(stateOf(call.target, changed ? 'unknown' : 'alive', why)),
  }
}

export async function verifyRotatedStatic(of: Static): Promise<Verdict> {
  const { call, vault, role, place } = of
  const path = pathOf(call)
  const at = rotatedAt(call)
  if ('why' in place) {
    const verdict = await verifyRevokedStatic(of)
    const delivered = { kind: 'vault-database', path }
    return at === undefined ? verdict : { ...verdict, output: { ...(verdict.output as object), delivered } }
  }
  const read = at === undefined ? undefined : await vault.read(path)
  const password = read?.data.password
  const secret = typeof password === 'string' && read?.data.last_vault_rotation === at ? password : undefined
  return await verifyRotatedUser(
    { call, place, user: role.username },
    {
      secret,
      observed: {
        claim: `Vault made a new password for ${path}`,
        seen: at === undefined ? 'no' : `at ${role.rotatedAt}`,
        holds: secret !== undefined,
      },
      at,
      delivered: secret === undefined ? undefined : { kind: 'vault-database', path },
    },
  )
}

export async function verifyReinstatedStatic({ call, role, place }: Static): Promise<Verdict> {
  if (!('why' in place)) return await verifyReinstatedUser({ call, place, user: role.username })
  return {
    state: 'residual',
    observed: [{ claim: `${role.username} can log in again`, seen: place.why, holds: false }],
    residue: [],
    limits: [],
    output: stateJson(stateOf(call.target, 'unknown', place.why)),
  }
}
