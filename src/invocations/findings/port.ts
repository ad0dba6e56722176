/** A time zone as the offsets that it has over a span of time. Times and offsets are microseconds. */
export interface Clock {
  readonly offsets: readonly { readonly from: number; readonly offset: number }[]
}

/**
 * Counts of this server's calls, deduplicated. Times are microseconds since 1970, hours are counted from 1970 on in the clock's zone,
 * days are 24 of those. Bounded, whatever the log holds: tools and names are the most frequent ones.
 */
export interface Usage {
  /** Calls in the baseline; the first of them. */
  readonly calls: number
  readonly since: number | undefined
  /** Hours with calls; by tool, and without one all tools together. */
  readonly before: readonly HourCount[]
  readonly now: readonly (HourCount & Peak)[]
  /** How many tools are not among them. */
  readonly otherTools: number
  /** What one call gave in the baseline; by tool, and without one all tools together. */
  readonly volumes: readonly Volume[]
  /** Requests of the server that were refused, calls or not, by day. */
  readonly refusedBefore: readonly DayCount[]
  readonly refusedNow: readonly DayCount[]
  readonly newcomers: readonly Newcomers[]
  /** What the server said of itself and of its tools, each version once, by the time at which it was first seen. */
  readonly listings: readonly Listing[]
  /** Answers with lists of tools that are too long, or too many, to be among them. */
  readonly listingsLeftOut: number
  /** What calls of the window touched, as the trail's `values`, by tool; the most frequent ones. */
  readonly touched: readonly {
    readonly tool: string
    readonly values: readonly (string | null)[]
    readonly calls: number
  }[]
  readonly touchedLeftOut: number
}

export interface HourCount {
  readonly tool: string | undefined
  readonly hour: number
  readonly calls: number
}

export interface Peak {
  /** Of its calls, those that were refused for want of rights or of a valid identity. */
  readonly refused: number
  /** Times of its first and its last call. */
  readonly first: number
  readonly last: number
  /** The most that one call gave; bytes only of calls whose rows are not known. */
  readonly rows: number | undefined
  readonly bytes: number | undefined
}

export interface Volume {
  readonly tool: string | undefined
  /** Bytes are of all calls, also of those whose rows are known. */
  readonly of: 'rows' | 'bytes'
  readonly calls: number
  readonly median: number
  /** Median of the distances to the median. */
  readonly mad: number
  /** The largest but the thousandth part, one call at least. */
  readonly high: number
}

interface DayCount {
  readonly day: number
  readonly calls: number
  readonly first: number
  readonly last: number
}

/** Names that the window has and the baseline has not. */
export interface Newcomers {
  readonly of: 'agent' | 'user' | 'address' | 'tool'
  /** Different names in the baseline, and how many of them the second half of it has and the first half has not. */
  readonly known: number
  readonly knownLate: number
  /** How many there are; those with most calls. */
  readonly all: number
  readonly list: readonly {
    readonly name: string
    readonly calls: number
    /** Calls that no other newcomer explains: of an address, those of users and agents that are known. */
    readonly byKnown: number
  }[]
}

export interface Listing {
  /** The answer as JSON: `{"tools": […]}` or `{"instructions": …}`. Hostile. */
  readonly json: string
  readonly first: number
  readonly last: number
  /** Whether it was ever given before the window. */
  readonly before: boolean
  /** Id of the first record in the window that holds it; undefined when there is none. */
  readonly record: string | undefined
}

/** What is missing does not matter. */
export interface Selection {
  /** From the first until before the second; microseconds. */
  readonly spans?: readonly (readonly [number, number])[]
  readonly tool?: string
  readonly agent?: string
  readonly user?: string
  readonly address?: string
  /** Those of the names that the baseline has not. */
  readonly newcomers?: Newcomers['of']
  /** Requests that were refused, also those that are no calls. */
  readonly refused?: true
  /** Calls that gave more rows. */
  readonly rowsOver?: number
  /** Calls whose rows are not known and that gave more bytes. */
  readonly bytesOver?: number
}

export interface Selected {
  readonly calls: number
  readonly failed: number
  readonly first: number
  readonly last: number
  /** Sums over the calls that say them. */
  readonly rows: number | undefined
  readonly bytes: number | undefined
  /** The first hundred by time. */
  readonly ids: readonly string[]
  /** Who called, and from where: those with most calls, and how many others there are. */
  readonly callers: Names
  readonly addresses: Names
  readonly tools: Names
}

export interface Names {
  readonly list: readonly { readonly name: string; readonly calls: number; readonly isNew: boolean }[]
  readonly others: number
}
