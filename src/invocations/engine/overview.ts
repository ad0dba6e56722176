import { instant, inWindow, type Limits, parameters, whole } from './counts.ts'
import type { Database, Row } from './database.ts'

/** A silence of all servers in the log that is this long is told. */
const silence = 24 * 3_600_000

/** What is to be known of the whole log, whichever server its lines are about. */
export interface Overview {
  /** Microseconds; of the first line that has a time. */
  readonly first: number | undefined
  /** Lines of any server in the window. */
  readonly linesInWindow: number
  /** Calls of the window that do not say which server they went to. */
  readonly nameless: number
  /** Spans of the window, between its first line and its end, in which nothing of any server was logged; the five longest. */
  readonly silences: readonly string[]
}

/** How many lines of any server there are in each minute of the window that has some. `t` in microseconds. */
export const minutesTable = 'CREATE TABLE minutes (t BIGINT, n BIGINT)'

/** What a source counts by itself, beside the table `minutes`, when it puts only some of its lines into the table `lines`. */
export type Counted = Pick<Overview, 'first' | 'nameless'>

/** For a source whose lines are all in the table `lines`. */
export async function countLines(database: Database, limits: Limits): Promise<Counted> {
  await database.run(
    `INSERT INTO minutes SELECT t // 60000000 * 60000000 AS minute, count(*) FROM lines WHERE ${inWindow} GROUP BY minute`,
    parameters(limits),
  )
  const [all] = await database.rows(
    `SELECT min(t) AS first, count_if(is_call AND NOT mine AND server IS NULL AND ${inWindow}) AS nameless FROM lines`,
    parameters(limits),
  )
  return { first: typeof all?.first === 'number' ? all.first : undefined, nameless: whole(all?.nameless) }
}

export async function overviewOf(database: Database, limits: Limits, counted: Counted): Promise<Overview> {
  const [all] = await database.rows('SELECT CAST(sum(n) AS BIGINT) AS lines FROM minutes')
  const rows = await database.rows(
    `SELECT quiet_from, quiet_to FROM (
       SELECT t AS quiet_from, lead(t, 1, $until) OVER (ORDER BY t) AS quiet_to FROM minutes)
     WHERE quiet_to - quiet_from >= ${silence * 1000} ORDER BY quiet_to - quiet_from DESC, quiet_from LIMIT 5`,
    parameters(limits),
  )
  return {
    ...counted,
    linesInWindow: whole(all?.lines),
    silences: rows.map(
      (row) => `Nothing of any server was logged between ${minute(row.quiet_from)} and ${minute(row.quiet_to)}.`,
    ),
  }
}

function minute(value: Row[string] | undefined): string {
  return `${(instant(value) ?? '').slice(0, 16)}Z`
}
