import { awsCode, awsError } from '../../aws/clients.ts'
import type { Action, ActionCall, Call, Change, Json, Observation, Receipt } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { mustBeHere } from './place.ts'
import type { Target } from './reading.ts'

/** What one change does, how it is observed and how it is put back, in terms of its parameters and its undo. */
export interface Kind<Params, Undo> {
  /** How many of them go in one call; see Action. */
  readonly together?: number
  /** @returns what is worth keeping of it */
  apply(params: Params, call: ActionCall<Target>, change: Change): Promise<Json | undefined>
  /** What was done, as a fact that can be looked at again once nothing of it is left to be seen in the plan. */
  claim?(params: Params): string
  /** Whether it is so. Reads only. */
  holds(params: Params, call: Call<Target>, change: Change): Promise<boolean>
  readonly back?: {
    /** What changed since that putting back would override. */
    drift(params: Params, undo: Undo, call: Call<Target>): Promise<readonly string[]>
    /** @param output what `apply` returned; `{settled: true}` when it was found done */
    apply(params: Params, undo: Undo, call: ActionCall<Target>, output: Json | undefined): Promise<void>
    /** Whether it is as it was before. Reads only. */
    holds(params: Params, undo: Undo, call: Call<Target>, output: Json | undefined): Promise<boolean>
  }
}

// biome-ignore lint/suspicious/noExplicitAny: each action reads its own parameters, which were journalled as data
export type AwsAction = Kind<any, any>

/** The actions of the adapter: SDK errors in our words, nothing begun once interrupted, what is gone needs no undo. */
export function actionsOf<K extends string>(kinds: Record<K, AwsAction>): Record<K, Action<Target>> {
  const entries = Object.entries<AwsAction>(kinds).map(([name, kind]) => [name, actionOf(kind)])
  return Object.fromEntries(entries) as Record<K, Action<Target>>
}

function actionOf({ apply, holds, back, together = 1 }: AwsAction): Action<Target> {
  const action: Action<Target> = {
    together,
    async apply(change, call) {
      notInterrupted(call.signal)
      await mustBeHere([change], call)
      const output = await unlessSo(
        () => inOurWords<Json | undefined>(change, () => apply(change.params, call, change)),
        () => inOurWords(change, () => holds(change.params, call, change)),
      )
      return output === undefined ? {} : { output }
    },
    async settle(change, call) {
      await mustBeHere([change], call)
      const settled = await inOurWords(change, () => holds(change.params, call, change))
      return settled ? { output: { settled: true } } : undefined
    },
  }
  if (back === undefined) return action
  return {
    ...action,
    undo: {
      async drift(change, _, call) {
        await mustBeHere([change], call)
        return inOurWords(change, () => back.drift(change.params, change.undo, call))
      },
      async apply(change, { output }, call) {
        notInterrupted(call.signal)
        await mustBeHere([change], call)
        const put = async (): Promise<undefined> => {
          try {
            await back.apply(change.params, change.undo, call, output)
          } catch (error) {
            if (!gone.test(awsCode(error) ?? '')) throw error
          }
        }
        await unlessSo(
          () => inOurWords(change, put),
          () => inOurWords(change, () => back.holds(change.params, change.undo, call, output)),
        )
        return undone(change, output)
      },
      async settle(change, { output }, call) {
        await mustBeHere([change], call)
        const holdsAgain = await inOurWords(change, async () => {
          try {
            return await back.holds(change.params, change.undo, call, output)
          } catch (error) {
            if (gone.test(awsCode(error) ?? '')) return true
            throw error
          }
        })
        return holdsAgain ? undone(change, output) : undefined
      },
    },
  }
}

/**
 * A refusal can mean that it is so already: the SDK sends again what lost its answer, and AWS then finds nothing left to
 * change. So the world is asked before it counts as failed.
 */
async function unlessSo(work: () => Promise<Json | undefined>, so: () => Promise<boolean>): Promise<Json | undefined> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof IrError && error.code === 'partial' && (await so())) return { settled: true }
    throw error
  }
}

/** What no longer exists needs no putting back. */
const gone = /^Invalid(InstanceID|NetworkInterfaceID)\.NotFound$|^TargetGroupNotFound/

/** The receipt of an undo names what was undone, so that the verdict can look at it once more. */
function undone({ action, summary, params, undo }: Change, output: Json | undefined): Receipt {
  return { output: { action, summary, params: params ?? null, undo: undo ?? null, output: output ?? null } }
}

/** Looks again at what an undoing change put back. */
export async function settledAgain(
  actions: Readonly<Record<string, Action<Target>>>,
  change: Change,
  call: Call<Target>,
): Promise<Observation> {
  const receipt = call.receipts.get(change.id)
  const original = receipt?.output as unknown as (Change & Receipt) | undefined
  const claim = `as before: ${original?.summary ?? change.summary}`
  const undo = actions[original?.action ?? '']?.undo
  if (original === undefined || undo === undefined) return { claim, seen: 'not put back', holds: false }
  const recorded = { ...call, recorded: [], record: async () => {} }
  const holds = (await undo.settle(original, original, recorded)) !== undefined
  return { claim: `put back: ${original.summary}`, seen: holds ? 'as before' : 'not as before', holds }
}

async function inOurWords<T>({ summary }: Change, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw awsError(error, `"${summary}"`)
  }
}

function notInterrupted(signal: AbortSignal): void {
  if (signal.aborted) throw new IrError('interrupted', 'Interrupted before anything was changed.')
}

/** What is so of changes of the plan that are no longer to be seen in what there is: an instance that has left its group. */
export async function seenDone(
  kinds: Readonly<Record<string, AwsAction>>,
  changes: readonly Change[],
  call: Call<Target>,
): Promise<Observation[]> {
  const told = changes.filter(({ action }) => kinds[action]?.claim !== undefined)
  // All at the same moment, so that they are asked together.
  const found = told.map(async (change): Promise<Observation[]> => {
    const kind = kinds[change.action]
    if (kind?.claim === undefined) return []
    const holds = await inOurWords(change, () => kind.holds(change.params, call, change))
    return [{ claim: kind.claim(change.params), seen: holds ? 'so' : 'not so', holds }]
  })
  return (await Promise.all(found)).flat()
}
