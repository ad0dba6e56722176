import { createHash, createPublicKey, type KeyObject, sign } from 'node:crypto'

export interface Built {
  /** npm name and version; they make the subject's package URL. */
  readonly identifier: string
  readonly version: string
  /** SHA-512 of the tarball, hex. */
  readonly sha512: string
  readonly repository: string
  readonly commit: string
}

/** An in-toto statement with SLSA provenance v1, as npm and its builders write it. */
export function slsaStatement(built: Built): object {
  const name = `pkg:npm/${built.identifier.replace('@', '%40')}@${built.version}`
  return {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name, digest: { sha512: built.sha512 } }],
    predicateType: 'https://slsa.dev/provenance/v1',
    predicate: {
      buildDefinition: {
        buildType: 'https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1',
        externalParameters: { workflow: { repository: built.repository, ref: `refs/tags/v${built.version}` } },
        resolvedDependencies: [
          { uri: `git+${built.repository}@refs/tags/v${built.version}`, digest: { gitCommit: built.commit } },
        ],
      },
      runDetails: { builder: { id: `${built.repository}/release` } },
    },
  }
}

/**
 * A Sigstore bundle v0.3 with the statement in a DSSE envelope, signed by a managed key (ECDSA or Ed25519), without a
 * transparency log entry. For the drill, which plays the company's release pipeline: nothing else here signs.
 * @returns the bundle's JSON text
 */
export async function signStatement(statement: unknown, privateKey: KeyObject): Promise<string> {
  const { bundleToJSON, dsse, toDSSEBundle } = await import('./sigstore.ts')
  const payload = Buffer.from(JSON.stringify(statement))
  const type = 'application/vnd.in-toto+json'
  const algorithm = privateKey.asymmetricKeyType === 'ed25519' ? null : 'sha256'
  const signature = sign(algorithm, dsse.preAuthEncoding(type, payload), privateKey)
  const publicKey = createPublicKey(privateKey).export({ type: 'spki', format: 'der' })
  const keyHint = createHash('sha256').update(publicKey).digest('base64')
  return `${JSON.stringify(bundleToJSON(toDSSEBundle({ artifact: payload, artifactType: type, signature, keyHint })), null, 2)}\n`
}
