import type { Server } from './schema.ts'

export type { Credential, CredentialOf, DeliverTo, Deployment, DeploymentOf, Server } from './schema.ts'

/** The catalogue of approved servers. All relative paths in its entries were made absolute against the file's folder. */
export interface Registry {
  /** Where it was read from, for messages. */
  readonly file: string
  /** SHA-256 of the file's bytes, hex; pinned when a case opens. */
  readonly hash: string
  readonly servers: readonly Server[]
}
