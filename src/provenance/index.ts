import type { Server } from '../registry/port.ts'
import type { Expectations, Provenance } from './port.ts'

/** The one verifier of provenance; its cryptography is loaded when it is first used. */
export const provenance: Provenance = {
  async verify(file, expected, signal) {
    const { verifyFile } = await import('./verify.ts')
    return await verifyFile(file, expected, signal)
  },
}

/** What a registry entry expects of its artifact. */
export function expectationsOf(server: Pick<Server, 'package' | 'source'>): Expectations {
  const { registryType, identifier, version, integrity, attestations, key, tlog } = server.package
  return {
    integrity,
    bundle: attestations,
    key,
    tlog,
    issuer: server.source?.issuer,
    identity: server.source?.identity,
    repository: server.source?.repository,
    commit: server.source?.commit,
    // Only npm tarballs carry a name and a version of their own that we can read.
    package: registryType === 'npm' ? { identifier, version } : undefined,
  }
}
