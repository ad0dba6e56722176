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

/** What is known of the lines of a file before they are read. */
export interface Known {
  /** JSON pointers of those keys that the format knows and that occur: nobody looks for the others. */
  readonly present: ReadonlySet<string>
  /**
   * Given when only the first lines were asked. `odd`: the keys that make a line worth a closer look, for a failure or because
   * nobody expects them. `unexpected`: pointers of the latter; a query that meets one breaks off with `isSurprise`.
   */
  readonly guess?: { readonly odd: readonly string[]; readonly unexpected: readonly string[] }
  /** Most of them are of the server in question, so that what only its lines are asked is best taken out together with the rest. */
  readonly mostlyMine: boolean
}

const surprise = 'a key that is not in the first lines'

/** Whether a query broke off because what it was told of the keys is not all. */
export function isSurprise(error: unknown): boolean {
  return error instanceof Error && error.message.includes(surprise)
}

/**
 * SQL that takes values out of a JSON column named `json`. One pass over each object (json_transform), however many places a
 * format knows; asking for each path by itself costs three times as much.
 */
class Extraction {
  /** Name of the column that holds what was taken out. */
  readonly #as: string
  readonly #root: Keys
  readonly #present: ReadonlySet<string>

  private constructor(as: string, present: ReadonlySet<string>, root: Keys) {
    this.#as = as
    this.#present = present
    this.#root = root
  }

  static of(
    as: string,
    present: ReadonlySet<string>,
    texts: readonly (readonly string[] | undefined)[],
    jsons: readonly (readonly string[] | undefined)[] = [],
  ): Extraction {
    const made = new Extraction(as, present, { below: new Map() })
    for (const path of texts.flatMap((paths) => paths ?? [])) made.#want(path, 'text')
    for (const path of jsons.flatMap((paths) => paths ?? [])) made.#want(path, 'json')
    return made
  }

  /** The same values, in another column. */
  in(column: string): Extraction {
    return new Extraction(column, this.#present, this.#root)
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

  has(paths: readonly string[] | undefined): boolean {
    return (paths ?? []).some((path) => this.#spellings(path).length > 0)
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
    if (!opaque) return value
    const text = `json_extract_string(${value}, ${literal(pointer(rest))})`
    const key = rest.at(-1)
    return key !== undefined && isPlain(key) ? `CASE WHEN may_name(${value}, ${literal(key)}) THEN ${text} END` : text
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

/** Whether JSON has no other way to write this key than with \\u. */
function isPlain(key: string): boolean {
  return /^[\w.@ -]+$/.test(key)
}

function pointer(keys: readonly string[]): string {
  return keys.map((key) => `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

/**
 * Which of the keys that a format knows occur in some lines, as JSON pointers. `ask` runs a query over their JSON column and
 * yields one column of text. Formats know many spellings and a file uses one: finding out first saves most of the work.
 */
export async function keysIn(
  format: LogFormat,
  ask: (select: string) => Promise<readonly string[]>,
): Promise<ReadonlySet<string>> {
  const wanted = keysOf(format)
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

/** Every way to write a place that the format knows. */
function keysOf(format: LogFormat): readonly (readonly string[])[] {
  const { fields: places, calls, takes, end } = format
  const paths = [
    ...Object.values(places).flat(),
    ...(calls?.fields ?? []),
    ...(takes?.fields ?? []),
    ...(end ?? []),
    ...troubles(format),
  ]
  return [...new Set(paths)].flatMap((path) => spellings(path))
}

function troubles({ failures = [], refusals = [] }: LogFormat): readonly string[] {
  return [...failures, ...refusals].flatMap((rule) => rule.fields)
}

/**
 * What is guessed of all lines from the keys of some: the same keys, and those by which a line says that a call failed, as these are
 * seldom there.
 */
export function guessOf(format: LogFormat, { present, mostlyMine }: Known): Known {
  const expected = new Set(present)
  const odd = new Set<string>()
  for (const keys of troubles(format).flatMap((path) => spellings(path))) {
    if (keys.length > 1 && !present.has(pointer(keys.slice(0, -1)))) continue
    expected.add(pointer(keys))
    odd.add(keys.at(-1) ?? '')
  }
  const unexpected = new Set<string>()
  for (const keys of keysOf(format)) {
    const depth = keys.findIndex((_, at) => !expected.has(pointer(keys.slice(0, at + 1))))
    if (depth === -1) continue
    unexpected.add(pointer(keys.slice(0, depth + 1)))
    odd.add(keys[depth] ?? '')
  }
  return { present: expected, mostlyMine, guess: { odd: [...odd], unexpected: [...unexpected] } }
}

/** The condition that a line may have one of these keys. To look at the text is cheaper than to parse it. */
function mayHave(names: readonly string[]): string {
  if (names.length === 0) return 'false'
  if (!names.every(isPlain)) return 'true'
  const pattern = `"(?:${names.map((name) => name.replaceAll('.', '[.]')).join('|')})"`
  return `regexp_matches(json, ${literal(pattern)}) OR contains(json, '\\u')`
}

/** Where a result has its rows, and where their number. */
const rowLists = ['rows', 'records', 'items', 'results', 'data']
const rowNumbers = ['rows', 'rowCount', 'row_count']
const rowPlaces = [...new Set([...rowLists, ...rowNumbers])]
const kindAt = (key: string) => rowPlaces.indexOf(key) + 2

/** The number of rows where most servers have them, else 0 or NULL: what `counted` says as well, after more looking. */
const listed = (result: string) =>
  `CASE WHEN contains(${result}, '"${rowLists[0]}"') THEN json_array_length(${result}, '/structuredContent/${rowLists[0]}') END`

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
 * One row for each line of the log, in the order of the lines: `rowid` counts them. Only short values, so that memory stays apart
 * from what the suspect wrote. What follows from other columns is not stored: `caller`; `key`, the same for copies of one record;
 * and `same`, a number that is the same for the same key. To find out how best to pack names takes longer than all the rest of
 * storing them, and saves less than a hundred bytes a line: they are left as they are.
 */
export function linesTable(format: LogFormat): string {
  const within = withinOf(format)
  const parts = ['id', ...within.map((column) => `coalesce(CAST(${column} AS VARCHAR), '')`)]
  const names = ['server', 'tool', 'agent', 'person', 'address', 'session', 'trace', 'id']
  return `CREATE TABLE lines (file BIGINT, size BIGINT, readable BOOLEAN, is_call BOOLEAN, takes BOOLEAN, lists BOOLEAN, mine BOOLEAN, t BIGINT, ends BIGINT,
  ${names.map((name) => `${name} VARCHAR USING COMPRESSION uncompressed`).join(', ')}, line VARCHAR, touched VARCHAR, members VARCHAR, failed BOOLEAN, refused BOOLEAN, listing VARCHAR, rows BIGINT, bytes BIGINT, sent BIGINT, has_params BOOLEAN, has_response BOOLEAN,
  caller VARCHAR GENERATED ALWAYS AS (coalesce(agent, person, session, 'unknown')) VIRTUAL,
  key VARCHAR GENERATED ALWAYS AS (CASE WHEN line IS NULL THEN ${parts.map((part) => `length(${part}) || ':' || ${part}`).join(' || ')} ELSE line END) VIRTUAL,
  same UBIGINT GENERATED ALWAYS AS (hash(${['coalesce(line, id)', ...within].join(', ')})) VIRTUAL)`
}

/** As many names are looked for one by one; more are in a table. */
const fewTools = 50

/** Tools of which it is wanted what they touch. */
export const touchingTable = 'CREATE TABLE touching (tool VARCHAR)'

/**
 * The query that turns the lines of one file into rows of the table `lines`; `from` yields the column `json`, NULL for a line
 * that is no JSON. Every line becomes a row, in its order, so that what could not be used is counted, and a line can be fetched
 * again by `linesOf` when it is needed as evidence. Parameters: `$file`, `$names` and `$tools` (VARCHAR[]).
 */
export function linesQuery(
  format: LogFormat,
  from: string,
  known: Known,
  { tools, paths, parameters = true }: Touched,
): string {
  const f = format.fields
  // What every line is asked, and what only those of this server are asked.
  const always = [
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
  ]
  const outcomes = [f.outcome, ...[...(format.failures ?? []), ...(format.refusals ?? [])].map((rule) => rule.fields)]
  const ofMine = [f.durationMs, f.rows, f.bytes, format.end, ...outcomes]
  const objects = [f.params, f.response]
  const together = known.mostlyMine ? Extraction.of('v', known.present, [...always, ...ofMine], objects) : undefined
  const v = together ?? Extraction.of('v', known.present, always)
  const w = together?.in('w') ?? Extraction.of('w', known.present, ofMine, objects)
  // By the right clock.
  const time = (text: string) => `(instant(${text}) - ${(format.ahead ?? 0) * 1000})`
  const isCall = format.calls === undefined ? 'tool IS NOT NULL' : within(v, format.calls.fields, format.calls.values)
  const takes = within(v, format.takes?.fields, format.takes?.values)
  const lists = within(v, format.takes?.fields, format.takes?.lists)
  const touches =
    tools.length === 0
      ? 'false'
      : tools.length <= fewTools
        ? 'is_call AND coalesce(list_contains($tools, tool), false)'
        : 'is_call AND tool IN (SELECT tool FROM touching)'
  const { guess } = known
  // Where a call says of itself how it ended, every line is asked; else only the odd ones, as a failure is one.
  const whenOdd = (value: string, other: string) =>
    guess === undefined || w.has(f.outcome) ? value : `CASE WHEN odd THEN ${value} ELSE ${other} END`
  return `
    SELECT $file AS file, strlen(json) AS size, json IS NOT NULL${guess === undefined ? '' : ` AND CASE WHEN surprising THEN error(${literal(surprise)}) ELSE true END`} AS readable, is_call, takes, lists, mine, t,
      ${format.timeIsEnd === true ? 't' : 't + greatest(coalesce(duration, 0), 0)'} AS ends,
      named(server) AS server, coalesce(tool, 'unknown') AS tool, agent, person, address, session, trace,
      CASE WHEN touches THEN ${valuesAt(paths)} END AS touched, ${parameters ? 'CASE WHEN mine AND is_call THEN members(told) END' : 'NULL'} AS members,
      coalesce(named(id), 'line:' || left(line, 16)) AS id, line,
      CASE WHEN w IS NOT NULL THEN failed END AS failed, mine AND refused AS refused,
      CASE WHEN mine AND takes THEN listing(inside) END AS listing,
      coalesce(rows_said, nullif(listed, 0), counted(inside, kinds)) AS rows,
      coalesce(bytes_said, size_of(response)) AS bytes, size_of(params) AS sent,
      params IS NOT NULL AS has_params, response IS NOT NULL AS has_response
    FROM (SELECT *, json_type(inside, [${['$', ...rowPlaces.map((key) => `$.${key}`)].map(literal).join(', ')}]) AS kinds
    FROM (SELECT *, CASE WHEN takes OR touches OR coalesce(listed, 0) = 0 THEN carried(result) END AS inside, asked(given) AS told
    FROM (SELECT *, ${listed('result')} AS listed FROM (SELECT *, answered(logged) AS result
    FROM (SELECT *, unwrapped(response) AS logged, unwrapped(params) AS given FROM (
      SELECT *, CASE WHEN (is_call OR mine) AND id IS NULL THEN md5(json) || ':' || strlen(json) || ':' || hash(json) END AS line,
        ${whenOdd(failed(format, w), otherwise(format))} AS failed, ${whenOdd(refused(format, w), 'false')} AS refused,
        coalesce(CAST(try_cast(${w.text(f.durationMs)} AS DOUBLE) * ${1000 / (format.durationPerMs ?? 1)} AS BIGINT), ${time(w.text(format.end))} - t) AS duration,
        whole(${w.text(f.rows)}) AS rows_said, whole(${w.text(f.bytes)}) AS bytes_said,
        ${w.json(f.params)} AS params, ${w.json(f.response)} AS response
      FROM (
        SELECT *, CASE WHEN touches OR mine THEN ${together === undefined ? w.column() : 'v'} END AS w
        FROM (
          SELECT *, ${touches} AS touches FROM (
          SELECT *, ${isCall} AS is_call, ${takes} AS takes, ${lists} AS lists, ${mine(format, 'server')} AS mine
          FROM (
            SELECT *, ${time(v.text(f.time))} AS t,
              ${v.text(f.server)} AS server, named(${v.text(f.tool)}) AS tool, ${usableId(v.text(f.id))} AS id,
              named(${v.text(f.agent)}) AS agent, named(${v.text(f.user)}) AS person, named(without_port(${v.text(f.address)})) AS address,
              named(${v.text(f.session)}) AS session, named(${v.text(f.trace)}) AS trace
            FROM (SELECT *${guess === undefined ? '' : `, CASE WHEN odd THEN list_contains(json_exists(json, [${guess.unexpected.map(literal).join(', ')}]), true) ELSE false END AS surprising`}
            FROM (SELECT json, ${v.column()} AS v${guess === undefined ? '' : `, ${mayHave(guess.odd)} AS odd`} FROM ${from}))
          ))
        )
      )
    ))))))`
}

/** The query whether most of the lines are of the server in question; parameter: `$names`. */
export function mineQuery(format: LogFormat, present: ReadonlySet<string>): string {
  const v = Extraction.of('v', present, [format.fields.server])
  return `SELECT count_if(${mine(format, v.text(format.fields.server))}) * 2 > count(*) AS mostly FROM (SELECT json, ${v.column()} AS v FROM lines)`
}

/** A log that names no servers is taken for the log of this one. */
function mine({ fields }: LogFormat, server: string): string {
  return fields.server === undefined ? 'json IS NOT NULL' : `coalesce(list_contains($names, ${server}), false)`
}

function within(x: Extraction, fields: readonly string[] | undefined, values: readonly string[] = []): string {
  if (values.length === 0) return 'false'
  return `coalesce(${oneOf(x.text(fields), values)}, false)`
}

/** DuckDB makes a join of a longer IN, which keeps no order. */
function oneOf(text: string, values: readonly string[]): string {
  const list = values.map(literal).join(', ')
  return values.length < 4 ? `${text} IN (${list})` : `list_contains([${list}], ${text})`
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

/** Columns that copies of a record have in common beside their id. In the key lengths go first, so that no value can imitate the next one. */
function withinOf(format: LogFormat): readonly string[] {
  const columns = { time: 't', session: 'session', trace: 'trace', tool: 'tool' }
  return (format.idWithin ?? []).map((part) => columns[part])
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
    else rules.push(`WHEN ${oneOf(said, failure.values)} THEN true`)
  }
  return rules.length === 0 ? otherwise(format) : `CASE ${rules.join(' ')} ELSE ${otherwise(format)} END`
}

function otherwise(format: LogFormat): string {
  return format.otherwise === 'success' ? 'false' : 'CAST(NULL AS BOOLEAN)'
}

function refused(format: LogFormat, x: Extraction): string {
  const rules = (format.refusals ?? []).flatMap(({ fields, values }) =>
    fields.map((field) => `coalesce(${oneOf(`lower(${x.text([field])})`, values)}, false)`),
  )
  return rules.length === 0 ? 'false' : rules.join(' OR ')
}
