import { createHash } from 'node:crypto'
import { IrError } from '../../errors.ts'
import { hostOf } from '../bounded-http.ts'
import { field, orError } from '../words.ts'
import type { OauthCall } from './target.ts'

/**
 * What a later step of the same case has to know, and no receipt of its own tells it. Evidence is found by its hash, so that
 * the same words are the same evidence; they name the token by its fingerprint.
 */
function revocationOf(
  { target, caseId }: OauthCall,
  print: string,
): { readonly text: string; readonly sha256: string } {
  const { id, clientId, tokenEndpoint } = target.credential
  const facts = { case: caseId, credential: id, client: clientId, issuer: hostOf(tokenEndpoint), token: print }
  const text = `${JSON.stringify({ 'revoked by mcp-ir': facts }, undefined, 2)}\n`
  return { text, sha256: createHash('sha256').update(text).digest('hex') }
}

export async function rememberRevoked(call: OauthCall, print: string): Promise<void> {
  await call.evidence.put(`oauth-token-${print}-revoked.json`, 'application/json', revocationOf(call, print).text)
}

/** In an earlier step, or an earlier run of this one. */
export async function wasRevoked(call: OauthCall, print: string): Promise<boolean> {
  const { text, sha256 } = revocationOf(call, print)
  const kept = await orError(call.evidence.get(sha256))
  // Not there, or not to be read: then nothing is known of it.
  return !(kept instanceof IrError) && Buffer.from(kept).equals(Buffer.from(text))
}

/** Whether it was seen to be alive, by this step or before it was revoked. */
export async function wasAlive(call: OauthCall, print: string): Promise<boolean> {
  const planned = call.changes.filter(({ action }) => action === 'revoke-token').map(({ params }) => params)
  const done = [...call.receipts.values()].map(({ output }) => output)
  const here = [...planned, ...done].some((one) => field(one, 'fingerprint') === print && field(one, 'live') === true)
  return here || (await wasRevoked(call, print))
}
