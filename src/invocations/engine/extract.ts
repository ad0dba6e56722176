import { type FailureRule, type LogFormat, placesOf, spellings } from '../formats/format.ts'
import { longestDuration } from '../formats/read.ts'
import type { Touched } from '../port.ts'
import { identifier, literal } from './sql.ts'

/** Text of the suspect that is used as a name is cut to this many characters, so that a 50 MB tool name stays bounded. */
const longestName = 300
/** Longer lists of tools are not kept for a comparison. */
export const longestListing = 1 << 20
/** Names of the parameters of one call that are kept, and the characters of each. */
export const parameterNames = { most: 50, longest: 100 }

/** A way to a value: the keys from the outermost object inwards. */
type Place = readonly string[]

type Wanted = 'text' | 'json'

/** A tree of the object keys that a format reads. A string: its value is wanted there. */
interface Keys {
  /** The value itself is wanted: as text, or (for parameters, responses, and where something below is wanted too) as JSON. */
  wanted?: Wanted
  readonly below: Map<string, Keys>
}

/** What is known of the lines of a file before they are read. */
export interface Known {
  /** JSON pointers of those keys that the format knows and that occur: nobody looks for the others. */
  readonly present: ReadonlySet<string>
  /** Those of them that have a value in every line. */
  readonly always: ReadonlySet<string>
  /** Most of them are of the server in question, so that what only its lines are asked is best taken out together with the rest. */
  readonly mostlyMine: boolean
  /**
   * Only some lines were asked, and all of them are taken to be so. A query that meets one which may mean something else by that
   * breaks off with `isSurprise`. `text`: a line that is different is looked at more closely. `values`: lines are taken apart as they
   * are read, which saves a third of the time; there is no text then to look at, so that more of them are a surprise.
   */
  readonly guessed: 'text' | 'values' | undefined
}

/** The lines of a file, as DuckDB gets them. */
export interface LineReader {
  /** The column `json`: NULL for a line that is no JSON. */
  readonly text: string
  /** The column `v`, of this type; NULL for a line that is no JSON. */
  values(type: string): string
}

const surprise = 'a line that is not as the first ones'

/** Whether a query broke off because what it was told of the keys is not all. */
export function isSurprise(error: unknown): boolean {
  return error instanceof Error && error.message === `Invalid Input Error: ${surprise}`
}

/**
 * SQL that takes values out of JSON. One pass over each object, however many places a format knows; asking for each path by itself
 * costs three times as much.
 */
class Extraction {
  /** Name of the column that holds what was taken out. */
  readonly #as: string
  readonly #root: Keys = { below: new Map() }

  constructor(as: string) {
    this.#as = as
  }

  want(places: Iterable<Place>, as: Wanted = 'text'): void {
    for (const keys of places) {
      let at = this.#root
      for (const key of keys) {
        const next: Keys = at.below.get(key) ?? { below: new Map() }
        at.below.set(key, next)
        at = next
      }
      at.wanted = at.wanted === 'json' ? 'json' : as
    }
  }

  /** The expression that makes the column of a column `json`. */
  column(): string {
    if (this.#root.below.size === 0) return 'NULL'
    return isOpaque(this.#root) ? 'json' : `json_transform(json, ${literal(JSON.stringify(structure(this.#root)))})`
  }

  /** The type of the column, for a reader that takes the lines apart. */
  type(): string {
    return typeOf(structure(this.#root))
  }

  /** The first of these places that holds something, as text; NULL where none does. */
  text(places: readonly Place[]): string {
    return firstOf(places.map((keys) => `nullif(${this.raw(keys)}, '')`))
  }

  /** The first of these places that holds something, as JSON. */
  json(places: readonly Place[]): string {
    return firstOf(places.map((keys) => this.#json(keys)))
  }

  #json(keys: Place): string {
    const { value, rest } = this.#walk(keys)
    return `nullif(${rest.length === 0 ? value : `json_extract(${value}, ${literal(pointer(rest))})`}, 'null')`
  }

  /** What is at one place, be it empty, as text. */
  raw(keys: Place): string {
    const { value, rest, opaque } = this.#walk(keys)
    if (!opaque) return value
    const text = `json_extract_string(${value}, ${literal(pointer(rest))})`
    const key = rest.at(-1)
    return key !== undefined && isPlain(key) ? `CASE WHEN may_name(${value}, ${literal(key)}) THEN ${text} END` : text
  }

  /** Down the struct as far as it goes; the rest of the way is inside a JSON value. */
  #walk(keys: Place): { value: string; rest: Place; opaque: boolean } {
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

function firstOf(values: readonly string[]): string {
  return values.length === 0 ? 'CAST(NULL AS VARCHAR)' : `coalesce(${values.join(', ')})`
}

/** Whether this value is kept as JSON: something in it and below it is wanted, or its keys differ in case only (structs cannot). */
function isOpaque(keys: Keys): boolean {
  if (keys.wanted === 'json') return true
  if (keys.wanted === 'text' && keys.below.size > 0) return true
  const names = [...keys.below.keys()].map((key) => key.toLowerCase())
  return new Set(names).size < names.length
}

/** What is taken out of an object, as json_transform wants it. */
type Structure = string | { readonly [key: string]: Structure }

function structure(keys: Keys): Structure {
  if (isOpaque(keys)) return 'JSON'
  if (keys.wanted === 'text') return 'VARCHAR'
  return Object.fromEntries([...keys.below].map(([key, below]) => [key, structure(below)]))
}

/** The same as a type. */
function typeOf(taken: Structure): string {
  if (typeof taken === 'string') return taken
  return `STRUCT(${Object.entries(taken)
    .map(([key, below]) => `${identifier(key)} ${typeOf(below)}`)
    .join(', ')})`
}

/** Whether JSON has no other way to write this key than with \\u. */
function isPlain(key: string): boolean {
  return /^[\w.@ -]+$/.test(key)
}

function pointer(keys: Place): string {
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
function keysOf(format: LogFormat): readonly Place[] {
  const { fields: places, calls, takes, end } = format
  const paths = [...Object.values(places).flat(), ...(calls?.fields ?? []), ...(takes?.fields ?? []), ...(end ?? [])]
  return [...spelled([...new Set(paths)]), ...troubles(format)]
}

function spelled(paths: readonly string[] = []): readonly Place[] {
  return paths.flatMap((path) => spellings(path))
}

/** Where a line says that a call failed or was refused. */
function troubles({ failures = [], refusals = [] }: LogFormat): readonly Place[] {
  return [...failures.filter(isOfLine).flatMap(placesOf), ...refusals.flatMap((rule) => spelled(rule.fields))]
}

function isOfLine({ of }: FailureRule): boolean {
  return of !== 'result'
}

/**
 * Where a query looks, by what is known of the lines. Where only some were asked, all are taken to be like them; which needs a look
 * at each for what could then be missed. That look is part of the one pass, and dear for each key: a key that could not count,
 * because something else is preferred and always there, is looked for only where that is missing after all.
 */
class Places {
  readonly #known: Known
  readonly #expected: Set<string>
  /** Nobody expects something there, and it could count. */
  readonly #watched = new Map<string, Place>()
  /** Where something always was, so that nobody looks further; and where one would. */
  readonly #relied: { readonly on: Place; readonly as: Wanted; readonly others: readonly string[] }[] = []

  constructor(format: LogFormat, known: Known) {
    this.#known = known
    this.#expected = new Set(known.present)
    if (known.guessed === undefined) return
    // What says that a call failed is seldom there, and always expected.
    for (const keys of troubles(format))
      if (keys.length === 1 || known.present.has(pointer(keys.slice(0, -1)))) this.#expected.add(pointer(keys))
  }

  /** Where a value is looked for, in order of preference. */
  of(paths: readonly string[] | undefined, as: Wanted = 'text'): readonly Place[] {
    const all = spelled(paths)
    const last = all.findIndex((keys) => this.#known.guessed !== undefined && this.#known.always.has(pointer(keys)))
    const on = all[last]
    if (on === undefined) return this.all(paths)
    const others = all.slice(last + 1).map(pointer)
    if (others.length > 0) this.#relied.push({ on, as, others })
    return this.likely(all.slice(0, last + 1))
  }

  /** The same without relying on what always was there. */
  all(paths: readonly string[] | undefined): readonly Place[] {
    return this.likely(spelled(paths))
  }

  /** Those of these places where something may be. */
  likely(all: readonly Place[]): readonly Place[] {
    if (this.#known.guessed !== undefined) for (const keys of all) this.#watch(keys)
    return all.filter((keys) => this.#expected.has(pointer(keys)))
  }

  watched(): readonly Place[] {
    return [...this.#watched.values()]
  }

  /** The condition that a line is not as it was expected; undefined where nothing was guessed. */
  surprise(x: Extraction): string | undefined {
    const { guessed } = this.#known
    if (guessed === undefined) return undefined
    const unexpected = this.watched().map((keys) => `${x.raw(keys)} IS NOT NULL`)
    const missing = this.#relied.map(({ on, as, others }) =>
      guessed === 'values'
        ? `${x[as]([on])} IS NULL`
        : `CASE WHEN ${x[as]([on])} IS NULL THEN list_contains(json_exists(json, [${others.map(literal).join(', ')}]), true) ELSE false END`,
    )
    return anyOf([...unexpected, ...missing, ...(guessed === 'values' ? ['v IS NULL'] : [])])
  }

  #watch(keys: Place): void {
    const depth = keys.findIndex((_, at) => !this.#expected.has(pointer(keys.slice(0, at + 1))))
    if (depth === -1) return
    const missing = keys.slice(0, depth + 1)
    this.#watched.set(pointer(missing), missing)
  }
}

/** Where a result has its rows, and where their number. */
const rowLists = ['rows', 'records', 'items', 'results', 'data']
const rowNumbers = ['rows', 'rowCount', 'row_count']
const rowPlaces = [...new Set([...rowLists, ...rowNumbers])]
const kindAt = (key: string) => rowPlaces.indexOf(key) + 2

/** The number of rows where most servers have them, else 0 or NULL: what `counted` says as well, after more looking. */
const listed = (result: string) =>
  `CASE WHEN contains(${result}, '${rowLists[0]}"') THEN json_array_length(${result}, '/structuredContent/${rowLists[0]}') END`

/** What the queries share, as macros. */
export const macros = [
  // RFC 3339, or a number of seconds, milliseconds, micro- or nanoseconds since 1970, told apart by its size. A time without a
  // zone is UTC. Yields microseconds; NULL for everything else, `infinity` and the like among it.
  String.raw`CREATE MACRO instant(x) AS CASE
    WHEN x IS NULL THEN NULL
    -- What nearly all logs write, in a fifth of the time: a cast by itself takes more than that for a time, "10:00:00.  NZ" as well.
    WHEN x LIKE '____-__-__T__:__:__.___Z' AND x BETWEEN '0' AND ':' AND try_cast(substr(x, 21, 3) AS USMALLINT) IS NOT NULL
      THEN epoch_us(try_cast(x AS TIMESTAMPTZ))
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
  // A number of microseconds that nothing overflows by, else NULL. (Not a number is more than any.)
  `CREATE MACRO micros(x) AS CASE WHEN x BETWEEN ${-longestDuration} AND ${longestDuration} THEN CAST(x AS BIGINT) END`,
  // Counting characters costs more than counting bytes, and no string has more of them.
  `CREATE MACRO named(x) AS CASE WHEN strlen(x) > ${longestName} AND length(x) > ${longestName}
    THEN left(x, 200) || '… (' || length(x) || ' characters, sha256 ' || left(sha256(x), 16) || ')' ELSE x END`,
  // The port of a client is another one each time.
  String.raw`CREATE MACRO without_port(x) AS regexp_replace(x, '^(?:\[(.+)\]|([^:]+)):\d+$', '\1\2')`,
  // JSON that was logged as a string is taken for what it holds.
  `CREATE MACRO unwrapped(r) AS CASE WHEN starts_with(r, '"') AND json_valid(json_extract_string(r, '$'))
    THEN CAST(json_extract_string(r, '$') AS JSON) ELSE r END`,
  // Whether an object may have this key somewhere: to look at the text is cheaper than to parse it, and settles it nearly always.
  // (Not for the quotes as well: there are many of them, and each is a place to begin.)
  String.raw`CREATE MACRO may_name(r, key) AS contains(r, key) OR contains(r, '\u')`,
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
 * The table `stored` has one row for each line of the log, in the order of the lines. Only short values, so that memory stays apart
 * from what the suspect wrote. The view `lines` adds what follows from them: `place`, which counts the lines; `caller`; `key`, the
 * same for copies of one record; and `same`, a number that is the same for the same key and seldom for another. (DuckDB works
 * generated columns out for every row that is stored, to see whether they can be, and throws that away.)
 */
export function linesTables(format: LogFormat): readonly string[] {
  const within = withinOf(format)
  // Copies share an id and a time; what else they share is seen in the key of the few that do.
  const rough = ['coalesce(line, id)', ...within.filter((column) => column === 't')]
  const parts = ['id', ...within.map((column) => `coalesce(CAST(${column} AS VARCHAR), '')`)]
  return [
    `CREATE TABLE stored (file BIGINT, readable BOOLEAN, is_call BOOLEAN, takes BOOLEAN, lists BOOLEAN, mine BOOLEAN, t BIGINT, ends BIGINT,
      server VARCHAR, tool VARCHAR, agent VARCHAR, person VARCHAR, address VARCHAR, session VARCHAR, trace VARCHAR, id VARCHAR,
      line VARCHAR, touched VARCHAR, members VARCHAR, failed BOOLEAN, refused BOOLEAN, listing VARCHAR,
      rows BIGINT, bytes BIGINT, sent BIGINT, has_params BOOLEAN, has_response BOOLEAN)`,
    `CREATE VIEW lines AS SELECT *, rowid AS place, coalesce(agent, person, session, 'unknown') AS caller,
      CASE WHEN line IS NULL THEN ${parts.map((part) => `length(${part}) || ':' || ${part}`).join(' || ')} ELSE line END AS key,
      hash(${rough.join(', ')}) AS same FROM stored`,
  ]
}

/** As many names are looked for one by one; more are in a table. */
const fewTools = 50

/** Tools of which it is wanted what they touch. */
export const touchingTable = 'CREATE TABLE touching (tool VARCHAR)'

/**
 * The query that turns the lines of one file into rows of the table `stored`. Every line becomes a row, in its order, so that what
 * could not be used is counted, and a line can be fetched again by `linesOf` when it is needed as evidence. Parameters: `$file`,
 * `$names` and `$tools` (VARCHAR[]).
 */
export function linesQuery(
  format: LogFormat,
  lines: LineReader,
  known: Known,
  { tools, paths, trail = true }: Touched,
): string {
  const f = format.fields
  const places = new Places(format, known)
  // What every line is asked …
  const all = {
    time: places.of(f.time),
    server: places.of(f.server),
    tool: places.of(f.tool),
    id: places.of(f.id),
    agent: places.of(f.agent),
    user: places.of(f.user),
    session: places.of(f.session),
    trace: places.of(f.trace),
    address: places.of(f.address),
    calls: places.of(format.calls?.fields),
    takes: places.of(format.takes?.fields),
  }
  // … and what only those are asked that are of this server or that may touch something.
  const of = (fields: readonly string[] | undefined, as: Wanted = 'text') =>
    known.mostlyMine ? places.of(fields, as) : places.all(fields)
  const some = { rows: of(f.rows), bytes: of(f.bytes) }
  const ending = trail && format.timeIsEnd !== true ? { duration: of(f.durationMs), end: of(format.end) } : undefined
  const objects = { params: of(f.params, 'json'), response: of(f.response, 'json') }
  const outcome = of(f.outcome)
  const failures = (format.failures ?? []).map((rule) => ({
    ...rule,
    places: isOfLine(rule) ? places.likely(placesOf(rule)) : [],
  }))
  const refusals = (format.refusals ?? []).flatMap(({ fields, values }) =>
    fields.map((field) => ({ values, places: places.all([field]) })),
  )
  const troubles = [...failures, ...refusals].flatMap((rule) => rule.places)
  const v = new Extraction('v')
  const w = known.mostlyMine ? v : new Extraction('w')
  for (const found of Object.values(all)) v.want(found)
  v.want(places.watched())
  for (const found of [...Object.values(some), ...Object.values(ending ?? {}), outcome, troubles]) w.want(found)
  for (const found of Object.values(objects)) w.want(found, 'json')

  // By the right clock.
  const time = (text: string) => `(instant(${text}) - ${(format.ahead ?? 0) * 1000})`
  const isTaken = within(v.text(all.takes), format.takes?.values)
  const touches =
    tools.length === 0
      ? 'false'
      : tools.length <= fewTools
        ? 'is_call AND coalesce(list_contains($tools, tool), false)'
        : 'is_call AND tool IN (SELECT tool FROM touching)'
  const asked = (value: string) => `CASE WHEN mine OR touches THEN ${value} END`
  const numberAt = (found: readonly Place[]) =>
    found.length === 0 ? 'CAST(NULL AS BIGINT)' : asked(`whole(${w.text(found)})`)
  const said = outcome.length === 0 ? undefined : `lower(${w.text(outcome)})`
  const ofResult = failures.filter((rule) => !isOfLine(rule)).flatMap((rule) => rule.fields)
  const failure = failures.map((rule) => ({
    values: rule.values,
    text: isOfLine(rule) ? w.text(rule.places) : firstOf(rule.fields.map(inResult)),
  }))
  const surprising = places.surprise(v)

  const inText = known.guessed !== 'values'
  const readable = inText ? 'json IS NOT NULL' : 'true'

  const steps: readonly Readonly<Record<string, string>>[] = [
    inText ? { v: v.column() } : {},
    {
      readable:
        surprising === undefined
          ? readable
          : `${readable} AND CASE WHEN ${surprising} THEN error(${literal(surprise)}) ELSE true END`,
      t: time(v.text(all.time)),
      server: v.text(all.server),
      tool: `named(${v.text(all.tool)})`,
      id: usableId(v.text(all.id)),
      agent: `named(${v.text(all.agent)})`,
      person: `named(${v.text(all.user)})`,
      address: `named(without_port(${v.text(all.address)}))`,
      session: `named(${v.text(all.session)})`,
      trace: `named(${v.text(all.trace)})`,
    },
    {
      is_call: format.calls === undefined ? 'tool IS NOT NULL' : within(v.text(all.calls), format.calls.values),
      lists: within(v.text(all.takes), format.takes?.lists),
      mine: mine(format, 'server'),
    },
    { takes: neverBoth(format) ? `CASE WHEN is_call THEN false ELSE ${isTaken} END` : isTaken, touches },
    w === v ? {} : { w: asked(w.column()) },
    {
      line: `CASE WHEN (is_call OR mine) AND id IS NULL THEN ${inText ? "md5(json) || ':' || strlen(json) || ':' || hash(json)" : `error(${literal(surprise)})::VARCHAR`} END`,
      ...(ending === undefined
        ? {}
        : {
            duration: asked(
              `coalesce(micros(try_cast(${w.text(ending.duration)} AS DOUBLE) * ${1000 / (format.durationPerMs ?? 1)}), ${time(w.text(ending.end))} - t)`,
            ),
          }),
      rows_said: numberAt(some.rows),
      bytes_said: numberAt(some.bytes),
      params: asked(w.json(objects.params)),
      response: asked(w.json(objects.response)),
    },
    {
      logged: 'unwrapped(response)',
      given: 'unwrapped(params)',
    },
    { result: 'answered(logged)' },
    {
      listed: listed('result'),
      troubled: anyOf([
        ...troubles.map((keys) => `${w.raw(keys)} IS NOT NULL`),
        ...ofResult.map((key) => `coalesce(may_name(result, ${literal(key)}), false)`),
      ]),
    },
    {
      failed: asked(whetherFailed(said, failure, otherwise(format))),
      refused: `CASE WHEN mine AND troubled THEN ${anyOf(refusals.map((rule) => within(`lower(${w.text(rule.places)})`, rule.values)))} ELSE false END`,
      inside: 'CASE WHEN takes OR touches OR coalesce(listed, 0) = 0 THEN carried(result) END',
      told: 'asked(given)',
    },
    { kinds: `json_type(inside, [${['$', ...rowPlaces.map((key) => `$.${key}`)].map(literal).join(', ')}])` },
  ]
  return `
    SELECT $file AS file, readable, is_call, takes, lists, mine, t,
      ${ending === undefined ? 't' : 't + greatest(coalesce(duration, 0), 0)'} AS ends,
      named(server) AS server, coalesce(tool, 'unknown') AS tool, agent, person, address, session, trace,
      CASE WHEN touches THEN ${valuesAt(paths)} END AS touched, ${trail ? 'CASE WHEN mine AND is_call THEN members(told) END' : 'NULL'} AS members,
      coalesce(named(id), 'line:' || left(line, 16)) AS id, line, failed, refused,
      CASE WHEN mine AND takes THEN listing(inside) END AS listing,
      coalesce(rows_said, nullif(listed, 0), counted(inside, kinds)) AS rows,
      coalesce(bytes_said, size_of(response)) AS bytes, size_of(params) AS sent,
      params IS NOT NULL AS has_params, response IS NOT NULL AS has_response
    FROM ${inSteps(inText ? lines.text : lines.values(v.type()), steps)}`
}

/** Columns that are made of columns of the step before. */
function inSteps(from: string, steps: readonly Readonly<Record<string, string>>[]): string {
  return steps.reduce((inner, step) => {
    const columns = Object.entries(step).map(([name, value]) => `, ${value} AS ${name}`)
    return columns.length === 0 ? inner : `(SELECT *${columns.join('')} FROM ${inner})`
  }, from)
}

/** The query what the lines have in common; parameter: `$names`. */
export function commonQuery(format: LogFormat, present: ReadonlySet<string>): string {
  const server = spelled(format.fields.server).filter((keys) => present.has(pointer(keys)))
  const v = new Extraction('v')
  v.want(server)
  const values = [...present].map(literal)
  const always = values.map(
    (value, index) => `CASE WHEN bool_and(coalesce(e[${index + 1}], '') NOT IN ('', 'null')) THEN ${value} END`,
  )
  return `SELECT count_if(${mine(format, v.text(server))}) * 2 > count(*) AS mostly_mine, CAST(to_json([${always.join(', ')}]) AS VARCHAR) AS always
    FROM (SELECT json, true AS readable, ${v.column()} AS v, json_extract_string(json, [${values.join(', ')}]::VARCHAR[]) AS e FROM lines WHERE json IS NOT NULL)`
}

/** Whether lines like these can be taken apart as they are read: each has an id, so that none is told by its text. */
export function canBeTakenApart({ fields }: LogFormat, { always, mostlyMine }: Known): boolean {
  return mostlyMine && spelled(fields.id).some((keys) => always.has(pointer(keys)))
}

/** A log that names no servers is taken for the log of this one. */
function mine({ fields }: LogFormat, server: string): string {
  return fields.server === undefined ? 'readable' : `coalesce(list_contains($names, ${server}), false)`
}

function within(text: string, values: readonly string[] = []): string {
  return values.length === 0 ? 'false' : `coalesce(${oneOf(text, values)}, false)`
}

/** Whether no line can be a call and something else that is taken from a server: one field tells which it is. */
function neverBoth({ calls, takes }: LogFormat): boolean {
  if (calls === undefined || takes === undefined) return false
  const sameFields = JSON.stringify(calls.fields) === JSON.stringify(takes.fields)
  return sameFields && !takes.values.some((value) => calls.values.includes(value))
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

/** TRUE, FALSE or, when the log does not say, NULL. `said`: its own word, in lower case. */
function whetherFailed(
  said: string | undefined,
  failures: readonly { readonly text: string; readonly values: readonly string[] | 'any' }[],
  otherwise: string,
): string {
  const rules = failures.map(({ text, values }) =>
    values === 'any'
      ? `WHEN coalesce(${text} NOT IN ('false', '0'), false) THEN true`
      : `WHEN ${oneOf(text, values)} THEN true`,
  )
  const failed =
    rules.length === 0 ? otherwise : `CASE WHEN NOT troubled THEN ${otherwise} ${rules.join(' ')} ELSE ${otherwise} END`
  if (said === undefined) return failed
  return `CASE WHEN ${said} IN ('true', 'success', 'ok') OR regexp_full_match(${said}, '2\\d\\d([.]0)?') THEN false
    WHEN ${said} IS NOT NULL AND ${said} <> 'unknown' THEN true ELSE ${failed} END`
}

function anyOf(conditions: readonly string[]): string {
  return [...new Set(conditions)].join(' OR ') || 'false'
}

/** A member of what the tool gave back, as text. */
function inResult(key: string): string {
  return `nullif(CASE WHEN may_name(result, ${literal(key)}) THEN json_extract_string(result, ${literal(pointer([key]))}) END, '')`
}

function otherwise(format: LogFormat): string {
  return format.otherwise === 'success' ? 'false' : 'CAST(NULL AS BOOLEAN)'
}
