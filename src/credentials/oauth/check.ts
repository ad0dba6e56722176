import type { Problem } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { hostOf, NotReachable, unsafeUrl } from '../bounded-http.ts'
import { secretFromFile } from '../secret-source.ts'
import { orError } from '../words.ts'
import type { OauthClient } from './client.ts'
import { placeOf } from './place.ts'
import { foreign, held, look } from './seen.ts'
import type { OauthCall } from './target.ts'

export async function check(
  call: OauthCall & { readonly intent: string },
  client: OauthClient,
): Promise<readonly Problem[]> {
  const { credential, server } = call.target
  const problems: Problem[] = []
  for (const name of ['tokenEndpoint', 'revocationEndpoint', 'introspectionEndpoint', 'probe'] as const) {
    const url = credential[name]
    const unsafe = url === undefined ? undefined : unsafeUrl(url)
    if (unsafe !== undefined) problems.push({ kind: 'refused', message: `${name} of ${credential.id} ${unsafe}` })
  }
  if (problems.length > 0) return problems
  if (call.intent === 'reinstate') {
    const hint = `Issue a new one: mcp-ir rotate ${server}`
    return [{ kind: 'warning', message: 'a revoked OAuth token cannot be brought back', hint }]
  }
  if (credential.clientSecretFile !== undefined) {
    const secret = await orError(secretFromFile(credential.clientSecretFile))
    if (secret instanceof IrError)
      problems.push({ kind: 'input', message: `the client secret is missing: ${secret.message}` })
  } else if (call.intent === 'rotate') {
    problems.push({
      kind: 'input',
      message: `client ${credential.clientId} has no clientSecretFile: a new token cannot be asked for in its name`,
    })
  }
  if (call.intent === 'rotate') problems.push(...(await checkPlace(call)))
  if (problems.some(({ kind }) => kind !== 'warning')) return problems

  const { tokens, missing } = await held(call)
  if (tokens.length === 0) {
    const hint = 'Revoke it at the issuer by hand, or wait until it expires'
    problems.push({
      kind: 'warning',
      message: `the old token cannot be had, so that nothing can prove it dead: ${missing}`,
      hint,
    })
    return problems
  }
  if (call.intent === 'revoke' && credential.revocationEndpoint === undefined)
    problems.push({
      kind: 'warning',
      message: `the registry names no revocation endpoint of ${client.issuer}: the token cannot be revoked`,
    })
  if (credential.introspectionEndpoint === undefined)
    problems.push({ kind: 'warning', message: `the registry names no introspection endpoint of ${client.issuer}` })
  const told = new Set<string>()
  const tell = (problem: Problem): void => {
    if (!told.has(problem.message)) problems.push(problem)
    told.add(problem.message)
  }
  const seen = await Promise.all(tokens.map(async (one) => ({ ...one, ...(await look(client, one.token)) })))
  for (const { where, issuer, downstream } of seen) {
    if (issuer instanceof IrError) {
      // Nobody there to revoke at either: known before anything is approved.
      const same = credential.introspectionEndpoint !== undefined && hostOf(credential.introspectionEndpoint)
      const changing = call.intent === 'revoke' ? credential.revocationEndpoint : credential.tokenEndpoint
      const gone = issuer instanceof NotReachable && changing !== undefined && same === hostOf(changing)
      tell({ kind: gone ? 'unreachable' : 'warning', message: issuer.message })
    } else if (foreign(issuer, credential)) {
      const message = `the token in ${where} was issued to another client than ${credential.clientId}: it is left alone`
      tell({ kind: 'warning', message })
    }
    if (downstream instanceof IrError) tell({ kind: 'warning', message: downstream.message })
  }
  return problems
}

async function checkPlace(call: OauthCall): Promise<readonly Problem[]> {
  const place = await orError(placeOf(call))
  if (!(place instanceof IrError)) return await place.check()
  const [hint] = place.hints
  return [{ kind: 'input', message: place.message, ...(hint === undefined ? {} : { hint }) }]
}
