import { createHash } from 'node:crypto'
import { IrError } from '../errors.ts'
import { openRegularFile } from '../regular-file.ts'
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
  const hashes = algorithms.map((algorithm) => createHash(algorithm))
  await readThrough(file, signal, (chunk) => {
    for (const hash of hashes) hash.update(chunk)
  })
  const [sha256 = '', sha384 = '', sha512 = ''] = hashes.map((hash) => hash.digest('hex'))
  return { sha256, sha384, sha512 }
}

/**
 * Hands a file on in chunks, which are only good until `take` returns: never the whole file in memory.
 * @throws IrError `input` when it is missing, unreadable or no regular file
 */
export async function readThrough(file: string, signal: AbortSignal, take: (chunk: Uint8Array) => void): Promise<void> {
  const handle = await openRegularFile(file)
  try {
    const buffer = Buffer.alloc(256 * 1024)
    for (;;) {
      if (signal.aborted) throw new IrError('interrupted', 'Reading the file was interrupted')
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, null)
      if (bytesRead === 0) return
      take(buffer.subarray(0, bytesRead))
    }
  } finally {
    await handle.close()
  }
}

/** What an SRI string demands: the hashes (hex) of its strongest algorithm, any of which may match. */
export interface Integrity {
  readonly algorithm: Algorithm
  readonly hashes: readonly string[]
}

const bytesOf = { sha256: 32, sha384: 48, sha512: 64 } as const

/**
 * Reads an SRI string (`sha512-…`, several separated by space; W3C Subresource Integrity), or one digest as OCI and MCPB
 * write it (`sha256:` and hex, or the hex alone).
 * Only its strongest algorithm counts, even when that one is malformed: a broken SHA-512 must not fall back to SHA-256.
 * @throws IrError `input` when it is malformed or names no algorithm that can be trusted
 */
export function parseIntegrity(text: string): Integrity {
  const hex = /^(?:(sha256|sha384|sha512):)?([0-9a-f]+)$/i.exec(text.trim())
  if (hex !== null) return parseHex(hex[1]?.toLowerCase(), hex[2] ?? '', text)
  const parts = text
    .split(/\s+/)
    .filter((part) => part !== '')
    .map((part) => /^([a-z0-9]+)-([^?]*)(?:\?.*)?$/.exec(part))
  const strongest = algorithms.findLast((algorithm) => parts.some((part) => part?.[1] === algorithm))
  if (strongest === undefined) {
    throw new IrError('input', `"${safe(text, 120)}" is no integrity that can be checked`, {
      hints: ['Write it as npm does (sha512- and base64), or as OCI does (sha256: and hex).'],
    })
  }
  const bytes = bytesOf[strongest]
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

function parseHex(named: string | undefined, hex: string, text: string): Integrity {
  const fits = algorithms.filter((algorithm) => hex.length === 2 * bytesOf[algorithm])
  const algorithm = fits.find((one) => named === undefined || named === one)
  if (algorithm === undefined) throw new IrError('input', `"${safe(text, 120)}" is no SHA-256, SHA-384 or SHA-512`)
  return { algorithm, hashes: [hex.toLowerCase()] }
}
