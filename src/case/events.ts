import type { Change, EvidenceRef, JsonObject, Observation, Problem, Receipt } from '../change.ts'
import type { Server } from '../registry/port.ts'
import type { NoteAbout, NoteKind } from './notes.ts'

/**
 * Every kind of journal line and its data. The journal is the only state of a case: state.ts and the report are folds over it.
 * No line holds a secret, a float, or text of unbounded length.
 */
export interface Events {
  'case.opened': {
    readonly case: string
    readonly server: Server
    /** The entry was made from `--target`, no registry knows the server. */
    readonly local: boolean
    readonly registry?: { readonly file: string; readonly hash: string }
    readonly tool: string
    readonly host: string
    /** Identities that the systems confirmed (caller ARN, Vault entity, local user). */
    readonly identities: readonly string[]
    readonly since: string
    readonly sinceFrom: 'flag' | 'knownGood' | 'default'
    /** Measured offset of each server's clock against this host's, in milliseconds. */
    readonly clocks: readonly { readonly server: string; readonly offsetMs: number }[]
  }
  'case.closed': { readonly reason?: string; readonly open: readonly string[] }
  /** The last line of a sealed case; the seal itself is beside the journal. `key`: SHA-256 of the public key (DER), hex. */
  'case.sealed': { readonly key: string }
  /** A registry that changed after the case was opened, its difference shown and accepted. */
  'registry.accepted': {
    readonly file: string
    readonly hash: string
    readonly server: Server
    readonly difference: readonly string[]
  }
  'lock.taken-over': {
    readonly from: { readonly host: string; readonly pid: number; readonly by: string }
    readonly why: string
  }
  /** A half-written last line that was found and set aside. */
  'journal.torn': { readonly bytes: number; readonly evidence: string }
  'playbook.started': {
    readonly playbook: string
    readonly steps: readonly { readonly id: string; readonly use: string }[]
  }
  interrupted: { readonly during: string }
  note: {
    readonly kind: NoteKind
    readonly text: string
    readonly at: string
    /** Which notice went out, or what a notice has to say that this tells. */
    readonly about?: NoteAbout
  }

  'step.started': { readonly use: string; readonly run: number; readonly resumed: boolean }
  'step.refused': { readonly problems: readonly Problem[] }
  'step.planned': {
    readonly run: number
    readonly hash: string
    readonly operations: readonly PlannedOperation[]
    readonly warnings: readonly string[]
  }
  'step.approved': { readonly hash: string; readonly how: 'prompt' | 'flag'; readonly approvedBy?: string }
  'step.declined': { readonly hash: string }
  'change.started': { readonly id: string; readonly attempt: number }
  'change.recorded': { readonly id: string; readonly data: JsonObject }
  /** `settled`: its effect was found to be there, it was not made by this attempt. */
  'change.applied': { readonly id: string; readonly receipt: Receipt; readonly settled: boolean }
  'change.failed': { readonly id: string; readonly error: string; readonly code: string; readonly command?: string }
  'step.verdict': {
    readonly operations: readonly {
      readonly key: string
      readonly adapter: string
      readonly state: 'verified' | 'residual' | 'failed'
      readonly observed: readonly Observation[]
      readonly residue: readonly string[]
      readonly limits: readonly string[]
    }[]
  }
  'step.finished': {
    readonly use: string
    readonly state: StepState
    /** It was narrowed to this deployment: the step is not whole. */
    readonly only?: string
    /** SHA-256 of the output among the evidence; absent when there is none. */
    readonly output?: string
    readonly open: readonly string[]
    readonly residue: readonly string[]
    readonly limits: readonly string[]
    /** Milliseconds since this attempt began, without the wait for a person's answer. */
    readonly tookMs: number
  }
  'manual.answered': { readonly question: string; readonly answer: string }
  'manual.skipped': { readonly question: string; readonly reason: string }
  /** Answered by `--yes` with nothing: still to be done by a person. */
  'manual.open': { readonly question: string }
  'evidence.stored': EvidenceRef & { readonly path: string }
}

export interface PlannedOperation {
  readonly key: string
  readonly adapter: string
  readonly intent: string
  readonly changes: readonly Change[]
  /** See Operation. */
  readonly subject?: string
  /** Id of the change that each of these undoes, for release and reinstate. */
  readonly undoes?: Readonly<Record<string, string>>
}

/** `done` and `residual` let a playbook go on; `partial` and `failed` follow `on-failure`. */
export type StepState = 'done' | 'residual' | 'partial' | 'failed' | 'skipped' | 'nothing-to-do'

export type Kind = keyof Events

/** One line of `journal.ndjson`. */
export type Line = { [K in Kind]: LineOf<K> }[Kind]

export interface LineOf<K extends Kind> {
  readonly seq: number
  /** RFC 3339 UTC with milliseconds, by this host's clock. */
  readonly at: string
  readonly by: string
  readonly kind: K
  /** Id of the playbook's step, where the line belongs to one. */
  readonly step?: string
  readonly data: Events[K]
  readonly prev: string
  readonly hash: string
}
