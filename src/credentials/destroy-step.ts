import { z } from 'zod'
import type { Operation, StepInput, StepKind } from '../playbook/step.ts'
import { assertTrusted } from '../trust.ts'
import { destroyers } from './destroyers/index.ts'
import { targetOf } from './steps.ts'

/** What was put out of the way so that it could be taken back is destroyed for good: `case close --destroy`. */
export const destroy: StepKind = {
  kind: 'credentials.destroy',
  summary: 'Destroy for good what revocation and rotation only put out of the way: old versions, inactive keys',
  with: z.strictObject({}),
  operations,
  async result(_, { operations: done }) {
    return { output: { destroyed: done.flatMap(({ key, state }) => (state === 'failed' ? [] : [key])) } }
  },
}

async function operations(input: StepInput): Promise<readonly Operation[]> {
  // Only where this case did something, so that nothing else needs to be reachable.
  const found = input.case.server.credentials.flatMap((credential): Operation[] => {
    const load = destroyers[credential.kind]
    const adapter = `credentials/${credential.kind}`
    if (load === undefined || input.case.past().of(`${adapter} ${credential.id}`) === undefined) return []
    return [{ key: credential.id, adapter, intent: 'destroy', target: targetOf(input, credential), load }]
  })
  const [first] = found
  if (first !== undefined) await assertTrusted(input.context.config, `where credential ${first.key} lies`)
  return found
}
