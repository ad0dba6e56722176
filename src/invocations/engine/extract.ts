import { type LogFormat, spellings } from '../formats/format.ts'
import type { Touched } from '../port.ts'
import { identifier, literal } from './sql.ts'

/** Text of the suspect that is used as a name is cut to this many characters, so that a 50 MB tool name stays bounded. */
const longestName = 300
/** Longer lists of tools are not kept for a comparison. */
export const longestListing = 1 << 20
/** Names of the parameters of one call that are kept, and the characters of each. */
export const parameterNames = { most: 50, longest: 100 }

/** A tree of the object keys that a format reads. A string: its value is wanted there. */
interface Keys {
  /** The value itself is wanted: as text, or (for parameters, responses, and where something below is wanted too) as JSON. */
  wanted?: 'text' | 'json'
  readonly below: Map<string, Keys>
}

/**
 * SQL that takes values out of a JSON column named `json`. One pass over each object (json_transform), however many places a
 * format knows; asking for each path by itself costs three times as much.
 */
class Extraction {
  readonly #as: string
  readonly #root: Keys = { below: new Map() }

  readonly #present: ReadonlySet<string>

  /**
   * @param as name of the column that holds what was taken out
   * @param present pointers of all keys that occur in the file: nobody looks for the others
   */
  constructor(
    as: string,
    present: ReadonlySet<string>,
    texts: readonly (readonly string[] | undefined)[],
    jsons: readonly (readonly string[] | undefined)[] = [],
  ) {
    this.#as = as
    this.#present = present
    for (const path of texts.flatMap((paths) => paths ?? [])) this.#want(path, 'text')
    for (const path of jsons.flatMap((paths) => paths ?? [])) this.#want(path, 'json')
  }

  #want(path: string, as: 'text' | 'json'): void {
    for (const keys of this.#spellings(path)) {
      let at = this.#root
      for (const key of keys) {
        const next: Keys = at.below.get(key) ?? { below: new Map() }
        at.below.set(key, next)
        at = next
      }
      at.wanted = at.wanted === 'json' ? 'json' : as
    }
  }

  /** The expression that the column is made of. */
  column(): string {
    if (this.#root.below.size === 0) return 'NULL'
    return isOpaque(this.#root) ? 'json' : `json_transform(json, ${literal(JSON.stringify(structure(this.#root)))})`
  }

  /** The first of these places that holds something, as text; NULL where none does. */
  text(paths: readonly string[] | undefined): string {
    return this.#coalesce(paths, (keys) => `nullif(${this.#text(keys)}, '')`)
  }

  /** The same as JSON. */
  json(paths: readonly string[] | undefined): string {
    return this.#coalesce(paths, (keys) => {
      const { value, rest } = this.#walk(keys)
      return `nullif(${rest.length === 0 ? value : `json_extract(${value}, ${literal(pointer(rest))})`}, 'null')`
    })
  }

  #coalesce(paths: readonly string[] | undefined, one: (keys: readonly string[]) => string): string {
    const found = (paths ?? []).flatMap((path) => this.#spellings(path)).map(one)
    return found.length === 0 ? 'CAST(NULL AS VARCHAR)' : `coalesce(${found.join(', ')})`
  }

  #spellings(path: string): readonly (readonly string[])[] {
    return spellings(path).filter((keys) => this.#present.has(pointer(keys)))
  }

  #text(keys: readonly string[]): string {
    const { value, rest, opaque } = this.#walk(keys)
    return opaque ? `json_extract_string(${value}, ${literal(pointer(rest))})` : value
  }

  /** Down the struct as far as it goes; the rest of the way is inside a JSON value. */
  #walk(keys: readonly string[]): { value: string; rest: readonly string[]; opaque: boolean } {
    let at = this.#root
    let value = this.#as
    for (const [depth, key] of keys.entries()) {
      if (isOpaque(at)) return { value, rest: keys.slice(depth), opaque: true }
      value += `.${identifier(key)}`
      at = at.below.get(key) ?? { below: new Map() }
    }
    return { value, rest: [], opaque: isOpaque(at) }
  }
}

/** Whether this value is kept as JSON: something in it and below it is wanted, or its keys differ in case only (structs cannot). */
function isOpaque(keys: Keys): boolean {
  if (keys.wanted === 'json') return true
  if (keys.wanted === 'text' && keys.below.size > 0) return true
  const names = [...keys.below.keys()].map((key) => key.toLowerCase())
  return new Set(names).size < names.length
}

function structure(keys: Keys): unknown {
  if (isOpaque(keys)) return 'JSON'
  if (keys.wanted === 'text') return 'VARCHAR'
  return Object.fromEntries([...keys.below].map(([key, below]) => [key, structure(below)]))
}

function pointer(keys: readonly string[]): string {
  return keys.map((key) => `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

/**
 * Which of the keys that a format knows occur in a file, as JSON pointers. `ask` runs a query over the file's JSON column and
 * yields one column of text. Formats know many spellings and a file uses one: finding out first saves most of the work.
 */
export async function keysIn(
  format: LogFormat,
  ask: (select: string) => Promise<readonly string[]>,
): Promise<ReadonlySet<string>> {
  const { fields: places, calls, takes, end, failures = [], refusals = [] } = format
  const paths = [
    ...Object.values(places).flat(),
    ...(calls?.fields ?? []),
    ...(takes?.fields ?? []),
    ...(end ?? []),
    ...[...failures, ...refusals].flatMap((rule) => rule.fields),
  ]
  const wanted = [...new Set(paths)].flatMap((path) => spellings(path))
  const present = new Set<string>()
  const top = new Set(wanted.map(([key = '']) => key))
  const list = [...top].map(literal).join(', ')
  for (const key of await ask(
    `SELECT DISTINCT key FROM (SELECT unnest(json_keys(json)) AS key FROM lines) WHERE key IN (${list})`,
  )) {
    present.add(pointer([key]))
  }
  for (let depth = 2; ; depth += 1) {
    const below = wanted.filter((keys) => keys.length >= depth && present.has(pointer(keys.slice(0, depth - 1))))
    const candidates = [...new Set(below.map((keys) => pointer(keys.slice(0, depth))))]
    if (candidates.length === 0) return present
    const tests = candidates.map(
      (candidate, index) => `CASE WHEN bool_or(e[${index + 1}]) THEN ${literal(candidate)} END`,
    )
    const found = `SELECT unnest([${tests.join(', ')}]) FROM (SELECT json_exists(json, [${candidates.map(literal).join(', ')}]) AS e FROM lines)`
    for (const candidate of await ask(found)) present.add(candidate)
  }
}

/** Where a result has its rows, and where their number. */
const rowLists = ['rows', 'records', 'items', 'results', 'data']
const rowNumbers = ['rows', 'rowCount', 'row_count']
const rowPlaces = [...new Set([...rowLists, ...rowNumbers])]
const kindAt = (key: string) => rowPlaces.indexOf(key) + 2

/** What the queries share, as macros. */
export const macros = [
  // RFC 3339, or a number of seconds, milliseconds, micro- or nanoseconds since 1970, told apart by its size. A time without a
  // zone is UTC. Yields microseconds; NULL for everything else, `infinity` and the like among it.
  String.raw`CREATE MACRO instant(x) AS CASE
    WHEN x IS NULL THEN NULL
    WHEN regexp_full_match(x, '\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.]\d+)?)?\s*([Zz]|[+-]\d\d(:?\d\d)?)?')
      THEN epoch_us(try_cast(upper(x) AS TIMESTAMPTZ))
    WHEN regexp_full_match(x, '\d{1,19}') THEN CASE
      WHEN try_cast(x AS BIGINT) < 100000000000 THEN try_cast(x AS BIGINT) * 1000000
      WHEN try_cast(x AS BIGINT) < 100000000000000 THEN try_cast(x AS BIGINT) * 1000
      WHEN try_cast(x AS BIGINT) < 100000000000000000 THEN try_cast(x AS BIGINT)
      ELSE try_cast(x AS BIGINT) // 1000 END
    WHEN regexp_full_match(x, '\d{1,18}[.]\d{1,20}') THEN CASE
      WHEN try_cast(x AS DOUBLE) < 1e11 THEN CAST(round(try_cast(x AS DOUBLE) * 1e6) AS BIGINT)
      WHEN try_cast(x AS DOUBLE) < 1e14 THEN CAST(round(try_cast(x AS DOUBLE) * 1e3) AS BIGINT)
      WHEN try_cast(x AS DOUBLE) < 1e17 THEN CAST(round(try_cast(x AS DOUBLE)) AS BIGINT)
      ELSE CAST(round(try_cast(x AS DOUBLE) / 1e3) AS BIGINT) END
    END`,
  // A whole number that JavaScript holds exactly, else NULL.
  `CREATE MACRO whole(x) AS CASE WHEN try_cast(x AS DOUBLE) BETWEEN 0 AND 9007199254740991
    AND try_cast(x AS DOUBLE) = floor(try_cast(x AS DOUBLE)) THEN CAST(try_cast(x AS DOUBLE) AS BIGINT) END`,
  // Counting characters costs more than counting bytes, and no string has more of them.
  `CREATE MACRO named(x) AS CASE WHEN strlen(x) > ${longestName} AND length(x) > ${longestName}
    THEN left(x, 200) || '… (' || length(x) || ' characters, sha256 ' || left(sha256(x), 16) || ')' ELSE x END`,
  // The port of a client is another one each time.
  String.raw`CREATE MACRO without_port(x) AS regexp_replace(x, '^(?:\[(.+)\]|([^:]+)):\d+$', '\1\2')`,
  // JSON that was logged as a string is taken for what it holds.
  `CREATE MACRO unwrapped(r) AS CASE WHEN starts_with(r, '"') AND json_valid(json_extract_string(r, '$'))
    THEN CAST(json_extract_string(r, '$') AS JSON) ELSE r END`,
  // Whether an object may have this key somewhere: to look at the text is cheaper than to parse it, and settles it nearly always.
  String.raw`CREATE MACRO may_name(r, key) AS contains(r, '"' || key || '"') OR contains(r, '\u')`,
  // The result inside a JSON-RPC answer.
  `CREATE MACRO answered(r) AS CASE WHEN may_name(r, 'jsonrpc') AND json_type(r, '/result') = 'OBJECT' AND json_exists(r, '/jsonrpc')
    THEN json_extract(r, '/result') ELSE r END`,
  // The arguments inside a JSON-RPC request, or inside its parameters.
  `CREATE MACRO asked(r) AS CASE WHEN NOT may_name(r, 'arguments') THEN r
    WHEN json_type(r, '/params/arguments') = 'OBJECT' THEN json_extract(r, '/params/arguments')
    WHEN json_type(r, '/arguments') = 'OBJECT' AND json_type(r, '/name') = 'VARCHAR' THEN json_extract(r, '/arguments')
    ELSE r END`,
  // What a tool result carries: its structured content, else the JSON in its only text, else itself.
  `CREATE MACRO carried(r) AS CASE
    WHEN json_type(r, '/structuredContent') IN ('ARRAY', 'OBJECT') THEN json_extract(r, '/structuredContent')
    WHEN json_array_length(r, '/content') = 1 AND json_valid(json_extract_string(r, '/content/0/text'))
      THEN CAST(json_extract_string(r, '/content/0/text') AS JSON)
    ELSE r END`,
  // What a server says of its tools, or of itself, whole: to be compared with what it said before.
  `CREATE MACRO listing(r) AS CASE WHEN (json_type(r, '/tools') = 'ARRAY' OR json_type(r, '/instructions') = 'VARCHAR')
    AND strlen(r) <= ${longestListing} THEN CAST(r AS VARCHAR) END`,
  // How many rows a result has; `kinds` are the types of the places where it may say so. Each JSON function keeps what it parsed
  // of 2,048 records: one that looks at all places takes a tenth of what one for each place does.
  `CREATE MACRO counted(r, kinds) AS CASE WHEN kinds[1] = 'ARRAY' THEN json_array_length(r)
    ${rowLists.map((key) => `WHEN kinds[${kindAt(key)}] = 'ARRAY' THEN json_array_length(r, '/${key}')`).join(' ')}
    ELSE coalesce(${rowNumbers.map((key) => `whole(CASE WHEN kinds[${kindAt(key)}] IN ('UBIGINT', 'BIGINT', 'DOUBLE') THEN json_extract_string(r, '/${key}') END)`).join(', ')}) END`,
  // UTF-8 bytes: of JSON without insignificant white space (as json_transform gives it), or of the string when one was logged.
  `CREATE MACRO size_of(r) AS CASE WHEN starts_with(r, '"') THEN strlen(json_extract_string(r, '$')) ELSE strlen(r) END`,
  // Names and sizes of the members of an object: [["name", bytes], …].
  `CREATE MACRO members(r) AS CASE WHEN json_type(r) = 'OBJECT' THEN to_json(list_transform(
    list_zip(list_slice(json_keys(r), 1, ${parameterNames.most}), list_slice(json_extract(r, '$.*'), 1, ${parameterNames.most})),
    lambda member: json_array(left(member[1], ${parameterNames.longest}), size_of(member[2]))))::VARCHAR END`,
]

/**
 * One row for each line of the log; only short values, so that memory stays apart from what the suspect wrote. What follows from
 * other columns is not stored: `key`, the same for copies of one record, and `same`, a number that is the same for the same key.
 */
export function linesTable(format: LogFormat): string {
  const within = withinOf(format)
  const parts = ['id', ...within]
  return `CREATE TABLE lines (file BIGINT, n BIGINT, size BIGINT, readable BOOLEAN, is_call BOOLEAN, takes BOOLEAN, lists BOOLEAN, mine BOOLEAN, t BIGINT, ends BIGINT,
  server VARCHAR, tool VARCHAR, caller VARCHAR, agent VARCHAR, person VARCHAR, address VARCHAR, session VARCHAR, trace VARCHAR,
  id VARCHAR, line VARCHAR, touched VARCHAR, members VARCHAR, failed BOOLEAN, refused BOOLEAN, listing VARCHAR, rows BIGINT, bytes BIGINT, sent BIGINT, has_params BOOLEAN, has_response BOOLEAN,
  key VARCHAR GENERATED ALWAYS AS (CASE WHEN line IS NULL THEN ${parts.map((part) => `length(${part}) || ':' || ${part}`).join(' || ')} ELSE line END) VIRTUAL,
  same UBIGINT GENERATED ALWAYS AS (hash(${['coalesce(line, id)', ...within].join(', ')})) VIRTUAL)`
}

/** Tools of which it is wanted what they touch. */
export const touchingTable = 'CREATE TABLE touching (tool VARCHAR)'

/**
 * The query that turns the lines of one file into rows of the table `lines`; `from` yields the column `json`, NULL for a line
 * that is no JSON. Every line becomes a row, so that what could not be used is counted; `n` counts them as `linesOf` does, and
 * the line itself is fetched again by it when it is needed as evidence. Parameters: `$file` and `$names` (VARCHAR[]).
 */
export function linesQuery(
  format: LogFormat,
  from: string,
  present: ReadonlySet<string>,
  { tools, paths, parameters = true }: Touched,
): string {
  const f = format.fields
  // What every line is asked, and what only those of this server are asked.
  const v = new Extraction('v', present, [
    f.time,
    f.server,
    f.tool,
    f.id,
    f.agent,
    f.user,
    f.session,
    f.trace,
    f.address,
    format.calls?.fields,
    format.takes?.fields,
  ])
  const outcomes = [f.outcome, ...[...(format.failures ?? []), ...(format.refusals ?? [])].map((rule) => rule.fields)]
  const w = new Extraction(
    'w',
    present,
    [f.durationMs, f.rows, f.bytes, format.end, ...outcomes],
    [f.params, f.response],
  )
  // By the right clock.
  const time = (text: string) => `(instant(${text}) - ${(format.ahead ?? 0) * 1000})`
  const isCall = format.calls === undefined ? 'tool IS NOT NULL' : within(v, format.calls.fields, format.calls.values)
  const takes = within(v, format.takes?.fields, format.takes?.values)
  const lists = within(v, format.takes?.fields, format.takes?.lists)
  // A log that names no servers is taken for the log of this one.
  const mine = f.server === undefined ? 'json IS NOT NULL' : 'coalesce(list_contains($names, server), false)'
  return `
    SELECT $file AS file, n, strlen(json) AS size, json IS NOT NULL AS readable, is_call, takes, lists, mine, t,
      ${format.timeIsEnd === true ? 't' : 't + greatest(coalesce(duration, 0), 0)'} AS ends,
      named(server) AS server, coalesce(tool, 'unknown') AS tool, caller, agent, person, address, session, trace,
      CASE WHEN touches THEN ${valuesAt(paths)} END AS touched, ${parameters ? 'CASE WHEN mine AND is_call THEN members(told) END' : 'NULL'} AS members,
      coalesce(named(id), 'line:' || left(line, 16)) AS id, line,
      CASE WHEN w IS NOT NULL THEN failed END AS failed, mine AND refused AS refused,
      CASE WHEN mine AND takes THEN listing(inside) END AS listing,
      coalesce(rows_said, counted(inside, kinds)) AS rows,
      coalesce(bytes_said, size_of(response)) AS bytes, size_of(params) AS sent,
      params IS NOT NULL AS has_params, response IS NOT NULL AS has_response
    FROM (SELECT *, json_type(inside, [${['$', ...rowPlaces.map((key) => `$.${key}`)].map(literal).join(', ')}]) AS kinds
    FROM (SELECT *, carried(result) AS inside, asked(given) AS told FROM (SELECT *, answered(logged) AS result
    FROM (SELECT *, unwrapped(response) AS logged, unwrapped(params) AS given FROM (
      SELECT *, CASE WHEN (is_call OR mine) AND id IS NULL THEN md5(json) || ':' || strlen(json) || ':' || hash(json) END AS line,
        ${failed(format, w)} AS failed, ${refused(format, w)} AS refused,
        coalesce(CAST(try_cast(${w.text(f.durationMs)} AS DOUBLE) * ${1000 / (format.durationPerMs ?? 1)} AS BIGINT), ${time(w.text(format.end))} - t) AS duration,
        whole(${w.text(f.rows)}) AS rows_said, whole(${w.text(f.bytes)}) AS bytes_said,
        ${w.json(f.params)} AS params, ${w.json(f.response)} AS response
      FROM (
        SELECT *, CASE WHEN touches OR mine THEN ${w.column()} END AS w
        FROM (
          SELECT *, ${tools.length === 0 ? 'false' : 'is_call AND tool IN (SELECT tool FROM touching)'} AS touches FROM (
          SELECT *, ${isCall} AS is_call, ${takes} AS takes, ${lists} AS lists, ${mine} AS mine
          FROM (
            SELECT n, json, v, ${time(v.text(f.time))} AS t,
              ${v.text(f.server)} AS server, named(${v.text(f.tool)}) AS tool, ${usableId(v.text(f.id))} AS id,
              named(coalesce(${[f.agent, f.user, f.session].map((paths) => v.text(paths)).join(', ')}, 'unknown')) AS caller,
              named(${v.text(f.agent)}) AS agent, named(${v.text(f.user)}) AS person, named(without_port(${v.text(f.address)})) AS address,
              named(${v.text(f.session)}) AS session, named(${v.text(f.trace)}) AS trace
            FROM (SELECT n, json, ${v.column()} AS v FROM (SELECT row_number() OVER () AS n, json FROM ${from}))
          ))
        )
      )
    )))))`
}

function within(x: Extraction, fields: readonly string[] | undefined, values: readonly string[] = []): string {
  if (values.length === 0) return 'false'
  return `coalesce(${x.text(fields)} IN (${values.map(literal).join(', ')}), false)`
}

/** The wanted values of one call, as a JSON array of strings. */
function valuesAt(paths: Touched['paths']): string {
  const values = paths.map((path) => {
    const [from, ...keys] = path.split('.')
    return `named(nullif(json_extract_string(${from === 'params' ? 'told' : 'inside'}, ${literal(pointer(keys))}), ''))`
  })
  return `CAST(json_array(${values.join(', ')}) AS VARCHAR)`
}

/** Ids of spans that were not sampled are all zeros: they name nothing. */
function usableId(id: string): string {
  return `CASE WHEN starts_with(${id}, '00000000') AND regexp_full_match(${id}, '0{8,}') THEN NULL ELSE ${id} END`
}

/** What copies of a record have in common beside their id. In the key lengths go first, so that no value can imitate the next one. */
function withinOf(format: LogFormat): readonly string[] {
  const columns = { time: 't', session: 'session', trace: 'trace', tool: 'tool' }
  return (format.idWithin ?? []).map((part) => `coalesce(CAST(${columns[part]} AS VARCHAR), '')`)
}

/** TRUE, FALSE or, when the log does not say, NULL. */
function failed(format: LogFormat, x: Extraction): string {
  const rules: string[] = []
  if (format.fields.outcome !== undefined) {
    const said = `lower(${x.text(format.fields.outcome)})`
    rules.push(`WHEN ${said} IN ('true', 'success', 'ok') OR regexp_full_match(${said}, '2\\d\\d([.]0)?') THEN false`)
    rules.push(`WHEN ${said} IS NOT NULL AND ${said} <> 'unknown' THEN true`)
  }
  for (const failure of format.failures ?? []) {
    const said = x.text(failure.fields)
    if (failure.values === 'any') rules.push(`WHEN coalesce(${said} NOT IN ('false', '0'), false) THEN true`)
    else rules.push(`WHEN ${said} IN (${failure.values.map(literal).join(', ')}) THEN true`)
  }
  const otherwise = format.otherwise === 'success' ? 'false' : 'CAST(NULL AS BOOLEAN)'
  return rules.length === 0 ? otherwise : `CASE ${rules.join(' ')} ELSE ${otherwise} END`
}

function refused(format: LogFormat, x: Extraction): string {
  const rules = (format.refusals ?? []).flatMap(({ fields, values }) =>
    fields.map((field) => `coalesce(lower(${x.text([field])}) IN (${values.map(literal).join(', ')}), false)`),
  )
  return rules.length === 0 ? 'false' : rules.join(' OR ')
}
