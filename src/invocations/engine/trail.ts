import type { DuckDBValue } from '@duckdb/node-api'
import { IrError } from '../../errors.ts'
import type { SentParameter, TrailRecord } from '../port.ts'
import { inWindow, type Limits, onceByKey, parameters } from './counts.ts'
import type { Database } from './database.ts'

const columns =
  'id, t, ends, mine, is_call, lists, server, tool, agent, person, session, trace, address, touched, members, sent'.split(
    ', ',
  )

/**
 * The records of all servers since the start of the window, by time; at the same instant those of the own server come first,
 * since what comes after may have come from them. DuckDB sorts once, on the disk where it has to; each reading goes along.
 */
export async function* trailOf(
  database: Database,
  limits: Limits,
  which: 'own' | 'all',
  signal: AbortSignal,
): AsyncGenerator<readonly TrailRecord[]> {
  await database.run(
    `CREATE TABLE IF NOT EXISTS trail AS SELECT ${columns.join(', ')} FROM lines
     WHERE CASE WHEN mine THEN (is_call OR takes) AND ${inWindow} ELSE is_call AND server IS NOT NULL AND t >= $since END
     ${onceByKey}
     ORDER BY t, mine DESC, id, tool, key`,
    parameters(limits),
  )
  const query = `SELECT ${columns.join(', ')} FROM trail ${which === 'own' ? 'WHERE mine' : ''}`
  for await (const piece of database.pieces(query)) {
    if (signal.aborted) throw new IrError('interrupted', 'Reading the invocation log was interrupted.')
    yield Array.from({ length: piece[0]?.length ?? 0 }, (_, row) => recordAt(piece, row))
  }
}

function recordAt(piece: readonly (readonly DuckDBValue[])[], row: number): TrailRecord {
  const [id, t, ends, mine, call, lists, server, tool, agent, user, session, trace, address, touched, members, sent] =
    piece
  const text = (column: readonly DuckDBValue[] | undefined) => {
    const value = column?.[row]
    return typeof value === 'string' ? value : undefined
  }
  const time = Number(t?.[row])
  const values = text(touched)
  const bytes = sent?.[row]
  const own = mine?.[row] === true
  return {
    id: text(id) ?? '',
    time,
    ends: Math.max(time, Number(ends?.[row] ?? time)),
    own,
    call: call?.[row] === true,
    list: lists?.[row] === true,
    server: text(server),
    tool: text(tool) ?? 'unknown',
    agent: text(agent),
    user: text(user),
    session: text(session),
    trace: text(trace),
    address: text(address),
    values: values === undefined ? undefined : (JSON.parse(values) as (string | null)[]),
    sent:
      own && typeof bytes === 'bigint' ? { bytes: Number(bytes), parameters: parametersIn(text(members)) } : undefined,
  }
}

function parametersIn(members: string | undefined): SentParameter[] {
  if (members === undefined) return []
  return (JSON.parse(members) as [string, number | null][]).map(([name, bytes]) => ({ name, bytes: bytes ?? 0 }))
}
