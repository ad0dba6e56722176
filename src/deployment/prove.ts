import type { ActionCall, Adapter, Call, Change, Json, JsonObject, Observation, Problem, Verdict } from '../change.ts'
import { IrError, StorageError } from '../errors.ts'
import type { ServerDescription } from '../mcp/client.ts'
import { toolsDigest } from '../mcp/tools-digest.ts'
import type { Deployment } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import type { Deployments, DeploymentTarget, Redeployed } from './port.ts'
import { lookTwice, NotAccepted, type Seen, untilServing, urlOf, watch, watchSeconds } from './serving.ts'

/**
 * What every new server has to prove, whatever it runs on: by an MCP handshake at the deployment's `url` that it serves exactly
 * the approved tools, twice the same, and that it stays healthy while it is watched. One that does not is taken out again, and
 * the isolated one stays as it is. The adapters only put a server in place and take it out.
 */

const action = 'prove-server'

export function proven<D extends Deployment>(adapter: Deployments<D>): Adapter<DeploymentTarget<D>, 'redeploy'> {
  type Target = DeploymentTarget<D>
  return {
    ...adapter,

    async check(call) {
      const refused = refusals(call.target)
      if (refused.length > 0) return refused
      urlOf(call.target)
      return [...(await adapter.check(call)), ...doubts(call.target)]
    },

    async plan(call) {
      const changes = await adapter.plan(call)
      if (changes.length === 0 && (await lookTwice(adapter, call)).state === 'serving') return []
      return [...changes, proofOf(call, changes)]
    },

    actions: {
      ...adapter.actions,
      [action]: {
        async apply(_change: Change, call: ActionCall<Target>) {
          const before = unfinished(call.recorded)
          if (before !== undefined) throw await takenOut(adapter, call, before)
          let seen: Extract<Seen, { state: 'serving' }>
          try {
            seen = await untilServing(adapter, call)
            await watch(adapter, call, seen)
          } catch (error) {
            // An interrupted proof is gone on with; whatever else went wrong, what is not proven must not stay.
            if (call.signal.aborted || error instanceof StorageError) throw error
            const wrong = error instanceof NotAccepted ? error : new NotAccepted(whyOf(error))
            await keep(call, wrong.served, wrong)
            throw await takenOut(adapter, call, wrong.record)
          }
          await keep(call, seen.served)
          await call.record({ proven: seen.digest })
          return { output: { url: urlOf(call.target), toolsDigest: seen.digest } }
        },
        async settle(_change: Change, call: ActionCall<Target>) {
          const proven = call.recorded.at(-1)?.proven
          if (typeof proven !== 'string' || (await lookTwice(adapter, call)).state !== 'serving') return undefined
          return { output: { url: urlOf(call.target), toolsDigest: proven } }
        },
      },
    },

    async verify(call) {
      const [inner, served] = [await adapter.verify(call), await observed(adapter, call)]
      const all = [...inner.observed, ...served.observed]
      const residue = [...inner.residue, ...served.residue]
      const failed = inner.state === 'failed' || all.some(({ holds }) => !holds)
      return {
        state: failed ? 'failed' : residue.length > 0 ? 'residual' : 'verified',
        observed: all,
        residue,
        limits: [...inner.limits, ...served.limits],
        output: { ...served.output, ...(inner.output as JsonObject | undefined) } as unknown as Json,
      }
    },
  }
}

/** What the registry entry and the verdict alone forbid. */
function refusals(target: DeploymentTarget): Problem[] {
  const { verdict } = target.artifact
  if (verdict.state === 'invalid') {
    return [{ kind: 'refused', message: `the build is not what it should be: ${verdict.reasons[0] ?? 'invalid'}` }]
  }
  if (target.compromised.includes(verdict.sha256)) {
    return [{ kind: 'refused', message: 'this very build ran when the server was compromised' }]
  }
  return []
}

function doubts({ server }: DeploymentTarget): Problem[] {
  if (server.tools !== undefined) return []
  const message = 'the registry entry has no approved tools digest: what the new server serves cannot be compared'
  return [{ kind: 'warning', message }]
}

function proofOf<D extends Deployment>(call: Call<DeploymentTarget<D>>, changes: readonly Change[]): Change {
  const { target } = call
  const url = urlOf(target)
  const approved = target.server.tools?.digest
  return {
    id: call.changeId(action, url),
    action,
    target: url,
    summary: `See that it serves the approved tools, twice, and stays healthy for ${watchSeconds(target)} seconds; else take it out again`,
    effect: 'reversible',
    priority: 'essential',
    after: changes.map(({ id }) => id),
    breaks: [],
    facts: { 'approved tools': approved ?? 'no digest in the registry' },
  }
}

/** That an attempt refused the server, and did not get to take it out. */
function unfinished(recorded: readonly JsonObject[]): JsonObject | undefined {
  const last = recorded.at(-1)
  return last !== undefined && 'refused' in last ? last : undefined
}

/** Written before it begins, so that whoever goes on after a crash takes it out too. @returns the refusal */
async function takenOut<D extends Deployment>(
  adapter: Deployments<D>,
  call: ActionCall<DeploymentTarget<D>>,
  refusal: JsonObject,
): Promise<IrError> {
  if (unfinished(call.recorded) === undefined) await call.record(refusal)
  call.progress('taking the new server out again')
  let done: string
  try {
    done = await adapter.takeOut(call)
  } catch (error) {
    if (call.signal.aborted || error instanceof StorageError) throw error
    return new IrError('partial', `${refusal.refused}. IT STILL RUNS, as it could not be taken out: ${whyOf(error)}`)
  }
  await call.record({ takenOut: done })
  return new IrError('refused', `${refusal.refused}. ${done}`)
}

function whyOf(error: unknown): string {
  if (error instanceof IrError) return error.message
  return `unexpected ${error instanceof Error ? error.name : typeof error}`
}

/** As it was served: hostile, and evidence. The next approval can be made from it. */
async function keep(
  { evidence, target }: ActionCall<DeploymentTarget>,
  served: ServerDescription | undefined,
  wrong?: NotAccepted,
): Promise<void> {
  const slug = target.deployment.id.replace(/[^A-Za-z0-9-]+/g, '-').slice(0, 60)
  const put = async (name: string, content: unknown) =>
    await evidence.put(`${name}-${slug}.json`, 'application/json', `${JSON.stringify(content, null, 2)}\n`)
  if (served !== undefined) await put(wrong === undefined ? 'served-tools' : 'refused-tools', served)
  if (wrong?.differences !== undefined) await put('tools-difference', wrong.differences)
}

interface Observed extends Pick<Verdict, 'observed' | 'residue' | 'limits'> {
  readonly output: Redeployed
}

/** Asked once more, as the verdict says what is and not what was. */
async function observed<D extends Deployment>(
  adapter: Deployments<D>,
  call: Call<DeploymentTarget<D>>,
): Promise<Observed> {
  const { server, deployment } = call.target
  const approved = server.tools?.digest
  const url = urlOf(call.target)
  const seen = await lookTwice(adapter, call)
  const served = 'served' in seen ? seen.served : undefined
  const digest = served === undefined ? '' : toolsDigest(served)
  const claim =
    approved === undefined
      ? `it answers an MCP handshake at ${url}, twice the same`
      : `it serves the approved tools at ${url}, twice the same`
  const found: Observation = {
    claim,
    seen: seen.state === 'serving' ? seen.digest : seen.reason.slice(0, 1000),
    holds: seen.state === 'serving',
  }
  const reports = served?.serverInfo.version
  return {
    observed: [found],
    residue: approved === undefined ? ['what it serves was not compared: no tools digest is approved'] : [],
    limits: [
      'provenance proves where the build comes from, not that its code is harmless',
      ...(reports === undefined || reports === server.package.version
        ? []
        : [`it calls itself version "${safe(reports, 40)}", which is its own word`]),
    ],
    output: {
      deployment: deployment.id,
      version: server.package.version,
      toolsDigest: digest,
      tools: served?.tools.map(({ name }) => name) ?? [],
      url,
    },
  }
}
