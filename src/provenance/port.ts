import type { Observation } from '../change.ts'

/** What a file is held against: from the registry entry, or from flags. All paths absolute. */
export interface Expectations {
  /** SRI string (`sha512-…`, `sha256-…`), or `sha256:` and hex, or the hex alone. */
  readonly integrity?: string | undefined
  /** A Sigstore bundle or an npm attestations document. */
  readonly bundle?: string | undefined
  /** PEM public key that must have signed the bundle. */
  readonly key?: string | undefined
  /** `false` is the named exception for organisations without a transparency log. */
  readonly tlog?: boolean | undefined
  /** OIDC issuer and subject of the signing certificate, both exact, both needed. */
  readonly issuer?: string | undefined
  readonly identity?: string | undefined
  /** Sigstore trusted root (JSON) instead of the one of the public-good instance that we ship. */
  readonly trustedRoot?: string | undefined
  readonly repository?: string | undefined
  readonly commit?: string | undefined
  /** Id of the builder, as SLSA provenance writes it. */
  readonly builder?: string | undefined
  /** Name and version that the artifact must carry (npm). */
  readonly package?: { readonly identifier: string; readonly version: string } | undefined
}

/**
 * `verified`: everything that was expected was checked and holds. `invalid`: something is wrong, never deploy.
 * `unverifiable`: there is nothing to check against; deploy only by an explicit, recorded override.
 */
export interface ProvenanceVerdict {
  readonly state: 'verified' | 'invalid' | 'unverifiable'
  /** SHA-256 and SHA-512 of the file in hand, hex. */
  readonly sha256: string
  readonly sha512: string
  readonly observed: readonly Observation[]
  /** Why it is not verified, in plain words, most important first. */
  readonly reasons: readonly string[]
}

export interface Provenance {
  verify(file: string, expected: Expectations, signal: AbortSignal): Promise<ProvenanceVerdict>
}
