import { z } from 'zod'
import { IrError } from '../errors.ts'
import { type ServedTools, toolsDigest } from '../mcp/tools-digest.ts'
import { readRegular } from '../owned-file.ts'
import type { Server } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'

const maxBytes = 8 * 1024 ** 2

/** As an answer to `tools/list` has it, and as `redeploy` keeps it; the instructions of the handshake beside it. */
const documentSchema = z.object({
  instructions: z.string().optional(),
  tools: z.array(z.looseObject({ name: z.string() })),
})

/**
 * What the approved digest of the tools was made from; undefined where the registry names no document.
 * @throws IrError input when it cannot be read, or is not what was approved
 */
export async function approvedTools({ tools }: Pick<Server, 'tools'>): Promise<ServedTools | undefined> {
  if (tools?.document === undefined) return undefined
  const { bytes } = await readRegular(tools.document, maxBytes)
  const name = safe(tools.document)
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch (error) {
    throw new IrError('input', `${name} (tools.document) is not JSON`, { cause: error })
  }
  const { data } = documentSchema.safeParse(parsed)
  if (data === undefined) throw new IrError('input', `${name} (tools.document) is no list of tools: {"tools": […]}`)
  const digest = toolsDigest(data)
  if (digest === tools.digest) return data
  throw new IrError('input', `${name} (tools.document) is not what tools.digest approves: it has ${digest}`, {
    hints: ['Approve one of the two: the digest that the review gave, and the document that it was made from.'],
  })
}
