import type { Clock, Selected, Selection, Usage } from './findings/port.ts'

/** One tool call, whatever format logged it. Every string in it was written by others: hostile until escaped. */
export interface Invocation {
  /** Unique within its source; duplicates by id are shipped twice and counted once. */
  readonly id: string
  /** Start, RFC 3339 UTC with milliseconds. */
  readonly time: string
  readonly durationMs?: number
  readonly server?: string
  readonly tool: string
  readonly agent?: string
  readonly user?: string
  readonly session?: string
  readonly trace?: string
  readonly address?: string
  readonly outcome: 'success' | 'failure' | 'unknown'
  /** Rows and bytes that the response carried, where the log says so or the response is there to count. */
  readonly rows?: number
  readonly bytes?: number
}

export interface Window {
  /** RFC 3339, inclusive. */
  readonly since: string
  /** RFC 3339, exclusive. */
  readonly until: string
}

/** `result.output` of review (fixed by the design, extended). */
export interface Review {
  readonly window: Window
  /** Where the window's start comes from. */
  readonly sinceFrom: 'flag' | 'knownGood' | 'default'
  readonly source: { readonly kind: string; readonly name: string; readonly format: string }
  /** This server's calls in the window, deduplicated. */
  readonly records: number
  readonly duplicates: number
  readonly first?: string
  readonly last?: string
  readonly tools: readonly ToolUse[]
  readonly callers: readonly CallerUse[]
  /** What calls touched, by the registry's `resources`; most calls first. */
  readonly resources: readonly ResourceUse[]
  /** What was out of the ordinary, the worst kind first, then by time. */
  readonly findings: readonly Finding[]
  /** With what the window was compared; missing when there is nothing from before. */
  readonly baseline?: Baseline
  /** Calls of this server in each hour of the window, and how many would not have been unusual; the last 92 days at most. */
  readonly hours: readonly HourUse[]
  /** What could not be seen, in plain words. */
  readonly gaps: readonly string[]
  /** Evidence name and hash of the raw records. */
  readonly evidence?: { readonly name: string; readonly sha256: string }
  /** Where the raw records were exported to, and what was written there. */
  readonly export?: {
    readonly file: string
    readonly window: Window
    readonly records: number
    readonly bytes: number
    readonly sha256: string
  }
}

export interface ToolUse {
  readonly tool: string
  readonly calls: number
  readonly failed: number
  /** Sums over the calls that say them; undefined when none does. */
  readonly rows?: number
  readonly bytes?: number
  /** Whether it changes something. Missing when nothing tells. */
  readonly changes?: boolean
  /** Who says so: the registry's `resources`, the server itself (annotations of its tools), or the words in its name. */
  readonly changesBy?: 'registry' | 'annotations' | 'name'
  readonly first: string
  readonly last: string
}

/** Something that calls read or changed. */
export interface ResourceUse {
  /** As the registry names it: `note:N-17`, `table:customers`. */
  readonly resource: string
  readonly system: string
  readonly access: 'read' | 'write'
  readonly tools: readonly string[]
  readonly calls: number
}

/** What came before the window. */
export interface Baseline {
  /** RFC 3339: its first call of this server, four weeks before the window at most. */
  readonly since: string
  readonly until: string
  readonly calls: number
  /** Which time zone and which days (`mon-fri`) tell working days from others, and whether they are the default. */
  readonly zone: string
  readonly days: string
  readonly assumed: boolean
}

export interface HourUse {
  /** Its start, RFC 3339. */
  readonly from: string
  readonly calls: number
  /** Median of the same hour on the same kind of day in the baseline, and the most that is not out of the ordinary. Missing: nothing tells. */
  readonly expected?: number
  readonly upper?: number
}

export interface CallerUse {
  /** Agent name, user or session, as the log knows it; `unknown` when it knows none. */
  readonly caller: string
  readonly calls: number
  readonly failed: number
  readonly rows?: number
  readonly bytes?: number
  /** Bytes of parameters that it sent to the server. */
  readonly sent?: number
  readonly first: string
  readonly last: string
}

export interface Finding {
  readonly kind: 'rate' | 'volume' | 'auth' | 'hours' | 'caller' | 'address' | 'tool' | 'description'
  readonly summary: string
  readonly expected: string
  readonly seen: string
  /** Ids of the records behind it, the first ones by time. */
  readonly records: readonly string[]
  /** How many more there are. */
  readonly more?: number
  /** Times of the first and the last of them, RFC 3339. */
  readonly first?: string
  readonly last?: string
}

export interface Reviewed {
  readonly review: Omit<Review, 'sinceFrom' | 'evidence' | 'export' | 'findings' | 'resources' | 'hours' | 'baseline'>
  /** The window's raw lines of this server, as NDJSON, in time order. For the evidence store; never printed. */
  readonly raw: AsyncIterable<string | Uint8Array>
  /**
   * What of the source could not be read at all, in plain words; it is among the gaps as well. Not empty: read in part. May grow
   * while the trail is read.
   */
  readonly unread: readonly string[]
  /** Whether the source holds any line of the window, whichever server it is about: without one it shows nothing. */
  readonly covered: boolean
  /**
   * Records of all servers from the start of the window on, past its end, in time order; those of this server (`own`) only up to
   * its end. Deduplicated, in pieces, in constant memory; may be asked for more than once.
   */
  trail(which: 'own' | 'all'): AsyncIterable<readonly TrailRecord[]>
  /**
   * Given by a source that holds too much to be gone through whole: its trail of `all` has only the records of contexts that called
   * the own server, those of the wanted tools, and those of contexts that are named here. Names some that were not named before:
   * @returns whether the trail has got longer, so that it is to be followed again
   */
  readonly widen?: (contexts: Contexts) => Promise<boolean>
  /** This server's calls, counted: those of the window, and those of the four weeks before. */
  usage(clock: Clock): Promise<Usage>
  /** Calls of the window that have something in common. */
  select(which: Selection): Promise<Selected>
  /** Gives back what was needed for reading (temporary files). Nothing above can be read after it. */
  close(): Promise<void>
}

/** Contexts of agents, as a log can be asked for them. */
export interface Contexts {
  readonly sessions?: Iterable<string>
  readonly traces?: Iterable<string>
  /** Who called with what: all that is known of a context without the others. */
  readonly accounts?: Iterable<Account>
  /** Everything that an agent of this name did, whoever used it. */
  readonly agents?: Iterable<string>
}

export interface Account {
  readonly user: string | undefined
  readonly agent: string | undefined
  readonly address: string | undefined
}

/** What a trail is to say of the things that calls touch. */
export interface Touched {
  /** Tools of any server whose parameters and responses name what they touch. */
  readonly tools: readonly string[]
  /** Where: `params.a.b` or `response.a.b`. */
  readonly paths: readonly string[]
  /** `false`: the trail will not be asked for; what only it needs takes a third of the time of reading. */
  readonly trail?: boolean
}

/** One record as it is followed from server to server. Times are microseconds since 1970. */
export interface TrailRecord {
  readonly id: string
  readonly time: number
  /** When its response was there; its start, where the log does not say how long it took. */
  readonly ends: number
  /** Of the server that the reading is about. */
  readonly own: boolean
  /** A tool call; otherwise something else that was taken from the own server: a list of tools, a prompt, a resource. */
  readonly call: boolean
  /** Of the own server, its list of tools. */
  readonly list: boolean
  readonly server: string | undefined
  readonly tool: string
  readonly agent: string | undefined
  readonly user: string | undefined
  readonly session: string | undefined
  readonly trace: string | undefined
  readonly address: string | undefined
  /** What is at each of the wanted paths; undefined for tools of which nothing is wanted. */
  readonly values: readonly (string | null)[] | undefined
  /** Names and bytes of the parameters of an own call, and their bytes in all; undefined when they were not logged. */
  readonly sent: { readonly bytes: number; readonly parameters: readonly SentParameter[] } | undefined
}

export interface SentParameter {
  readonly name: string
  readonly bytes: number
}

/** Some of the raw calls of a server, as NDJSON. */
export interface ExportPiece {
  readonly bytes: Uint8Array
  readonly records: number
  /** Given back, the export goes on behind this piece. Undefined: not here. */
  readonly mark: string | undefined
  /** The log is not what it was when the mark was made: what was written is of no use, and all comes again from here on. */
  readonly anew?: true
}

/** A log of invocations. `names` are the server's registry name and aliases; `touched` what its trail shall say beside. */
export interface Invocations {
  /** Is the source there, readable, of the named format? Reads only. */
  check(signal: AbortSignal): Promise<readonly string[]>
  review(names: readonly string[], window: Window, signal: AbortSignal, touched?: Touched): Promise<Reviewed>
  /**
   * The raw calls of a server in the window, byte for byte, always in the same order, however often it was interrupted.
   *
   * @param after mark of the last piece that is on disk
   * @throws IrError unreachable when the next piece cannot be had: what was given before holds, and can be gone on from
   */
  export(names: readonly string[], window: Window, signal: AbortSignal, after?: string): AsyncIterable<ExportPiece>
}
