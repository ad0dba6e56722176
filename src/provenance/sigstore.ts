/**
 * What we use of sigstore-js, loaded as one lazy module. The packages are CommonJS, and the bundler gives a dynamic import
 * of such a package only its default export.
 */
export { bundleFromJSON, bundleToJSON, toDSSEBundle } from '@sigstore/bundle'
export { dsse } from '@sigstore/core'
export { toSignedEntity, Verifier } from '@sigstore/verify'
