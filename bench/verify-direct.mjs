// The least that sigstore-js needs to verify a tarball with its npm attestations: what `mcp-ir verify` is measured against.
import { createHash, createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { bundleFromJSON } from '@sigstore/bundle'
import { TrustedRoot } from '@sigstore/protobuf-specs'
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify'

/** @returns whether all attestations hold, are about the file, and are by the identity */
export function verifyDirect({ file, document, root, identity, issuer }) {
  const { trustedRoot, npmKeys } = JSON.parse(readFileSync(root, 'utf8'))
  const keys = (hint) => ({
    publicKey: createPublicKey({
      key: Buffer.from(npmKeys.find(({ keyId }) => keyId === hint).publicKey.rawBytes, 'base64'),
      format: 'der',
      type: 'spki',
    }),
    validFor: () => true,
  })
  const verifier = new Verifier(toTrustMaterial(TrustedRoot.fromJSON(trustedRoot), keys))
  const sha512 = createHash('sha512').update(readFileSync(file)).digest('hex')
  return JSON.parse(readFileSync(document, 'utf8')).attestations.every((attestation) => {
    const bundle = bundleFromJSON(attestation.bundle)
    const signer = verifier.verify(toSignedEntity(bundle))
    const { subject } = JSON.parse(bundle.content.dsseEnvelope.payload.toString())
    const by = signer.identity
    return (
      subject[0].digest.sha512 === sha512 &&
      (by === undefined || (by.subjectAlternativeName === identity && by.extensions.issuer === issuer))
    )
  })
}

if (import.meta.main) {
  const [file, document, root, identity, issuer] = process.argv.slice(2)
  process.exitCode = verifyDirect({ file, document, root, identity, issuer }) ? 0 : 4
}
