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
  /** This server's calls in the window, with duplicates and without. */
  readonly seen: number
  readonly records: number
  readonly first: string | undefined
  readonly last: string | undefined
}

export const inWindow = 't >= $since AND t < $until'

/**
 * Of copies with the same identity the first one stays. Where they differ and are of the same instant, what they say decides, and
 * not where they happened to lie: a log answers the same whatever it is kept in.
 */
const copyNumber =
  'row_number() OVER (PARTITION BY key ORDER BY t, size, hash(tool, caller, failed, rows, bytes, sent, server, session, trace), rowid)'
export const onceByKey = `QUALIFY ${copyNumber} = 1`

/** As `inWindow`, for where a query takes no parameters. */
function during({ since, until }: Limits): string {
  return `t >= ${since} AND t < ${until}`
}

/**
 * Makes the view `name` of the lines that are there now and for which `where` holds, each once; and the table
 * `copies_of_name` of those that are left out. There are few of them as a rule: only lines that have the same
 * number as others are put in order, the rest stays where it is.
 */
async function once(database: Database, name: string, where: string): Promise<void> {
  const [row] = await database.rows('SELECT coalesce(max(rowid), -1) AS last FROM lines')
  const some = `FROM lines WHERE rowid <= ${whole(row?.last)} AND ${where}`
  await database.run(
    `CREATE TABLE copies_of_${name} AS SELECT rowid AS place, key ${some}
     AND same IN (SELECT same ${some} GROUP BY same HAVING count(*) > 1)
     QUALIFY ${copyNumber} > 1`,
  )
  const [copies] = await database.rows(`SELECT count(*) AS n FROM copies_of_${name}`)
  await database.run(
    `CREATE VIEW ${name} AS SELECT *, rowid AS place ${some} ${whole(copies?.n) === 0 ? '' : `AND rowid NOT IN (SELECT place FROM copies_of_${name})`}`,
  )
}

export async function summarise(database: Database, limits: Limits): Promise<Facts> {
  const own = `is_call AND mine AND ${during(limits)}`
  await once(database, 'kept', own)
  const [all] = await database.rows(`SELECT count(*) AS seen FROM lines WHERE ${own}`)
  const [kept] = await database.rows('SELECT count(*) AS records, min(t) AS first, max(t) AS last FROM kept')
  return {
    seen: whole(all?.seen),
    records: whole(kept?.records),
    first: instant(kept?.first),
    last: instant(kept?.last),
  }
}

export interface Uses {
  readonly list: readonly (Omit<CallerUse, 'caller'> & { readonly name: string })[]
  /** How many more there are that the list leaves out. */
  readonly more: number
}

export async function uses(database: Database, by: 'tool' | 'caller'): Promise<Uses> {
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
