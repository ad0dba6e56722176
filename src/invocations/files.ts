import type { InvocationsConfig } from '../config.ts'
import { IrError, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { count, cut, summarise, uses, whole } from './files/counts.ts'
import { Database, kindOfFailure } from './files/database.ts'
import { gapsOf } from './files/gaps.ts'
import { ingest, longestLine } from './files/ingest.ts'
import { findFiles } from './files/sources.ts'
import { rawLines } from './files/spool.ts'
import { trailOf } from './files/trail.ts'
import type { LogFormat } from './formats/format.ts'
import { formatOf } from './formats/index.ts'
import type { CallerUse, Invocations, Reviewed, ToolUse, Touched, Window } from './port.ts'

/** A clock that is this much ahead is told. */
const skew = 5 * 60_000

type FilesConfig = Extract<InvocationsConfig, { kind: 'files' }>

/**
 * Invocation logs in files on this machine: NDJSON, plain or packed with gzip, read by an embedded DuckDB.
 *
 * @param oneByOne lines of more bytes are read one by one (for tests: by itself this happens only where it has to)
 */
export function filesInvocations(config: FilesConfig, now: () => Date, oneByOne?: number): Invocations {
  const format = formatOf(config.format)
  return {
    check: (signal) => check({ config, format, oneByOne }, signal),
    review: (names, window, signal, touched = { tools: [], paths: [] }) =>
      review({ config, format, oneByOne }, { names, window, touched, now }, signal),
  }
}

interface Log {
  readonly config: FilesConfig
  readonly format: LogFormat
  readonly oneByOne: number | undefined
}

async function check({ config, format, oneByOne }: Log, signal: AbortSignal): Promise<readonly string[]> {
  const files = await findFiles(config.path)
  if (files.length === 0) return [noFiles(config)]
  return withDatabase(signal, async (database) => {
    const touched = { tools: [], paths: [] }
    const job = { database, format, names: [], touched, signal, oneByOne, limit: 1000 }
    const { problems, sources } = await ingest(job, files)
    if (sources.length === 0) return problems
    const [seen] = await database.rows(
      'SELECT count(*) AS lines, count_if(readable) AS readable, count_if(is_call) AS calls, count_if(is_call AND t IS NULL) AS timeless FROM lines',
    )
    const lines = whole(seen?.lines)
    if (lines > 0 && whole(seen?.readable) === 0)
      problems.push(`None of the first ${count(lines)} lines of the invocation log is JSON.`)
    else if (lines > 0 && whole(seen?.calls) === 0) {
      problems.push(
        `None of the first ${count(lines)} lines of the invocation log is a tool call in the format ${format.name}.`,
      )
    } else if (lines > 0 && whole(seen?.timeless) === whole(seen?.calls)) {
      problems.push(
        `None of the first ${count(lines)} lines of the invocation log has a time where the format ${format.name} has it.`,
      )
    }
    return problems
  })
}

interface Question {
  readonly names: readonly string[]
  readonly window: Window
  readonly touched: Touched
  readonly now: () => Date
}

async function review(
  { config, format, oneByOne }: Log,
  { names, window, touched, now }: Question,
  signal: AbortSignal,
): Promise<Reviewed> {
  const files = await findFiles(config.path)
  const database = await Database.open()
  try {
    return await database.interruptible(signal, async () => {
      const { sources, problems, gaps } = await ingest({ database, format, names, touched, signal, oneByOne }, files)
      if (files.length === 0) problems.push(noFiles(config))
      const limits = {
        since: micros(window.since),
        until: micros(window.until),
        ahead: BigInt(now().getTime() + skew) * 1000n,
      }
      const facts = await summarise(database, limits)
      const tools = await uses(database, 'tool')
      const callers = await uses(database, 'caller')
      return {
        review: {
          window,
          source: { kind: 'files', name: config.path, format: format.name },
          records: facts.records,
          duplicates: facts.seen - facts.records,
          ...(facts.first === undefined || facts.last === undefined ? {} : { first: facts.first, last: facts.last }),
          tools: tools.list.map(({ name, sent: _, ...use }): ToolUse => ({ tool: name, ...use })),
          callers: callers.list.map(({ name, ...use }): CallerUse => ({ caller: name, ...use })),
          findings: [],
          gaps: [
            ...problems,
            ...gaps,
            ...cut('tools', tools),
            ...cut('callers', callers),
            ...(await gapsOf(database, facts, limits, { config, format, window })),
          ],
        },
        unread: problems,
        covered: facts.linesInWindow > 0,
        raw: { [Symbol.asyncIterator]: () => told(signal, rawLines(database, sources, longestLine, signal)) },
        trail: (which) => told(signal, trailOf(database, limits, which, signal)),
        close: () => database.close(),
      }
    })
  } catch (error) {
    await database.close()
    throw readingFailed(error)
  }
}

async function withDatabase<T>(signal: AbortSignal, work: (database: Database) => Promise<T>): Promise<T> {
  const database = await Database.open()
  try {
    return await database.interruptible(signal, () => work(database))
  } catch (error) {
    throw readingFailed(error)
  } finally {
    await database.close()
  }
}

/** DuckDB's messages quote what was read; what a person gets is only their kind. */
function readingFailed(error: unknown): unknown {
  if (error instanceof IrError || systemCode(error) !== undefined || !isDuckdb(error)) return error
  return new IrError('unreachable', `The invocation log could not be read: ${kindOfFailure(error)} (DuckDB).`, {
    cause: error,
  })
}

/** The same, with errors that a person understands. */
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

function noFiles(config: FilesConfig): string {
  return `No log file matches ${safe(config.path)}: nothing could be read.`
}

function micros(time: string): bigint {
  return BigInt(Date.parse(time)) * 1000n
}
