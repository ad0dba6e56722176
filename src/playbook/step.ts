import type { ZodType } from 'zod'
import type { PastChanges } from '../case/past.ts'
import type { Adapter, Change, Evidence, JsonObject, Observation, Receipt } from '../change.ts'
import type { Context } from '../context.ts'
import type { Server } from '../registry/port.ts'

/** One kind of step (`network.isolate`). It says which adapters act on which targets; the runner does the rest. */
export interface StepKind {
  readonly kind: string
  readonly summary: string
  /** Checks the step's `with`. */
  readonly with: ZodType
  /** Done again whenever the playbook comes by, as it sums up what went before. */
  readonly fresh?: boolean
  /**
   * What is to be done to the world, by target. Reads only. A kind without it changes nothing and needs no consent.
   * @throws IrError when the step cannot be done at all (no adapter for a kind, nothing registered …)
   */
  readonly operations?: (input: StepInput) => Promise<readonly Operation[]>
  /** The typed output that later steps and the report read; for a reading step, its whole work. Changes nothing. */
  readonly result: (input: StepInput, outcome: Outcome) => Promise<StepResult>
}

export interface StepInput {
  readonly context: Context
  readonly case: CaseView
  /** The step's `with`, look-ups resolved and checked. */
  readonly with: JsonObject
  /** `--deployment`: only this one. */
  readonly deployment: string | undefined
  /** Of the operations that were agreed to earlier in this run of the step: an interruption must not lose them. */
  readonly subjects?: readonly string[]
  /** Nothing may be written: `--dry-run`. `evidence.put` then only hashes. */
  readonly dryRun: boolean
  readonly evidence: Evidence
  readonly signal: AbortSignal
  readonly progress: (text: string) => void
}

/** The case as steps see it. */
export interface CaseView {
  readonly id: string
  readonly folder: string
  readonly server: Server
  /** Every entry of the registry, to find who shares what; only the own one when there is no registry. */
  readonly servers: readonly Server[]
  /** Start of the window, RFC 3339. */
  readonly since: string
  readonly sinceFrom: 'flag' | 'knownGood' | 'default'
  /** End of the window: the isolation, else now. */
  readonly until: string
  /** When the server was first isolated. */
  readonly isolatedAt: string | undefined
  /** What the case planned so far, and what came of it, by operation. */
  readonly past: () => PastChanges
  /** Output of the last finished run of a step of this kind. */
  readonly output: (kind: string) => Promise<unknown>
  /** Changes of steps of this kind that stand: applied, and not put back since. Oldest first. */
  readonly standing: (kind: string) => readonly StandingView[]
  /**
   * What people decided after a step of this kind was last finished, in their words: notes of kind `decision`, and manual
   * steps that were answered, as question and answer.
   */
  readonly decisionsSince: (kind: string) => readonly string[]
}

interface StandingView {
  /** Of the operation that it belongs to: a deployment's or credential's id. */
  readonly key: string
  readonly change: Change
}

/** One adapter at work on one target. */
export interface Operation {
  /** Names the target within the step, stable over runs: a deployment's or credential's id. */
  readonly key: string
  /** What it acts on, where no registry names it: the path of a file below a folder that the responder named. */
  readonly subject?: string
  /** Capability and kind, for the journal: `containment/local-process`. */
  readonly adapter: string
  readonly intent: string
  readonly target: unknown
  readonly load: () => Promise<Adapter<never>>
  /** Given: this operation puts back these applied changes, newest first, instead of planning new ones. */
  readonly undoes?: readonly Applied[]
}

export interface Applied {
  readonly change: Change
  readonly receipt: Receipt
}

/** What the operations of a step came to. Empty lists for a reading step. */
export interface Outcome {
  readonly operations: readonly {
    readonly key: string
    readonly adapter: string
    readonly state: 'verified' | 'residual' | 'failed'
    readonly observed: readonly Observation[]
    readonly residue: readonly string[]
    readonly limits: readonly string[]
    readonly output: unknown
  }[]
  /** Changes that failed or were denied, with what somebody with the right can run. */
  readonly open: readonly { readonly change: Change; readonly error: string; readonly code: string }[]
}

export interface StepResult {
  /** JSON-serialisable; kept as evidence, so floats and hostile strings are fine, secrets are not. */
  readonly output: unknown
  /** `partial`: exit 3. Default: what the verdicts say. */
  readonly state?: 'done' | 'residual' | 'partial'
  /** What still stands open, in plain words; makes the step at least partial. */
  readonly open?: readonly string[]
  readonly residue?: readonly string[]
  readonly limits?: readonly string[]
}
