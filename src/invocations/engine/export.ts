import { createHash } from 'node:crypto'
import type { ExportPiece, Reviewed } from '../port.ts'

interface Mark {
  readonly bytes: number
  /** Of so many bytes from the beginning. */
  readonly sha256: string
}

/** The raw lines of a review as an export. They are made again from the beginning each time, which is quick; what was there is skipped. */
export async function* exportOf(raw: Reviewed['raw'], after: string | undefined): AsyncGenerator<ExportPiece> {
  let from = 0
  if (after !== undefined) {
    const mark = JSON.parse(after) as Mark
    if ((await hashOfFirst(raw, mark.bytes)) === mark.sha256) from = mark.bytes
    else yield { bytes: Buffer.alloc(0), records: 0, mark: undefined, anew: true }
  }
  const hash = createHash('sha256')
  let bytes = 0
  for await (const piece of raw) {
    const chunk = Buffer.from(piece)
    const fresh = chunk.subarray(Math.max(0, from - bytes))
    hash.update(chunk)
    bytes += chunk.length
    const mark: Mark = { bytes, sha256: hash.copy().digest('hex') }
    if (fresh.length > 0) yield { bytes: fresh, records: linesIn(fresh), mark: JSON.stringify(mark) }
  }
}

async function hashOfFirst(raw: Reviewed['raw'], bytes: number): Promise<string> {
  const hash = createHash('sha256')
  let left = bytes
  for await (const piece of raw) {
    hash.update(Buffer.from(piece).subarray(0, left))
    left -= Math.min(left, piece.length)
    if (left === 0) break
  }
  return hash.digest('hex')
}

function linesIn(bytes: Buffer): number {
  let lines = 0
  for (let at = bytes.indexOf(0x0a); at !== -1; at = bytes.indexOf(0x0a, at + 1)) lines += 1
  return lines
}
