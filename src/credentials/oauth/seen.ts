import type { Json } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { hostOf } from '../bounded-http.ts'
import * as deliver from '../deliver.ts'
import { fingerprint, heldSecrets, isOneWord, secretFromFile } from '../secret-source.ts'
import type { Store } from '../store.ts'
import { destinationOf } from '../stores/index.ts'
import { orError } from '../words.ts'
import { type Introspected, isSpan, type OauthClient, type OauthCredential, type Probed } from './client.ts'
import type { OauthCall } from './target.ts'

export interface Held {
  readonly token: string
  readonly fingerprint: string
  readonly where: string
}

interface AllHeld {
  readonly tokens: readonly Held[]
  /** Why there are none in the other places, in plain words. */
  readonly missing: string
  /** There were more than are looked at. */
  readonly cut: boolean
  /** Why what was delivered to a store could not be looked at. */
  readonly unread: string | undefined
}

/** All that may be the token of the server, the registry's own places first. */
export async function held(call: OauthCall): Promise<AllHeld> {
  const { credential, deployments, deliverTo } = call.target
  const key = deliver.keyOf(credential.id)
  const delivered: { path: string; key: string | undefined }[] = []
  if (deliverTo?.kind === 'file') delivered.push({ path: deliverTo.path, key })
  if (credential.tokenFile !== undefined) delivered.push({ path: `${credential.tokenFile}.new`, key: undefined })
  const places = { file: credential.tokenFile, key, delivered, deployments: deployments ?? [] }
  const { found: local, missing, cut } = await heldSecrets(places)
  const stored = await orError(inStore(call))
  const unread = stored instanceof IrError ? stored.message : undefined
  const found = [
    ...local,
    ...(stored instanceof IrError ? [] : stored.filter((one) => local.every(({ secret }) => secret !== one.secret))),
  ]
  // A suspect could name the file of the client's own secret, which would then be shown to the downstream.
  const own =
    credential.clientSecretFile === undefined ? undefined : await orError(secretFromFile(credential.clientSecretFile))
  const tokens = found
    .filter(({ secret }) => secret !== own)
    .map(({ secret, where }) => ({ token: secret, fingerprint: fingerprint(call.caseId, secret), where }))
  return {
    tokens,
    missing: [...missing, ...(unread === undefined ? [] : [unread])].join('; ') || 'no other token was found',
    cut,
    unread,
  }
}

/** What was delivered to a store, which the server reads from then on. */
async function inStore(call: OauthCall): Promise<readonly { readonly secret: string; readonly where: string }[]> {
  const { deliverTo } = call.target
  if (deliverTo === undefined || deliverTo.kind === 'file') return []
  const { store, key } = await destinationOf(call)
  const there = await store.get(key, call)
  return there === undefined || !isOneWord(there.secret) ? [] : [{ secret: there.secret, where: storeOf(store) }]
}

/** `where` of what lies in a store. */
export function storeOf({ kind, path }: Pick<Store, 'kind' | 'path'>): string {
  return `${kind} ${path}`
}

/** What issuer and downstream say of a token; each `undefined` when the registry names none, or the error that came instead. */
export interface Seen {
  readonly issuer: Introspected | undefined | IrError
  readonly downstream: Probed | undefined | IrError
}

export async function look(client: OauthClient, token: string): Promise<Seen> {
  const [issuer, downstream] = await Promise.all([orError(client.introspect(token)), orError(client.probe(token))])
  return { issuer, downstream }
}

/** A suspect could plant somebody else's token, to have it revoked. */
export function foreign(said: Introspected | undefined | IrError, credential: OauthCredential): boolean {
  return (
    said !== undefined &&
    !(said instanceof IrError) &&
    said.clientId !== undefined &&
    said.clientId !== credential.clientId
  )
}

/** Whether a token works; undefined when nobody can tell. */
export async function lives(client: OauthClient, token: string): Promise<boolean | undefined> {
  const { issuer, downstream } = await look(client, token)
  if (isInactive(issuer)) return false
  if (isActive(issuer)) return true
  if (isAccepted(downstream)) return true
  return isRefused(downstream) ? false : undefined
}

export function isActive(said: Seen['issuer']): said is Introspected {
  return said !== undefined && !(said instanceof IrError) && said.active
}

export function isInactive(said: Seen['issuer']): boolean {
  return said !== undefined && !(said instanceof IrError) && !said.active
}

export function isAccepted(seen: Seen['downstream']): boolean {
  return seen !== undefined && !(seen instanceof IrError) && seen.answer === 'accepted'
}

export function isRefused(seen: Seen['downstream']): boolean {
  return seen !== undefined && !(seen instanceof IrError) && seen.answer === 'refused'
}

export function tell(seen: Seen['downstream'], probe: string | undefined): string {
  if (seen === undefined) return 'not registered'
  return seen instanceof IrError ? seen.message : `${seen.answer} (${seen.status}) by ${hostOf(probe ?? '')}`
}

/** Three parts, the first a JSON object: a JWT, which a downstream can read without asking anybody. */
export function isSelfContained(token: string): boolean {
  return token.split('.').length === 3 && jsonPart(token, 0) !== undefined
}

/** When a JWT ends, in seconds since 1970. Not verified: it only says for how long to be careful. */
export function expiryOf(token: string): number | undefined {
  if (!isSelfContained(token)) return undefined
  const exp = jsonPart(token, 1)?.exp
  return isSpan(exp) ? Math.floor(exp) : undefined
}

function jsonPart(token: string, index: number): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(token.split('.')[index] ?? '', 'base64url').toString('utf8'))
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : undefined
  } catch {
    return undefined // not a JWT
  }
}

export function isoOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString()
}

export function number(value: Json | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined
}
