/**
 * The vocabulary between the runner, which alone changes the world, and the adapters, which know one real system each.
 * Types only: a port imports nothing of ours but this.
 */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }
export type JsonObject = { readonly [key: string]: Json }

/** One planned act on the world, with its undo. Shown before it is approved, journalled before it is started. */
export interface Change {
  /** From `call.changeId(action, target)`: a hash of case, step run, action and target. */
  readonly id: string
  /** Key into the adapter's `actions`. */
  readonly action: string
  /** What is changed, in the words of the system it lives in; with the action unique within a step run. */
  readonly target: string
  /** One plain sentence for the responder. Text that the suspect wrote is escaped where it is shown, not here. */
  readonly summary: string
  readonly effect: 'reversible' | 'irreversible' | 'creates'
  /** The cut never waits for what is best effort; a best-effort change that fails is listed as open. */
  readonly priority: 'essential' | 'best-effort'
  /** Ids that must be applied first. All else runs in parallel, bounded. */
  readonly after: readonly string[]
  /**
   * Ids that must be put back before this one is, beside those that waited for it: scaling is resumed once the interfaces
   * are back, although the cut never waited for its suspension.
   */
  readonly undoAfter?: readonly string[]
  /**
   * Order over all targets of a step, 1 where nothing is said: a later stage begins once everything of the earlier ones
   * has ended, well or not. What the stages of credentials are: credentials/port.ts.
   */
  readonly stage?: number
  /** What leads to the target, from the operation's own target down, in plain words; shown as one tree. */
  readonly chain?: readonly string[]
  /** What the action needs to act, as data (pid and start time, ids …); covered by no hash, journalled, never secret. */
  readonly params?: Json
  /** How to put it back, known before it is applied; what exists only afterwards comes with the receipt. Never secret. */
  readonly undo?: Json
  /** Other servers and people that this hurts. */
  readonly breaks: readonly string[]
  /** What somebody with the right could run by hand, exactly, when this is denied. */
  readonly command?: string
  /** Facts that help the responder to recognise the target: host, account, owner, running since … in display order. */
  readonly facts?: Readonly<Record<string, string>>
}

/** What came of a change. Journalled: never secret. */
export interface Receipt {
  readonly output?: Json
  readonly undo?: Json
}

/** One thing that was read from the real system, when it was read. */
export interface Observation {
  readonly claim: string
  /** What was seen: a value, a status, an error code. */
  readonly seen: string
  readonly holds: boolean
}

export interface Verdict {
  /** `residual` never stops a playbook, `failed` does. */
  readonly state: 'verified' | 'residual' | 'failed'
  readonly observed: readonly Observation[]
  /** What may still live and could not be excluded. */
  readonly residue: readonly string[]
  /** What is inherent and always told. */
  readonly limits: readonly string[]
  /** Data for the step's output (the state of a credential, the tools served …). Never secret. */
  readonly output?: Json
}

export interface Problem {
  /**
   * `refused` (policy or own identity: exit 4), `unreachable` and `denied` (exit 5 when essential), `input` (exit 2),
   * `warning` (told, stops nothing).
   */
  readonly kind: 'refused' | 'unreachable' | 'denied' | 'input' | 'warning'
  readonly message: string
  readonly hint?: string
}

/** Bytes kept in the case under their SHA-256. */
export interface EvidenceRef {
  readonly name: string
  readonly sha256: string
  readonly bytes: number
  readonly mediaType: string
}

export interface Evidence {
  /**
   * Stores content, fsynced and hashed, and journals it. The same name and bytes again are the same evidence.
   * @param name a file name for people, made by us, never taken from what a suspect wrote
   */
  put(
    name: string,
    mediaType: string,
    content: string | Uint8Array | AsyncIterable<string | Uint8Array>,
  ): Promise<EvidenceRef>
  /** The bytes of stored evidence. @throws IrError input when it is missing */
  get(sha256: string): Promise<Uint8Array>
  /** Where the file lies, for tools that read from disk (DuckDB). */
  path(sha256: string): string
}

/** What every call of an adapter gets. Adapters keep no state of their own: all they need is here. */
export interface Call<Target> {
  readonly target: Target
  readonly intent: string
  readonly signal: AbortSignal
  /** Case id, for names and tags of what we create. */
  readonly caseId: string
  /** Folder in the case for undo bytes (0700, never exported). Exists only once a change is applied. */
  readonly privateFolder: string
  readonly now: () => Date
  readonly changeId: (action: string, target: string) => string
  /** The journalled plan of this target; empty before it is approved. In `verify` it is what was to be done. */
  readonly changes: readonly Change[]
  /** Receipts of the changes applied so far, by change id. */
  readonly receipts: ReadonlyMap<string, Receipt>
  readonly evidence: Evidence
  /** One line for the progress display. */
  readonly progress: (text: string) => void
}

/** What `apply` and `settle` get in addition. */
export interface ActionCall<Target> extends Call<Target> {
  /**
   * Journals (fsynced) a fact that a resumed run will need, for example issued(ref) before delivered(ref). Never secret. With
   * `stands: true` it says as well that the change is to be put back even if it never ends well.
   */
  readonly record: (data: JsonObject) => Promise<void>
  /** What earlier tries of this same change recorded, in order. */
  readonly recorded: readonly JsonObject[]
}

/** What an act does, how to tell that it happened and how it is undone stand together. */
export interface Action<Target> {
  /** How many changes of this kind go in one call: where they can, so many of them are made at once. Default 1. */
  readonly together?: number
  /**
   * Makes the change. Throws IrError with `ambiguous` when it may have happened; `denied` when it was not permitted.
   * Calls that create something must not be retried by the client: `settle` decides.
   */
  apply(change: Change, call: ActionCall<Target>): Promise<Receipt>
  /** Has it happened already? By tag, name or state; reads only. Asked on resume and after every ambiguous error. */
  settle(change: Change, call: ActionCall<Target>): Promise<Receipt | undefined>
  readonly undo?: Undo<Target>
}

/** How an applied change is put back. `receipt` is the one of the change to undo. */
export interface Undo<Target> {
  /** What changed since, that the undo would override: empty when nothing. Reads only; shown before consent. */
  drift(change: Change, receipt: Receipt, call: Call<Target>): Promise<readonly string[]>
  apply(change: Change, receipt: Receipt, call: ActionCall<Target>): Promise<Receipt>
  settle(change: Change, receipt: Receipt, call: ActionCall<Target>): Promise<Receipt | undefined>
}

/** The code for one real system behind one port. */
export interface Adapter<Target, Intent extends string = string> {
  /** Every permission that any of its calls needs, in the vendor's words (`ec2:DescribeInstances`, `ptrace`, …). */
  readonly permissions: readonly string[]
  /** Reachable? Permitted? Our own? Reads only. */
  check(call: Call<Target> & { readonly intent: Intent }): Promise<readonly Problem[]>
  /** Reads only. An empty plan means that there is nothing to do (any more). */
  plan(call: Call<Target> & { readonly intent: Intent }): Promise<readonly Change[]>
  /**
   * Asked before changes of an earlier attempt are gone on with or put back: are they of the place that the target names now
   * (account, region …)? Reads only.
   * @throws IrError refused when they are of another one
   */
  recognise?(changes: readonly Change[], call: Call<Target>): Promise<void>
  /** Captures evidence once the changes are made and before the verdict. Reads only, loses nothing; may run again on resume. */
  collect?(call: Call<Target> & { readonly intent: Intent }): Promise<void>
  /** Reads the world again and says what is, not what was asked for. */
  verify(call: Call<Target> & { readonly intent: Intent }): Promise<Verdict>
  readonly actions: Readonly<Record<string, Action<Target>>>
}
