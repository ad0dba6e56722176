import { z } from 'zod'
import { type Failure, readAnswer } from '../../program/answer.ts'

/**
 * The protocol between mcp-ir and a company's own program, version `mcp-ir/exec/1` (docs/credentials.md): one request as a
 * line of JSON on its stdin, one answer as JSON on its stdout.
 */

export type Operation = 'discover' | 'revoke' | 'rotate' | 'probe'

export interface Request {
  readonly protocol: 'mcp-ir/exec/1'
  readonly operation: Operation
  /** The credential's id in the registry. */
  readonly id: string
  readonly server: string
  readonly case: string
  /** With `revoke` and `rotate`: the same for every try of the same change. */
  readonly changeId?: string
  /** With `revoke`: which secret is meant, in the program's own words. */
  readonly ref?: string
  /** With `probe`: the value to be tried. */
  readonly secret?: string
}

const maxSecretBytes = 64 * 1024

/** What the program knows of one secret. */
const secretSchema = z.object({
  state: z.enum(['dead', 'alive', 'unknown', 'expires']),
  until: z.iso.datetime({ offset: true }).optional(),
  proof: z.string().max(2000).optional(),
  // Journalled, and handed back to the program: one plain word.
  ref: z
    .string()
    .regex(/^[\x21-\x7e]{1,200}$/)
    .optional(),
})

const answerSchema = secretSchema.partial().extend({
  /** With `discover`, where there are several. */
  secrets: z
    .array(secretSchema.required({ ref: true }))
    .max(1000)
    .optional(),
  secret: z
    .string()
    .min(1)
    .refine((text) => text.isWellFormed() && Buffer.byteLength(text) <= maxSecretBytes)
    .optional(),
})

export type Known = z.infer<typeof secretSchema>
export type Answer = z.infer<typeof answerSchema>
export type { Failure }

/** As `readAnswer`, with what the operation needs. */
export function parseAnswer(bytes: Uint8Array, operation: Operation): Answer | Failure | string {
  const read = readAnswer(bytes, answerSchema)
  return typeof read === 'string' || 'error' in read ? read : (missing(read.answer, operation) ?? read.answer)
}

function missing(answer: Answer, operation: Operation): string | undefined {
  const { secret, ref, state, secrets } = answer
  if (operation === 'rotate') {
    if (secret === undefined || ref === undefined) return 'its answer lacks secret or ref'
    return ref.includes(secret) ? 'its answer has the secret in ref' : undefined
  }
  if (state === undefined && !(operation === 'discover' && secrets !== undefined)) return 'its answer has no state'
  const known = [...(secrets ?? []), answer]
  return known.some((one) => one.state === 'expires' && one.until === undefined)
    ? 'its answer says expires, and not when (until)'
    : undefined
}
