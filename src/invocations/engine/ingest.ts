import { systemCode } from '../../errors.ts'
import { number } from '../../ui/format.ts'
import { safe } from '../../ui/safe-text.ts'
import type { LogFormat } from '../formats/format.ts'
import { readLine, sizeOf } from '../formats/read.ts'
import type { Touched } from '../port.ts'
import { whole } from './counts.ts'
import type { Database } from './database.ts'
import {
  canBeTakenApart,
  commonQuery,
  isSurprise,
  type Known,
  keysIn,
  type LineReader,
  linesQuery,
  longestListing,
  parameterNames,
} from './extract.ts'
import { repaired, trimmed } from './lines.ts'
import { look, repairs, type Source, split } from './sources.ts'
import { literal } from './sql.ts'

/**
 * A query holds up to 2,048 lines or 32 MB at once, and takes some thirty times that. Where this is too much, lines that are
 * longer than this are read one by one, which is slower and takes no more than the line.
 */
const usualLine = 4096
/** Longer ones of the first lines are not asked how the others are: some thousand of them are held at once. */
const longestExample = 16 << 10
/** Longer lines are left out and counted. */
export const longestLine = 64 << 20

export interface ReadingWays {
  /** Lines of more bytes are read one by one from the start, and not only where a query cannot take the file. */
  readonly oneByOne?: number | undefined
  /** From so many lines of a file it is guessed which keys occur in it; 5,000 where nothing is said. */
  readonly firstLines?: number
}

/** One reading of a log. */
export interface Job {
  readonly database: Database
  readonly format: LogFormat
  /** Names of the server that the reading is about. */
  readonly names: readonly string[]
  /** What is wanted of the things that calls touch. */
  readonly touched: Touched
  readonly signal: AbortSignal
  readonly ways: ReadingWays
  /** Only so many lines of each file, for a look. */
  readonly limit?: number
}

/** Each log file has so many numbers in the table: its own, one for its long lines, and two for what was repaired. */
const parts = 4
const longPart = 1
const repairedPart = 2

export interface Ingested {
  readonly sources: readonly Source[]
  /** What could not be read. */
  readonly problems: string[]
  /** What was read, with a note. */
  readonly gaps: readonly string[]
  readonly lines: number
}

/**
 * Fills the table `stored`; with `limit` only the first of them, for a look.
 *
 * @param before files that were put into it earlier
 */
export async function ingest(job: Job, files: readonly string[], before = 0): Promise<Ingested> {
  const { database, signal, limit } = job
  const sources: Source[] = []
  const problems: string[] = []
  let halfLines = 0
  let broken = 0
  let mended = 0
  let tooLong = 0
  let repeated = 0
  for (const [index, file] of files.entries()) {
    signal.throwIfAborted()
    const source = await lookAt((before + index) * parts, file, database.folder, signal, problems)
    if (source === undefined) continue
    const done = await load(job, source)
    sources.push(...done.sources)
    tooLong += done.tooLong
    mended += done.mended
    if (limit !== undefined) continue
    const [row] = await database.rows(
      'SELECT count(*) AS bad FROM lines WHERE file >= $file AND file < $file + 2 AND NOT readable',
      { file: BigInt(source.index) },
    )
    const bad = whole(row?.bad)
    const half = done.sources[0].halfLine && bad > 0 ? 1 : 0
    halfLines += half
    if (bad === half) continue
    const repair = await repairs(done.sources[0], database.folder, longestLine, signal)
    broken += bad - half - (repair?.count ?? 0)
    if (repair === undefined) continue
    repeated += repair.count
    const again: Source = {
      ...source,
      index: source.index + repairedPart,
      path: repair.path,
      gzip: false,
      print: undefined,
    }
    sources.push(...(await load(job, again)).sources)
  }
  mended += repeated
  const [row] = await database.rows('SELECT count(*) AS lines FROM lines')
  const lines = whole(row?.lines) + tooLong - repeated
  if (broken > 0)
    problems.push(`Could not be read because they are no JSON: ${number(broken)} of ${number(lines)} lines.`)
  if (tooLong > 0)
    problems.push(
      `Not read because they are longer than ${longestLine >> 20} MiB: ${number(tooLong)} of ${number(lines)} lines.`,
    )
  const gaps: string[] = []
  if (mended > 0) gaps.push(`Read with the characters replaced that are not Unicode: ${number(mended)} lines.`)
  if (halfLines > 0)
    gaps.push(
      `Left out because it is half-written, the log was still being written: the last line of ${number(halfLines)} ${halfLines === 1 ? 'file' : 'files'}.`,
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

interface Loaded {
  /** What was read by DuckDB, and then what it could not take. */
  readonly sources: readonly [Source, ...Source[]]
  readonly tooLong: number
  readonly mended: number
}

/** One file into the table. */
async function load(job: Job, source: Source): Promise<Loaded> {
  const { database, format, names, touched, signal, ways } = job
  const { oneByOne, firstLines = 5000 } = ways
  const tools = new Set(touched.tools)
  const insert = async (from: Source) => {
    const lines = reader(from, job.limit)
    const fill = (known: Known) =>
      database.insertInOrder(`INSERT INTO stored BY NAME ${linesQuery(format, lines, known, touched)}`, {
        file: BigInt(from.index),
        names,
        tools: touched.tools,
      })
    const first = await knownOf(job, reader(from, firstLines), 'text')
    // Each way is slower than the one before, and is surprised by less.
    try {
      if (canBeTakenApart(format, first) && !from.halfLine) return await fill({ ...first, guessed: 'values' })
    } catch (error) {
      // Broken lines that belong together are an error here, and nowhere else.
      if (signal.aborted || isTooMuch(error)) throw error
    }
    try {
      return await fill(first)
    } catch (error) {
      if (!isSurprise(error)) throw error
    }
    await fill(await knownOf(job, lines, undefined))
  }
  if (oneByOne === undefined) {
    try {
      await insert(source)
      return { sources: [source], tooLong: 0, mended: 0 }
    } catch (error) {
      // Packed files can also hold what one unpacker takes and the other does not.
      if (!isTooMuch(error) && !source.gzip) throw error
    }
    await database.slowDown()
  }
  const index = source.index + longPart
  let mended = 0
  const parted = await database.append('stored', (add) =>
    split(
      source,
      database.folder,
      { usual: oneByOne ?? usualLine, longest: longestLine },
      (line) => {
        const fixed = repaired(line)
        if (fixed !== undefined) mended += 1
        const kept = trimmed(fixed === undefined ? line : Buffer.from(fixed))
        add(longRow(format, index, kept, names, { ...touched, tools }))
        return kept
      },
      signal,
    ),
  )
  await insert(parted.short)
  const long: Source = { ...source, index, path: parted.longPath, gzip: false, print: undefined }
  return { sources: [parted.short, long], tooLong: parted.tooLong, mended }
}

/** What these lines tell: of themselves, or of all others as well. */
async function knownOf(
  { database, format, names }: Job,
  { text }: LineReader,
  guessed: Known['guessed'],
): Promise<Known> {
  // Where few are asked, they are read once; they are forgotten before they could get to the disk.
  const from = guessed === undefined ? text : 'first_lines'
  if (guessed !== undefined)
    await database.run(
      `CREATE OR REPLACE TEMP TABLE first_lines AS SELECT json FROM ${text} WHERE strlen(json) <= ${longestExample}`,
    )
  const asked = (select: string) => `WITH lines AS (SELECT json FROM ${from}) ${select}`
  const present = await keysIn(format, async (select) =>
    (await database.rows(asked(select))).flatMap((row) =>
      Object.values(row).filter((value) => typeof value === 'string'),
    ),
  )
  const [row] = await database.rows(asked(commonQuery(format, present)), { names })
  if (guessed !== undefined) await database.run('DROP TABLE first_lines')
  const always = JSON.parse(typeof row?.always === 'string' ? row.always : '[]') as (string | null)[]
  return {
    present,
    always: new Set(always.filter((key) => key !== null)),
    mostlyMine: row?.mostly_mine === true,
    guessed,
  }
}

/** A row of the table `stored`, in the order of its columns. */
function longRow(
  format: LogFormat,
  file: number,
  line: Buffer,
  names: readonly string[],
  { tools, paths, trail = true }: Omit<Touched, 'tools'> & { readonly tools: ReadonlySet<string> },
) {
  const start = [BigInt(file)]
  let value: unknown
  try {
    value = JSON.parse(line.toString('utf8'))
  } catch {
    return [...start, false, false, false, false, false, ...Array.from({ length: 19 }, () => undefined), false, false]
  }
  const read = readLine(format, line, value, names)
  const { t, ends, server, tool, agent, user, address, session, trace, id, line: nameless } = read
  const own = read.isCall && read.mine
  const ofOwn = (from: number | undefined) => (own && from !== undefined ? BigInt(from) : undefined)
  return [
    ...[...start, true, read.isCall, read.takes, read.lists, read.mine, t, ends, server, tool],
    ...[agent, user, address, session, trace, id, nameless],
    read.isCall && tools.has(tool) ? JSON.stringify(paths.map((path) => read.at(path) ?? null)) : undefined,
    own && trail ? members(read.told) : undefined,
    own ? read.failed : undefined,
    read.mine && read.refused,
    read.mine && read.takes ? listing(read.listing) : undefined,
    ...[ofOwn(read.rows), ofOwn(read.bytes), ofOwn(read.sent), read.hasParams, read.hasResponse],
  ]
}

function listing(value: unknown): string | undefined {
  const text = value === undefined ? undefined : JSON.stringify(value)
  return text === undefined || Buffer.byteLength(text) > longestListing ? undefined : text
}

/** Names and sizes of the members of an object: `[["name", bytes], …]`. */
function members(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const some = Object.entries(value).slice(0, parameterNames.most)
  return JSON.stringify(
    some.map(([name, member]) => [
      [...name.toWellFormed()].slice(0, parameterNames.longest).join(''),
      sizeOf(member) ?? null,
    ]),
  )
}

function reader(source: Source, limit?: number): LineReader {
  const file = `${literal(source.path)}, ignore_errors = true, compression = ${source.gzip ? "'gzip'" : "'uncompressed'"}`
  const some = (lines: string) => (limit === undefined ? lines : `(FROM ${lines} LIMIT ${limit})`)
  return {
    text: some(`read_ndjson_objects(${file})`),
    values: (type) =>
      some(`read_json(${file}, format = 'newline_delimited', records = 'false', columns = {v: ${literal(type)}})`),
  }
}

function isTooMuch(error: unknown): boolean {
  return error instanceof Error && /maximum_object_size|^Out of Memory Error/.test(error.message)
}
