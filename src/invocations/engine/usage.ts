import type { Clock, HourCount, Listing, Newcomers, Peak, Usage, Volume } from '../findings/port.ts'
import { inWindow, type Limits, onceByKey, parameters, whole } from './counts.ts'
import type { Database, Parameters, Row } from './database.ts'

/** So far back goes what the window is compared with. */
const baseline = 28n * 86_400_000_000n
/** Tools that are counted one by one: the most called ones, fewer in a window of years. */
const mostTools = 200
const mostCells = 250_000
const hourLong = 3_600_000_000
/** New names that are told one by one. */
const mostNames = 20
/** Versions of the lists of tools, and their bytes together. */
const mostListings = { versions: 200, bytes: 16 << 20 }
const mostTouched = 5000

/**
 * Counts what findings are made of: SQL adds up, and decides nothing. Needs the tables `lines` and `kept`; makes `usual`, the calls
 * of the four weeks before the window, each once. All of DuckDB's medians hold their values in memory, so they are taken from
 * running totals instead, which may go to the disk.
 */
export async function usageOf(database: Database, limits: Limits, clock: Clock): Promise<Usage> {
  const bounds = { ...parameters(limits), base: limits.since - baseline }
  const used = (sql: string) => database.rows(sql, bounds)
  await prepare(database, limits, bounds)
  const hour = `(t + ${offset(clock)}) // ${hourLong}`
  const [all = {}] = await used('SELECT count(*) AS calls, min(t) AS since FROM usual')
  const [tools = {}] = await used(
    'SELECT (SELECT count(DISTINCT tool) FROM kept) - (SELECT count(*) FROM judged) AS others',
  )
  const before = await each('usual', (tool, from) =>
    used(`SELECT ${tool} AS tool, ${hour} AS hour, count(*) AS calls FROM ${from} GROUP BY ALL ORDER BY ALL`),
  )
  const now = await each('kept', (tool, from) =>
    used(`SELECT ${tool} AS tool, ${hour} AS hour, count(*) AS calls, count_if(refused) AS refused, min(t) AS first, max(t) AS last, max(rows) AS rows,
       max(CASE WHEN rows IS NULL THEN bytes END) AS bytes FROM ${from} GROUP BY tool, hour ORDER BY tool, hour`),
  )
  const volumes = await each('usual', async (tool, from) => [
    ...(await used(volumesOf('rows', tool, from))),
    ...(await used(volumesOf('bytes', tool, from))),
  ])
  const days = (which: string) =>
    used(`SELECT ${hour} // 24 AS day, count(*) AS calls, min(t) AS first, max(t) AS last FROM refusals
      WHERE ${which} GROUP BY day ORDER BY day`)
  const touched = await used(
    `SELECT tool, touched, count(*) AS calls FROM kept WHERE touched IS NOT NULL
     GROUP BY tool, touched ORDER BY calls DESC, tool, touched LIMIT ${mostTouched}`,
  )
  const [groups = {}] = await used(
    'SELECT count(*) AS all FROM (SELECT DISTINCT tool, touched FROM kept WHERE touched IS NOT NULL)',
  )
  return {
    calls: whole(all.calls),
    since: typeof all.since === 'number' ? all.since : undefined,
    before: before.map(hourCount),
    now: now.map((row) => ({ ...hourCount(row), ...peak(row) })),
    otherTools: whole(tools.others),
    volumes: volumes.map(volume),
    refusedBefore: (await days('t < $since')).map(day),
    refusedNow: (await days('t >= $since')).map(day),
    newcomers: await newcomers(database, bounds),
    ...(await listings(database, bounds)),
    touched: touched.map((row) => ({
      tool: String(row.tool),
      values: JSON.parse(String(row.touched)) as (string | null)[],
      calls: whole(row.calls),
    })),
    touchedLeftOut: whole(groups.all) - touched.length,
  }
}

async function prepare(database: Database, limits: Limits, bounds: Parameters): Promise<void> {
  const hours = Number(limits.until - limits.since) / hourLong
  const most = Math.max(10, Math.min(mostTools, Math.floor(mostCells / hours)))
  await database.run(
    `CREATE TABLE usual AS SELECT t, tool, agent, person, address, rows, bytes FROM lines
     WHERE is_call AND mine AND t >= $base AND t < $since
     ${onceByKey}`,
    bounds,
  )
  // Whoever is not let in may not get as far as to call a tool.
  await database.run(
    `CREATE TABLE refusals AS SELECT * FROM lines WHERE mine AND refused AND t >= $base AND t < $until
     ${onceByKey.replace('BY key', 'BY key, t >= $since')}`,
    bounds,
  )
  await database.run(
    `CREATE TABLE judged AS SELECT tool FROM kept GROUP BY tool ORDER BY count(*) DESC, tool LIMIT ${most}`,
  )
}

/** Runs a query for all tools together, and for each tool that is counted by itself. */
async function each(
  table: string,
  query: (tool: string, from: string) => Promise<readonly Row[]>,
): Promise<readonly Row[]> {
  return [
    ...(await query('CAST(NULL AS VARCHAR)', `(SELECT * EXCLUDE (tool) FROM ${table})`)),
    ...(await query('tool', `(FROM ${table} SEMI JOIN judged USING (tool))`)),
  ]
}

/** Microseconds by which the clock's zone is ahead at `t`. */
function offset({ offsets }: Clock): string {
  const last = offsets.at(-1)?.offset ?? 0
  const earlier = offsets.slice(1).map(({ from }, index) => `WHEN t < ${from} THEN ${offsets[index]?.offset ?? 0}`)
  return earlier.length === 0 ? `${last}` : `CASE ${earlier.join(' ')} ELSE ${last} END`
}

/** Lower medians, and the value below which all but a thousandth lie; exact. */
function volumesOf(of: 'rows' | 'bytes', tool: string, from: string): string {
  const sorted = (values: string) => `SELECT tool, x, sum(n) OVER (PARTITION BY tool ORDER BY x) AS upto,
    sum(n) OVER (PARTITION BY tool) AS total FROM ${values}`
  return `WITH seen AS (SELECT ${tool} AS tool, ${of} AS x, count(*) AS n FROM ${from} WHERE ${of} IS NOT NULL GROUP BY ALL),
    totals AS (SELECT tool, any_value(total) AS calls, min(x) FILTER (upto * 2 >= total) AS median,
      min(x) FILTER (upto >= 999 * (total - 1) // 1000 + 1) AS high FROM (${sorted('seen')}) GROUP BY tool),
    apart AS (SELECT seen.tool AS tool, abs(x - median) AS x, sum(n) AS n FROM seen JOIN totals ON seen.tool IS NOT DISTINCT FROM totals.tool
      GROUP BY ALL),
    mads AS (SELECT tool, min(x) FILTER (upto * 2 >= total) AS mad FROM (${sorted('apart')}) GROUP BY tool)
    SELECT totals.tool, '${of}' AS of, calls, median, high, mad FROM totals JOIN mads ON totals.tool IS NOT DISTINCT FROM mads.tool
    ORDER BY totals.tool`
}

const dimensions = [
  { of: 'agent', column: 'agent' },
  { of: 'user', column: 'person' },
  { of: 'address', column: 'address' },
  { of: 'tool', column: 'tool' },
] as const

async function newcomers(database: Database, bounds: Parameters): Promise<Newcomers[]> {
  await database.run('CREATE TABLE newcomers (dimension VARCHAR, name VARCHAR)')
  const found: Newcomers[] = []
  // Agents first: users who came with one of them, and addresses of both, are no news of their own.
  for (const { of, column } of dimensions) {
    await database.run(
      `INSERT INTO newcomers SELECT DISTINCT '${of}', ${column} FROM kept
       WHERE ${column} IS NOT NULL AND ${column} NOT IN (SELECT ${column} FROM usual WHERE ${column} IS NOT NULL)`,
    )
    const [known = {}] = await database.rows(
      `WITH middle AS (SELECT (min(t) + $since) // 2 AS t FROM usual)
       SELECT count(*) AS known, count_if(first >= (SELECT t FROM middle)) AS late
       FROM (SELECT min(t) AS first FROM usual WHERE ${column} IS NOT NULL GROUP BY ${column})`,
      bounds,
    )
    const explained = {
      agent: 'false',
      user: isNew('agent', 'agent'),
      address: `(${isNew('agent', 'agent')} OR ${isNew('user', 'person')})`,
      tool: 'false',
    }[of]
    const rows = await database.rows(
      `SELECT ${column} AS name, count(*) AS calls, count_if(NOT ${explained}) AS known, count(*) OVER () AS all FROM kept
       WHERE ${isNew(of, column)} GROUP BY ${column} ORDER BY calls DESC, name LIMIT ${mostNames}`,
    )
    found.push({
      of,
      known: whole(known.known),
      knownLate: whole(known.late),
      all: whole(rows[0]?.all),
      list: rows.map((row) => ({ name: String(row.name), calls: whole(row.calls), byKnown: whole(row.known) })),
    })
  }
  return found
}

function isNew(of: Newcomers['of'], column: string): string {
  return `coalesce(${column} IN (SELECT name FROM newcomers WHERE dimension = '${of}'), false)`
}

async function listings(database: Database, bounds: Parameters): Promise<Pick<Usage, 'listings' | 'listingsLeftOut'>> {
  const rows = await database.rows(
    `SELECT listing, min(t) AS first, max(t) AS last, bool_or(t < $since) AS before,
       arg_min(id, (t, id)) FILTER (t >= $since) AS record
     FROM lines WHERE listing IS NOT NULL AND t >= $base AND t < $until GROUP BY listing
     QUALIFY row_number() OVER (ORDER BY min(t), listing) <= ${mostListings.versions}
       AND sum(strlen(listing)) OVER (ORDER BY min(t), listing) <= ${mostListings.bytes}
     ORDER BY first, listing`,
    bounds,
  )
  const [left = {}] = await database.rows(
    `SELECT (SELECT count(DISTINCT listing) FROM lines WHERE t >= $base AND t < $until) AS versions,
       (SELECT count(*) FROM lines WHERE lists AND mine AND has_response AND listing IS NULL AND ${inWindow}) AS unread`,
    bounds,
  )
  return {
    listings: rows.map(
      (row): Listing => ({
        json: String(row.listing),
        first: Number(row.first),
        last: Number(row.last),
        before: row.before === true,
        record: typeof row.record === 'string' ? row.record : undefined,
      }),
    ),
    listingsLeftOut: whole(left.versions) - rows.length + whole(left.unread),
  }
}

function hourCount(row: Row): HourCount {
  return { tool: optionalText(row.tool), hour: Number(row.hour), calls: whole(row.calls) }
}

function peak(row: Row): Peak {
  return {
    refused: whole(row.refused),
    first: Number(row.first),
    last: Number(row.last),
    rows: typeof row.rows === 'number' ? row.rows : undefined,
    bytes: typeof row.bytes === 'number' ? row.bytes : undefined,
  }
}

function volume(row: Row): Volume {
  return {
    tool: optionalText(row.tool),
    of: row.of === 'rows' ? 'rows' : 'bytes',
    calls: whole(row.calls),
    median: whole(row.median),
    mad: whole(row.mad),
    high: whole(row.high),
  }
}

function day(row: Row) {
  return { day: Number(row.day), calls: whole(row.calls), first: Number(row.first), last: Number(row.last) }
}

function optionalText(value: Row[string] | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}
