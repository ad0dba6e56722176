import type { Account, Contexts, TrailRecord } from '../invocations/port.ts'
import type { Touch } from '../registry/touches.ts'
import { contextName, type Stretch, Stretches } from './contexts.ts'
import type { Hub, Suspect } from './port.ts'

/** An account or a resource that would join more contexts than this is a hub. */
const hubAbove = 50
/** Suspect calls that are listed: the worst ones, where there are more. */
const longestList = 10_000
/** Records of one chain that are listed, half of them from each end. */
const longestChain = 200

export interface Following {
  /** What a call reads and writes. */
  readonly touches: (record: TrailRecord) => readonly Touch[]
  /** How bad it is that this call is suspect, 0 to `ranks` - 1; decides what is listed when there is too much. */
  readonly rank: (record: TrailRecord, by: Suspect['by']) => number
  /** Agents that have the server configured, where the log cannot show that they took in its tools. */
  readonly configured: ReadonlySet<string>
  readonly throughHubs: boolean
  /** Microseconds; for tests. */
  readonly idleGap?: number
  readonly hubAbove?: number
}

export const ranks = 8

export interface Followed {
  /** By time. */
  readonly suspect: readonly Suspect[]
  /** Record ids and ranks of the worst of them, worst first. */
  readonly worst: readonly { readonly suspect: Suspect; readonly rank: number }[]
  readonly hubs: readonly Hub[]
  /** All suspect calls outside hubs, whether listed or not. */
  readonly total: number
  /** Calls of which the log does not tell which resource they touched. */
  readonly untold: number
  /** Every context that is tainted, hubs or not: a log that does not hold all records of one is to be asked for them. */
  readonly tainted: Contexts
}

/** The records that led to something, last one first. */
interface Chain {
  readonly record: string
  readonly before: Chain | undefined
}

/** What makes a context or a resource tainted: the earliest thing, and of several the first in the log. */
interface Taint {
  /** From when on, microseconds. */
  readonly at: number
  readonly hop: number
  readonly chain: Chain
  readonly order: number
}

interface Cause {
  readonly taint: Taint
  readonly by: Suspect['by']
  /** The resource that was read, where that is the reason. */
  readonly resource?: Touch
}

/**
 * Follows what came from the compromised server: a context is tainted from the end of the first thing that it took from there;
 * its later calls elsewhere are suspect; what these change is tainted, and whoever reads that is suspect at the next hop.
 *
 * `records` yields the trail from its start, each time it is called. It is gone through once; a second time only when there are
 * hubs that have to be cut. Strings of the log are keys of maps and nothing else.
 */
export async function follow(
  records: () => AsyncIterable<readonly TrailRecord[]>,
  following: Following,
): Promise<Followed> {
  const first = new Spread(following, noHubs)
  for await (const piece of records()) for (const record of piece) first.see(record)
  const hubs = first.hubs()
  if (hubs.size === 0 || following.throughHubs) return { ...first.result(hubs), tainted: first.tainted() }
  const second = new Spread(following, hubs)
  for await (const piece of records()) for (const record of piece) second.see(record)
  return { ...second.result(hubs), tainted: first.tainted() }
}

interface FoundHub {
  readonly kind: Hub['kind']
  readonly name: string
  readonly contexts: number
}

const noHubs: ReadonlyMap<string, FoundHub> = new Map()

/** One pass over the trail. */
class Spread {
  readonly #following: Following
  /** What is not followed. */
  readonly #cut: ReadonlyMap<string, FoundHub>
  readonly #sessions = new Map<string, Taint>()
  readonly #traces = new Map<string, Taint>()
  readonly #stretches: Stretches<Taint>
  /** Whose stretches are tainted. */
  readonly #accounts = new Set<Account>()
  readonly #resources = new Map<string, Taint>()
  /** Contexts that each account or resource joins. */
  readonly #joined = new Map<string, { kind: Hub['kind']; name: string; contexts: Set<string>; calls: number }>()
  readonly #listed: Suspect[][] = Array.from({ length: ranks }, () => [])
  #total = 0
  #untold = 0
  #order = 0

  constructor(following: Following, cut: ReadonlyMap<string, FoundHub>) {
    this.#following = following
    this.#cut = cut
    this.#stretches = new Stretches(following.idleGap)
  }

  see(record: TrailRecord): void {
    this.#order += 1
    const stretch = this.#stretches.of(record)
    const touches = record.call ? this.#following.touches(record) : []
    if (touches.some(({ access }) => access === 'untold')) this.#untold += 1
    if (record.own) {
      const chain = { record: record.id, before: undefined }
      this.#taintContext(record, stretch, this.#taint(record.ends, 1, chain))
      // What the compromised server itself wrote: whoever reads it is at the first hop.
      this.#taintWritten(touches, this.#taint(record.time, 0, chain))
      return
    }
    const cause = this.#inContext(record, stretch) ?? this.#byReading(record, touches)
    if (cause === undefined) {
      const { agent } = record
      if (agent !== undefined && this.#following.configured.has(agent)) this.#infer(record, stretch)
      return
    }
    const hop = cause.resource === undefined ? cause.taint.hop : cause.taint.hop + 1
    const chain = { record: record.id, before: cause.taint.chain }
    const context = contextOf(record, stretch)
    if (cause.resource !== undefined) this.#join('resource', cause.resource.key, cause.resource.name, context)
    if (this.#isCut(record, context)) return
    this.#list(record, hop, cause.by, chain, cause.resource)
    // Whoever makes a suspect call has it already, however else it is known; whoever reads something has it at the end.
    const from = cause.resource === undefined ? record.time : record.ends
    this.#taintContext(record, stretch, this.#taint(from, hop, chain))
    this.#taintWritten(touches, this.#taint(record.time, hop, chain))
  }

  /** Because its context is tainted. What says more is asked first; user and client count only for records without the others. */
  #inContext(record: TrailRecord, stretch: Stretch<Taint> | undefined): Cause | undefined {
    const { session, trace, time } = record
    const bySession = session === undefined ? undefined : this.#sessions.get(session)
    if (bySession !== undefined && bySession.at <= time) return { taint: bySession, by: 'session' }
    const byTrace = trace === undefined ? undefined : this.#traces.get(trace)
    if (byTrace !== undefined && byTrace.at <= time) return { taint: byTrace, by: 'trace' }
    if (session !== undefined || trace !== undefined) return undefined
    const byStretch = stretch?.known
    return byStretch !== undefined && byStretch.at <= time ? { taint: byStretch, by: 'idle-gap' } : undefined
  }

  /** Because it reads what a suspect call wrote. */
  #byReading(record: TrailRecord, touches: readonly Touch[]): Cause | undefined {
    let found: Cause | undefined
    for (const touch of touches) {
      const taint = touch.access === 'read' ? this.#resources.get(touch.key) : undefined
      if (taint === undefined || taint.at > record.time) continue
      const hub = this.#cut.has(hubKey('resource', touch.key))
      if (hub) this.#countCut('resource', touch.key)
      else if (found === undefined || isEarlier(taint, found.taint)) {
        found = { taint, by: toldBy(record), resource: touch }
      }
    }
    return found
  }

  /** Listed and not followed any further: everybody has everything configured, and all would end up suspect. */
  #infer(record: TrailRecord, stretch: Stretch<Taint> | undefined): void {
    if (this.#isCut(record, contextOf(record, stretch))) return
    this.#list(record, 1, 'inferred', { record: record.id, before: undefined })
  }

  #taint(at: number, hop: number, chain: Chain): Taint {
    return { at, hop, chain, order: this.#order }
  }

  /** Nothing ever takes a taint away: neither a compaction of the context nor anything else that it may have said. */
  #taintContext(record: TrailRecord, stretch: Stretch<Taint> | undefined, taint: Taint): void {
    const { session, trace } = record
    if (session !== undefined) keepEarlier(this.#sessions, session, taint)
    if (trace !== undefined) keepEarlier(this.#traces, trace, taint)
    if (stretch === undefined) return
    if (stretch.known === undefined) this.#accounts.add(stretch.account)
    if (stretch.known === undefined || taint.at < stretch.known.at) stretch.known = taint
  }

  #taintWritten(touches: readonly Touch[], taint: Taint): void {
    for (const { access, key } of touches) if (access === 'write') keepEarlier(this.#resources, key, taint)
  }

  #list(record: TrailRecord, hop: number, by: Suspect['by'], chain: Chain, read?: Touch): void {
    this.#total += 1
    const listed = this.#listed[Math.min(ranks - 1, this.#following.rank(record, by))]
    if (listed === undefined || listed.length >= longestList) return
    const { id, server = '', tool, time } = record
    listed.push({
      record: id,
      server,
      tool,
      at: new Date(Math.floor(time / 1000)).toISOString(),
      hop,
      by,
      chain: idsOf(chain),
      context: contextName(record),
      ...(read === undefined ? {} : { resource: read.name }),
    })
  }

  /** Counts the context for its account; whether that account is a hub that is not followed. */
  #isCut({ user, agent }: TrailRecord, context: string | undefined): boolean {
    const account = user ?? agent
    if (account === undefined) return false
    this.#join('account', account, account, context)
    if (!this.#cut.has(hubKey('account', account))) return false
    this.#countCut('account', account)
    return true
  }

  #join(kind: Hub['kind'], key: string, name: string, context: string | undefined): void {
    const id = hubKey(kind, key)
    const joined = this.#joined.get(id) ?? { kind, name, contexts: new Set<string>(), calls: 0 }
    this.#joined.set(id, joined)
    if (context !== undefined) joined.contexts.add(context)
  }

  #countCut(kind: Hub['kind'], key: string): void {
    this.#join(kind, key, key, undefined)
    const joined = this.#joined.get(hubKey(kind, key))
    if (joined !== undefined) joined.calls += 1
  }

  tainted(): Contexts {
    return { sessions: this.#sessions.keys(), traces: this.#traces.keys(), accounts: this.#accounts }
  }

  hubs(): ReadonlyMap<string, FoundHub> {
    const above = this.#following.hubAbove ?? hubAbove
    return new Map(
      [...this.#joined]
        .filter(([, { contexts }]) => contexts.size > above)
        .map(([id, { kind, name, contexts }]) => [id, { kind, name, contexts: contexts.size }]),
    )
  }

  result(hubs: ReadonlyMap<string, FoundHub>): Omit<Followed, 'tainted'> {
    const worst: { suspect: Suspect; rank: number }[] = []
    for (let rank = ranks - 1; rank >= 0; rank -= 1) {
      for (const suspect of this.#listed[rank] ?? []) if (worst.length < longestList) worst.push({ suspect, rank })
    }
    return {
      suspect: worst.map(({ suspect }) => suspect).sort((a, b) => compare(a.at, b.at)),
      worst,
      hubs: [...hubs]
        .map(([id, { kind, name, contexts }]) => ({
          context: `${kind} ${name}`,
          kind,
          contexts,
          calls: this.#joined.get(id)?.calls ?? 0,
        }))
        .sort((a, b) => b.contexts - a.contexts || compare(a.context, b.context)),
      total: this.#total,
      untold: this.#untold,
    }
  }
}

function keepEarlier(taints: Map<string, Taint>, key: string, taint: Taint): void {
  const known = taints.get(key)
  if (known === undefined || taint.at < known.at) taints.set(key, taint)
}

function isEarlier(a: Taint, b: Taint): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/** How the context of a record is known at all. */
function toldBy({ session, trace }: TrailRecord): Suspect['by'] {
  return session !== undefined ? 'session' : trace !== undefined ? 'trace' : 'idle-gap'
}

function contextOf({ session, trace }: TrailRecord, stretch: Stretch<Taint> | undefined): string | undefined {
  if (session !== undefined) return `session ${session}`
  if (trace !== undefined) return `trace ${trace}`
  return stretch === undefined ? undefined : `stretch ${stretch.id}`
}

function hubKey(kind: Hub['kind'], key: string): string {
  return `${kind} ${key}`
}

/** From the record that came from the compromised server to the last one; the middle of a very long one is left out. */
function idsOf(chain: Chain): string[] {
  const ids: string[] = []
  for (let link: Chain | undefined = chain; link !== undefined; link = link.before) ids.push(link.record)
  ids.reverse()
  return ids.length <= longestChain ? ids : [...ids.slice(0, longestChain / 2), ...ids.slice(-longestChain / 2)]
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
