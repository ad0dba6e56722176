import { basename } from 'node:path'
import type { JsonObject } from '../change.ts'
import { IrError } from '../errors.ts'
import { run } from '../program/run.ts'
import { scrubbed } from '../program/scrub.ts'
import { safe } from '../ui/safe-text.ts'
import { readHead } from './head.ts'
import type { Anchor } from './port.ts'

const limits = { timeoutMs: 20_000, maxOutput: 16 * 1024 ** 2 }
/** Of what it answers to `put`: it is kept in the case folder. */
const maxReceipt = 16 * 1024

/**
 * A company's own program. One request as a line of JSON on its stdin, one answer as a JSON object on its stdout
 * (docs/case.md): `{"receipt": {…}}` to `put`, `{"heads": [{…}]}` to `heads`, or `{"error": {"code", "message"}}`.
 */
export function execAnchor({ command }: { readonly command: readonly string[] }): Anchor {
  const name = safe(basename(command[0] ?? ''), 100)

  async function ask(operation: 'put' | 'heads', request: JsonObject, signal: AbortSignal): Promise<JsonObject> {
    const line = `${JSON.stringify({ protocol: 'mcp-ir/anchor/1', operation, ...request })}\n`
    const ran = await run(command, line, limits, signal)
    const answer = answerOf(ran.stdout)
    const failure = (code: 'unreachable' | 'denied' | 'refused', why: string) =>
      new IrError(code, `${name} could not ${operation === 'put' ? 'anchor' : 'tell the heads'}: ${why}`, {
        hints: lastLines(ran.stderr),
      })
    const error = answer?.error
    if (typeof error === 'object' && error !== null) {
      const { code, message } = error as JsonObject
      const said = [code, message].map((part) => (typeof part === 'string' ? scrubbed(part, [], 200) : ''))
      const known = code === 'denied' || code === 'refused' ? code : 'unreachable'
      throw failure(known, said.filter((part) => part !== '').join(', ') || 'it does not say why')
    }
    if (ran.failed !== undefined) throw failure('unreachable', ran.failed)
    if (answer === undefined) throw failure('unreachable', 'its answer is not one JSON object')
    return answer
  }

  return {
    name: `program ${name}`,
    async put(head, signal) {
      const { receipt = {} } = await ask('put', { head: { ...head } }, signal)
      const kept = typeof receipt === 'object' && receipt !== null && !Array.isArray(receipt)
      if (!kept || JSON.stringify(receipt).length > maxReceipt)
        throw new IrError('unreachable', `${name} answered with a receipt that is no JSON object, or too large`)
      return receipt as JsonObject
    },
    async known(caseId, _receipts, signal) {
      const { heads } = await ask('heads', { case: caseId }, signal)
      if (!Array.isArray(heads)) throw new IrError('unreachable', `${name} answered without a list of heads`)
      return { heads: heads.flatMap((one) => readHead(one, caseId) ?? []), wrong: [] }
    },
  }
}

function answerOf(bytes: Uint8Array): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined
  } catch {
    return undefined
  }
}

function lastLines(stderr: string): readonly string[] {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '')
  return lines.slice(-3).map((line) => `It wrote: ${scrubbed(line, [], 200)}`)
}
