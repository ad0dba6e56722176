import { setTimeout as sleep } from 'node:timers/promises'
import type { Call, JsonObject } from '../change.ts'
import { IrError } from '../errors.ts'
import { describeServer, type ServerDescription } from '../mcp/client.ts'
import { toolsDigest } from '../mcp/tools-digest.ts'
import type { Deployment } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import { type Difference, differences, told } from './difference.ts'
import type { Deployments, DeploymentTarget } from './port.ts'

/** What a new server serves, as often as it is asked. Calls no tool of it. */

type Target<D extends Deployment> = DeploymentTarget<D>
type Looking<D extends Deployment> = Call<Target<D>>

const describeMs = 5_000
/** Between two looks while it starts, and while it is watched. */
const everyMs = { starting: 250, watching: 2_000 } as const
/** How long it is watched where the registry does not say, in seconds. */
const watchDefault = 15

export type Seen =
  | { readonly state: 'serving'; readonly served: ServerDescription; readonly digest: string }
  /** It may still come. */
  | { readonly state: 'silent'; readonly reason: string }
  /** It never will be what was approved. */
  | {
      readonly state: 'wrong'
      readonly reason: string
      readonly served?: ServerDescription
      readonly differences?: readonly Difference[]
    }

/** @throws IrError input when the registry does not say where it answers */
export function urlOf({ deployment }: Target<Deployment>): string {
  if (deployment.url !== undefined) return deployment.url
  throw new IrError('input', `Deployment ${safe(deployment.id)} cannot be put back: the registry names no url of it`, {
    hints: ['Where it will answer must be known, so that it can be asked what it serves: url in the deployment.'],
  })
}

export const watchSeconds = ({ deployment }: Target<Deployment>): number => deployment.watch ?? watchDefault

/** Whether it is there, and serves the approved tools: twice the same, each time from a new handshake on. */
export async function lookTwice<D extends Deployment>(adapter: Deployments<D>, call: Looking<D>): Promise<Seen> {
  const first = await look(adapter, call)
  if (first.state !== 'serving') return first
  const second = await look(adapter, call)
  if (second.state !== 'serving' || second.digest === first.digest) return second
  return {
    state: 'wrong',
    ...changed('between two calls', first.served, second.served),
  }
}

async function look<D extends Deployment>(adapter: Deployments<D>, call: Looking<D>): Promise<Seen> {
  const { target, signal } = call
  try {
    const presence = await adapter.presence(call)
    if (presence.state !== 'up') return { state: presence.state === 'gone' ? 'wrong' : 'silent', reason: presence.why }
    const served = await describeServer(urlOf(target), { signal, timeoutMs: describeMs })
    const digest = toolsDigest(served)
    const approved = target.server.tools?.digest
    if (approved === undefined || digest === approved) return { state: 'serving', served, digest }
    return { state: 'wrong', ...notApproved(target, served, digest, approved) }
  } catch (error) {
    if (!(error instanceof IrError) || error.code === 'interrupted') throw error
    return { state: error.code === 'unreachable' ? 'silent' : 'wrong', reason: error.message }
  }
}

type Wrong = Omit<Extract<Seen, { state: 'wrong' }>, 'state'>

function notApproved(
  { approved }: Target<Deployment>,
  served: ServerDescription,
  digest: string,
  expected: string,
): Wrong {
  const what = `The new server does not serve the approved tools (${digest} instead of ${expected})`
  if (approved === undefined) {
    const tools = served.tools.map(
      ({ name, description }) => `${safe(name, 60)} "${safe(String(description ?? ''), 200)}"`,
    )
    const shown = tools.slice(0, 8).join(', ') + (tools.length > 8 ? ` and ${tools.length - 8} more` : '')
    const reason = `${what}. It serves: ${shown}. Which words differ can be told when the registry names what was approved: tools.document`
    return { reason, served }
  }
  const found = differencesOf(approved, served)
  return { reason: `${what}: ${told(found)}`, served, differences: found }
}

function changed(when: string, first: ServerDescription, second: ServerDescription): Wrong {
  const found = differencesOf(first, second)
  return {
    reason: `The list of tools of the new server changed ${when}: ${told(found)}`,
    served: second,
    differences: found,
  }
}

function differencesOf(...[one, other]: Parameters<typeof differences>): Difference[] {
  try {
    return differences(one, other)
  } catch (error) {
    // Nested deeper than can be walked: that they differ is known by their digests.
    if (error instanceof RangeError) return []
    throw error
  }
}

/** A server that was not accepted, with what it served. */
export class NotAccepted extends IrError {
  readonly served: ServerDescription | undefined
  readonly differences: readonly Difference[] | undefined

  constructor(reason: string, wrong: Partial<Wrong> = {}) {
    super('refused', reason)
    this.served = wrong.served
    this.differences = wrong.differences
  }

  /** For the evidence. */
  get record(): JsonObject {
    return { refused: this.message.slice(0, 2000) }
  }
}

/** @throws NotAccepted when it ends, does not answer in time, or serves what is not approved */
export async function untilServing<D extends Deployment>(
  adapter: Deployments<D>,
  call: Looking<D>,
): Promise<Extract<Seen, { state: 'serving' }>> {
  const seconds = call.target.deployment.startWithin ?? adapter.startWithin
  const deadline = performance.now() + seconds * 1000
  for (;;) {
    const seen = await lookTwice(adapter, call)
    if (seen.state === 'serving') return seen
    if (seen.state === 'wrong') throw new NotAccepted(seen.reason, seen)
    if (performance.now() > deadline) {
      throw new NotAccepted(`The new server did not answer within ${seconds} seconds: ${seen.reason}`)
    }
    call.progress(`waiting for the new server: ${seen.reason}`)
    await sleep(everyMs.starting, undefined, { signal: call.signal })
  }
}

/**
 * Looks again and again for as long as the registry says, that it stays there and serves what it served.
 * @throws NotAccepted when it does not
 */
export async function watch<D extends Deployment>(
  adapter: Deployments<D>,
  call: Looking<D>,
  first: Extract<Seen, { state: 'serving' }>,
): Promise<void> {
  const end = performance.now() + watchSeconds(call.target) * 1000
  for (let left = end - performance.now(); left > 0; left = end - performance.now()) {
    call.progress(`the new server is healthy; it is watched for another ${Math.ceil(left / 1000)} seconds`)
    await sleep(Math.min(everyMs.watching, left), undefined, { signal: call.signal })
    let seen = await look(adapter, call)
    // One answer that was lost is no illness.
    if (seen.state === 'silent') seen = await look(adapter, call)
    if (seen.state === 'serving' && seen.digest === first.digest) continue
    const wrong = seen.state === 'serving' ? changed('while it was watched', first.served, seen.served) : seen
    throw new NotAccepted(
      seen.state === 'silent' ? `The new server fell silent while it was watched: ${seen.reason}` : wrong.reason,
      wrong,
    )
  }
}
