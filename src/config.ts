/** The values of `mcp-ir.yaml`; all paths absolute. See config-file.ts for how it is found, checked and trusted. */
export interface Config {
  /** The file it came from; undefined when there is none. */
  readonly file: string | undefined
  /** Named by `--config` or accepted by `mcp-ir trust`: only then may it direct secrets (Vault address, `exec`, `command`). */
  readonly trusted: boolean
  readonly registry: string | undefined
  /** Folder of the cases. */
  readonly cases: string
  readonly invocations: InvocationsConfig | undefined
  readonly vault: { readonly address?: string | undefined; readonly auditLog?: string | undefined }
  readonly aws: { readonly region?: string | undefined }
  readonly hours:
    | { readonly zone: string; readonly days: string; readonly from: string; readonly to: string }
    | undefined
  /** Which notification clocks the report shows. */
  readonly duties: readonly ('gdpr' | 'nis2' | 'dora')[]
  /** Where the head of each journal goes after every step. */
  readonly anchor?: AnchorConfig | undefined
  /** Traffic Light Protocol label of reports. */
  readonly tlp: 'red' | 'amber' | 'amber+strict' | 'green' | 'clear'
}

export type AnchorConfig =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'exec'; readonly command: readonly string[] }
  | { readonly kind: 'elasticsearch'; readonly node: string; readonly index: string }
  /** `certificate`: PEM of the authority, or of whom it has its certificate from. */
  | { readonly kind: 'rfc3161'; readonly url: string; readonly certificate: string }

export type Format = string | { readonly map: Readonly<Record<string, string>> }

export type InvocationsConfig =
  | (InvocationsSource & { readonly kind: 'files'; readonly path: string })
  | (InvocationsSource & { readonly kind: 'elasticsearch'; readonly node: string; readonly index: string })

interface InvocationsSource {
  readonly format: Format
  readonly writer?: Writer | undefined
  /** How far its clock is ahead: `90s`, `-2m`. */
  readonly offset?: string | undefined
}

/** Who wrote a log: what the suspect wrote about itself ranks last. */
type Writer = 'gateway' | 'client' | 'server'
