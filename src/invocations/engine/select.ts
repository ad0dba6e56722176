import type { Names, Selected, Selection } from '../findings/port.ts'
import { whole } from './counts.ts'
import type { Database, Parameters, Row } from './database.ts'

/** Ids of records that are told. */
const mostIds = 100
const mostNames = 3

/** Calls of the window that have something in common: the table `kept`, or `refusals`. Needs what `usageOf` made. */
export async function select(
  database: Database,
  limits: { readonly since: bigint },
  which: Selection,
): Promise<Selected> {
  const { from, bounds } = query(which, limits)
  const [all = {}] = await database.rows(
    `SELECT count(*) AS calls, count_if(failed) AS failed, min(t) AS first, max(t) AS last, sum(rows) AS rows, sum(bytes) AS bytes
     FROM ${from}`,
    bounds,
  )
  const ids = await database.rows(`SELECT id FROM ${from} ORDER BY t, id LIMIT ${mostIds}`, bounds)
  const names = async (column: string, dimensions: readonly string[]): Promise<Names> => {
    const rows = await database.rows(
      `SELECT ${column} AS name, count(*) AS calls, count(*) OVER () AS names,
         ${column} IN (SELECT name FROM newcomers WHERE dimension IN (${dimensions.map((one) => `'${one}'`).join(', ')})) AS new
       FROM ${from} WHERE ${column} IS NOT NULL GROUP BY ${column} ORDER BY calls DESC, name LIMIT ${mostNames}`,
      bounds,
    )
    return {
      list: rows.map((row) => ({ name: String(row.name), calls: whole(row.calls), isNew: row.new === true })),
      others: Math.max(0, whole(rows[0]?.names) - rows.length),
    }
  }
  return {
    calls: whole(all.calls),
    failed: whole(all.failed),
    first: whole(all.first),
    last: whole(all.last),
    rows: sum(all.rows),
    bytes: sum(all.bytes),
    ids: ids.map((row) => String(row.id)),
    callers: await names("coalesce(person, nullif(caller, 'unknown'))", ['agent', 'user']),
    addresses: await names('address', ['address']),
    tools: await names("nullif(tool, 'unknown')", ['tool']),
  }
}

function query(which: Selection, { since }: { readonly since: bigint }): { from: string; bounds: Parameters } {
  const { spans, tool, agent, user, address, newcomers, refused, rowsOver, bytesOver } = which
  const bounds: Record<string, string | bigint> = {}
  const rules: string[] = []
  const is = (column: string, value: string | undefined) => {
    if (value === undefined) return
    bounds[`only_${column}`] = value
    rules.push(`${column} = $only_${column}`)
  }
  is('tool', tool)
  is('agent', agent)
  is('person', user)
  is('address', address)
  if (newcomers !== undefined)
    rules.push(
      `${newcomers === 'user' ? 'person' : newcomers} IN (SELECT name FROM newcomers WHERE dimension = '${newcomers}')`,
    )
  if (refused === true) rules.push(`t >= ${since}`)
  if (rowsOver !== undefined) rules.push(`rows > ${rowsOver}`)
  if (bytesOver !== undefined) rules.push(`rows IS NULL AND bytes > ${bytesOver}`)
  if (spans !== undefined) rules.push(`(${spans.map(([from, to]) => `(t >= ${from} AND t < ${to})`).join(' OR ')})`)
  return {
    from: `(FROM ${refused === true ? 'refusals' : 'kept'} ${rules.length === 0 ? '' : `WHERE ${rules.join(' AND ')}`})`,
    bounds,
  }
}

function sum(value: Row[string] | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined
}
