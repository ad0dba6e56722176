import type { Adapter } from '../change.ts'
import type { Deployment, Server } from '../registry/port.ts'

export interface ContainmentTarget<D extends Deployment = Deployment> {
  /** Registry name of the server. */
  readonly server: string
  readonly owner: string
  /** Agents and teams that work with the server: cutting it off breaks them. */
  readonly consumers?: readonly string[]
  readonly deployment: D
  /** Kubernetes worker nodes too, with the pods of others on them. */
  readonly forceNode?: boolean
}

/** `isolate` cuts off; `release` is only ever verified: the runner undoes the journalled changes itself. */
export type ContainmentIntent = 'isolate' | 'release'

export type Containment<D extends Deployment = Deployment> = Adapter<ContainmentTarget<D>, ContainmentIntent>

/** A target for a server that no registry knows, from `--target KIND:ID`. */
export interface Discovered {
  /** Becomes the deployment of the case-local entry. */
  readonly deployment: Deployment
  /** A name for the server when `--as` gives none, made of safe characters only. */
  readonly suggestedName: string
}

/** A configuration file of an MCP client, which makes the client start the server again or go to it. */
export interface ClientTarget {
  /** Registry name of the server. */
  readonly server: string
  readonly owner: string
  /** Absolute path. */
  readonly file: string
  readonly aliases: readonly string[]
  readonly package: Server['package']
  /** Where the server runs: their URLs and commands tell its entries. */
  readonly deployments: readonly Deployment[]
  /** Names of other servers in the registry that a client could call the same. */
  readonly others: readonly string[]
}
