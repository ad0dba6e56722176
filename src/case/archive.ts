import { createHash } from 'node:crypto'
import { readTarball } from '../archive/npm-tarball.ts'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { type CaseFiles, type Fingerprint, isOfCase, manifestName } from './files.ts'

/** Nothing is unpacked, only hashed: what is large costs time, not space. */
const limits = {
  entries: 200_000,
  fileBytes: 64 * 1024 ** 3,
  totalBytes: 256 * 1024 ** 3,
  // More than gzip can do: logs shrink a hundredfold, and a bomb finds nothing to fill.
  ratio: 1100,
  depth: 3,
}
/** What is kept in memory: journal, reports, seal. */
const maxKept = 512 * 1024 ** 2

/**
 * The files in an export, read in one go. Only names that a case can have are accepted.
 * @throws IrError refused when it is no export of a case, or damaged; input when it cannot be read
 */
export async function archiveFiles(archive: string, signal: AbortSignal): Promise<CaseFiles> {
  const kept = new Map<string, Buffer>()
  const fingerprints = new Map<string, Fingerprint>()
  let room = maxKept
  for await (const { path, kind, content } of readTarball(archive, { signal, limits })) {
    if (kind === 'directory') continue
    if (!isOfCase(path)) throw new IrError('refused', `The archive holds ${safe(path, 120)}, which no case has.`)
    const keep = !path.startsWith('evidence/') || path === manifestName
    const hash = createHash('sha256')
    const chunks: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of content) {
      hash.update(chunk)
      bytes += chunk.length
      if (!keep) continue
      room -= chunk.length
      if (room < 0) throw new IrError('refused', 'The archive holds more than fits into memory.')
      chunks.push(chunk)
    }
    if (keep) kept.set(path, Buffer.concat(chunks))
    fingerprints.set(path, { sha256: hash.digest('hex'), bytes })
  }
  return {
    paths: [...fingerprints.keys()].toSorted(),
    read: async (path) => kept.get(path),
    fingerprint: async (path) => fingerprints.get(path),
  }
}
