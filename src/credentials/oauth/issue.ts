import type { Action, ActionCall, Change, JsonObject, Receipt } from '../../change.ts'
import { IrError } from '../../errors.ts'
import * as deliver from '../deliver.ts'
import { fingerprint } from '../secret-source.ts'
import { field, orError } from '../words.ts'
import type { OauthClient } from './client.ts'
import { plannedDestination } from './destination.ts'
import { held, lives, number } from './seen.ts'
import type { OauthCall, Target } from './target.ts'

/**
 * In order, each on disk before the next: *requested*, the token staged beside its destination, *issued*, the token at its
 * destination, *delivered*. Whatever is interrupted goes on with the staged token. Only a token whose answer never got here is
 * lost: nobody holds it, it cannot be named any more, and it is counted.
 */
export function issueAndDeliver(clientOf: (call: OauthCall) => OauthClient): Action<Target> {
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
