import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type {
  Action,
  ActionCall,
  Call,
  Change,
  Json,
  JsonObject,
  Observation,
  Problem,
  Receipt,
  Verdict,
} from '../change.ts'
import { IrError } from '../errors.ts'
import { type HttpSettings, hostOf, NotReachable, unsafeUrl } from './bounded-http.ts'
import * as deliver from './deliver.ts'
import {
  type Introspected,
  isSpan,
  type OauthClient,
  type OauthCredential,
  oauthClient,
  type Probed,
} from './oauth-client.ts'
import type { CredentialState, Credentials, CredentialTarget } from './port.ts'
import { fingerprint, heldSecrets, secretFromFile } from './secret-source.ts'
import { asJson, field, orError } from './words.ts'

/**
 * OAuth 2.0: every access token that a server may hold is revoked at its issuer (RFC 7009), and seen to be dead by asking the
 * issuer (RFC 7662) and by trying it at the downstream. The places that they are found in may have been written by the suspect:
 * a token that nobody has ever seen alive says nothing of the one in use. A new one comes from the client credentials grant and goes to a file.
 * Tokens are in memory only for as long as a call lasts; everywhere else stands their fingerprint.
 */
type Target = CredentialTarget<OauthCredential>
type OauthCall = Call<Target>

export interface OauthSettings extends HttpSettings {
  /** How often a token is tried again while a downstream still takes it: some keep the issuer's answer for a moment. */
  readonly probes: number
}

const defaults: OauthSettings = { timeoutMs: 10_000, attempts: 3, pauseMs: 250, probes: 4 }

export const adapter = oauthCredentials()

export function oauthCredentials(overrides: Partial<OauthSettings> = {}): Credentials<OauthCredential> {
  const settings: OauthSettings = { ...defaults, ...overrides }
  const client = (call: OauthCall): OauthClient => oauthClient(call.target.credential, settings, call.signal)

  return {
    permissions: [
      'oauth: revoke a token of the client (RFC 7009)',
      'oauth: introspect tokens of the client (RFC 7662)',
      'oauth: client credentials grant',
      'read tokenFile, clientSecretFile, the delivered file and the environment of the deployment',
      'write the file to deliver to',
    ],

    check: (call) => check(call, client(call)),

    async plan(call) {
      if (call.intent === 'revoke') return await planRevoke(call, client(call))
      return call.intent === 'rotate' ? await planRotate(call, client(call)) : []
    },

    async verify(call) {
      if (call.intent === 'revoke') return await verifyRevoked(call, client(call), settings)
      return call.intent === 'rotate'
        ? await verifyRotated(call, client(call), settings)
        : await verifyReinstated(call, client(call))
    },

    actions: {
      'revoke-token': revokeToken(client),
      'issue-and-deliver': issueAndDeliver(client),
    },
  }
}

// What is read

interface Held {
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
}

/** All that may be the token of the server, the registry's own places first. */
async function held(call: OauthCall): Promise<AllHeld> {
  const { credential, deployments, deliverTo } = call.target
  const key = deliver.keyOf(credential.id)
  const delivered: { path: string; key: string | undefined }[] = []
  if (deliverTo?.kind === 'file') delivered.push({ path: deliverTo.path, key })
  if (credential.tokenFile !== undefined) delivered.push({ path: `${credential.tokenFile}.new`, key: undefined })
  const places = { file: credential.tokenFile, key, delivered, deployments: deployments ?? [] }
  const { found, missing, cut } = await heldSecrets(places)
  // A suspect could name the file of the client's own secret, which would then be shown to the downstream.
  const own =
    credential.clientSecretFile === undefined ? undefined : await orError(secretFromFile(credential.clientSecretFile))
  const tokens = found
    .filter(({ secret }) => secret !== own)
    .map(({ secret, where }) => ({ token: secret, fingerprint: fingerprint(call.caseId, secret), where }))
  return { tokens, missing: missing.join('; ') || 'no other token was found', cut }
}

/** What issuer and downstream say of a token; each `undefined` when the registry names none, or the error that came instead. */
interface Seen {
  readonly issuer: Introspected | undefined | IrError
  readonly downstream: Probed | undefined | IrError
}

async function look(client: OauthClient, token: string): Promise<Seen> {
  const [issuer, downstream] = await Promise.all([orError(client.introspect(token)), orError(client.probe(token))])
  return { issuer, downstream }
}

async function check(call: OauthCall & { readonly intent: string }, client: OauthClient): Promise<readonly Problem[]> {
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
  if (call.intent === 'rotate') problems.push(...(await checkDelivery(call)))
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

/** A suspect could plant somebody else's token, to have it revoked. */
function foreign(said: Introspected | undefined | IrError, credential: OauthCredential): boolean {
  return (
    said !== undefined &&
    !(said instanceof IrError) &&
    said.clientId !== undefined &&
    said.clientId !== credential.clientId
  )
}

// Revoke

async function planRevoke(call: OauthCall, client: OauthClient): Promise<readonly Change[]> {
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

function revokeToken(clientOf: (call: OauthCall) => OauthClient): Action<Target> {
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

async function verifyRevoked(call: OauthCall, client: OauthClient, settings: OauthSettings): Promise<Verdict> {
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

// That a token was alive and was revoked by us

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

async function rememberRevoked(call: OauthCall, print: string): Promise<void> {
  await call.evidence.put(`oauth-token-${print}-revoked.json`, 'application/json', revocationOf(call, print).text)
}

/** In an earlier step, or an earlier run of this one. */
async function wasRevoked(call: OauthCall, print: string): Promise<boolean> {
  const { text, sha256 } = revocationOf(call, print)
  const kept = await orError(call.evidence.get(sha256))
  // Not there, or not to be read: then nothing is known of it.
  return !(kept instanceof IrError) && Buffer.from(kept).equals(Buffer.from(text))
}

/** Whether it was seen to be alive, by this step or before it was revoked. */
async function wasAlive(call: OauthCall, print: string): Promise<boolean> {
  const planned = call.changes.filter(({ action }) => action === 'revoke-token').map(({ params }) => params)
  const done = [...call.receipts.values()].map(({ output }) => output)
  const here = [...planned, ...done].some((one) => field(one, 'fingerprint') === print && field(one, 'live') === true)
  return here || (await wasRevoked(call, print))
}

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
async function lookAtOld(
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

/** Why revoking the token alone may not be enough; undefined when nothing says so. */
async function canMint({ credential, deployments }: Target): Promise<string | undefined> {
  const { clientSecretFile, clientId } = credential
  if (clientSecretFile === undefined) return undefined
  const told = `${credential.id}: the secret of client ${clientId} was readable to the server`
  const advice = 'whoever has it can ask for new tokens; rotate it at the issuer'
  for (const folder of foldersOf(deployments)) {
    if (await deliver.isInside(clientSecretFile, folder)) return `${told} (it lies in ${folder}): ${advice}`
  }
  const info = await stat(clientSecretFile).catch(() => undefined) // that it is missing is told by check
  if (info !== undefined && (info.mode & 0o044) !== 0) return `${told} (its mode lets others read it): ${advice}`
  return undefined
}

function foldersOf(deployments: Target['deployments']): readonly string[] {
  return (deployments ?? []).flatMap((one) => (one.kind === 'local-process' && one.cwd !== undefined ? [one.cwd] : []))
}

function limitsOf(credential: OauthCredential, issuer: string): readonly string[] {
  const limits = [
    `${credential.id}: only tokens that were found are revoked; others that ${issuer} issued to client ${credential.clientId} cannot be listed and live until they expire`,
  ]
  if (credential.clientSecretFile !== undefined)
    limits.push(
      `${credential.id}: who has the secret of client ${credential.clientId} can ask for new tokens; whether a process of the same user read it cannot be seen`,
    )
  if (credential.probe === undefined)
    limits.push(`${credential.id}: the registry names no probe, so that no downstream was tried`)
  return limits
}

// Rotate

function destinationOf(call: OauthCall): deliver.Destination | IrError {
  const { credential, deliverTo } = call.target
  const changeId = call.changeId('issue-and-deliver', credential.id)
  if (deliverTo === undefined && credential.tokenFile !== undefined)
    return { path: `${credential.tokenFile}.new`, key: undefined, changeId }
  if (deliverTo?.kind === 'file') return { path: deliverTo.path, key: deliver.keyOf(credential.id), changeId }
  return new IrError(
    'input',
    deliverTo === undefined
      ? 'there is nowhere to deliver a new token to: the registry names neither deliverTo nor tokenFile'
      : `new secrets cannot be delivered to ${deliverTo.kind} yet`,
    { hints: ['Add deliverTo: {kind: file, path: …} to the server in the registry'] },
  )
}

async function checkDelivery(call: OauthCall): Promise<readonly Problem[]> {
  const { credential, deployments } = call.target
  const destination = destinationOf(call)
  if (destination instanceof IrError)
    return [
      {
        kind: 'input',
        message: destination.message,
        ...(destination.hints[0] === undefined ? {} : { hint: destination.hints[0] }),
      },
    ]
  return await deliver.checkDestination(destination, { folders: foldersOf(deployments), file: credential.tokenFile })
}

/** As it was planned and agreed to, where there is a plan. */
function plannedDestination(call: OauthCall, change: Change | undefined): deliver.Destination {
  const path = field(change?.params, 'path')
  const key = field(change?.params, 'key')
  if (change !== undefined && typeof path === 'string')
    return { path, key: typeof key === 'string' ? key : undefined, changeId: change.id }
  const destination = destinationOf(call)
  if (destination instanceof IrError) throw destination
  return destination
}

async function planRotate(call: OauthCall, client: OauthClient): Promise<readonly Change[]> {
  const { credential, server } = call.target
  const destination = plannedDestination(call, undefined)
  const target = `${credential.id}: new token of client ${credential.clientId} at ${client.issuer}, to ${destination.path}`
  const id = call.changeId('issue-and-deliver', target)
  const there = await deliver.delivered(destination)
  const print = there === undefined ? undefined : fingerprint(call.caseId, there)
  // Rotated in this run already, and it is there and works: nothing to do any more.
  const earlier = field(call.receipts.get(id)?.output, 'fingerprint')
  if (there !== undefined && print === earlier && (await lives(client, there)) === true) return []
  return [
    {
      id,
      action: 'issue-and-deliver',
      target,
      summary: `Issue a new access token for ${server} at ${client.issuer} and deliver it to ${destination.path}${destination.key === undefined ? '' : ` as ${destination.key}`}`,
      effect: 'creates',
      priority: 'essential',
      after: [],
      params: {
        path: destination.path,
        ...(destination.key === undefined ? {} : { key: destination.key }),
        ...(print === undefined ? {} : { replaces: print }),
      },
      breaks: [],
      facts: {
        issuer: client.issuer,
        client: credential.clientId,
        'delivered to': `${destination.path} (0600)`,
        ...(destination.key === undefined ? {} : { key: destination.key }),
        ...(print === undefined ? {} : { replaces: `the value that is there (${print})` }),
      },
    },
  ]
}

/** Whether a token works; undefined when nobody can tell. */
async function lives(client: OauthClient, token: string): Promise<boolean | undefined> {
  const { issuer, downstream } = await look(client, token)
  if (isInactive(issuer)) return false
  if (isActive(issuer)) return true
  if (isAccepted(downstream)) return true
  return isRefused(downstream) ? false : undefined
}

/**
 * In order, each on disk before the next: *requested*, the token staged beside its destination, *issued*, the token at its
 * destination, *delivered*. Whatever is interrupted goes on with the staged token. Only a token whose answer never got here is
 * lost: nobody holds it, it cannot be named any more, and it is counted.
 */
function issueAndDeliver(clientOf: (call: OauthCall) => OauthClient): Action<Target> {
  const receiptOf = (
    change: Change,
    call: ActionCall<Target>,
    destination: deliver.Destination,
    print: string,
  ): Receipt => {
    const issued = call.recorded.findLast((one) => one.issued === print)
    const replaces = field(change.params, 'replaces')
    return {
      output: {
        delivered: { kind: 'file', path: destination.path },
        fingerprint: print,
        ...(issued?.expiresAt === undefined ? {} : { expiresAt: issued.expiresAt }),
        lost: countLost(call.recorded, print),
        ...(typeof replaces === 'string' && replaces !== print ? { replaced: replaces } : {}),
      },
    }
  }

  return {
    async apply(change, call) {
      const client = clientOf(call)
      const destination = plannedDestination(call, change)
      let token = await deliver.staged(destination)
      // Dead before anybody had it, or dead by now at its destination: known, and not to be counted as lost.
      for (const earlier of [token, token === undefined ? await deliver.delivered(destination) : undefined]) {
        if (earlier === undefined) continue
        const print = fingerprint(call.caseId, earlier)
        const issued = call.recorded.findLast((one) => one.issued === print)
        if ((issued === undefined && earlier !== token) || (await lives(client, earlier)) !== false) continue
        await call.record({ discarded: print, request: issued?.request ?? requests(call.recorded) })
        token = undefined
      }
      token ??= await issue(call, client, destination)
      const print = fingerprint(call.caseId, token)
      // Staged before the journal could say so: it is the last one that was asked for.
      if (!call.recorded.some((one) => one.issued === print))
        await call.record({ issued: print, request: requests(call.recorded) })
      await deliver.finish(destination)
      await call.record({ delivered: { kind: 'file', path: destination.path }, fingerprint: print })
      return receiptOf(change, call, destination, print)
    },

    async settle(change, call) {
      const destination = plannedDestination(call, change)
      const there = await deliver.delivered(destination)
      if (there === undefined) return undefined
      const print = fingerprint(call.caseId, there)
      if (!call.recorded.some((one) => one.issued === print)) return undefined
      return (await lives(clientOf(call), there)) === false ? undefined : receiptOf(change, call, destination, print)
    },
  }
}

/** Asks for a token and stages it. @throws IrError; whatever was issued and could not be kept is revoked at once */
async function issue(call: ActionCall<Target>, client: OauthClient, destination: deliver.Destination): Promise<string> {
  const request = requests(call.recorded) + 1
  // A full disk or a folder without the right to write shows before a token exists.
  await deliver.prepare(destination)
  await call.record({ requested: request })
  call.progress(`asking ${client.issuer} for a new token`)
  let issued: Awaited<ReturnType<OauthClient['issue']>>
  try {
    issued = await client.issue(call.now())
  } catch (error) {
    if (!(error instanceof IrError && error.ambiguous)) await call.record({ refused: request })
    await deliver.discard(destination)
    throw error
  }
  const print = fingerprint(call.caseId, issued.token)
  const old = await held(call)
  if (old.tokens.some(({ token }) => token === issued.token)) {
    await call.record({ refused: request })
    await deliver.discard(destination)
    throw new IrError('refused', `${client.issuer} gives out the old token again instead of a new one`, {
      hints: [`Revoke it first: mcp-ir revoke ${call.target.server}`],
    })
  }
  try {
    if (!issued.bearer)
      throw new IrError('refused', `${client.issuer} issues tokens that are bound to a key: they cannot be delivered`)
    const why = deliver.cannotCarry(issued.token)
    if (why !== undefined || /\s/.test(issued.token))
      throw new IrError(
        'refused',
        `${client.issuer} issued a token that cannot be delivered: ${why ?? 'it has a space'}`,
      )
    await deliver.stage(destination, issued.token)
  } catch (error) {
    const revoked = await orError(client.revoke(issued.token))
    if (!(revoked instanceof IrError)) {
      await deliver.discard(destination)
      await call.record({ discarded: print, request })
    }
    throw error
  }
  await call.record({
    issued: print,
    request,
    ...(issued.expiresAt === undefined ? {} : { expiresAt: issued.expiresAt }),
  })
  return issued.token
}

function requests(recorded: readonly JsonObject[]): number {
  return Math.max(0, ...recorded.map((one) => number(one.requested) ?? 0))
}

/** Tokens that may have been issued and that nobody holds. */
function countLost(recorded: readonly JsonObject[], kept: string): number {
  const open = new Set(recorded.flatMap((one) => number(one.requested) ?? []))
  for (const one of recorded) {
    open.delete(number(one.refused) ?? 0)
    if (one.discarded !== undefined || one.issued === kept) open.delete(number(one.request) ?? 0)
  }
  return open.size
}

async function verifyRotated(call: OauthCall, client: OauthClient, settings: OauthSettings): Promise<Verdict> {
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
    ...(fresh.there ? { delivered: { kind: 'file', path: fresh.path } } : {}),
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
  const destination = plannedDestination(call, change)
  const receipt = change === undefined ? undefined : call.receipts.get(change.id)?.output
  const token = await orError(deliver.delivered(destination))
  const print = typeof token === 'string' ? fingerprint(call.caseId, token) : undefined
  const expected = field(receipt, 'fingerprint')
  const there = print !== undefined && (change === undefined || print === expected)
  const observed: Observation[] = [
    {
      claim: `the new token is in ${destination.path}`,
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
      `${credential.id}: the value that was in ${destination.path} before (${replaced}) was replaced and not revoked`,
    )
  return { observed, residue, failed, there, taken, path: destination.path }
}

// Reinstate

async function verifyReinstated(call: OauthCall, client: OauthClient): Promise<Verdict> {
  const { credential, sharedWith } = call.target
  const { tokens, missing } = await held(call)
  const seen = await Promise.all(
    tokens.map(async ({ token, fingerprint }) => ({
      works: await lives(client, token),
      known: await wasAlive(call, fingerprint),
    })),
  )
  const works = seen.some((one) => one.works === true)
  const dead = seen.some((one) => one.known) && seen.every((one) => one.works === false)
  const state: CredentialState = {
    id: credential.id,
    kind: 'oauth',
    state: works ? 'alive' : dead ? 'dead' : 'unknown',
    proof: tokens.length === 0 ? missing : works || dead ? 'probed' : 'no token was found that was revoked here',
    sharedWith,
  }
  return {
    state: works ? 'verified' : 'residual',
    observed: [{ claim: 'what became of the old token was looked at', seen: state.state, holds: true }],
    // That it stays dead is told by the step, as open; nothing of it lives on.
    residue: [],
    limits: [],
    output: asJson(state),
  }
}

// Small words

function isActive(said: Seen['issuer']): said is Introspected {
  return said !== undefined && !(said instanceof IrError) && said.active
}

function isInactive(said: Seen['issuer']): boolean {
  return said !== undefined && !(said instanceof IrError) && !said.active
}

function isAccepted(seen: Seen['downstream']): boolean {
  return seen !== undefined && !(seen instanceof IrError) && seen.answer === 'accepted'
}

function isRefused(seen: Seen['downstream']): boolean {
  return seen !== undefined && !(seen instanceof IrError) && seen.answer === 'refused'
}

function tell(seen: Seen['downstream'], probe: string | undefined): string {
  if (seen === undefined) return 'not registered'
  return seen instanceof IrError ? seen.message : `${seen.answer} (${seen.status}) by ${hostOf(probe ?? '')}`
}

/** Three parts, the first a JSON object: a JWT, which a downstream can read without asking anybody. */
function isSelfContained(token: string): boolean {
  return token.split('.').length === 3 && jsonPart(token, 0) !== undefined
}

/** When a JWT ends, in seconds since 1970. Not verified: it only says for how long to be careful. */
function expiryOf(token: string): number | undefined {
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

function isoOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString()
}

function number(value: Json | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined
}
