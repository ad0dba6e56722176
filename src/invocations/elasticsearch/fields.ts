import type { Cluster, Json } from '../../elasticsearch/client.ts'
import { Refused } from '../../elasticsearch/client.ts'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Field, LogFormat } from '../formats/format.ts'
import { closedIndices } from './closed.ts'

/** A field of the mapping by which records can be asked for. */
export interface Askable {
  readonly name: string
  /** `text` holds words, so that asking it for a value finds too much, never too little. */
  readonly type: 'exact' | 'text' | 'ip'
}

/** What the mapping offers of a format's places, in the format's order. */
export interface Mapping {
  /** The indices as they are to be asked: those that cannot be are left out by name. */
  readonly expression: string
  readonly dates: readonly string[]
  /** A place that the format prefers to those dates and that is no date. */
  readonly undated: string | undefined
  readonly server: readonly Askable[]
  readonly tool: readonly Askable[]
  readonly calls: readonly Askable[]
  readonly agent: readonly Askable[]
  readonly user: readonly Askable[]
  readonly session: readonly Askable[]
  readonly trace: readonly Askable[]
  readonly address: readonly Askable[]
  /** What of the log cannot be read, in plain words. */
  readonly problems: readonly string[]
}

const exact = new Set([
  'keyword',
  'constant_keyword',
  'wildcard',
  'flattened',
  'long',
  'integer',
  'short',
  'byte',
  'unsigned_long',
  'boolean',
  'version',
])
const text = new Set(['text', 'match_only_text', 'annotated_text'])
const date = new Set(['date', 'date_nanos'])

interface Capability {
  readonly type: string
  /** Only where indices differ. */
  readonly indices?: readonly string[]
}

/** Reads the mapping. @throws IrError unreachable when there is nothing to ask, or no date to ask by */
export async function mappingOf(cluster: Cluster, index: string, format: LogFormat): Promise<Mapping> {
  const places = format.fields
  const wanted = [
    places.time,
    places.server,
    places.tool,
    places.agent,
    places.user,
    places.session,
    places.trace,
    places.address,
    format.calls?.fields,
  ]
  const paths = [...new Set(wanted.flatMap((list) => list ?? []))]
  const { closed, problems: shut } = await closedIndices(cluster, index)
  const { capabilities, indices, problems } = await capabilitiesOf(cluster, index, paths.flatMap(names))
  const bad = new Map<string, string>()
  const of = (field: Field) => askable(places[field])
  const askable = (list: readonly string[] | undefined): Askable[] =>
    (list ?? []).flatMap((path) => asked(path, capabilities, bad) ?? [])
  const kept = datesOf(places.time ?? [], capabilities, bad)
  const mapping = {
    dates: kept.dates,
    undated: kept.undated,
    server: of('server'),
    tool: of('tool'),
    calls: askable(format.calls?.fields),
    agent: of('agent'),
    user: of('user'),
    session: of('session'),
    trace: of('trace'),
    address: of('address'),
  }
  if (indices.length === 0) {
    const why = closed.length === 0 ? `No index matches ${safe(index)}` : `All that ${safe(index)} names is closed`
    throw new IrError('unreachable', `${why}: nothing could be read.`)
  }
  if (mapping.dates.length === 0) {
    throw new IrError(
      'unreachable',
      `In ${safe(index)} none of the fields that hold the time is a date: ${(places.time ?? []).join(', ')}.`,
      {
        hints: [
          'Map the field as date (or date_nanos) and index the log again, or name another one with format: {map: {time: …}}.',
        ],
      },
    )
  }
  if (indices.every((name) => bad.has(name)))
    throw new IrError(
      'unreachable',
      `None of the indices that ${safe(index)} names can be asked: ${[...bad.values()][0]}.`,
    )
  return {
    ...mapping,
    expression: without(index, indices, [...bad.keys()]),
    problems: [...shut, ...problems, ...[...bad].map(([name, why]) => `The index ${safe(name)} was not read: ${why}.`)],
  }
}

/** The same indices but for some. By their names, unless those are too many for an address; then the others are taken away from it. */
function without(index: string, indices: readonly string[], bad: readonly string[]): string {
  if (bad.length === 0) return index
  const rest = indices.filter((name) => !bad.includes(name)).join(',')
  return rest.length < 3000 ? rest : [index, ...bad.map((name) => `-${name}`)].join(',')
}

/** A place by itself, what a text field usually has beside it, and whatever it may lie in. */
function names(path: string): string[] {
  const segments = path.split('.')
  return [path, `${path}.keyword`, ...segments.slice(1).map((_, index) => segments.slice(0, index + 1).join('.'))]
}

async function capabilitiesOf(cluster: Cluster, index: string, fields: readonly string[]) {
  const path = (query: string) => `/${encodeURIComponent(index)}/_field_caps?${query}`
  const body = { fields: [...new Set(fields)] }
  const problems: string[] = []
  let answer: Json
  try {
    answer = await cluster.ask('POST', path('include_unmapped=true&allow_no_indices=true'), body)
  } catch (error) {
    // One of several names is not there, or closed: the others are read, and it is said.
    if (!(error instanceof Refused) || (error.status !== 404 && error.type !== 'index_closed_exception')) throw error
    problems.push(`Not all indices that ${safe(index)} names are there (${error.type}): what they held was not read.`)
    answer = await cluster.ask(
      'POST',
      path('include_unmapped=true&allow_no_indices=true&ignore_unavailable=true'),
      body,
    )
  }
  const failures = (answer.failures ?? []) as readonly { indices?: readonly string[] }[]
  const failed = [...new Set(failures.flatMap((failure) => failure.indices ?? []))]
  if (failed.length > 0)
    problems.push(
      `The mapping of ${failed.map((name) => safe(name)).join(', ')} could not be read: what is in it may be missing.`,
    )
  return {
    capabilities: answer.fields as Readonly<Record<string, Readonly<Record<string, Capability>>>>,
    indices: (answer.indices ?? []) as readonly string[],
    problems,
  }
}

type Capabilities = Readonly<Record<string, Readonly<Record<string, Capability>>>>

function kinds(name: string, capabilities: Capabilities): readonly Capability[] {
  return Object.hasOwn(capabilities, name)
    ? Object.values(capabilities[name] ?? {}).filter(({ type }) => type !== 'unmapped')
    : []
}

/** How to ask for the values at a place; undefined when nothing is there. Indices in which it is something else are noted in `bad`. */
function asked(path: string, capabilities: Capabilities, bad: Map<string, string>): Askable | undefined {
  const around = path.split('.').map((_, index, all) => all.slice(0, index + 1).join('.'))
  if (around.slice(0, -1).some((name) => kinds(name, capabilities).some(({ type }) => type === 'flattened')))
    return { name: path, type: 'exact' }
  const found = kinds(path, capabilities)
  if (found.length === 0) return undefined
  for (const { type, indices = [] } of found) {
    if (exact.has(type) || text.has(type) || type === 'ip') continue
    if (found.length === 1) return undefined
    for (const name of indices) bad.set(name, `there ${path} is mapped as ${type}, elsewhere not`)
  }
  const types = found.map(({ type }) => type)
  if (types.some((type) => text.has(type))) {
    // Only where every index has it beside the text.
    const beside = types.every((type) => text.has(type)) ? kinds(`${path}.keyword`, capabilities) : []
    const everywhere =
      beside.length === 1 && beside[0]?.type === 'keyword' && capabilities[`${path}.keyword`]?.unmapped === undefined
    return everywhere ? { name: `${path}.keyword`, type: 'exact' } : { name: path, type: 'text' }
  }
  return { name: path, type: types.includes('ip') ? 'ip' : 'exact' }
}

function datesOf(paths: readonly string[], capabilities: Capabilities, bad: Map<string, string>) {
  const dates: string[] = []
  let undated: string | undefined
  for (const path of paths) {
    const found = kinds(path, capabilities).filter(({ type }) => type !== 'object' && type !== 'nested')
    if (found.length === 0) continue
    if (!found.some(({ type }) => date.has(type))) {
      if (dates.length === 0) undated ??= path
      continue
    }
    dates.push(path)
    for (const { type, indices = [] } of found) {
      if (!date.has(type))
        for (const name of indices) bad.set(name, `there ${path} is mapped as ${type}, elsewhere as date`)
    }
  }
  return { dates, undated }
}
