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
import { fingerprint, heldSecret, secretFromFile } from './secret-source.ts'

/**
 * OAuth 2.0: the access token that a server holds is revoked at its issuer (RFC 7009), and seen to be dead by asking the issuer
 * (RFC 7662) and by trying it at the downstream. A new one comes from the client credentials grant and goes to a file.
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
      'read tokenFile and clientSecretFile',
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

async function held(call: OauthCall): Promise<Held | { readonly missing: string }> {
  const { credential, deployments } = call.target
  const found = await heldSecret(credential.tokenFile, deliver.keyOf(credential.id), deployments ?? [])
  if ('missing' in found) return found
  return { token: found.secret, fingerprint: fingerprint(call.caseId, found.secret), where: found.where }
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

/** A system that cannot be asked is something to be told, not the end. */
async function orError<T>(work: Promise<T>): Promise<T | IrError> {
  try {
    return await work
  } catch (error) {
    if (error instanceof IrError && error.code !== 'interrupted') return error
    throw error
  }
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

  const token = await held(call)
  if ('missing' in token) {
    const hint = 'Revoke it at the issuer by hand, or wait until it expires'
    problems.push({
      kind: 'warning',
      message: `the old token cannot be had, so that nothing can prove it dead: ${token.missing}`,
      hint,
    })
    return problems
  }
  if (call.intent === 'revoke' && credential.revocationEndpoint === undefined)
    problems.push({
      kind: 'warning',
      message: `the registry names no revocation endpoint of ${client.issuer}: the token cannot be revoked`,
    })
  const { issuer, downstream } = await look(client, token.token)
  if (issuer === undefined)
    problems.push({ kind: 'warning', message: `the registry names no introspection endpoint of ${client.issuer}` })
  if (issuer instanceof IrError) {
    // Nobody there to revoke at either: known before anything is approved.
    const same = credential.introspectionEndpoint !== undefined && hostOf(credential.introspectionEndpoint)
    const changing = call.intent === 'revoke' ? credential.revocationEndpoint : credential.tokenEndpoint
    const gone = issuer instanceof NotReachable && changing !== undefined && same === hostOf(changing)
    problems.push({ kind: gone ? 'unreachable' : 'warning', message: issuer.message })
  } else if (foreign(issuer, credential)) {
    problems.push({
      kind: 'warning',
      message: `the token in ${token.where} was issued to another client than ${credential.clientId}: it is left alone`,
    })
  }
  if (downstream instanceof IrError) problems.push({ kind: 'warning', message: downstream.message })
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
  const { credential, sharedWith, server } = call.target
  const token = await held(call)
  if ('missing' in token || credential.revocationEndpoint === undefined) return []
  const { issuer, downstream } = await look(client, token.token)
  if (foreign(issuer, credential)) return []
  const known = issuer === undefined || issuer instanceof IrError ? undefined : issuer
  if (known?.active === false) return []
  const exp = known?.exp ?? expiryOf(token.token)
  // Not of the token: its fingerprint differs from case to case, and would alter the plan's hash.
  const target = `${credential.id}: token of client ${credential.clientId} at ${client.issuer}`
  return [
    {
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
    },
  ]
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
    const token = await held(call)
    return 'missing' in token || token.fingerprint !== field(change.params, 'fingerprint') ? undefined : token
  }
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
      return { output: { fingerprint: token.fingerprint } }
    },
    async settle(change, call) {
      const token = await planned(change, call)
      if (token === undefined) return undefined
      const { issuer, downstream } = await look(clientOf(call), token.token)
      const output = { fingerprint: token.fingerprint }
      if (issuer !== undefined && !(issuer instanceof IrError)) return issuer.active ? undefined : { output }
      // Without the issuer's word only a downstream that took the token before can tell. Not knowing means revoking once
      // more, which alters nothing.
      const refused = downstream !== undefined && !(downstream instanceof IrError) && downstream.answer === 'refused'
      return refused && field(change.params, 'before') === 'accepted' ? { output } : undefined
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

interface OldToken {
  readonly verdict: Verdict['state']
  readonly observed: readonly Observation[]
  readonly residue: readonly string[]
  readonly state: CredentialState
}

/**
 * What has become of the token that the suspect holds.
 * @param takesOthers the downstream was just seen to take another token, so that its refusal of the old one means something
 */
async function lookAtOld(
  call: OauthCall,
  client: OauthClient,
  settings: OauthSettings,
  takesOthers = false,
): Promise<OldToken> {
  const { credential, sharedWith } = call.target
  const change = call.changes.find(({ action }) => action === 'revoke-token')
  const acknowledged = change !== undefined && call.receipts.has(change.id)
  const end = (
    verdict: Verdict['state'],
    state: CredentialState['state'],
    proof: string,
    more: { observed?: readonly Observation[]; residue?: readonly string[]; until?: string } = {},
  ): OldToken => ({
    verdict,
    observed: more.observed ?? [],
    residue: more.residue ?? [],
    state: {
      id: credential.id,
      kind: 'oauth',
      state,
      proof,
      ...(more.until === undefined ? {} : { until: more.until }),
      sharedWith,
    },
  })

  const token = await held(call)
  const expected = change === undefined ? undefined : field(change.params, 'fingerprint')
  const lost =
    'missing' in token
      ? token.missing
      : expected !== undefined && token.fingerprint !== expected
        ? `${token.where} now holds another token`
        : undefined
  if (lost !== undefined || 'missing' in token) {
    const residue = [`${credential.id}: the old token could not be tried (${lost}); it may live until it expires`]
    const proof = acknowledged
      ? 'the issuer acknowledged the revocation; nothing could be observed'
      : 'the old token cannot be had'
    return end(change === undefined || acknowledged ? 'residual' : 'failed', 'unknown', proof, {
      observed: [{ claim: 'the old token could be looked at', seen: lost ?? '', holds: false }],
      residue,
    })
  }

  let seen = await look(client, token.token)
  for (let tried = 1; tried < settings.probes && isInactive(seen.issuer) && isAccepted(seen.downstream); tried++) {
    await sleep(settings.pauseMs * 2 ** tried, undefined, { signal: call.signal })
    seen = { ...seen, downstream: await orError(client.probe(token.token)) }
  }
  const { issuer, downstream } = seen
  const observed: Observation[] = []
  if (issuer !== undefined)
    observed.push({
      claim: `${client.issuer} says that the old token is inactive`,
      seen: issuer instanceof IrError ? issuer.message : issuer.active ? 'active' : 'inactive',
      holds: isInactive(issuer),
    })
  if (downstream !== undefined)
    observed.push({
      claim: `${hostOf(credential.probe ?? '')} refuses the old token`,
      seen: tell(downstream, credential.probe),
      holds: isRefused(downstream),
    })

  if (foreign(issuer, credential))
    return end('residual', 'unknown', `${token.where} holds a token of another client`, {
      observed,
      residue: [
        `${credential.id}: ${token.where} holds a token of another client, which was left alone; where the server's own token is, is not known`,
      ],
    })
  const exp = number(change === undefined ? undefined : field(change.params, 'exp')) ?? expiryOf(token.token)
  if (isActive(issuer)) {
    const until = issuer.exp === undefined ? '' : ` until ${isoOf(issuer.exp)}`
    const why = credential.revocationEndpoint === undefined ? ', and the registry names no revocation endpoint' : ''
    return end('failed', 'alive', `the issuer says that it is active${until}${why}`, { observed })
  }
  if (isAccepted(downstream)) {
    const running = exp !== undefined && exp * 1000 > call.now().getTime()
    // Refused by its issuer and still taken: the downstream reads the token itself and never asks, so that it ends by the clock.
    if (isInactive(issuer) && running && isSelfContained(token.token)) {
      const until = isoOf(exp)
      return end('residual', 'expires', 'the issuer says that it is inactive, the downstream still takes it', {
        observed,
        residue: [
          `${credential.id}: ${hostOf(credential.probe ?? '')} takes the old token until ${until}, as it does not ask the issuer: block it there, or keep the server cut off until then`,
        ],
        until,
      })
    }
    return end(
      'failed',
      'alive',
      `the downstream still takes it${isInactive(issuer) ? ', although the issuer says that it is inactive' : ''}`,
      { observed },
    )
  }
  const unasked = [issuer, downstream].flatMap((one) =>
    one instanceof IrError ? [`${credential.id}: ${one.message}`] : [],
  )
  if (isInactive(issuer)) {
    if (isRefused(downstream)) return end('verified', 'dead', 'probed', { observed })
    const unclear = downstream !== undefined && !(downstream instanceof IrError)
    const residue = unclear
      ? [`${credential.id}: the downstream neither took nor refused the old token (${downstream.status})`]
      : unasked
    return end(residue.length === 0 ? 'verified' : 'residual', 'dead', 'issuer says so', { observed, residue })
  }
  // The issuer says nothing. A refusal proves something only where a token is taken at all: this one before, or another now.
  if (isRefused(downstream) && (takesOthers || field(change?.params, 'before') === 'accepted'))
    return end(unasked.length === 0 ? 'verified' : 'residual', 'dead', 'probed', { observed, residue: unasked })
  const proof = acknowledged
    ? 'the issuer acknowledged the revocation; nothing could be observed'
    : 'nothing could be observed'
  return end(change === undefined || acknowledged ? 'residual' : 'failed', 'unknown', proof, {
    observed,
    residue:
      unasked.length > 0
        ? unasked
        : [
            `${credential.id}: whether the old token is dead cannot be seen: neither its issuer nor a downstream that took it before can be asked`,
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
    `${credential.id}: only the token that was found is revoked; others that ${issuer} issued to client ${credential.clientId} cannot be listed and live until they expire`,
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
        lost: lost(call.recorded, print),
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
  if (!('missing' in old) && old.token === issued.token) {
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
function lost(recorded: readonly JsonObject[], kept: string): number {
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
  if (typeof replaced === 'string')
    residue.push(
      `${credential.id}: the value that was in ${destination.path} before (${replaced}) was replaced and not revoked`,
    )
  return { observed, residue, failed, there, taken, path: destination.path }
}

// Reinstate

async function verifyReinstated(call: OauthCall, client: OauthClient): Promise<Verdict> {
  const { credential, sharedWith } = call.target
  const token = await held(call)
  const works = 'missing' in token ? undefined : await lives(client, token.token)
  const state: CredentialState = {
    id: credential.id,
    kind: 'oauth',
    state: works === undefined ? 'unknown' : works ? 'alive' : 'dead',
    proof: 'missing' in token ? token.missing : works === undefined ? 'nothing could be observed' : 'probed',
    sharedWith,
  }
  return {
    state: works === true ? 'verified' : 'residual',
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

function field(value: Json | undefined, name: string): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject)[name] : undefined
}

function number(value: Json | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined
}

function asJson(state: CredentialState): Json {
  return { ...state }
}
