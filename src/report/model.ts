import type { BlastRadius } from '../blast-radius/port.ts'
import type { NoticeName } from '../case/notes.ts'
import type { Change, Observation } from '../change.ts'
import type { CredentialState } from '../credentials/port.ts'
import type { Review } from '../invocations/port.ts'

/**
 * What a report says, as data: `report.json` is this, the other formats are drawn from it. Every string may hold what a
 * suspect wrote: it is kept as it was read and escaped where it is shown. Times are RFC 3339 UTC.
 */
export interface Report {
  readonly schema: 'mcp-ir/report/1'
  readonly tlp: Tlp
  /** Names are pseudonyms, and what people wrote is left out: for handing outside. */
  readonly redacted: boolean
  readonly case: CaseFacts
  /** Where the case stands, in a few plain sentences; never more than was observed. */
  readonly standing: readonly Standing[]
  readonly times: readonly Moment[]
  readonly durations: readonly Duration[]
  /** Duties to notify, of the laws that the configuration names. */
  readonly duties: readonly Duty[]
  readonly concerned: Concerned
  /** Oldest first. */
  readonly timeline: readonly Entry[]
  readonly steps: readonly StepRow[]
  readonly decisions: readonly Decision[]
  readonly changes: readonly ChangeRow[]
  /** What was read from the real systems after the changes, claim by claim. */
  readonly proof: readonly Proof[]
  readonly credentials: readonly CredentialRow[]
  readonly review: Review | undefined
  readonly blastRadius: BlastRadius | undefined
  readonly redeployment: Redeployment | undefined
  readonly rootCause: RootCause
  readonly evidence: readonly EvidenceRow[]
  /** Everybody who wrote into the case, in the order of their first act. */
  readonly custody: readonly Custodian[]
  /** What still stands open, in plain words. */
  readonly open: readonly string[]
  /** What remains, the worst first, each with what to do about it. */
  readonly risks: readonly Risk[]
  readonly unseen: Unseen
  readonly mappings: readonly Mapping[]
  /** What happened to the case itself: a changed registry, a lock taken over, a torn line, an interruption. */
  readonly irregularities: readonly Irregularity[]
}

/** Label of the Traffic Light Protocol 2.0: with whom the report may be shared. */
export type Tlp = 'red' | 'amber' | 'amber+strict' | 'green' | 'clear'

export type Law = 'gdpr' | 'nis2' | 'dora'

export interface CaseFacts {
  readonly id: string
  readonly status: 'open' | 'closed'
  readonly openedAt: string
  readonly openedBy: string
  readonly closedAt: string | undefined
  readonly closedWhy: string | undefined
  readonly playbooks: readonly string[]
  readonly server: {
    readonly name: string
    readonly version: string
    readonly owner: string
    readonly criticality: string
    readonly status: string
    readonly package: string
    /** Where it ran: `prod (aws-ec2)`. */
    readonly deployments: readonly string[]
    /** The entry was made from what was found, no registry knows the server. */
    readonly local: boolean
  }
  readonly registry: { readonly file: string; readonly hash: string } | undefined
  readonly window: { readonly since: string; readonly sinceFrom: string; readonly until: string | undefined }
  readonly tool: string
  readonly host: string
  readonly identities: readonly string[]
  readonly people: readonly string[]
  readonly clocks: readonly { readonly server: string; readonly offsetMs: number }[]
  /** Length and head of the hash chain that this report was made from: whoever has the journal can compare. */
  readonly journal: {
    readonly lines: number
    /** @pattern ^[0-9a-f]{64}$ */
    readonly head: string
    readonly lastAt: string
  }
}

export interface Standing {
  readonly topic: 'containment' | 'credentials' | 'recovery' | 'open'
  readonly label: string
  /** `good`: observed to hold. `bad`: observed not to. `partly`: in part. `unknown`: not done or not observed. */
  readonly state: 'good' | 'partly' | 'bad' | 'unknown'
  readonly value: string
  readonly detail: string
}

/** How something is known. */
export type Mark = 'observed' | 'inferred' | 'told' | 'done'

export interface Moment {
  readonly key:
    | 'occurred'
    | 'detected'
    | 'aware'
    | 'declared'
    | 'classified'
    | 'contained'
    | 'revoked'
    | 'rotated'
    | 'recovered'
  readonly label: string
  /** Undefined: not recorded. */
  readonly at: string | undefined
  readonly mark: Mark | undefined
  /** How it is known and how far it holds; when it is not recorded, why not. */
  readonly note: string
  /** How to record it, where a person can. */
  readonly record: string | undefined
}

export interface Duration {
  readonly from: Moment['key']
  readonly to: Moment['key']
  readonly label: string
  /** Milliseconds; negative when the second came first. */
  readonly ms: number
  /** `1 h 4 min`. */
  readonly text: string
}

export interface Duty {
  readonly law: Law
  /** `GDPR, Article 33` */
  readonly label: string
  /** When it applies at all, which nobody but a person can say. */
  readonly applies: string
  readonly notices: readonly Notice[]
}

/** One notice that a law asks for, with its clock. */
export interface Notice {
  readonly name: NoticeName
  readonly label: string
  /** The time-limit in words, with the article. */
  readonly rule: string
  /** When it has to be out at the latest. Undefined: nothing is recorded that the clock could run from. */
  readonly due: string | undefined
  /** What the clock was counted from. */
  readonly counted: string
  /** What it was counted from is not recorded, or is itself a limit: it may be earlier. */
  readonly assumed: boolean
  /** When it went out first, as a person recorded. */
  readonly sent: { readonly at: string; readonly by: string; readonly text: string } | undefined
  readonly state: 'sent' | 'sent late' | 'not sent'
  /** What it has to say, and what of that the case knows already. */
  readonly content: readonly NoticePart[]
}

export interface NoticePart {
  readonly article: string
  readonly label: string
  /** The law asks for it only where it is available or applies. */
  readonly ifAny: boolean
  readonly known: readonly string[]
  /** How to say what is missing; undefined when something is known. */
  readonly record: string | undefined
}

/** Whose data, and how much of it. Ranges, since a log counts rows and not people. */
export interface Concerned {
  readonly classes: readonly ConcernedClass[]
  /** What people said of who is concerned, the last word first. */
  readonly told: readonly string[]
  /** How the ranges were made, and what would make them wrong. */
  readonly method: readonly string[]
}

export interface ConcernedClass {
  readonly data: string
  readonly systems: readonly string[]
  readonly records: Range
  readonly people: Range
  /** Why there is no upper bound, or why nothing can be said. */
  readonly note: string | undefined
}

export interface Range {
  readonly atLeast: number
  /** Undefined: without bound, as far as is known. */
  readonly atMost: number | undefined
}

export type Lane = 'attacker' | 'system' | 'responder'

export interface Entry {
  readonly at: string
  /** End of what lasted. */
  readonly until?: string
  readonly lane: Lane
  readonly mark: Mark
  readonly text: string
  /** Who said or did it. */
  readonly by?: string
  readonly step?: string
  /** Journal line it comes from; absent when it comes from a step's output. */
  readonly seq?: number
}

export interface StepRow {
  readonly id: string
  readonly use: string
  readonly run: number
  /** As the step ended, or `refused`, `declined`; `unfinished`: begun, and the journal ends before its end. */
  readonly state: string
  readonly startedAt: string
  readonly endedAt: string | undefined
  readonly tookMs: number | undefined
  readonly resumed: number
  /** What it did was put back later. */
  readonly undone: boolean
}

export interface Decision {
  readonly at: string
  readonly by: string
  readonly step: string | undefined
  readonly kind: 'approved' | 'declined' | 'answered' | 'skipped' | 'left open' | 'noted' | 'accepted' | 'closed'
  readonly text: string
  /** With `approved`: how consent was given, for which plan, and who approved beside who acted. */
  readonly how: string | undefined
  readonly approver: string | undefined
  readonly planHash: string | undefined
  /** What was known and shown then: warnings, and who else is hurt. */
  readonly known: readonly string[]
}

export interface ChangeRow {
  readonly id: string
  readonly step: string
  readonly run: number
  readonly operation: string
  readonly adapter: string
  readonly action: string
  readonly target: string
  readonly summary: string
  readonly effect: Change['effect']
  readonly priority: Change['priority']
  readonly state: 'applied' | 'settled' | 'failed' | 'put back' | 'not done'
  readonly at: string | undefined
  readonly attempts: number
  readonly breaks: readonly string[]
  readonly error: string | undefined
  /** What somebody with the right can run by hand; only while it is not done. */
  readonly command: string | undefined
}

export interface Proof {
  readonly step: string
  readonly run: number
  readonly operation: string
  readonly adapter: string
  readonly at: string
  readonly state: 'verified' | 'residual' | 'failed'
  readonly observed: readonly Observation[]
}

export interface CredentialRow {
  readonly id: string
  readonly kind: string
  /** The one that the compromised server held. Undefined: no step looked at it. */
  readonly old: Pick<CredentialState, 'state' | 'proof' | 'until'> | undefined
  /** Where the new one lies. Undefined: none was issued. */
  readonly delivered: CredentialState['delivered']
  /** How the new one and its delivery are known, in the words of the rotation. */
  readonly rotated: string | undefined
  readonly sharedWith: readonly string[]
  /** Its revocation was put back. */
  readonly reinstated: boolean
}

export interface Redeployment {
  readonly state: string
  readonly deployments: readonly {
    readonly deployment: string
    readonly version: string
    readonly toolsDigest: string
    readonly tools: readonly string[]
    readonly url: string | undefined
    /** What was seen of it: `verified`, `residual`, `failed`; empty when the step does not say. */
    readonly state: string
  }[]
  readonly verification:
    | {
        readonly state: string
        readonly sha256: string | undefined
        readonly observed: readonly Observation[]
        readonly reasons: readonly string[]
      }
    | undefined
  /** What differs between the build that ran and the verified one. */
  readonly tampered: readonly string[]
  /** As it was recorded for the redeployment. */
  readonly rootCause: string | undefined
  /** Recorded reasons for what would else have been refused. */
  readonly exceptions: readonly string[]
}

export interface EvidenceRow {
  readonly name: string
  /** @pattern ^[0-9a-f]{64}$ */
  readonly sha256: string
  readonly bytes: number
  readonly mediaType: string
  readonly at: string
  readonly by: string
  /** The step that took it, and the line of the journal that says so. */
  readonly step: string | undefined
  readonly seq: number | undefined
}

/** Why it could happen. Never concluded: a person says it, or it stays open. */
export interface RootCause {
  readonly text: string | undefined
  /** Who said it, and when. */
  readonly by: string | undefined
  readonly at: string | undefined
  /** What was seen that bears on it. */
  readonly observed: readonly string[]
}

export interface Custodian {
  readonly by: string
  readonly first: string
  readonly last: string
  readonly lines: number
  /** Pieces of evidence that they took. */
  readonly evidence: number
}

export interface Risk {
  /** `bad`: known to stand open. `partly`: in part, or it ends by itself. `unknown`: not looked at, or not to be seen. */
  readonly state: 'bad' | 'partly' | 'unknown'
  readonly what: string
  /** What to do next. */
  readonly next: string
  /** The command that does or records it. */
  readonly command: string | undefined
}

export interface Mapping {
  readonly framework: 'NIST SP 800-61r3' | 'OWASP MCP Top 10:2025'
  readonly id: string
  readonly name: string
  /** What in this case belongs there. Empty: no mapping. */
  readonly shown: readonly string[]
}

export interface Unseen {
  /** What may still live and could not be excluded. */
  readonly residue: readonly string[]
  /** What is inherent to how it was done. */
  readonly limits: readonly string[]
  /** What no log covers or no source could be read for. */
  readonly gaps: readonly string[]
}

export interface Irregularity {
  readonly at: string
  readonly by: string
  readonly kind: 'registry' | 'lock' | 'journal' | 'interrupted' | 'refused' | 'evidence'
  readonly text: string
  readonly details: readonly string[]
}
