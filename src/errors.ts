/**
 * The one error that a user sees. Everything else that is thrown is a bug of ours (exit 1).
 * Messages must never carry a secret: adapters build them from names and codes, not from what a vendor's error object held.
 */
export type ErrorCode =
  | 'input' // wrong flag, file or value; nothing was changed
  | 'consent' // an explicit yes is missing; nothing was changed
  | 'partial' // something failed or still stands open
  | 'refused' // verification, policy, own identity or plan hash did not hold
  | 'unreachable' // a system does not answer
  | 'denied' // a system answers but does not permit it
  | 'interrupted' // Ctrl-C; the case is consistent and resumable

/** Exit codes are a promise (design, section 7). */
export const exitCodes: Readonly<Record<ErrorCode, number>> = {
  input: 2,
  consent: 2,
  partial: 3,
  refused: 4,
  unreachable: 5,
  denied: 5,
  interrupted: 130,
}

export interface IrErrorOptions {
  readonly hints?: readonly string[] | undefined
  readonly cause?: unknown
  /**
   * Whether the change may have happened although its answer was lost (time-out, reset, 5xx).
   * The runner then asks the action to settle instead of counting it as failed.
   */
  readonly ambiguous?: boolean
  /** Nobody said how to get at the system: no address, no credentials of the responder's. It was not asked. */
  readonly unconfigured?: boolean
}

export class IrError extends Error {
  readonly code: ErrorCode
  readonly hints: readonly string[]
  readonly ambiguous: boolean
  readonly unconfigured: boolean

  constructor(code: ErrorCode, message: string, options: IrErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'IrError'
    this.code = code
    this.hints = options.hints ?? []
    this.ambiguous = options.ambiguous ?? false
    this.unconfigured = options.unconfigured ?? false
  }

  get exitCode(): number {
    return exitCodes[this.code]
  }
}

/** The case itself cannot be written: without a journal nothing may go on. */
export class StorageError extends IrError {
  constructor(message: string, options: IrErrorOptions = {}) {
    super('partial', message, options)
  }
}

/** The code of a Node system error (`ENOENT` …), if that is what was thrown. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
