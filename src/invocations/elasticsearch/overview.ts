import type { Json } from '../../elasticsearch/client.ts'
import type { Limits } from '../engine/counts.ts'
import type { Database } from '../engine/database.ts'
import type { Counted } from '../engine/overview.ts'
import type { LogFormat } from '../formats/format.ts'
import type { Mapping } from './fields.ts'
import { all, between, exists, isCall, not, ofDate, timeIs } from './query.ts'
import type { View } from './view.ts'

const minute = 60_000
const day = 24 * 3_600_000
/** Minutes of so many days are asked for at once: 28,800 buckets, of 65,536 that a cluster gives. */
const span = 20 * day

interface Buckets {
  readonly buckets: readonly { readonly key: number; readonly doc_count: number }[]
}

/**
 * What concerns the whole log is counted in the cluster: when its first line is from, in which minutes of the window there are any
 * (which the table `minutes` gets), and the calls that do not say where they went.
 */
export async function countWhole(
  view: View,
  database: Database,
  format: LogFormat,
  mapping: Mapping,
  limits: Limits,
): Promise<Counted> {
  const first = await firstTime(view, mapping.dates)
  const minutes = new Map<number, number>()
  // The cluster knows the times as they were logged.
  const { ahead = 0 } = format
  const [since, until] = [Number(limits.since / 1000n) + ahead, Number(limits.until / 1000n) + ahead]
  for (let from = since; from < until; from += span) {
    await addMinutes(view, mapping.dates, from, Math.min(until, from + span), ahead, minutes)
  }
  await database.append('minutes', async (add) => {
    for (const [at, n] of minutes) add([BigInt(at - ahead) * 1000n, BigInt(n)])
  })
  const nameless = minutes.size === 0 ? 0 : await namelessCalls(view, format, mapping, iso(since), iso(until))
  return { first: first === undefined ? undefined : (first - ahead) * 1000, nameless }
}

async function firstTime(view: View, dates: readonly string[]): Promise<number | undefined> {
  const aggs = Object.fromEntries(
    dates.map((field, index) => [`d${index}`, { filter: ofDate(dates, index), aggs: { first: { min: { field } } } }]),
  )
  const answer = (await view.summary({ aggs })).aggregations as Readonly<
    Record<string, { first: { value: number | null } }>
  >
  const times = Object.values(answer ?? {}).flatMap(({ first }) => first.value ?? [])
  return times.length === 0 ? undefined : Math.floor(Math.min(...times))
}

async function addMinutes(
  view: View,
  dates: readonly string[],
  from: number,
  to: number,
  ahead: number,
  minutes: Map<number, number>,
): Promise<void> {
  const window = { from: iso(from), to: iso(to) }
  // Minutes that begin where they do by the right clock.
  const offset = `${((ahead % minute) + minute) % minute}ms`
  const aggs = Object.fromEntries(
    dates.map((field, index): [string, Json] => [
      `d${index}`,
      {
        filter: all(ofDate(dates, index), between(field, window)),
        aggs: { minutes: { date_histogram: { field, fixed_interval: '1m', offset, min_doc_count: 1 } } },
      },
    ]),
  )
  const answer = (await view.summary({ query: timeIs(dates, window), aggs })).aggregations as Readonly<
    Record<string, { minutes: Buckets }>
  >
  for (const { minutes: found } of Object.values(answer ?? {})) {
    for (const { key, doc_count } of found.buckets) minutes.set(key, (minutes.get(key) ?? 0) + doc_count)
  }
}

async function namelessCalls(
  view: View,
  format: LogFormat,
  mapping: Mapping,
  from: string,
  to: string,
): Promise<number> {
  if (format.fields.server === undefined) return 0
  const query = all(timeIs(mapping.dates, { from, to }), isCall(format, mapping), not(exists(mapping.server)))
  const { hits } = (await view.summary({ query, track_total_hits: true })) as { hits?: { total?: { value?: number } } }
  return hits?.total?.value ?? 0
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}
