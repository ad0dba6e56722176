import type { ActionCall, Adapter, Call, Change } from '../change.ts'
import type { ServedTools } from '../mcp/tools-digest.ts'
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
  /** What the approved digest was made from, where the registry names it: tells what differs, word by word. */
  readonly approved?: ServedTools | undefined
  /** What the isolation of this deployment changed and still stands; how it was before is in each one's `undo`. */
  readonly isolation: readonly Change[]
}

/** What became of a server that was put in place. */
export type Presence =
  /** It may be asked what it serves. */
  | { readonly state: 'up' }
  /** Not yet, and it may still come. */
  | { readonly state: 'coming'; readonly why: string }
  /** It will never be the one that answers. */
  | { readonly state: 'gone'; readonly why: string }

/**
 * How a new server is put in place, and taken out again, on one kind of system. What it serves is proven in prove.ts, the same
 * for all. The verdict's `output` is what an adapter knows of a `Redeployed`.
 */
export interface Deployments<D extends Deployment = Deployment> extends Adapter<DeploymentTarget<D>, 'redeploy'> {
  /** How long a new server may take until it answers, in seconds, where the registry does not say. */
  readonly startWithin: number
  /** Is what was put in place still there? Reads only. */
  presence(call: Call<DeploymentTarget<D>>): Promise<Presence>
  /**
   * Takes out what this case put in place, also what an interrupted attempt left of it, and nothing else: the isolated one is
   * never touched. Done again it does nothing more.
   * @returns what was done, as a sentence
   */
  takeOut(call: ActionCall<DeploymentTarget<D>>): Promise<string>
}

/** One element of `result.output.deployments`. */
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
  /** What runs now, in the words of its system: instances, a reference of the company's own pipeline. */
  readonly running?: readonly string[]
}
