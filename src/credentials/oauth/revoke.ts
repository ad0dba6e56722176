import type { Action, Change, Receipt, Verdict } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { hostOf } from '../bounded-http.ts'
import { asJson, field } from '../words.ts'
import type { OauthClient, OauthCredential } from './client.ts'
import { lookAtOld } from './old.ts'
import { expiryOf, foreign, type Held, held, isAccepted, isActive, isInactive, isoOf, look, tell } from './seen.ts'
import type { OauthCall, OauthSettings, Target } from './target.ts'
import { canMint, limitsOf } from './told.ts'

export async function planRevoke(call: OauthCall, client: OauthClient): Promise<readonly Change[]> {
  if (call.target.credential.revocationEndpoint === undefined) return []
  const { tokens } = await held(call)
  const changes = await Promise.all(tokens.map((token) => planRevocation(call, client, token)))
  return changes.filter((change) => change !== undefined)
}

async function planRevocation(call: OauthCall, client: OauthClient, token: Held): Promise<Change | undefined> {
  const { credential, sharedWith, server } = call.target
  const { issuer, downstream } = await look(client, token.token)
  if (foreign(issuer, credential) || isInactive(issuer)) return undefined
  const known = isActive(issuer) ? issuer : undefined
  const exp = known?.exp ?? expiryOf(token.token)
  // Named by its place, not by itself: its fingerprint differs from case to case, and would alter the plan's hash.
  const place = token.where === credential.tokenFile ? '' : `, in ${token.where}`
  const target = `${credential.id}: token of client ${credential.clientId} at ${client.issuer}${place}`
  return {
    id: call.changeId('revoke-token', target),
    action: 'revoke-token',
    target,
    summary: `Revoke the access token of ${server} (${token.fingerprint}) at ${client.issuer}`,
    effect: 'irreversible',
    priority: 'essential',
    after: [],
    params: {
      fingerprint: token.fingerprint,
      before: downstream === undefined || downstream instanceof IrError ? 'unknown' : downstream.answer,
      // Only what was seen to live can be seen to have died.
      live: known !== undefined || isAccepted(downstream),
      ...(exp === undefined ? {} : { exp }),
    },
    breaks: sharedWith,
    ...(token.where === credential.tokenFile ? { command: revokeCommand(credential, token.where) } : {}),
    facts: {
      issuer: client.issuer,
      client: credential.clientId,
      token: `${token.fingerprint}, from ${token.where}`,
      'issuer says': known === undefined ? 'nothing' : 'active',
      downstream: tell(downstream, credential.probe),
      ...(exp === undefined ? {} : { 'expires by itself': isoOf(exp) }),
    },
  }
}

/** The secrets reach curl through pipes: they are in no argument list. */
function revokeCommand({ clientId, clientSecretFile, revocationEndpoint }: OauthCredential, tokenFile: string): string {
  const url = quoted(revocationEndpoint ?? '')
  const user =
    clientSecretFile === undefined
      ? `--data-urlencode ${quoted(`client_id=${clientId}`)}`
      : `--config <(printf 'user = "%s:%s"' ${quoted(clientId)} "$(cat ${quoted(clientSecretFile)})")`
  return `tr -d '\\r\\n' < ${quoted(tokenFile)} | curl --fail ${user} --data-urlencode token@- ${url}`
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}

export function revokeToken(clientOf: (call: OauthCall) => OauthClient): Action<Target> {
  const planned = async (change: Change, call: OauthCall): Promise<Held | undefined> => {
    const { tokens } = await held(call)
    return tokens.find((token) => token.fingerprint === field(change.params, 'fingerprint'))
  }
  const receiptOf = (change: Change, token: Held): Receipt => ({
    output: { fingerprint: token.fingerprint, live: field(change.params, 'live') === true },
  })
  return {
    async apply(change, call) {
      const token = await planned(change, call)
      if (token === undefined)
        throw new IrError(
          'partial',
          'the token is no longer where it was when this was planned: it could not be revoked',
          {
            hints: ['Run the same command again to see what is there now'],
          },
        )
      call.progress(`revoking the token at ${hostOf(call.target.credential.tokenEndpoint)}`)
      await clientOf(call).revoke(token.token)
      return receiptOf(change, token)
    },
    async settle(change, call) {
      const token = await planned(change, call)
      if (token === undefined) return undefined
      const { issuer, downstream } = await look(clientOf(call), token.token)
      const receipt = receiptOf(change, token)
      if (issuer !== undefined && !(issuer instanceof IrError)) return issuer.active ? undefined : receipt
      // Without the issuer's word only a downstream that took the token before can tell. Not knowing means revoking once
      // more, which alters nothing.
      const refused = downstream !== undefined && !(downstream instanceof IrError) && downstream.answer === 'refused'
      return refused && field(change.params, 'before') === 'accepted' ? receipt : undefined
    },
  }
}

export async function verifyRevoked(call: OauthCall, client: OauthClient, settings: OauthSettings): Promise<Verdict> {
  const { credential } = call.target
  const old = await lookAtOld(call, client, settings)
  const residue = [...old.residue]
  const minted = await canMint(call.target)
  if (minted !== undefined) residue.push(minted)
  return {
    state: old.verdict === 'verified' && residue.length > 0 ? 'residual' : old.verdict,
    observed: old.observed,
    residue,
    limits: limitsOf(credential, client.issuer),
    output: asJson(old.state),
  }
}
