import { z } from 'zod'
import { IrError } from '../errors.ts'
import type { Operation, Outcome, StepInput, StepKind, StepResult } from '../playbook/step.ts'
import { safe } from '../ui/safe-text.ts'
import { containment } from './index.ts'
import type { ContainmentIntent, ContainmentTarget } from './port.ts'

/** `result.output` of both steps. */
interface Contained {
  readonly deployments: readonly {
    readonly id: string
    readonly kind: string
    readonly state: Outcome['operations'][number]['state']
    readonly observed: Outcome['operations'][number]['observed']
    /** What the adapter tells of it (processes, interfaces …). */
    readonly detail: unknown
  }[]
}

export const isolate: StepKind = {
  kind: 'network.isolate',
  summary: 'Cut every deployment of the server off',
  with: z.strictObject({}),
  operations: async (input) => operations(input, 'isolate'),
  result,
}

export const release: StepKind = {
  kind: 'network.release',
  summary: 'Put the isolation back, from the journal',
  with: z.strictObject({}),
  // The runner fills in what is to be undone, by key and adapter.
  operations: async (input) => operations(input, 'release').map((operation) => ({ ...operation, undoes: [] })),
  result,
}

/** @throws IrError input when there is nothing to act on, or nothing that can */
function operations({ case: { server }, deployment }: StepInput, intent: ContainmentIntent): Operation[] {
  if (server.deployments.length === 0) {
    throw new IrError('input', `${safe(server.name)} has no deployments: there is nothing to ${intent}.`, {
      hints: ['Add where it runs to its registry entry, or name it: --target pid:PID or --target url:URL.'],
    })
  }
  const chosen = server.deployments.filter(({ id }) => deployment === undefined || id === deployment)
  if (chosen.length === 0) {
    throw new IrError('input', `${safe(server.name)} has no deployment ${safe(deployment ?? '')}.`, {
      hints: [`It has: ${server.deployments.map(({ id }) => safe(id)).join(', ')}.`],
    })
  }
  return chosen.map((one): Operation => {
    const load = Object.hasOwn(containment, one.kind) ? containment[one.kind] : undefined
    if (load === undefined) {
      const able = server.deployments.filter(({ kind }) => Object.hasOwn(containment, kind))
      throw new IrError(
        'input',
        `Deployment ${safe(one.id)} is of kind ${one.kind}, which has no containment adapter yet.`,
        {
          hints: [
            `Cut ${safe(one.id)} off by hand.`,
            ...able.map(({ id }) => `${safe(id)} can be done now: --deployment ${safe(id)}`),
          ],
        },
      )
    }
    const { name, owner, consumers } = server
    const target: ContainmentTarget = { server: name, owner, consumers, deployment: one }
    return { key: one.id, adapter: `containment/${one.kind}`, intent, target, load }
  })
}

async function result(_: StepInput, outcome: Outcome): Promise<StepResult> {
  const output: Contained = {
    deployments: outcome.operations.map(({ key, adapter, state, observed, output: detail }) => ({
      id: key,
      kind: adapter.slice(adapter.indexOf('/') + 1),
      state,
      observed,
      detail: detail ?? null,
    })),
  }
  return { output }
}
