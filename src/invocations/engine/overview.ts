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
  /** Spans of the window, between its first line and its end, in which nothing of any server was logged; the five longest. */
  readonly silences: readonly string[]
}

/** How many lines of any server there are in each minute of the window that has some. `t` in microseconds. */
export const minutesTable = 'CREATE TABLE minutes (t BIGINT, n BIGINT)'

/** For a source whose lines are all in the table `lines`. */
export async function countMinutes(database: Database, limits: Limits): Promise<{ first: number | undefined }> {
  await database.run(
    `INSERT INTO minutes SELECT t // 60000000 * 60000000 AS minute, count(*) FROM lines WHERE ${inWindow} GROUP BY minute`,
    parameters(limits),
  )
  const [all] = await database.rows('SELECT min(t) AS first FROM lines')
  return { first: typeof all?.first === 'number' ? all.first : undefined }
}

export async function overviewOf(database: Database, limits: Limits, first: number | undefined): Promise<Overview> {
  const [all] = await database.rows('SELECT CAST(sum(n) AS BIGINT) AS lines FROM minutes')
  const rows = await database.rows(
    `SELECT quiet_from, quiet_to FROM (
       SELECT t AS quiet_from, lead(t, 1, $until) OVER (ORDER BY t) AS quiet_to FROM minutes)
     WHERE quiet_to - quiet_from >= ${silence * 1000} ORDER BY quiet_to - quiet_from DESC, quiet_from LIMIT 5`,
    parameters(limits),
  )
  return {
    first,
    linesInWindow: whole(all?.lines),
    silences: rows.map(
      (row) => `Nothing of any server was logged between ${minute(row.quiet_from)} and ${minute(row.quiet_to)}.`,
    ),
  }
}

function minute(value: Row[string] | undefined): string {
  return `${(instant(value) ?? '').slice(0, 16)}Z`
}
