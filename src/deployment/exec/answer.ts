import { z } from 'zod'
import { type Failure, readAnswer } from '../../program/answer.ts'

/**
 * The protocol between mcp-ir and a company's own pipeline, version `mcp-ir/deploy/1` (docs/redeploy.md): one request as a line of
 * JSON on its stdin, one answer as JSON on its stdout.
 */

export type Operation = 'status' | 'deploy' | 'remove'

export interface Request {
  readonly protocol: 'mcp-ir/deploy/1'
  readonly operation: Operation
  readonly server: string
  /** The deployment's id in the registry. */
  readonly deployment: string
  readonly case: string
  /** What the pipeline knows this redeploy by: the same for every question about it, and for every try. */
  readonly changeId: string
  readonly url: string
  /** The build that was verified just now; `path` is absolute, on this machine. */
  readonly artifact: {
    readonly registryType: string
    readonly identifier: string
    readonly version: string
    readonly path: string
    readonly sha256: string
    readonly sha512: string
  }
  /** File with the rotated credentials, when they were delivered to one. */
  readonly credentialsFile?: string
}

const digest = z.string().regex(/^[0-9a-f]{64}$/)

const answerSchema = z.object({
  /** Of what this change deployed, and of nothing else. */
  state: z.enum(['absent', 'starting', 'running', 'failed']),
  /** SHA-256 of the build that was deployed; needed with `running`. */
  sha256: digest.optional(),
  // Journalled, and shown: one plain word.
  ref: z
    .string()
    .regex(/^[\x21-\x7e]{1,200}$/)
    .optional(),
  /** What happened, for people. */
  proof: z.string().max(2000).optional(),
  /** With `status`: SHA-256 of what ran when the server was compromised. */
  compromised: z.array(digest).max(1000).optional(),
})

export type Answer = z.infer<typeof answerSchema>

/** @returns the answer, what the program says of its failure, or in plain words why this is no answer */
export function parseAnswer(bytes: Uint8Array): Answer | Failure | string {
  const read = readAnswer(bytes, answerSchema)
  if (typeof read === 'string' || 'error' in read) return read
  const { answer } = read
  return answer.state === 'running' && answer.sha256 === undefined
    ? 'its answer says running, and not what (sha256)'
    : answer
}
