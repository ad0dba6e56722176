/**
 * What we use of sigstore-js, loaded as one lazy module. The packages are CommonJS, and the bundler gives a dynamic import
 * of such a package only its default export.
 */
export { bundleFromJSON, bundleToJSON, toDSSEBundle } from '@sigstore/bundle'
export { dsse, X509Certificate } from '@sigstore/core'
export { TrustedRoot } from '@sigstore/protobuf-specs'
export { toSignedEntity, toTrustMaterial, VerificationError, Verifier } from '@sigstore/verify'
