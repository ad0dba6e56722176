import { readTarball } from '../archive/npm-tarball.ts'
import { IrError } from '../errors.ts'

/** More is no package.json. */
const maxBytes = 1024 ** 2

/**
 * Name and version that an npm tarball gives itself, as text, whatever they are.
 * @throws IrError `refused` when it is no safe tarball or has no readable package.json; `input` when it cannot be read
 */
export async function packageOf(
  file: string,
  sha256: string,
  signal: AbortSignal,
): Promise<{ readonly name: string; readonly version: string }> {
  let text: string | undefined
  // To the end, although package.json comes first in most: what lies behind it could be its second version, or a trap.
  for await (const entry of readTarball(file, { sha256, signal })) {
    if (entry.path !== 'package.json' || entry.kind !== 'file') continue
    if (entry.size > maxBytes) throw new IrError('refused', 'The archive has a package.json that is too large')
    const chunks: Uint8Array[] = []
    for await (const chunk of entry.content) chunks.push(chunk)
    text = Buffer.concat(chunks).toString('utf8')
  }
  if (text === undefined) throw new IrError('refused', 'The archive has no package.json')
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new IrError('refused', 'The package.json of the archive is not JSON', { cause: error })
  }
  const { name, version } = (typeof json === 'object' && json !== null ? json : {}) as Record<string, unknown>
  if (typeof name !== 'string' || typeof version !== 'string') {
    throw new IrError('refused', 'The package.json of the archive has no name or version')
  }
  return { name, version }
}
