import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'

/** A tool as the server sent it, no key added or left out. Written by the server: hostile. */
export type ServedTool = Readonly<Record<string, unknown>> & { readonly name: string }

export interface ServedTools {
  /** Absent when the server gives none. */
  readonly instructions?: string | undefined
  readonly tools: readonly ServedTool[]
}

/** What a model gets to read of a tool, and what decides how it is called. Icons and execution hints are not covered. */
export const covered = ['name', 'title', 'description', 'inputSchema', 'outputSchema', 'annotations', '_meta'] as const

/**
 * `sha256-` and the base64 of SHA-256 over the RFC 8785 form of `{instructions, tools}`: tools with the covered keys only,
 * sorted by name (UTF-16 code units, as RFC 8785 sorts keys), absent keys left out.
 * @throws IrError `refused` when two tools share a name, or something has no canonical form
 */
export function toolsDigest(served: ServedTools): string {
  const tools = [...served.tools].sort((one, other) => (one.name < other.name ? -1 : one.name > other.name ? 1 : 0))
  for (const [index, tool] of tools.entries()) {
    // Which of the two a client would use differs from client to client, and so would the digest.
    if (tools[index + 1]?.name === tool.name) {
      throw new IrError('refused', `The server has two tools named "${safe(tool.name, 80)}"`)
    }
  }
  let canonical: string | undefined
  try {
    canonical = canonicalize({
      ...(served.instructions === undefined ? {} : { instructions: served.instructions }),
      tools: tools.map((tool) =>
        Object.fromEntries(covered.filter((key) => Object.hasOwn(tool, key)).map((key) => [key, tool[key]])),
      ),
    })
  } catch (error) {
    // Lone surrogates, numbers beyond what JSON holds.
    throw new IrError('refused', 'What the server says of its tools has no canonical form', { cause: error })
  }
  return `sha256-${createHash('sha256')
    .update(canonical ?? '')
    .digest('base64')}`
}
