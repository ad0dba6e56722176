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
  const { registryType, identifier, version, integrity, attestations, key, tlog, trustedRoot } = server.package
  return {
    integrity,
    bundle: attestations,
    key,
    // The exception is for a key of one's own: who signs with a certificate has a log or a time-stamp authority.
    tlog: key === undefined ? undefined : tlog,
    trustedRoot,
    issuer: server.source?.issuer,
    identity: server.source?.identity,
    repository: server.source?.repository,
    commit: server.source?.commit,
    builder: server.source?.builder,
    // Only npm tarballs carry a name and a version of their own that we can read.
    package: registryType === 'npm' ? { identifier, version } : undefined,
  }
}
