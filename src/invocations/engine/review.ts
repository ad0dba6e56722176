import type { InvocationsConfig } from '../../config.ts'
import { IrError, systemCode } from '../../errors.ts'
import type { Clock, Selection } from '../findings/port.ts'
import type { LogFormat } from '../formats/format.ts'
import type { CallerUse, Contexts, Reviewed, ToolUse, Touched, Window } from '../port.ts'
import { cut, type Limits, summarise, uses } from './counts.ts'
import { Database, kindOfFailure } from './database.ts'
import { linesTables, touchingTable } from './extract.ts'
import { gapsOf } from './gaps.ts'
import { type Job, longestLine, type ReadingWays } from './ingest.ts'
import { type Counted, countLines, minutesTable, overviewOf } from './overview.ts'
import { select } from './select.ts'
import type { Source } from './sources.ts'
import { rawLines } from './spool.ts'
import { trailOf } from './trail.ts'
import { usageOf } from './usage.ts'

/** A clock that is this much ahead is told. */
const skew = 5 * 60_000

/** One log, as the configuration names it. */
export interface Log {
  readonly config: InvocationsConfig
  /** For people: the path or address. */
  readonly name: string
  readonly format: LogFormat
  readonly ways?: ReadingWays
}

export interface Question {
  readonly names: readonly string[]
  readonly window: Window
  readonly touched: Touched
  readonly now: () => Date
}

/** What a source says once it has put its lines into the table `lines`. */
export interface Filled {
  /** Where the raw lines are. */
  readonly sources: readonly Source[]
  /** What could not be read. */
  readonly problems: readonly string[]
  /** What was read, with a note. */
  readonly gaps: readonly string[]
  /** Given by a source that puts only some of its lines into the table: it has filled the table `minutes` itself. */
  readonly counted?: Counted
  /** The same: puts the lines of more contexts into the table; see the port. What cannot be read is added to `problems`. */
  readonly widen?: (contexts: Contexts) => Promise<boolean>
  /** Gives back what was needed for that. */
  readonly close?: () => Promise<void>
}

/**
 * The answer of a log, whatever it is kept in: `fill` puts the lines that matter into the tables of a DuckDB of its own, and all
 * that is said of them is said here, so that the same records give the same review.
 *
 * @throws IrError interrupted, or unreachable when DuckDB gives up
 */
export async function reviewOf(
  log: Log,
  question: Question,
  signal: AbortSignal,
  fill: (job: Job, limits: Limits) => Promise<Filled>,
): Promise<Reviewed> {
  const { config, format, name } = log
  const { window, touched, now } = question
  const database = await Database.open()
  let source: Filled | undefined
  const close = async () => {
    await source?.close?.()
    await database.close()
  }
  try {
    return await database.interruptible(signal, async () => {
      const limits = {
        since: micros(window.since),
        until: micros(window.until),
        ahead: BigInt(now().getTime() + skew) * 1000n,
      }
      const job = await prepared(database, log, question, signal)
      source = await fill(job, limits)
      const { sources, problems, gaps, counted, widen } = source
      const overview = await overviewOf(database, limits, counted ?? (await countLines(database, limits)))
      const facts = await summarise(database, limits)
      const trail = async function* (which: 'own' | 'all') {
        if (touched.trail === false) throw new Error('the trail was not read')
        if (which === 'all') await widen?.({})
        yield* trailOf(database, limits, which, signal)
      }
      const tools = await uses(database, 'tool')
      const callers = await uses(database, 'caller')
      return {
        review: {
          window,
          source: { kind: config.kind, name, format: format.name },
          records: facts.records,
          duplicates: facts.copies,
          ...(facts.first === undefined || facts.last === undefined ? {} : { first: facts.first, last: facts.last }),
          tools: tools.list.map(({ name, sent: _, ...use }): ToolUse => ({ tool: name, ...use })),
          callers: callers.list.map(({ name, ...use }): CallerUse => ({ caller: name, ...use })),
          gaps: [
            ...problems,
            ...gaps,
            ...cut('tools', tools),
            ...cut('callers', callers),
            ...(await gapsOf(database, facts, limits, { config, format, window, overview })),
          ],
        },
        unread: problems,
        covered: overview.linesInWindow > 0,
        raw: { [Symbol.asyncIterator]: () => told(signal, rawLines(database, sources, longestLine, signal)) },
        trail: (which) => told(signal, trail(which)),
        usage: (clock: Clock) => asked(database, signal, () => usageOf(database, limits, clock)),
        select: (which: Selection) => asked(database, signal, () => select(database, limits, which)),
        ...(widen === undefined
          ? {}
          : {
              widen: async (contexts: Contexts) => {
                const longer = await widen(contexts)
                if (longer) await database.run('DROP TABLE IF EXISTS trail')
                return longer
              },
            }),
        close,
      }
    })
  } catch (error) {
    await close()
    throw readingFailed(error)
  }
}

/** A few lines of a log, for a look: the tables are there, and gone after. */
export async function lookInto<T>(log: Log, signal: AbortSignal, work: (job: Job) => Promise<T>): Promise<T> {
  const database = await Database.open()
  try {
    return await database.interruptible(signal, async () =>
      work({
        ...(await prepared(database, log, { names: [], touched: { tools: [], paths: [], trail: false } }, signal)),
        limit: 1000,
      }),
    )
  } catch (error) {
    throw readingFailed(error)
  } finally {
    await database.close()
  }
}

async function prepared(
  database: Database,
  { format, ways = {} }: Log,
  { names, touched }: Pick<Question, 'names' | 'touched'>,
  signal: AbortSignal,
): Promise<Job> {
  for (const table of [...linesTables(format), touchingTable, minutesTable]) await database.run(table)
  const tools = [...new Set(touched.tools)]
  if (tools.length > 0) await database.run('INSERT INTO touching SELECT unnest($tools)', { tools })
  return { database, format, names, touched, signal, ways }
}

/** DuckDB's messages quote what was read; what a person gets is only their kind. */
function readingFailed(error: unknown): unknown {
  if (error instanceof IrError || systemCode(error) !== undefined || !isDuckdb(error)) return error
  return new IrError('unreachable', `The invocation log could not be read: ${kindOfFailure(error)} (DuckDB).`, {
    cause: error,
  })
}

/** A question that Ctrl-C can end, with errors that a person understands. */
async function asked<T>(database: Database, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await database.interruptible(signal, work)
  } catch (error) {
    throw readingFailed(error)
  }
}

/** The same for what comes in pieces. */
async function* told<T>(signal: AbortSignal, pieces: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* pieces
  } catch (error) {
    if (signal.aborted) throw new IrError('interrupted', 'Reading the invocation log was interrupted.')
    throw readingFailed(error)
  }
}

function isDuckdb(error: unknown): error is Error {
  return error instanceof Error && / Error:/.test(error.message)
}

function micros(time: string): bigint {
  return BigInt(Date.parse(time)) * 1000n
}
