import type { InvocationsConfig } from '../config.ts'
import { IrError, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { Database, kindOfFailure, type Parameters, type Row } from './files/database.ts'
import { keysIn, linesQuery, linesTable } from './files/extract.ts'
import { findFiles, look, readable, repairs, type Source } from './files/sources.ts'
import { rawLines } from './files/spool.ts'
import { literal } from './files/sql.ts'
import { fields, type LogFormat } from './formats/format.ts'
import { formatOf } from './formats/index.ts'
import type { CallerUse, Follower, Invocations, Reviewed, ToolUse, Window } from './port.ts'

/** DuckDB keeps two buffers of this size for each thread; most logs never need more. */
const usualLine = 16 << 20
/** Longer lines are left out and counted. */
const longestLine = 64 << 20
/** Lists of tools and callers are cut here: a suspect can make up any number of names. */
const longestList = 10_000
/** A clock that is this much ahead is told. */
const skew = 5 * 60_000
/** A silence of all servers in the log that is this long is told. */
const silence = 24 * 3_600_000

type FilesConfig = Extract<InvocationsConfig, { kind: 'files' }>

/** Invocation logs in files on this machine: NDJSON, plain or packed with gzip, read by an embedded DuckDB. */
export function filesInvocations(config: FilesConfig, now: () => Date): Invocations {
  const format = formatOf(config.format)
  return {
    check: (signal) => check(config, format, signal),
    review: (names, window, signal) => review(config, format, names, window, now, signal),
  }
}

async function check(config: FilesConfig, format: LogFormat, signal: AbortSignal): Promise<readonly string[]> {
  const files = await findFiles(config.path)
  if (files.length === 0) return [noFiles(config)]
  return withDatabase(signal, async (database) => {
    const { problems, sources } = await ingest(database, files, format, [], signal, 1000)
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

async function review(
  config: FilesConfig,
  format: LogFormat,
  names: readonly string[],
  window: Window,
  now: () => Date,
  signal: AbortSignal,
): Promise<Reviewed> {
  const files = await findFiles(config.path)
  const database = await Database.open()
  try {
    return await database.interruptible(signal, async () => {
      const { sources, problems, gaps, lines } = await ingest(database, files, format, names, signal)
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
            ...(await gapsOf(database, facts, limits, { config, format, window, lines })),
          ],
        },
        unread: problems,
        covered: facts.linesInWindow > 0,
        raw: { [Symbol.asyncIterator]: () => rawLines(database, sources, longestLine, signal) },
        followers: (limit) => database.interruptible(signal, () => followers(database, limit)),
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

function isDuckdb(error: unknown): error is Error {
  return error instanceof Error && / Error:/.test(error.message)
}

/* Reading */

interface Ingested {
  readonly sources: readonly Source[]
  /** What could not be read. */
  readonly problems: string[]
  /** What was read, with a note. */
  readonly gaps: readonly string[]
  readonly lines: number
}

/** Fills the table `lines`; with `limit` only the first of them, for a look. */
async function ingest(
  database: Database,
  files: readonly string[],
  format: LogFormat,
  names: readonly string[],
  signal: AbortSignal,
  limit?: number,
): Promise<Ingested> {
  const sources: Source[] = []
  const problems: string[] = []
  let halfLines = 0
  let broken = 0
  let mended = 0
  let tooLong = 0
  await database.run(linesTable)
  for (const [index, file] of files.entries()) {
    signal.throwIfAborted()
    const source = await lookAt(index, file, database.folder, signal, problems)
    if (source === undefined) continue
    const done = await load(database, source, format, names, signal, limit)
    sources.push(done.source)
    tooLong += done.tooLong
    if (limit !== undefined) continue
    const [row] = await database.rows('SELECT count(*) AS bad FROM lines WHERE file = $file AND NOT readable', {
      file: BigInt(index),
    })
    const bad = whole(row?.bad)
    const half = done.source.halfLine && bad > 0 ? 1 : 0
    halfLines += half
    if (bad === half) continue
    const repair = await repairs(done.source, database.folder, longestLine, signal)
    broken += bad - half - (repair?.count ?? 0)
    mended += repair?.count ?? 0
    if (repair === undefined) continue
    const extra: Source = { ...done.source, index: files.length + index, path: repair.path, gzip: false }
    sources.push((await load(database, extra, format, names, signal)).source)
  }
  const [row] = await database.rows('SELECT count(*) AS lines FROM lines')
  const lines = whole(row?.lines) + tooLong - mended
  if (broken > 0)
    problems.push(`Could not be read because they are no JSON: ${count(broken)} of ${count(lines)} lines.`)
  if (tooLong > 0)
    problems.push(
      `Not read because they are longer than ${longestLine >> 20} MiB: ${count(tooLong)} of ${count(lines)} lines.`,
    )
  const gaps: string[] = []
  if (mended > 0) gaps.push(`Read with the characters replaced that are not Unicode: ${count(mended)} lines.`)
  if (halfLines > 0)
    gaps.push(
      `Left out because it is half-written, the log was still being written: the last line of ${count(halfLines)} ${halfLines === 1 ? 'file' : 'files'}.`,
    )
  return { sources, problems, gaps, lines }
}

async function lookAt(
  index: number,
  file: string,
  folder: string,
  signal: AbortSignal,
  problems: string[],
): Promise<Source | undefined> {
  try {
    const source = await look(index, file, folder, longestLine, signal)
    if (source.damaged)
      problems.push(`The packed log file ${safe(file)} is damaged or cut off: only what comes before that was read.`)
    return source
  } catch (error) {
    const code = systemCode(error)
    if (code === undefined) throw error
    problems.push(`The log file ${safe(file)} could not be read (${code}).`)
    return undefined
  }
}

/** One file into the table; with more memory when it holds long lines, without those that are too long even so. */
async function load(
  database: Database,
  source: Source,
  format: LogFormat,
  names: readonly string[],
  signal: AbortSignal,
  limit?: number,
): Promise<{ source: Source; tooLong: number }> {
  const insert = async (from: Source, line: number) => {
    const lines = reader(from, line, limit)
    const present = await keysIn(format, async (select) =>
      (await database.rows(`WITH lines AS (SELECT json FROM ${lines}) ${select}`)).flatMap((row) =>
        Object.values(row).filter((value) => typeof value === 'string'),
      ),
    )
    await database.run(`INSERT INTO lines BY NAME ${linesQuery(format, lines, present)}`, {
      file: BigInt(from.index),
      names,
    })
  }
  try {
    await insert(source, usualLine)
    return { source, tooLong: 0 }
  } catch (error) {
    if (!isTooLong(error) && !source.gzip) throw error
  }
  await database.makeRoom()
  try {
    await insert(source, longestLine)
    return { source, tooLong: 0 }
  } catch (error) {
    // Packed files can also hold what one unpacker takes and the other does not.
    if (!isTooLong(error) && !source.gzip) throw error
  }
  const plain = await readable(source, database.folder, longestLine, signal)
  await insert(plain.source, longestLine)
  return plain
}

function reader(source: Source, line: number, limit: number | undefined): string {
  const options = `ignore_errors = true, maximum_object_size = ${line}, compression = ${source.gzip ? "'gzip'" : "'uncompressed'"}`
  const lines = `read_ndjson_objects(${literal(source.path)}, ${options})`
  return limit === undefined ? lines : `(FROM ${lines} LIMIT ${limit})`
}

function isTooLong(error: unknown): boolean {
  return error instanceof Error && error.message.includes('maximum_object_size')
}

/* Counting */

interface Limits {
  readonly since: bigint
  readonly until: bigint
  /** Records after this are from the future. */
  readonly ahead: bigint
}

interface Facts {
  /** This server's calls in the window, with duplicates and without. */
  readonly seen: number
  readonly records: number
  readonly first: string | undefined
  readonly last: string | undefined
  /** Lines of any server. */
  readonly linesInWindow: number
}

const inWindow = 't >= $since AND t < $until'

async function summarise(database: Database, limits: Limits): Promise<Facts> {
  // Of copies with the same identity the first one stays.
  await database.run(
    `CREATE TABLE kept AS SELECT * FROM lines WHERE is_call AND mine AND ${inWindow}
     QUALIFY row_number() OVER (PARTITION BY key ORDER BY t, file, n) = 1`,
    parameters(limits),
  )
  const [all] = await database.rows(
    `SELECT count(*) AS lines, count_if(is_call AND mine) AS seen FROM lines WHERE ${inWindow}`,
    parameters(limits),
  )
  const [kept] = await database.rows('SELECT count(*) AS records, min(t) AS first, max(t) AS last FROM kept')
  return {
    seen: whole(all?.seen),
    records: whole(kept?.records),
    first: instant(kept?.first),
    last: instant(kept?.last),
    linesInWindow: whole(all?.lines),
  }
}

interface Uses {
  readonly list: readonly (Omit<CallerUse, 'caller'> & { readonly name: string })[]
  /** How many more there are that the list leaves out. */
  readonly more: number
}

async function uses(database: Database, by: 'tool' | 'caller'): Promise<Uses> {
  const rows = await database.rows(
    `SELECT ${by} AS name, count(*) AS calls, count_if(failed) AS failed, sum(rows) AS rows, sum(bytes) AS bytes, sum(sent) AS sent,
       min(t) AS first, max(t) AS last
     FROM kept GROUP BY ${by} ORDER BY calls DESC, name LIMIT ${longestList}`,
  )
  const [total] = await database.rows(`SELECT count(DISTINCT ${by}) AS names FROM kept`)
  return {
    list: rows.map((row) => ({
      name: String(row.name),
      calls: whole(row.calls),
      failed: whole(row.failed),
      ...sum('rows', row),
      ...sum('bytes', row),
      ...sum('sent', row),
      first: instant(row.first) ?? '',
      last: instant(row.last) ?? '',
    })),
    more: whole(total?.names) - rows.length,
  }
}

function sum(key: 'rows' | 'bytes' | 'sent', row: Row): { [K in typeof key]?: number } {
  return row[key] === null || row[key] === undefined ? {} : { [key]: Number(row[key]) }
}

function cut(what: string, { more }: Uses): string[] {
  return more > 0 ? [`${count(more)} more ${what} with fewer calls are counted but not listed.`] : []
}

async function followers(database: Database, limit: number): ReturnType<Reviewed['followers']> {
  const joined = (by: 'session' | 'trace') => `
    SELECT l.id, l.t, l.server, l.tool, l.key, '${by}' AS how, p.after FROM lines l
    JOIN (SELECT ${by}, min(ends) AS ends, arg_min(id, ends) AS after FROM kept WHERE ${by} IS NOT NULL GROUP BY ${by}) p USING (${by})
    WHERE l.is_call AND NOT l.mine AND l.server IS NOT NULL AND l.t >= p.ends`
  await database.run(
    `CREATE OR REPLACE TABLE followers AS SELECT * FROM (${joined('session')} UNION ALL ${joined('trace')})
     QUALIFY row_number() OVER (PARTITION BY key ORDER BY how, t) = 1`,
  )
  const [all] = await database.rows('SELECT count(*) AS total FROM followers')
  const rows = await database.rows('SELECT * FROM followers ORDER BY t, id LIMIT $limit', { limit: BigInt(limit) })
  return {
    total: whole(all?.total),
    calls: rows.map(
      (row): Follower => ({
        id: String(row.id),
        time: instant(row.t) ?? '',
        server: String(row.server),
        tool: String(row.tool),
        by: row.how === 'session' ? 'session' : 'trace',
        after: String(row.after),
      }),
    ),
  }
}

/* What could not be seen */

interface Reading {
  readonly config: FilesConfig
  readonly format: LogFormat
  readonly window: Window
  readonly lines: number
}

async function gapsOf(database: Database, facts: Facts, limits: Limits, reading: Reading): Promise<string[]> {
  const { config, format, window } = reading
  const [all = {}] = await database.rows(
    `SELECT min(t) AS first, max(t) AS last,
       count_if(is_call AND mine AND t IS NULL) AS timeless,
       count_if(is_call AND mine AND t > $ahead) AS future,
       count_if(is_call AND NOT mine AND server IS NULL AND ${inWindow}) AS nameless,
       count_if(NOT is_call AND mine AND ${inWindow}) AS others
     FROM lines`,
    parameters(limits),
  )
  const [kept = {}] = await database.rows(
    `SELECT count_if(NOT has_params) AS bare, count_if(bytes IS NULL) AS sizeless, count_if(failed IS NULL) AS undecided,
       count_if(caller = 'unknown') AS anonymous FROM kept`,
  )
  const [copies = {}] = await database.rows(
    `SELECT count(*) AS differing FROM (
       SELECT key FROM lines WHERE is_call AND mine AND ${inWindow} GROUP BY key
       HAVING count(*) > 1 AND count(DISTINCT hash(t, tool, caller, failed, rows, bytes, sent)) > 1)`,
    parameters(limits),
  )
  const gaps: string[] = []
  const say = (value: Row[string] | undefined, text: (n: string) => string) => {
    if (whole(value) > 0) gaps.push(text(count(whole(value))))
  }
  const of = `of ${count(facts.records)} records`

  if (facts.linesInWindow === 0) {
    gaps.push(
      `The log holds no line at all between ${window.since} and ${window.until}: it shows nothing, which is not the same as that nothing happened.`,
    )
  } else {
    const first = instant(all.first)
    if (first !== undefined && first > window.since)
      gaps.push(
        `The log begins at ${first}, after the start of the window (${window.since}): what came before was not seen.`,
      )
    gaps.push(...(await silences(database, limits)))
    if (facts.records === 0)
      gaps.push(
        'The log holds lines of the window, but no call of this server: compare its name and aliases in the registry with those in the log.',
      )
  }
  if (config.writer === 'server')
    gaps.push('The log was written by the suspect server itself: it may have left out or made up anything.')
  if (format.fields.server === undefined)
    gaps.push('The log names no servers: every call in it was taken for one of this server.')
  say(all.timeless, (n) => `Not counted, for want of a time that can be read: ${n} calls of this server.`)
  say(all.future, (n) => `In the future, so that some clock is wrong: ${n} calls of this server.`)
  say(all.nameless, (n) => `Not counted, because they do not say which server they went to: ${n} calls in the window.`)
  say(
    all.others,
    (n) =>
      `Not counted, because they are no tool calls (resources, prompts, lists …): ${n} other lines of this server in the window.`,
  )
  say(facts.seen - facts.records, (n) => `Counted once though they were there more than once: ${n} copies.`)
  say(
    copies.differing,
    (n) =>
      `Of copies with the same id that differ from each other the first was kept: ${n} ids. An id that is used twice can hide a call.`,
  )
  say(kept.bare, (n) => `Without parameters, so that it cannot be told what was sent to the server: ${n} ${of}.`)
  say(
    kept.sizeless,
    (n) => `Without a response or its size, so that it cannot be told how much they gave away: ${n} ${of}.`,
  )
  say(kept.undecided, (n) => `Without a word on whether the call succeeded: ${n} ${of}.`)
  say(kept.anonymous, (n) => `Without a word on who called: ${n} ${of}.`)
  const lacking = fields.filter(
    (field) =>
      format.fields[field] === undefined &&
      !derived.has(field) &&
      !(field === 'outcome' && format.failures !== undefined),
  )
  if (lacking.length > 0) gaps.push(`The format ${format.name} does not carry: ${lacking.join(', ')}.`)
  return [...gaps, ...(format.notes ?? [])]
}

/** Counted from the response where the log does not say them. */
const derived = new Set<string>(['rows', 'bytes', 'id', 'server'])

/** Spans of the window, between its first line and its end, in which nothing of any server was logged; the five longest. */
async function silences(database: Database, limits: Limits): Promise<string[]> {
  const rows = await database.rows(
    `SELECT quiet_from, quiet_to FROM (
       SELECT t AS quiet_from, lead(t, 1, $until) OVER (ORDER BY t) AS quiet_to
       FROM (SELECT DISTINCT t // 60000000 * 60000000 AS t FROM lines WHERE ${inWindow}))
     WHERE quiet_to - quiet_from >= ${silence * 1000} ORDER BY quiet_to - quiet_from DESC, quiet_from LIMIT 5`,
    parameters(limits),
  )
  return rows.map(
    (row) => `Nothing of any server was logged between ${minute(row.quiet_from)} and ${minute(row.quiet_to)}.`,
  )
}

/* Small things */

function noFiles(config: FilesConfig): string {
  return `No log file matches ${safe(config.path)}: nothing could be read.`
}

function parameters(limits: Limits): Parameters {
  return { since: limits.since, until: limits.until, ahead: limits.ahead }
}

function micros(time: string): bigint {
  return BigInt(Date.parse(time)) * 1000n
}

/** RFC 3339 with milliseconds, from microseconds. */
function instant(value: Row[string] | undefined): string | undefined {
  return typeof value === 'number' ? new Date(Math.floor(value / 1000)).toISOString() : undefined
}

function minute(value: Row[string] | undefined): string {
  return `${(instant(value) ?? '').slice(0, 16)}Z`
}

function whole(value: Row[string] | undefined): number {
  return typeof value === 'number' ? value : 0
}

function count(n: number): string {
  return n.toLocaleString('en-US')
}
