import type { Json } from '../../elasticsearch/client.ts'
import { IrError } from '../../errors.ts'
import type { LogFormat } from '../formats/format.ts'
import type { ExportPiece, Window } from '../port.ts'
import type { Page } from './cut.ts'
import type { Mapping } from './fields.ts'
import { all, everything, firstValue, isCall, ofDate } from './query.ts'
import type { View } from './view.ts'

/** Pieces that are fetched at once: the cluster works on the next ones while we write this one. */
const width = 8
/** Buckets that are asked for at once. */
const mostBuckets = 20_000
const widths = [60_000, 1000, 1] as const

/** A part of the export that is fetched and put in order by itself: [from, to) in milliseconds. */
interface Part {
  /** Which of the dates it is about. */
  readonly pass: number
  readonly from: number
  readonly to: number
  readonly count: number
  /** One of several parts of a single millisecond that holds too much: told apart by the id of the document. */
  readonly slice?: { readonly id: number; readonly max: number }
}

/** Up to where an export has come, and how many records the cluster had up to there. */
interface Mark {
  readonly pass: number
  readonly to: number
  readonly hits: number
}

export interface Asked {
  readonly format: LogFormat
  readonly mapping: Mapping
  readonly names: readonly string[]
  readonly window: Window
}

/**
 * The calls of a server, byte for byte, in an order that is in the records alone: by time, those of the same millisecond by their
 * bytes; byte-identical copies of the same millisecond once. So a cluster that was restarted, or another one with the same records,
 * gives the same file. Nothing is parsed. (Records with another date than the format's first come after all others.)
 *
 * @param after the mark of the last piece that is safe. When the log holds something else up to there by now, all begins anew.
 * @throws IrError unreachable when a piece could not be had whole: what was given before holds
 */
export async function* exportFrom(view: View, asked: Asked, after: string | undefined): AsyncGenerator<ExportPiece> {
  const known = new Set(view.problems())
  const query = exportQuery(asked)
  let mark = after === undefined ? undefined : (JSON.parse(after) as Mark)
  if (mark !== undefined && (await countUpTo(view, asked, query, mark)) !== mark.hits) {
    mark = undefined
    yield { bytes: Buffer.alloc(0), records: 0, mark: undefined, anew: true }
  }
  let hits = mark?.hits ?? 0
  for await (const { part, bytes, records, found, pages } of inOrder(parts(view, asked, query, mark), (part) =>
    fetch(view, asked, query, part),
  )) {
    const trouble = view.problems().find((problem) => !known.has(problem))
    if (trouble !== undefined) throw new IrError('unreachable', `${trouble} The export stopped before it.`)
    hits += found
    const last = part.slice === undefined || part.slice.id === part.slice.max - 1
    const reached: Mark = { pass: part.pass, to: part.to, hits }
    yield { bytes, records, mark: last ? JSON.stringify(reached) : undefined }
    for (const page of pages) view.release(page)
  }
}

function exportQuery({ format, mapping, names }: Asked): Json {
  const server = format.fields.server === undefined ? everything : firstValue(mapping.server, names)
  return all(server, isCall(format, mapping))
}

function during({ mapping }: Asked, query: Json, pass: number, from: number, to: number): Json {
  const date = mapping.dates[pass] ?? ''
  return all(query, ofDate(mapping.dates, pass), { range: { [date]: { gte: from, lt: to, format: 'epoch_millis' } } })
}

async function countUpTo(view: View, asked: Asked, query: Json, { pass, to }: Mark): Promise<number> {
  const since = Date.parse(asked.window.since)
  let sum = 0
  for (let at = 0; at <= pass; at += 1) {
    const until = at < pass ? Date.parse(asked.window.until) : to
    const answer = await view.summary({ query: during(asked, query, at, since, until), track_total_hits: true })
    sum += (answer as { hits?: { total?: { value?: number } } }).hits?.total?.value ?? 0
  }
  return sum
}

/** The window in parts of one page or so, none of which cuts through a millisecond. */
async function* parts(view: View, asked: Asked, query: Json, mark: Mark | undefined): AsyncGenerator<Part> {
  const [since, until] = [Date.parse(asked.window.since), Date.parse(asked.window.until)]
  for (let pass = mark?.pass ?? 0; pass < asked.mapping.dates.length; pass += 1) {
    const from = mark !== undefined && pass === mark.pass ? mark.to : since
    // Tells how large records are, and so how many of them make a page.
    await view.page({ query: during(asked, query, pass, from, until), sort: ['_shard_doc'] })
    yield* divided(view, asked, query, { pass, from, to: until }, 0)
  }
}

async function* divided(
  view: View,
  asked: Asked,
  query: Json,
  span: Omit<Part, 'count'>,
  level: number,
): AsyncGenerator<Part> {
  const step = widths[level] ?? 1
  const { pass } = span
  let open: { from: number; to: number; count: number } | undefined
  for (let from = span.from; from < span.to; from += mostBuckets * step) {
    const to = Math.min(span.to, from + mostBuckets * step)
    for (const { key, doc_count: count } of await buckets(view, asked, query, { pass, from, to }, step)) {
      const begin = Math.max(span.from, key)
      const end = Math.min(span.to, key + step)
      if (open !== undefined && open.count + count > view.pageSize) {
        yield { pass, ...open }
        open = undefined
      }
      if (count <= view.pageSize) open = { from: open?.from ?? begin, to: end, count: (open?.count ?? 0) + count }
      else if (level + 1 < widths.length) yield* divided(view, asked, query, { pass, from: begin, to: end }, level + 1)
      else {
        const max = Math.ceil(count / view.pageSize) + 1
        for (let id = 0; id < max; id += 1) yield { pass, from: begin, to: end, count, slice: { id, max } }
      }
    }
  }
  if (open !== undefined) yield { pass, ...open }
}

async function buckets(view: View, asked: Asked, query: Json, { pass, from, to }: Omit<Part, 'count'>, step: number) {
  const field = asked.mapping.dates[pass]
  const histogram = { date_histogram: { field, fixed_interval: `${step}ms`, min_doc_count: 1 } }
  const answer = await view.summary({ query: during(asked, query, pass, from, to), aggs: { parts: histogram } })
  const { parts } = answer.aggregations as { parts: { buckets: readonly { key: number; doc_count: number }[] } }
  return parts.buckets
}

interface Fetched {
  readonly part: Part
  /** Where the bytes may lie: to be released after them. */
  readonly pages: readonly Page[]
  readonly bytes: Buffer
  readonly records: number
  /** With copies. */
  readonly found: number
}

async function fetch(view: View, asked: Asked, query: Json, part: Part): Promise<Fetched> {
  const date = asked.mapping.dates[part.pass] ?? ''
  const search = {
    query: during(asked, query, part.pass, part.from, part.to),
    // Nanoseconds are read as milliseconds: two of them could differ in what a number holds.
    sort: [{ [date]: { order: 'asc', numeric_type: 'date' } }, '_shard_doc'],
    ...(part.slice === undefined ? {} : { slice: { field: '_id', ...part.slice } }),
  }
  const pages: Page[] = []
  for await (const page of view.pages(search)) pages.push(page)
  const [only] = pages
  if (only !== undefined && pages.length === 1 && isInOrder(only))
    return { part, pages, bytes: only.bytes, records: only.count, found: only.count }
  const timed = pages.flatMap((page) => page.times.map((time, hit) => ({ time, line: page.line(hit) })))
  timed.sort((a, b) => a.time - b.time || a.line.compare(b.line))
  const lines = timed.filter(
    ({ time, line }, at) => timed[at - 1]?.time !== time || timed[at - 1]?.line.equals(line) !== true,
  )
  const bytes = Buffer.concat(lines.map(({ line }) => line))
  return { part, pages, bytes, records: lines.length, found: timed.length }
}

/** By time, and those of the same millisecond by their bytes, without copies. */
function isInOrder(page: Page): boolean {
  return page.times.every((time, hit) => {
    if (hit === 0) return true
    const before = page.times[hit - 1] ?? Number.NaN
    return before < time || (before === time && page.line(hit - 1).compare(page.line(hit)) < 0)
  })
}

/** Does the work for a few items ahead; the results in the order of the items. */
async function* inOrder<T, R>(items: AsyncIterable<T>, work: (item: T) => Promise<R>): AsyncGenerator<R> {
  const running: Promise<R>[] = []
  try {
    for await (const item of items) {
      const job = work(item)
      // It is awaited in its turn; until then a failure of it is nobody's.
      job.catch(() => undefined)
      running.push(job)
      if (running.length >= width) yield await (running.shift() as Promise<R>)
    }
    while (running.length > 0) yield await (running.shift() as Promise<R>)
  } finally {
    // Whoever stops early does not wait for the others, whose failures then mean nothing.
    await Promise.allSettled(running)
  }
}
