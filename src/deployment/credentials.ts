import { z } from 'zod'
import type { StepInput } from '../playbook/step.ts'
import { safe } from '../ui/safe-text.ts'

/** The new server has fresh credentials only, and no old one works: as far as this case saw it. */

const states = z.object({
  credentials: z.array(
    z.object({
      id: z.string(),
      state: z.string(),
      proof: z.string(),
      until: z.string().optional(),
      delivered: z.unknown().optional(),
    }),
  ),
})

/** One credential of the server, in the registry's order. */
export interface Fresh {
  readonly id: string
  /** What is known of the one that the compromised server held; `not looked at` when no step of this case did. */
  readonly old: string
  readonly proof: string
  /** Whether a new one was issued and delivered in this case. */
  readonly rotated: boolean
}

export interface LeastPrivilege {
  readonly credentials: readonly Fresh[]
  /** Old ones that were not seen dead. */
  readonly open: readonly string[]
  readonly residue: readonly string[]
}

export async function leastPrivilege(input: StepInput): Promise<LeastPrivilege> {
  const { server } = input.case
  const read = async (kind: string) => states.safeParse(await input.case.output(kind)).data?.credentials ?? []
  const [revoked, rotated] = [await read('credentials.revoke'), await read('credentials.rotate')]
  const credentials: Fresh[] = []
  const open: string[] = []
  const residue: string[] = []
  for (const { id } of server.credentials) {
    const next = rotated.find((one) => one.id === id)
    // The rotation looks at the old one again: what it saw is newer.
    const known = [next, revoked.find((one) => one.id === id)].filter((one) => one !== undefined)
    const old = known.find(({ state }) => state === 'dead') ?? known[0]
    const delivered = next?.delivered !== undefined
    const proof = old?.proof ?? 'nothing was revoked in this case'
    credentials.push({ id, old: old?.state ?? 'not looked at', proof, rotated: delivered })
    if (old?.state === 'expires') {
      residue.push(`an old secret of ${safe(id)} works until ${safe(old.until ?? 'it expires')}: ${safe(old.proof)}`)
    } else if (old?.state !== 'dead') {
      const hint = old === undefined ? `: mcp-ir revoke ${safe(server.name)}` : ''
      open.push(`not seen that no old secret of ${safe(id)} works: ${safe(proof)}${hint}`)
    }
  }
  return { credentials, open, residue }
}
