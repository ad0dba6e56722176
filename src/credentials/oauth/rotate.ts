import type { Change, Observation, Verdict } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { hostOf } from '../bounded-http.ts'
import { deliveredTo, type Issued } from '../issue.ts'
import type { CredentialState } from '../port.ts'
import { fingerprint } from '../secret-source.ts'
import { asJson, field, orError } from '../words.ts'
import type { OauthClient } from './client.ts'
import { lookAtOld } from './old.ts'
import { placeOf } from './place.ts'
import { wasRevoked } from './remember.ts'
import { isAccepted, isActive, isInactive, isRefused, lives, look, number, tell } from './seen.ts'
import type { OauthCall, OauthSettings } from './target.ts'
import { canMint, limitsOf } from './told.ts'

export async function planRotate(call: OauthCall, client: OauthClient): Promise<readonly Change[]> {
  const { credential, server } = call.target
  const place = await placeOf(call)
  const target = `${credential.id}: new token of client ${credential.clientId} at ${client.issuer}, to ${place.path}`
  const id = call.changeId('issue-and-deliver', target)
  const there = (await place.get())?.secret
  const print = there === undefined ? undefined : fingerprint(call.caseId, there)
  // Rotated in this run already, and it is there and works: nothing to do any more.
  const earlier = field(call.receipts.get(id)?.output, 'fingerprint')
  if (there !== undefined && print === earlier && (await lives(client, there)) === true) return []
  return [
    {
      id,
      action: 'issue-and-deliver',
      target,
      summary: `Issue a new access token for ${server} at ${client.issuer} and deliver it to ${place.path}${place.key === undefined ? '' : ` as ${place.key}`}`,
      effect: 'creates',
      priority: 'essential',
      after: [],
      params: {
        path: place.path,
        ...(place.kind === 'file' ? {} : { store: place.kind }),
        ...(place.key === undefined ? {} : { key: place.key }),
        ...(print === undefined ? {} : { replaces: print }),
      },
      breaks: [],
      facts: {
        issuer: client.issuer,
        client: credential.clientId,
        'delivered to': place.kind === 'file' ? `${place.path} (0600)` : `${place.kind} ${place.path}`,
        ...(place.key === undefined ? {} : { key: place.key }),
        ...(print === undefined ? {} : { replaces: `the value that is there (${print})` }),
      },
    },
  ]
}

export async function verifyRotated(call: OauthCall, client: OauthClient, settings: OauthSettings): Promise<Verdict> {
  const { credential, server } = call.target
  const fresh = await lookAtNew(call, client)
  const old = await lookAtOld(call, client, settings, fresh.taken)
  const observed = [...old.observed, ...fresh.observed]
  const residue = [...old.residue, ...fresh.residue]
  const minted = await canMint(call.target)
  if (minted !== undefined) residue.push(minted)
  const failed = old.verdict === 'failed' || fresh.failed
  const state: CredentialState = {
    ...old.state,
    ...(old.state.state === 'alive' ? { proof: `${old.state.proof}; revoke it: mcp-ir revoke ${server}` } : {}),
    ...(fresh.there ? { delivered: fresh.delivered } : {}),
  }
  return {
    state: failed ? 'failed' : residue.length > 0 ? 'residual' : old.verdict,
    observed,
    residue,
    limits: limitsOf(credential, client.issuer),
    output: asJson(state),
  }
}

/** Whether what was delivered is there and works. It is read where it was put, as whoever uses it will. */
async function lookAtNew(call: OauthCall, client: OauthClient) {
  const { credential } = call.target
  const change = call.changes.find(({ action }) => action === 'issue-and-deliver')
  const place = await placeOf(call, change)
  const receipt = change === undefined ? undefined : call.receipts.get(change.id)?.output
  const found = await orError(place.get())
  const token = found instanceof IrError ? found : found?.secret
  const print = typeof token === 'string' ? fingerprint(call.caseId, token) : undefined
  const expected = field(receipt, 'fingerprint')
  const there = print !== undefined && (change === undefined || print === expected)
  const observed: Observation[] = [
    {
      claim: `the new token is in ${place.path}`,
      seen:
        token instanceof IrError
          ? token.message
          : print === undefined
            ? 'nothing'
            : there
              ? print
              : `another one (${print})`,
      holds: there,
    },
  ]
  const residue: string[] = []
  let failed = !there
  let taken = false
  if (typeof token === 'string' && there) {
    const { issuer, downstream } = await look(client, token)
    if (issuer !== undefined)
      observed.push({
        claim: `${client.issuer} says that the new token is active`,
        seen: issuer instanceof IrError ? issuer.message : issuer.active ? 'active' : 'inactive',
        holds: isActive(issuer),
      })
    if (downstream !== undefined)
      observed.push({
        claim: `${hostOf(credential.probe ?? '')} takes the new token`,
        seen: tell(downstream, credential.probe),
        holds: isAccepted(downstream),
      })
    failed = isInactive(issuer) || isRefused(downstream)
    taken = isAccepted(downstream)
    if (!failed && observed.some(({ holds }) => !holds))
      residue.push(`${credential.id}: whether the new token works could not be seen everywhere`)
    if (issuer === undefined && downstream === undefined)
      residue.push(`${credential.id}: whether the new token works cannot be seen`)
  }
  const lostCount = number(field(receipt, 'lost')) ?? 0
  if (lostCount > 0)
    residue.push(
      `${credential.id}: ${lostCount} more token(s) may have been issued whose answer was lost; nobody holds them, and they live until they expire or ${client.issuer} ends them`,
    )
  const replaced = field(receipt, 'replaced')
  if (typeof replaced === 'string' && !(await wasRevoked(call, replaced)))
    residue.push(
      `${credential.id}: the value that was in ${place.path} before (${replaced}) was replaced and not revoked`,
    )
  const version = found instanceof IrError ? undefined : found?.version
  const delivered = (field(receipt, 'delivered') as Issued['delivered'] | undefined) ?? deliveredTo(place, { version })
  return { observed, residue, failed, there, taken, delivered }
}
