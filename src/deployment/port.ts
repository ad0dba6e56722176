import type { Adapter } from '../change.ts'
import type { ProvenanceVerdict } from '../provenance/port.ts'
import type { Deployment, Server } from '../registry/port.ts'

export interface DeploymentTarget<D extends Deployment = Deployment> {
  readonly server: Server
  readonly deployment: D
  /** The artifact in hand, absolute path, with its verdict made just now. */
  readonly artifact: { readonly file: string; readonly verdict: ProvenanceVerdict }
  /** File with the rotated credentials (0600), when they were delivered to a file. */
  readonly credentialsFile?: string | undefined
  /** SHA-256 (hex) of builds that ran when the server was compromised: never started again. */
  readonly compromised: readonly string[]
  /** Recorded reason to start the build although it is the one that was compromised (`--root-cause`). */
  readonly rootCause?: string | undefined
  /** A dry run before the isolation: the compromised server is taken for stopped although it runs. */
  readonly assumeStopped?: boolean | undefined
}

/** The verdict's `output` is a `Redeployed`. */
export type Deployments<D extends Deployment = Deployment> = Adapter<DeploymentTarget<D>, 'redeploy'>

export interface Redeployed {
  readonly deployment: string
  readonly version: string
  readonly toolsDigest: string
  readonly tools: readonly string[]
  readonly url?: string
  /** How the compromised deployment differs from the verified build. */
  readonly tampered?: {
    readonly folder: string
    readonly changed: readonly string[]
    readonly removed: readonly string[]
    readonly added: readonly string[]
    /** Files of the build that were found there unchanged. */
    readonly same: number
    /** Whether a list was cut. */
    readonly cut: boolean
  }
}
