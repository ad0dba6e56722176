import { number } from '../../ui/format.ts'
import type { CallerUse } from '../port.ts'
import type { Database, Parameters, Row } from './database.ts'

/** Lists of tools and callers are cut here: a suspect can make up any number of names. */
const longestList = 10_000

export interface Limits {
  readonly since: bigint
  readonly until: bigint
  /** Records after this are from the future. */
  readonly ahead: bigint
}

export interface Facts {
  /** This server's calls in the window, each once. */
  readonly records: number
  /** Those that were there once more. */
  readonly copies: number
  readonly first: string | undefined
  readonly last: string | undefined
  /** Records that say nothing of their parameters, of a response or its size, of how they ended, of who called. */
  readonly bare: number
  readonly sizeless: number
  readonly undecided: number
  readonly anonymous: number
}

export const inWindow = 't >= $since AND t < $until'

/**
 * Of copies with the same identity the first one stays. Where they differ and are of the same instant, what they say decides, and
 * not where they happened to lie: a log answers the same whatever it is kept in.
 */
const copyNumber =
  'row_number() OVER (PARTITION BY key ORDER BY t, hash(tool, caller, failed, rows, bytes, sent, server, session, trace, agent, person, address), place)'
export const onceByKey = `QUALIFY ${copyNumber} = 1`

/** As `inWindow`, for where a query takes no parameters. */
function during({ since, until }: Limits): string {
  return `t >= ${since} AND t < ${until}`
}

/**
 * Makes the view `kept` of the lines that are there now and for which `where` holds, each once; and the table `copies` of those
 * that are left out. There are few of them as a rule: only lines that have the same number as others are put in order, the rest
 * stays where it is.
 *
 * @returns how many copies there are
 */
async function keep(database: Database, where: string): Promise<number> {
  const [row] = await database.rows('SELECT coalesce(max(place), -1) AS last FROM lines')
  const some = `FROM lines WHERE place <= ${whole(row?.last)} AND ${where}`
  const twice = `SELECT same ${some} GROUP BY same HAVING count(*) > 1`
  const [numbers] = await database.rows(`SELECT count(*) AS n FROM (${twice})`)
  // Putting together the keys is dear, and nearly always this is known without.
  const copies = whole(numbers?.n) === 0 ? 'AND false' : `AND same IN (${twice}) QUALIFY ${copyNumber} > 1`
  await database.run(`CREATE TABLE copies AS SELECT place, key ${some} ${copies}`)
  const [left] = await database.rows('SELECT count(*) AS n FROM copies')
  await database.run(
    `CREATE VIEW kept AS SELECT * ${some} ${whole(left?.n) === 0 ? '' : 'AND place NOT IN (SELECT place FROM copies)'}`,
  )
  return whole(left?.n)
}

export async function summarise(database: Database, limits: Limits): Promise<Facts> {
  const own = `is_call AND mine AND ${during(limits)}`
  const copies = await keep(database, own)
  // One reading of the records for all sums.
  await database.run(
    `CREATE TABLE uses AS SELECT tool, caller, count(*) AS calls, count_if(failed) AS failed, sum(rows) AS rows, sum(bytes) AS bytes,
       sum(sent) AS sent, min(t) AS first, max(t) AS last, count_if(NOT has_params) AS bare, count_if(bytes IS NULL) AS sizeless,
       count_if(failed IS NULL) AS undecided
     FROM kept GROUP BY tool, caller`,
  )
  const [sums = {}] = await database.rows(
    `SELECT sum(calls) AS records, min(first) AS first, max(last) AS last, sum(bare) AS bare, sum(sizeless) AS sizeless,
       sum(undecided) AS undecided, sum(calls) FILTER (caller = 'unknown') AS anonymous
     FROM uses`,
  )
  return {
    records: whole(sums.records),
    copies,
    first: instant(sums.first),
    last: instant(sums.last),
    bare: whole(sums.bare),
    sizeless: whole(sums.sizeless),
    undecided: whole(sums.undecided),
    anonymous: whole(sums.anonymous),
  }
}

export interface Uses {
  readonly list: readonly (Omit<CallerUse, 'caller'> & { readonly name: string })[]
  /** How many more there are that the list leaves out. */
  readonly more: number
}

export async function uses(database: Database, by: 'tool' | 'caller'): Promise<Uses> {
  const rows = await database.rows(
    `SELECT ${by} AS name, sum(calls) AS calls, sum(failed) AS failed, sum(rows) AS rows, sum(bytes) AS bytes, sum(sent) AS sent,
       min(first) AS first, max(last) AS last, count(*) OVER () AS names
     FROM uses GROUP BY ${by} ORDER BY calls DESC, name LIMIT ${longestList}`,
  )
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
    more: whole(rows[0]?.names) - rows.length,
  }
}

function sum(key: 'rows' | 'bytes' | 'sent', row: Row): { [K in typeof key]?: number } {
  return row[key] === null || row[key] === undefined ? {} : { [key]: Number(row[key]) }
}

export function cut(what: string, { more }: Uses): string[] {
  return more > 0 ? [`${number(more)} more ${what} with fewer calls are counted but not listed.`] : []
}

export function parameters(limits: Limits): Parameters {
  return { since: limits.since, until: limits.until, ahead: limits.ahead }
}

/** RFC 3339 with milliseconds, from microseconds. */
export function instant(value: Row[string] | undefined): string | undefined {
  return typeof value === 'number' ? new Date(Math.floor(value / 1000)).toISOString() : undefined
}

export function whole(value: Row[string] | undefined): number {
  return typeof value === 'number' ? value : 0
}
