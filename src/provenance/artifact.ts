import { stat } from 'node:fs/promises'
import { IrError } from '../errors.ts'
import { openRegularFile } from '../regular-file.ts'
import { safe } from '../ui/safe-text.ts'
import { isImageReference, parseReference } from './oci/reference.ts'
import type { Expectations, ProvenanceVerdict } from './port.ts'
import { verifyFile } from './verify.ts'

/**
 * Holds what is named against what is expected of it: an image in a registry (`oci://HOST/NAME@sha256:…`), an OCI layout on
 * disk (a folder, or a tar of one), or a file. With a bundle of its own a tar is a file like any other.
 * @throws IrError input, refused; unreachable or denied by a registry
 */
export async function verifyArtifact(
  named: string,
  expected: Expectations,
  signal: AbortSignal,
): Promise<ProvenanceVerdict> {
  if (isImageReference(named)) {
    const reference = parseReference(named)
    const [{ verifyImage }, { registrySource }] = await Promise.all([
      import('./oci/image.ts'),
      import('./oci/registry.ts'),
    ])
    return await verifyImage(registrySource(reference), reference.digest, expected, signal)
  }
  const folder = await isFolder(named)
  if (folder || (expected.bundle === undefined && (await isTar(named)))) {
    const [{ verifyLayout }, { openLayout }] = await Promise.all([import('./oci/image.ts'), import('./oci/layout.ts')])
    const layout = await openLayout(named, folder, signal)
    if (layout !== undefined) return await verifyLayout(layout, expected, signal)
    if (folder) throw new IrError('input', `${safe(named)} is a folder, and no OCI image layout.`)
  }
  return await verifyFile(named, expected, signal)
}

/** Whether that, with nothing but expectations, is an image: then the attestations are beside it. */
export async function mayBeImage(named: string): Promise<boolean> {
  return isImageReference(named) || (await isFolder(named)) || (await isTar(named))
}

/** What is wrong with a path is said by whoever opens it. */
async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true
}

/** By the mark that every tar since POSIX.1-1988 has at its place. */
async function isTar(path: string): Promise<boolean> {
  const file = await openRegularFile(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(512), 0, 512, 0)
    return bytesRead === 512 && buffer.subarray(257, 262).toString('latin1') === 'ustar'
  } finally {
    await file.close()
  }
}
