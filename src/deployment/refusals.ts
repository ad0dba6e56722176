import { z } from 'zod'
import { IrError } from '../errors.ts'
import type { StepInput } from '../playbook/step.ts'
import { count } from '../ui/format.ts'
import { safe } from '../ui/safe-text.ts'

/** Why nothing is redeployed, whatever it runs on: all of it is decided before anything is planned. */

const listed = z.object({
  suspect: z.array(z.unknown()),
  hubs: z.array(z.object({ calls: z.number() })).default([]),
})

/** What somebody says who looked at them: in a decision that is noted, or an answer to a manual step. */
const reviewed = /suspect records reviewed/i

export interface Review {
  /** Suspect calls that the blast radius lists, or does not list for a hub. */
  readonly records: number
  /** Who said so and in which words; undefined where a root cause stands in for it. */
  readonly reviewed?: string
}

/**
 * Suspect records are calls that agents made after they had listened to the compromised server: what came of them may reach the
 * new one at once.
 * @returns undefined when the blast radius lists none, or was not computed in this case
 * @throws IrError refused when nobody has looked at them since, and no root cause is recorded
 */
export async function reviewOf(input: StepInput, rootCause: string | undefined): Promise<Review | undefined> {
  const { data } = listed.safeParse(await input.case.output('blast-radius.compute'))
  const records = (data?.suspect.length ?? 0) + (data?.hubs ?? []).reduce((sum, { calls }) => sum + calls, 0)
  if (records === 0) return undefined
  const said = input.case.decisionsSince('blast-radius.compute').findLast((text) => reviewed.test(text))
  if (said !== undefined) return { records, reviewed: said }
  if (rootCause !== undefined) return { records }
  throw new IrError(
    'refused',
    `${count(records, 'suspect record')} of the blast radius: nobody has reviewed what they led to, which may be at work still`,
    {
      hints: [
        `Look at them (mcp-ir blast-radius ${safe(input.case.server.name)}), then: mcp-ir case note --case ${input.case.id} --kind decision "Suspect records reviewed: …"`,
        'In a playbook: --answer suspects=…. Or, when the cause is known and lies elsewhere, say so: --root-cause TEXT',
      ],
    },
  )
}
