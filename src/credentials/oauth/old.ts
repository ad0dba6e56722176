import { setTimeout as sleep } from 'node:timers/promises'
import type { Change, Json, Observation, Verdict } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { hostOf } from '../bounded-http.ts'
import type { CredentialState } from '../port.ts'
import { field, orError } from '../words.ts'
import type { OauthClient } from './client.ts'
import { rememberRevoked, wasAlive } from './remember.ts'
import {
  expiryOf,
  foreign,
  type Held,
  held,
  isAccepted,
  isActive,
  isInactive,
  isoOf,
  isRefused,
  isSelfContained,
  look,
  number,
  tell,
} from './seen.ts'
import type { OauthCall, OauthSettings } from './target.ts'

interface OldToken {
  readonly verdict: Verdict['state']
  readonly observed: readonly Observation[]
  readonly residue: readonly string[]
  readonly state: CredentialState
}

/** What became of one token. `proves`: it says something of the token that the server uses. */
interface OneToken extends Omit<OldToken, 'state'> {
  readonly proves: boolean
  readonly state: CredentialState['state']
  readonly proof: string
  readonly until?: string
}

/** The worst of them is what holds: any one may be the one in use. */
const worst: readonly CredentialState['state'][] = ['alive', 'unknown', 'expires', 'dead']
const worstVerdict: readonly Verdict['state'][] = ['failed', 'residual', 'verified']

/**
 * What has become of the tokens that the suspect may hold. What this run of a rotation has delivered is not among them.
 * @param takesOthers the downstream was just seen to take another token, so that its refusal of an old one means something
 */
export async function lookAtOld(
  call: OauthCall,
  client: OauthClient,
  settings: OauthSettings,
  takesOthers = false,
): Promise<OldToken> {
  const { credential, sharedWith } = call.target
  const all = await held(call)
  const fresh = call.intent === 'rotate' ? deliveredBy(call) : new Set<Json>()
  const tokens = all.tokens.filter((token) => !fresh.has(token.fingerprint))
  const gone = call.changes.filter(
    ({ action, params }) =>
      action === 'revoke-token' && !tokens.some((token) => token.fingerprint === field(params, 'fingerprint')),
  )
  const many = tokens.length + gone.length > 1
  const ones = await Promise.all([
    ...tokens.map((token) => lookAtToken(call, client, settings, { token, many, takesOthers })),
    ...gone.map((change) => lost(call, change, `it is no longer where it was when its revocation was planned`)),
    ...(tokens.length + gone.length === 0 ? [lost(call, undefined, all.missing)] : []),
  ])
  const observed = ones.flatMap((one) => one.observed)
  const residue = [...new Set(ones.flatMap((one) => one.residue))]
  if (all.cut)
    residue.push(`${credential.id}: the server names more places for its token than are looked at; they were left out`)
  if (all.unread !== undefined)
    residue.push(`${credential.id}: what was delivered to its store is not known: ${all.unread}`)
  const end = (verdict: Verdict['state'], state: Omit<CredentialState, 'id' | 'kind' | 'sharedWith'>): OldToken => ({
    verdict,
    observed,
    residue,
    state: { id: credential.id, kind: 'oauth', ...state, sharedWith },
  })

  const proving = ones.filter(({ proves }) => proves)
  if (proving.length === 0) {
    const foreigner = ones.find(({ state }) => state === 'unknown')
    if (foreigner !== undefined) return end('residual', { state: 'unknown', proof: foreigner.proof })
    const proof = 'only a token that was dead already was found: whether it is the one the server uses cannot be told'
    observed.push({ claim: 'a token was found that was seen to be alive before', seen: 'none', holds: false })
    residue.push(`${credential.id}: ${proof}`)
    return end('residual', { state: 'unknown', proof })
  }
  const state = worst.find((state) => proving.some((one) => one.state === state)) ?? 'unknown'
  const same = proving.filter((one) => one.state === state)
  const until = same
    .flatMap((one) => one.until ?? [])
    .sort()
    .at(-1)
  return end(worstVerdict.find((verdict) => proving.some((one) => one.verdict === verdict)) ?? 'failed', {
    state,
    // Of the dead, the weakest proof is the one that holds for all.
    proof: (same.find(({ proof }) => proof !== 'probed') ?? same[0])?.proof ?? '',
    ...(until === undefined ? {} : { until }),
  })
}

/** Fingerprints of what was delivered by this run. */
function deliveredBy(call: OauthCall): ReadonlySet<Json> {
  const outputs = [...call.receipts.values()].map(({ output }) => output)
  return new Set(
    outputs.flatMap((output) => (field(output, 'delivered') === undefined ? [] : (field(output, 'fingerprint') ?? []))),
  )
}

/** A token that cannot be tried. */
function lost(call: OauthCall, change: Change | undefined, why: string): OneToken {
  const acknowledged = change !== undefined && call.receipts.has(change.id)
  return {
    proves: true,
    verdict: change === undefined || acknowledged ? 'residual' : 'failed',
    state: 'unknown',
    proof: acknowledged
      ? 'the issuer acknowledged the revocation; nothing could be observed'
      : 'the old token cannot be had',
    observed: [{ claim: 'the old token could be looked at', seen: why, holds: false }],
    residue: [`${call.target.credential.id}: the old token could not be tried (${why}); it may live until it expires`],
  }
}

async function lookAtToken(
  call: OauthCall,
  client: OauthClient,
  settings: OauthSettings,
  one: { readonly token: Held; readonly many: boolean; readonly takesOthers: boolean },
): Promise<OneToken> {
  const { credential } = call.target
  const { token, many, takesOthers } = one
  const change = call.changes.find(
    ({ action, params }) => action === 'revoke-token' && field(params, 'fingerprint') === token.fingerprint,
  )
  const acknowledged = change !== undefined && call.receipts.has(change.id)
  const known = await wasAlive(call, token.fingerprint)

  let seen = await look(client, token.token)
  for (let tried = 1; tried < settings.probes && isInactive(seen.issuer) && isAccepted(seen.downstream); tried++) {
    await sleep(settings.pauseMs * 2 ** tried, undefined, { signal: call.signal })
    seen = { ...seen, downstream: await orError(client.probe(token.token)) }
  }
  const { issuer, downstream } = seen
  const name = many ? `the old token in ${token.where}` : 'the old token'
  const observed: Observation[] = []
  if (issuer !== undefined)
    observed.push({
      claim: `${client.issuer} says that ${name} is inactive`,
      seen: issuer instanceof IrError ? issuer.message : issuer.active ? 'active' : 'inactive',
      holds: isInactive(issuer),
    })
  if (downstream !== undefined)
    observed.push({
      claim: `${hostOf(credential.probe ?? '')} refuses ${name}`,
      seen: tell(downstream, credential.probe),
      holds: isRefused(downstream),
    })
  const end = (
    verdict: Verdict['state'],
    state: CredentialState['state'],
    proof: string,
    more: { residue?: readonly string[]; until?: string; proves?: boolean } = {},
  ): OneToken => ({
    verdict,
    state,
    proof: many && state !== 'dead' ? `${name}: ${proof}` : proof,
    proves: more.proves ?? true,
    observed,
    residue: more.residue ?? [],
    ...(more.until === undefined ? {} : { until: more.until }),
  })
  /** Refused or disowned. Whose was never seen alive may have been planted, to be found in place of the real one. */
  const dead = async (proof: string, residue: readonly string[] = []): Promise<OneToken> => {
    if (!known) return end('residual', 'dead', proof, { proves: false })
    if (acknowledged) await rememberRevoked(call, token.fingerprint)
    return end(residue.length === 0 ? 'verified' : 'residual', 'dead', proof, { residue })
  }

  if (foreign(issuer, credential))
    return end('residual', 'unknown', `${token.where} holds a token of another client`, {
      proves: false,
      residue: [
        `${credential.id}: ${token.where} holds a token of another client, which was left alone; if the server has its own token in another place, that is not known`,
      ],
    })
  const exp = number(field(change?.params, 'exp')) ?? expiryOf(token.token)
  if (isActive(issuer)) {
    const until = issuer.exp === undefined ? '' : ` until ${isoOf(issuer.exp)}`
    const why = credential.revocationEndpoint === undefined ? ', and the registry names no revocation endpoint' : ''
    return end('failed', 'alive', `the issuer says that it is active${until}${why}`)
  }
  if (isAccepted(downstream)) {
    const running = exp !== undefined && exp * 1000 > call.now().getTime()
    // Refused by its issuer and still taken: the downstream reads the token itself and never asks, so that it ends by the clock.
    if (isInactive(issuer) && running && isSelfContained(token.token)) {
      const until = isoOf(exp)
      if (acknowledged && known) await rememberRevoked(call, token.fingerprint)
      return end('residual', 'expires', 'the issuer says that it is inactive, the downstream still takes it', {
        residue: [
          `${credential.id}: ${hostOf(credential.probe ?? '')} takes ${name} until ${until}, as it does not ask the issuer: block it there, or keep the server cut off until then`,
        ],
        until,
      })
    }
    const although = isInactive(issuer) ? ', although the issuer says that it is inactive' : ''
    return end('failed', 'alive', `the downstream still takes it${although}`)
  }
  const unasked = [issuer, downstream].flatMap((one) =>
    one instanceof IrError ? [`${credential.id}: ${one.message}`] : [],
  )
  if (isInactive(issuer)) {
    if (isRefused(downstream)) return await dead('probed')
    const unclear = downstream !== undefined && !(downstream instanceof IrError)
    const residue = unclear
      ? [`${credential.id}: the downstream neither took nor refused ${name} (${downstream.status})`]
      : unasked
    return await dead('issuer says so', residue)
  }
  // The issuer says nothing. A refusal proves something only where a token is taken at all: this one before, or another now.
  if (isRefused(downstream) && (takesOthers || field(change?.params, 'before') === 'accepted'))
    return await dead('probed', unasked)
  const proof = acknowledged
    ? 'the issuer acknowledged the revocation; nothing could be observed'
    : 'nothing could be observed'
  return end(change === undefined || acknowledged ? 'residual' : 'failed', 'unknown', proof, {
    residue:
      unasked.length > 0
        ? unasked
        : [
            `${credential.id}: whether ${name} is dead cannot be seen: neither its issuer nor a downstream that took it before can be asked`,
          ],
  })
}
