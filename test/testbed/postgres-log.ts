/** One thing that an application asked PostgreSQL for, by the log of the server. */
export type PostgresCall =
  | { readonly sql: string; readonly values: readonly (string | null)[] }
  /** A log-in that was refused, as its user may not log in. */
  | { readonly login: string }

/** @param log of `startPostgres` */
export function postgresCalls(log: string, application: string): readonly PostgresCall[] {
  const entries = log.split(/^(?=\d{4}-\d\d-\d\d [\d:.]+ \w+ \[\d+\] )/m)
  const calls: PostgresCall[] = []
  const open = new Map<string, number>()
  for (const entry of entries) {
    const [, pid = '', name, level, text = ''] =
      /^\S+ \S+ \S+ \[(\d+)\] (\S+) (LOG|DETAIL|FATAL): {2}([\s\S]*?)\s*$/.exec(entry) ?? []
    const refused = level === 'FATAL' ? /^role "(.*)" is not permitted to log in$/.exec(text)?.[1] : undefined
    if (refused !== undefined) calls.push({ login: refused })
    if (name !== application) continue
    const statement = /^(?:statement|execute [^:]*): ([\s\S]*)$/.exec(text)?.[1]
    if (level === 'LOG' && statement !== undefined) {
      open.set(pid, calls.length)
      calls.push({ sql: statement.replaceAll('\n\t', '\n'), values: [] })
    }
    const asked = open.get(pid)
    const call = asked === undefined ? undefined : calls[asked]
    if (level === 'DETAIL' && /^parameters: /i.test(text) && call !== undefined && 'sql' in call)
      calls[asked as number] = { ...call, values: valuesOf(text) }
  }
  return calls
}

function valuesOf(text: string): readonly (string | null)[] {
  return [...text.matchAll(/\$\d+ = (?:NULL|'((?:[^']|'')*)')/g)].map(
    ([, value]) => value?.replaceAll("''", "'") ?? null,
  )
}
