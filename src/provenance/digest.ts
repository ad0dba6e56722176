import { createHash } from 'node:crypto'
import { openRegularFile } from '../archive/npm-tarball.ts'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'

/** Weakest first. SHA-1 and MD5 are no longer evidence of anything. */
const algorithms = ['sha256', 'sha384', 'sha512'] as const
type Algorithm = (typeof algorithms)[number]

/** Hex, of the same bytes. */
export type Digests = Readonly<Record<Algorithm, string>>

/**
 * Hashes a file as a stream.
 * @throws IrError `input` when it is missing, unreadable or no regular file
 */
export async function hashFile(file: string, signal: AbortSignal): Promise<Digests> {
  const handle = await openRegularFile(file)
  try {
    const hashes = algorithms.map((algorithm) => createHash(algorithm))
    // A buffer of its own, read by position: never the whole file in memory.
    const buffer = Buffer.alloc(256 * 1024)
    for (;;) {
      if (signal.aborted) throw new IrError('interrupted', 'Hashing was interrupted')
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, null)
      if (bytesRead === 0) break
      for (const hash of hashes) hash.update(buffer.subarray(0, bytesRead))
    }
    const [sha256 = '', sha384 = '', sha512 = ''] = hashes.map((hash) => hash.digest('hex'))
    return { sha256, sha384, sha512 }
  } finally {
    await handle.close()
  }
}

/** What an SRI string demands: the hashes (hex) of its strongest algorithm, any of which may match. */
export interface Integrity {
  readonly algorithm: Algorithm
  readonly hashes: readonly string[]
}

/**
 * Reads an SRI string (`sha512-…`, several separated by space; W3C Subresource Integrity).
 * Only its strongest algorithm counts, even when that one is malformed: a broken SHA-512 must not fall back to SHA-256.
 * @throws IrError `input` when it is malformed or names no algorithm that can be trusted
 */
export function parseIntegrity(text: string): Integrity {
  const parts = text
    .split(/\s+/)
    .filter((part) => part !== '')
    .map((part) => /^([a-z0-9]+)-([^?]*)(?:\?.*)?$/.exec(part))
  const strongest = algorithms.findLast((algorithm) => parts.some((part) => part?.[1] === algorithm))
  if (strongest === undefined) {
    throw new IrError('input', `"${safe(text, 120)}" is no integrity that can be checked`, {
      hints: ['Write it as npm does: sha512- and the base64 of the SHA-512 of the file.'],
    })
  }
  const bytes = { sha256: 32, sha384: 48, sha512: 64 }[strongest]
  const hashes = parts
    .filter((part) => part?.[1] === strongest)
    .map((part) => {
      const base64 = part?.[2] ?? ''
      const hash = Buffer.from(base64, 'base64')
      if (hash.length !== bytes || hash.toString('base64') !== base64) {
        throw new IrError('input', `"${safe(text, 120)}" holds a malformed ${strongest}`)
      }
      return hash.toString('hex')
    })
  return { algorithm: strongest, hashes }
}
