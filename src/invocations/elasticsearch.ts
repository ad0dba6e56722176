import { rm } from 'node:fs/promises'
import type { InvocationsConfig } from '../config.ts'
import { connect } from '../elasticsearch/client.ts'
import { IrError } from '../errors.ts'
import { number } from '../ui/format.ts'
import { safe } from '../ui/safe-text.ts'
import { exportFrom } from './elasticsearch/export.ts'
import { type Mapping, mappingOf } from './elasticsearch/fields.ts'
import { countWhole } from './elasticsearch/overview.ts'
import { all, any, everything, timeIs, timeIsOdd, withValue } from './elasticsearch/query.ts'
import { Spool } from './elasticsearch/spool.ts'
import { ContextFetcher } from './elasticsearch/trail.ts'
import { View } from './elasticsearch/view.ts'
import type { Limits } from './engine/counts.ts'
import { ingest, type Job } from './engine/ingest.ts'
import { type Filled, type Log, lookInto, reviewOf } from './engine/review.ts'
import { seenIn } from './engine/seen.ts'
import type { LogFormat } from './formats/format.ts'
import { sourceFormat } from './formats/index.ts'
import type { Invocations, Touched, Window } from './port.ts'

type ElasticsearchConfig = Extract<InvocationsConfig, { kind: 'elasticsearch' }>

/** What is usual for the server is told from so many days before the window. */
const history = 28 * 24 * 3_600_000
/** Where records are found by another time than the one that they are placed by, both are taken to be no further apart. */
const apart = 3_600_000
const nothing: Touched = { tools: [], paths: [] }

/**
 * Invocation logs in Elasticsearch. What concerns the whole log is counted there; the records of the server in question, and of
 * contexts that it may have tainted, are fetched and read by the same engine as files are, so that both say the same of them.
 */
export function elasticsearchInvocations(config: ElasticsearchConfig, now: () => Date): Invocations {
  const format = sourceFormat(config)
  const log: Log = { config, name: `${config.node} ${config.index}`, format }
  return {
    check: (signal) => check(log, config, signal),
    review: (names, window, signal, touched = nothing) =>
      reviewOf(log, { names, window, touched, now }, signal, (job, limits) => fill(config, format, job, limits)),
    async *export(names, window, signal, after) {
      const cluster = await connect(config.node, signal)
      try {
        const mapping = await mappingOf(cluster, config.index, format)
        const view = await View.open(cluster, mapping.expression, signal)
        try {
          yield* exportFrom(view, { format, mapping, names, window: byItsClock(window, format) }, after)
        } finally {
          await view.close()
        }
      } finally {
        await cluster.close()
      }
    },
  }
}

/** Opens a view of the log and closes all of it again when `work` fails; what `work` hands back closes it later. */
async function withView<T>(
  config: ElasticsearchConfig,
  format: LogFormat,
  signal: AbortSignal,
  work: (view: View, mapping: Mapping, close: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const cluster = await connect(config.node, signal)
  let view: View | undefined
  const close = async () => {
    await view?.close()
    await cluster.close()
  }
  try {
    const mapping = await mappingOf(cluster, config.index, format)
    view = await View.open(cluster, mapping.expression, signal)
    return await work(view, mapping, close)
  } catch (error) {
    await close()
    throw error
  }
}

async function fill(config: ElasticsearchConfig, format: LogFormat, job: Job, limits: Limits): Promise<Filled> {
  return withView(config, format, job.signal, async (view, mapping, close) => {
    const problems = [...mapping.problems]
    const spool = new Spool(job.database.folder)
    let files = 0
    const miss = (problem: string) => {
      if (!problems.includes(problem)) problems.push(problem)
    }
    const counted = await countWhole(view, job.database, format, mapping, limits)
    if (mapping.server.length === 0 && format.fields.server !== undefined && counted.first !== undefined)
      miss('None of the fields that name the server is indexed: its records could not be asked for.')

    const own = await spool.fetch(view, ownQuery(format, mapping, job.names, limits))
    if (own.failure !== undefined) {
      if (own.records === 0) throw own.failure
      miss(`${own.failure.message} Only the first ${number(own.records)} records of this server were read.`)
    }
    const { sources, problems: broken, gaps } = await ingest(job, own.files)
    files += own.files.length
    for (const problem of [...broken, ...view.problems()]) miss(problem)

    const fetcher = new ContextFetcher({
      job,
      limits,
      mapping,
      miss,
      from: iso(Number(limits.since / 1000n) + (format.ahead ?? 0) - (mapping.undated === undefined ? 0 : apart)),
      fetch: async (query) => {
        const found = await spool.fetch(view, query)
        if (found.failure !== undefined)
          miss(
            `${found.failure.message} The contexts that took in what came from the server were not followed to their end.`,
          )
        const read = await ingest(job, found.files, files)
        files += found.files.length
        for (const problem of [...read.problems, ...view.problems()]) miss(problem)
        for (const path of found.files) await rm(path)
        return found.records
      },
    })
    return {
      sources,
      problems,
      gaps: [...gaps, ...notes(mapping)],
      counted,
      widen: (contexts) => fetcher.widen(contexts),
      close,
    }
  })
}

/** Everything of this server that the window and the weeks before it may hold. Finds too much rather than too little. */
function ownQuery(format: LogFormat, mapping: Mapping, names: readonly string[], limits: Limits) {
  const byItsClock = (us: bigint) => Number(us / 1000n) + (format.ahead ?? 0)
  const [since, until, ahead] = [byItsClock(limits.since), byItsClock(limits.until), byItsClock(limits.ahead)]
  const margin = mapping.undated === undefined ? 0 : apart
  const window = timeIs(mapping.dates, { from: iso(since - history - margin), to: iso(until + margin) })
  const server = format.fields.server === undefined ? everything : withValue(mapping.server, names)
  return all(server, any([window, timeIsOdd(mapping.dates, iso(ahead))]))
}

/** The cluster knows the times as they were logged. */
function byItsClock({ since, until }: Window, { ahead = 0 }: LogFormat): Window {
  return { since: iso(Date.parse(since) + ahead), until: iso(Date.parse(until) + ahead) }
}

function notes({ undated, dates }: Mapping): string[] {
  if (undated === undefined) return []
  return [
    `Records are placed by ${safe(undated)}, which is indexed as no date, and found by ${safe(dates[0] ?? '')}: one whose two times are more than an hour apart can be missing.`,
  ]
}

async function check(log: Log, config: ElasticsearchConfig, signal: AbortSignal): Promise<readonly string[]> {
  try {
    return await lookInto(log, signal, (job) =>
      withView(config, log.format, signal, async (view, mapping, close) => {
        const sort = mapping.dates.map((date) => ({ [date]: { order: 'desc', unmapped_type: 'date' } }))
        const { page } = await view.page({ query: everything, sort }, job.limit)
        const read = await ingest(job, await new Spool(job.database.folder).keep(page))
        await close()
        return [...mapping.problems, ...view.problems(), ...read.problems, ...(await seenIn(job))]
      }),
    )
  } catch (error) {
    if (!(error instanceof IrError) || error.code === 'interrupted') throw error
    return [error.message]
  }
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}
