import type { Json } from '../../elasticsearch/client.ts'
import type { LogFormat } from '../formats/format.ts'
import type { Askable, Mapping } from './fields.ts'

/**
 * Queries. A value is always a value (`term`, `terms`, `match_phrase`, `prefix`) and never a pattern or an expression; names of
 * fields come from the format and the configuration, never from a log.
 */

/** Terms in one query; the cluster takes 65,536. */
const mostTerms = 10_000
/** For text every value is a clause of its own, of which a cluster takes a thousand or so. */
const mostClauses = 300
/** Names are cut to 300 characters where they are read; of longer ones the beginning is asked for. */
const asRead = / characters, sha256 [0-9a-f]{16}\)$/
const beginning = 200
/** Keywords are not indexed beyond a length that the mapping sets, and are listed here instead. */
const ignored = '_ignored'

export const everything: Json = { match_all: {} }

export function all(...filters: readonly Json[]): Json {
  return { bool: { filter: filters } }
}

export function any(should: readonly Json[]): Json {
  return should.length === 0 ? { match_none: {} } : { bool: { should, minimum_should_match: 1 } }
}

export function not(...queries: readonly Json[]): Json {
  return { bool: { must_not: queries } }
}

/** Records that have something at one of these places, be it too long for the index. */
export function exists(fields: readonly { readonly name: string }[]): Json {
  return any(fields.flatMap(({ name }) => [{ exists: { field: name } }, { term: { [ignored]: name } }]))
}

/**
 * Records that have one of these values at one of these places; also those whose value was too long for the index. May find more.
 */
export function withValue(places: readonly Askable[], values: readonly string[]): Json {
  const plain = values.filter((value) => !asRead.test(value))
  const cut = values.filter((value) => asRead.test(value)).map((value) => [...value].slice(0, beginning).join(''))
  return any(
    places.flatMap((place) => [
      ...(plain.length === 0 ? [] : equal(place, plain)),
      ...cut.map((value) => ({ prefix: { [place.name]: { value } } })),
      { term: { [ignored]: place.name } },
    ]),
  )
}

function equal({ name, type }: Askable, values: readonly string[]): Json[] {
  if (type === 'exact') return [{ terms: { [name]: values } }]
  if (type === 'text')
    return values.map((value) => ({ match_phrase: { [name]: { query: value, zero_terms_query: 'all' } } }))
  const addresses = values.filter((value) => /^[0-9a-fA-F.:]+$/.test(value))
  return addresses.length === 0 ? [] : [{ terms: { [name]: addresses } }]
}

/**
 * Values as the index has them: of a list (which is read as JSON) each member by itself. Those that were cut can no longer be taken
 * apart.
 */
export function membersOf(values: Iterable<string>): { readonly members: ReadonlySet<string>; readonly cut: number } {
  const members = new Set<string>()
  let cut = 0
  for (const value of values) {
    members.add(value)
    if (!/^[[{]/.test(value)) continue
    if (asRead.test(value)) cut += 1
    else for (const member of leavesIn(value)) members.add(member)
  }
  return { members, cut }
}

function leavesIn(json: string): string[] {
  const leaves: string[] = []
  try {
    // The reviver sees every value in it.
    JSON.parse(json, (_, value: unknown) => {
      if (typeof value !== 'object') leaves.push(String(value))
      return value
    })
  } catch {
    // A name that only begins like one.
  }
  return leaves
}

/** Values in pieces that one query can take. */
export function inPieces<T>(places: readonly Askable[], values: Iterable<T>): T[][] {
  const size = places.some(({ type }) => type === 'text') ? mostClauses : mostTerms
  const list = [...values]
  return Array.from({ length: Math.ceil(list.length / size) }, (_, at) => list.slice(at * size, (at + 1) * size))
}

/** As `withValue`, but a place counts only where those before it are empty: exactly the records, where the places are exact. */
export function firstValue(places: readonly Askable[], values: readonly string[]): Json {
  return any(
    places.map((place, index) =>
      all(...equal(place, values), ...(index === 0 ? [] : [not(exists(places.slice(0, index)))])),
    ),
  )
}

/** Tool calls. */
export function isCall(format: LogFormat, mapping: Mapping): Json {
  return format.calls === undefined ? exists(mapping.tool) : firstValue(mapping.calls, format.calls.values)
}

/** RFC 3339. */
export interface Span {
  readonly from?: string
  readonly to?: string
}

/** The first of the dates that a record has lies in the span: for each date, the records of which it is the first, and the span. */
export function timeIs(dates: readonly string[], span: Span): Json {
  return any(dates.map((date, index) => all(between(date, span), ofDate(dates, index))))
}

export function between(date: string, { from, to }: Span): Json {
  const range = { ...(from === undefined ? {} : { gte: from }), ...(to === undefined ? {} : { lt: to }) }
  return { range: { [date]: { ...range, format: 'strict_date_optional_time' } } }
}

/** Records of which this is the first date that they have. */
export function ofDate(dates: readonly string[], index: number): Json {
  return index === 0 ? everything : not(exists(dates.slice(0, index).map((name) => ({ name }))))
}

/**
 * Records whose time may be wrong in the index, so that only reading them tells: without one; from before there was any such log,
 * as when seconds were taken for milliseconds; from the future.
 */
export function timeIsOdd(dates: readonly string[], ahead: string): Json {
  return any([
    not(exists(dates.map((name) => ({ name })))),
    timeIs(dates, { to: '1990-01-01T00:00:00Z' }),
    timeIs(dates, { from: ahead }),
  ])
}
