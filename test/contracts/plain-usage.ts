import type { HourCount, Newcomers, Peak, Usage, Volume } from '../../src/invocations/findings/port.ts'
import type { Window } from '../../src/invocations/port.ts'

/** One call of the own server as the reference sees it. */
export interface PlainCall {
  readonly id: string
  /** RFC 3339. */
  readonly time: string
  readonly tool: string
  readonly agent: string | undefined
  readonly user: string | undefined
  readonly address: string | undefined
  readonly refused: boolean
  readonly rows: number | undefined
  readonly bytes: number | undefined
}

type Counted = Pick<
  Usage,
  'calls' | 'since' | 'before' | 'now' | 'otherTools' | 'volumes' | 'refusedBefore' | 'refusedNow' | 'newcomers'
>

const hour = 3_600_000_000
const us = ({ time }: { readonly time: string }) => Date.parse(time) * 1000

/** What a reading must count for findings, in UTC, in the slowest and plainest way. */
export function plainUsage(calls: readonly PlainCall[], window: Window): Counted {
  const since = Date.parse(window.since) * 1000
  const until = Date.parse(window.until) * 1000
  const before = calls.filter((call) => us(call) >= since - 28 * 24 * hour && us(call) < since)
  const now = calls.filter((call) => us(call) >= since && us(call) < until)
  const tools: (string | undefined)[] = [undefined, ...new Set(now.map(({ tool }) => tool))]
  const each = <T>(list: readonly PlainCall[], count: (tool: string | undefined, its: readonly PlainCall[]) => T[]) =>
    tools.flatMap((tool) => count(tool, tool === undefined ? list : list.filter((call) => call.tool === tool)))
  return {
    calls: before.length,
    since: before.length === 0 ? undefined : Math.min(...before.map(us)),
    before: each(before, (tool, its) =>
      byHour(its).map(([at, those]): HourCount => ({ tool, hour: at, calls: those.length })),
    ),
    now: each(now, (tool, its) =>
      byHour(its).map(([at, those]) => ({ tool, hour: at, calls: those.length, ...peak(those) })),
    ),
    otherTools: 0,
    volumes: each(before, (tool, its) => (['rows', 'bytes'] as const).flatMap((of) => volume(tool, of, its))),
    refusedBefore: byDay(before),
    refusedNow: byDay(now),
    newcomers: (['agent', 'user', 'address', 'tool'] as const).map((of) => newcomers(of, before, now, since)),
  }
}

/** The same whatever the order in which it was told. */
export function inOrder(usage: Counted): Counted {
  const sorted = <T>(list: readonly T[]) =>
    [...list]
      .map((one) => [JSON.stringify(sortedKeys(one)), one] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, one]) => one)
  const { calls, since, before, now, otherTools, volumes, refusedBefore, refusedNow, newcomers } = usage
  return {
    calls,
    since,
    before: sorted(before),
    now: sorted(now),
    otherTools,
    volumes: sorted(volumes),
    refusedBefore,
    refusedNow,
    newcomers,
  }
}

function sortedKeys(value: unknown): unknown {
  return Object.entries(value as object).sort(([a], [b]) => (a < b ? -1 : 1))
}

function byHour(calls: readonly PlainCall[]): [number, PlainCall[]][] {
  const hours = new Map<number, PlainCall[]>()
  for (const call of calls) {
    const at = Math.floor(us(call) / hour)
    hours.set(at, [...(hours.get(at) ?? []), call])
  }
  return [...hours]
}

function peak(calls: readonly PlainCall[]): Peak {
  const most = (values: readonly (number | undefined)[]) => {
    const known = values.filter((value) => value !== undefined)
    return known.length === 0 ? undefined : Math.max(...known)
  }
  return {
    refused: calls.filter(({ refused }) => refused).length,
    first: Math.min(...calls.map(us)),
    last: Math.max(...calls.map(us)),
    rows: most(calls.map(({ rows }) => rows)),
    bytes: most(calls.filter(({ rows }) => rows === undefined).map(({ bytes }) => bytes)),
  }
}

function volume(tool: string | undefined, of: 'rows' | 'bytes', calls: readonly PlainCall[]): Volume[] {
  const known = ascending(calls.map((call) => call[of]).filter((value) => value !== undefined))
  if (known.length === 0) return []
  const median = lower(known)
  const mad = lower(ascending(known.map((value) => Math.abs(value - median))))
  const high = known[Math.floor(0.999 * (known.length - 1))] ?? 0
  return [{ tool, of, calls: known.length, median, mad, high }]
}

function lower(sorted: readonly number[]): number {
  return sorted[Math.ceil(sorted.length / 2) - 1] ?? 0
}

function ascending(values: readonly number[]): readonly number[] {
  return [...values].sort((a, b) => a - b)
}

function byDay(calls: readonly PlainCall[]) {
  const days = new Map<number, PlainCall[]>()
  for (const call of calls.filter(({ refused }) => refused)) {
    const at = Math.floor(us(call) / hour / 24)
    days.set(at, [...(days.get(at) ?? []), call])
  }
  return [...days]
    .map(([day, those]) => ({
      day,
      calls: those.length,
      first: Math.min(...those.map(us)),
      last: Math.max(...those.map(us)),
    }))
    .sort((a, b) => a.day - b.day)
}

function newcomers(
  of: Newcomers['of'],
  before: readonly PlainCall[],
  now: readonly PlainCall[],
  since: number,
): Newcomers {
  const names = (dimension: Newcomers['of'], calls: readonly PlainCall[]) =>
    new Set(calls.flatMap((call) => call[dimension] ?? []))
  const known = names(of, before)
  const isNew = (dimension: Newcomers['of'], call: PlainCall) => {
    const name = call[dimension]
    return name !== undefined && !names(dimension, before).has(name)
  }
  const explained = (call: PlainCall) =>
    (of === 'user' && isNew('agent', call)) || (of === 'address' && (isNew('agent', call) || isNew('user', call)))
  const middle = Math.floor((Math.min(...before.map(us)) + since) / 2)
  const late = [...known].filter((name) => Math.min(...before.filter((call) => call[of] === name).map(us)) >= middle)
  const fresh = [...names(of, now)].filter((name) => !known.has(name))
  const list = fresh.map((name) => {
    const those = now.filter((call) => call[of] === name)
    return { name, calls: those.length, byKnown: those.filter((call) => !explained(call)).length }
  })
  return {
    of,
    known: known.size,
    knownLate: late.length,
    all: fresh.length,
    list: list
      .sort((a, b) => b.calls - a.calls || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))
      .slice(0, 20),
  }
}
