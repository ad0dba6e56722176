import type { Action, ActionCall, Change, JsonObject, Receipt } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { deliveredTo, type Issued } from '../issue.ts'
import { fingerprint, isOneWord } from '../secret-source.ts'
import { field, orError } from '../words.ts'
import type { OauthClient } from './client.ts'
import { type Place, placeOf } from './place.ts'
import { held, isActive, lives, look, number, storeOf } from './seen.ts'
import type { OauthCall, Target } from './target.ts'

/**
 * In order, each on disk before the next: *requested*, the token staged beside its destination, *issued*, the token at its
 * destination, *delivered*. In a store it lies where it is read before it is *issued*. Whatever is interrupted goes on with that token.
 * Only one whose answer never got here, or that a crash kept from its store, is lost: nobody holds it, it cannot be named any more, and
 * it is counted.
 */
export function issueAndDeliver(clientOf: (call: OauthCall) => OauthClient): Action<Target> {
  const receiptOf = (
    change: Change,
    call: ActionCall<Target>,
    delivered: Issued['delivered'],
    print: string,
  ): Receipt => {
    const issued = call.recorded.findLast((one) => one.issued === print)
    const replaces = field(change.params, 'replaces')
    return {
      output: {
        delivered,
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
      const place = await placeOf(call, change)
      let token = await begun(call, client, place)
      // Dead before anybody had it, or dead by now at its destination: known, and not to be counted as lost.
      for (const earlier of [token, token === undefined ? (await place.get())?.secret : undefined]) {
        if (earlier === undefined) continue
        const print = fingerprint(call.caseId, earlier)
        const issued = call.recorded.findLast((one) => one.issued === print)
        if ((issued === undefined && earlier !== token) || (await lives(client, earlier)) !== false) continue
        await call.record({ discarded: print, request: issued?.request ?? requests(call.recorded) })
        token = undefined
      }
      token ??= await issue(call, client, place)
      const print = fingerprint(call.caseId, token)
      // Staged before the journal could say so: it is the last one that was asked for.
      if (!call.recorded.some((one) => one.issued === print))
        await call.record({ issued: print, request: requests(call.recorded) })
      const delivered = deliveredTo(place, await place.finish())
      await call.record({ delivered, fingerprint: print })
      return receiptOf(change, call, delivered, print)
    },

    async settle(change, call) {
      const place = await placeOf(call, change)
      const there = await place.get()
      if (there === undefined) return undefined
      const print = fingerprint(call.caseId, there.secret)
      if (!call.recorded.some((one) => one.issued === print)) return undefined
      return (await lives(clientOf(call), there.secret)) === false
        ? undefined
        : receiptOf(change, call, deliveredTo(place, there), print)
    },
  }
}

/** What an interrupted try put away, if it is ours for sure. */
async function begun(call: ActionCall<Target>, client: OauthClient, place: Place): Promise<string | undefined> {
  const found = await place.begun(call.recorded, isOpen(call.recorded))
  if (found === undefined || found.certain) return found?.token
  const { issuer } = await look(client, found.token)
  if (!isActive(issuer) || issuer.clientId !== call.target.credential.clientId) return undefined
  const { tokens } = await held(call)
  return tokens.some(({ token, where }) => token === found.token && where !== storeOf(place)) ? undefined : found.token
}

/** Asks for a token and stages it. @throws IrError; whatever was issued and could not be kept is revoked at once */
async function issue(call: ActionCall<Target>, client: OauthClient, place: Place): Promise<string> {
  const request = requests(call.recorded) + 1
  // A full disk or a folder without the right to write shows before a token exists.
  await place.prepare()
  await call.record({ requested: request })
  call.progress(`asking ${client.issuer} for a new token`)
  let issued: Awaited<ReturnType<OauthClient['issue']>>
  try {
    issued = await client.issue(call.now())
  } catch (error) {
    if (!(error instanceof IrError && error.ambiguous)) await call.record({ refused: request })
    await place.discard()
    throw error
  }
  const print = fingerprint(call.caseId, issued.token)
  const old = await held(call)
  if (old.tokens.some(({ token }) => token === issued.token)) {
    await call.record({ refused: request })
    await place.discard()
    throw new IrError('refused', `${client.issuer} gives out the old token again instead of a new one`, {
      hints: [`Revoke it first: mcp-ir revoke ${call.target.server}`],
    })
  }
  try {
    if (!issued.bearer)
      throw new IrError('refused', `${client.issuer} issues tokens that are bound to a key: they cannot be delivered`)
    const why = place.cannotCarry(issued.token)
    if (why !== undefined || !isOneWord(issued.token))
      throw new IrError(
        'refused',
        `${client.issuer} issued a token that cannot be delivered: ${why ?? 'it is not one printable word'}`,
      )
    await place.stage(issued.token)
  } catch (error) {
    const revoked = await orError(client.revoke(issued.token))
    if (!(revoked instanceof IrError)) {
      await place.discard()
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

/** A token was asked for last, and nothing says what came of it. */
function isOpen(recorded: readonly JsonObject[]): boolean {
  const last = requests(recorded)
  return last > 0 && !recorded.some((one) => one.refused === last || one.request === last)
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
