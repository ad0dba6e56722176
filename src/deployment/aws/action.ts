import type { AutoScalingGroup } from '@aws-sdk/client-auto-scaling'
import { awsError } from '../../aws/clients.ts'
import type { Action, ActionCall, Call, Change, Json } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { readGroup, readTemplate, type Target, type Template } from './reading.ts'

/** What one change does and how it is seen, in terms of its parameters. */
export interface Kind<Params> {
  apply(
    params: Params,
    call: ActionCall<Target>,
    change: Change,
    template: Template,
    group: AutoScalingGroup | undefined,
  ): Promise<Json>
  /** What was made, when it was. Reads only. */
  made(
    params: Params,
    call: ActionCall<Target>,
    change: Change,
    template: Template,
    group: AutoScalingGroup | undefined,
  ): Promise<Json | undefined>
}

// biome-ignore lint/suspicious/noExplicitAny: each action reads its own parameters, which were journalled as data
export type AwsAction = Kind<any>

/** SDK errors in our words, nothing begun once interrupted; template and group as they are now. */
export function actionOf({ apply, made }: AwsAction): Action<Target> {
  return {
    async apply(change, call) {
      if (call.signal.aborted) throw new IrError('interrupted', 'Interrupted before anything was changed.')
      return await inOurWords(change, async () => {
        const [template, group] = await now(call)
        return { output: await apply(change.params, call, change, template, group) }
      })
    },
    async settle(change, call) {
      return await inOurWords(change, async () => {
        const [template, group] = await now(call)
        const output = await made(change.params, call, change, template, group)
        return output === undefined ? undefined : { output }
      })
    },
  }
}

async function now(call: Call<Target>): Promise<[Template, AutoScalingGroup | undefined]> {
  const group = await readGroup(call)
  return [await readTemplate(call, group), group]
}

async function inOurWords<T>({ summary }: Change, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw awsError(error, `"${summary}"`)
  }
}
