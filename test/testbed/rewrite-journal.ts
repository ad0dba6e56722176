import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import canonicalize from 'canonicalize'

/**
 * What somebody does who can write a journal: changes one line (counted from 1), or leaves out all after it, and computes
 * the chain anew, so that every hash is right.
 */
export function rewriteJournal(file: string, seq: number, change: (line: Record<string, unknown>) => unknown): void {
  const lines = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((text) => JSON.parse(text))
  let prev = '0'.repeat(64)
  const rewritten = lines.map((line) => {
    const { hash: _, ...rest } = { ...(line.seq === seq ? (change(line) as typeof line) : line), prev }
    const hash = createHash('sha256')
      .update(canonicalize(rest) ?? '')
      .digest('hex')
    prev = hash
    return JSON.stringify({ ...rest, hash })
  })
  writeFileSync(file, `${rewritten.join('\n')}\n`)
}
