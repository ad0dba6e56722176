import type { Config } from './config.ts'
import type { Registry } from './registry/port.ts'
import type { Ui } from './ui/port.ts'

/** What every command and step gets injected: nothing below reads a clock, a terminal, the environment or randomness by itself. */
export interface Context {
  /** Version of this tool, as in package.json. */
  readonly version: string
  /** Who acts: `--by`, else user@host. */
  readonly by: string
  readonly approvedBy: string | undefined
  readonly now: () => Date
  /** Cryptographically random bytes. */
  readonly random: (bytes: number) => Uint8Array
  readonly config: Config
  /** Read once, on first use. Undefined when the configuration names none. @throws IrError input with line and hint */
  readonly registry: () => Promise<Registry | undefined>
  readonly ui: Ui
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal
}
