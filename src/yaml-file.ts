import { distance } from 'fastest-levenshtein'
import {
  CORE_SCHEMA,
  defineScalarTag,
  EVENT_ID,
  type Event,
  getScalarValue,
  load,
  parseEvents,
  YAMLException,
} from 'js-yaml'
import type { core, ZodType } from 'zod'
import { IrError } from './errors.ts'
import { safe } from './ui/safe-text.ts'

/** Where in a document: keys and indexes from the root. */
export type Path = readonly (string | number)[]

/** Something wrong in a YAML file. */
export interface Mistake {
  readonly path: Path
  /** What is wrong, as the end of a sentence that starts with the path. May name the line of another place. */
  readonly what: string | ((line: (path: Path) => number) => string)
  readonly hint?: string | undefined
}

const maxMistakes = 20
// An alias costs nothing to parse but is validated wherever it is used, so nested aliases multiply: 200 of them come to at
// most some 300,000 values in our schemas, none of which is recursive.
const maxAliases = 200
const maxDepth = 50

// YAML's own time stamps stay text (schemas say what an instant is), and `<<` is an unknown key like any other.
const yamlSchema = CORE_SCHEMA.withTags(
  defineScalarTag('tag:yaml.org,2002:timestamp', { resolve: (source) => source, identify: () => false }),
)

/**
 * Reads a YAML document and checks it. Fast when all is well; lines are looked for only when something is wrong.
 * @param file for messages
 * @param options.empty what a file without any document means; without it that is an error
 * @param options.check finds what a schema cannot say (duplicates, dangling references), in the document as written,
 *   which may be wrong in every other way too
 * @throws IrError input: one line `file:line: where.path: what` per mistake, the first 20
 */
export function readYaml<T>(
  file: string,
  bytes: Uint8Array,
  schema: ZodType<T>,
  options: { readonly empty?: unknown; readonly check?: (data: unknown) => readonly Mistake[] } = {},
): T {
  const text = decode(file, bytes)
  const data = parse(file, text) ?? options.empty
  if (data === undefined || data === null) throw new IrError('input', `${safe(file)}:1: the file is empty`)
  const parsed = schema.safeParse(data)
  const mistakes = options.check?.(data) ?? []
  if (parsed.success && mistakes.length === 0) return parsed.data
  const wrong = parsed.success ? [] : parsed.error.issues.flatMap((issue) => mistakesOf(issue, schema, data))
  throw yamlError(file, text, [...wrong, ...mistakes])
}

/** All mistakes of a file as one error, in the order of their lines. */
function yamlError(file: string, text: string, mistakes: readonly Mistake[]): IrError {
  const line = lineFinder(text)
  const found = mistakes
    .map((mistake) => ({ ...mistake, line: line(mistake.path) }))
    .sort((a, b) => a.line - b.line)
    .slice(0, maxMistakes)
  const lines = found.map(({ path, what, line: at }) => {
    const where = path.length === 0 ? '' : `${safe(shown(path))}: `
    return `${safe(file)}:${at}: ${where}${typeof what === 'string' ? what : what(line)}`
  })
  if (mistakes.length > maxMistakes) lines.push(`… and ${mistakes.length - maxMistakes} more`)
  const hints = found.flatMap((mistake) =>
    mistake.hint === undefined ? [] : [found.length === 1 ? mistake.hint : `line ${mistake.line}: ${mistake.hint}`],
  )
  return new IrError('input', lines.join('\n'), { hints })
}

/** The nearest of some known words, if one is near enough to be what was meant. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const far = distance(word.slice(0, 200).toLowerCase(), candidate.toLowerCase())
    if (far < least) {
      least = far
      best = candidate
    }
  }
  return best
}

function decode(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new IrError('input', `${safe(file)} is not UTF-8 text`, { cause: error })
  }
}

/** Undefined: there is no document in it. */
function parse(file: string, text: string): unknown {
  try {
    return load(text, { schema: yamlSchema, maxAliases, maxDepth })
  } catch (error) {
    // js-yaml may throw others than its own (a stack overflow): the file is at fault all the same. Its message is not
    // passed on, as it quotes the file.
    const reason = error instanceof YAMLException ? error.reason : 'is too deep or too large to read'
    if (reason.includes('the input is empty')) return undefined
    const line = error instanceof YAMLException && error.mark !== undefined ? error.mark.line + 1 : 1
    throw new IrError('input', `${safe(file)}:${line}: ${safe(reason)}`, { hints: syntaxHints(reason), cause: error })
  }
}

function syntaxHints(reason: string): readonly string[] {
  if (reason.includes('maxAliases')) return [`at most ${maxAliases} aliases (*name) are read: write the values out`]
  if (reason.includes('duplicated')) return ['a key may stand only once in a mapping']
  if (reason.includes('tab')) return ['indent with spaces']
  return []
}

// ---------------------------------------------------------------------------------------------- what zod found, in words

type Issue = core.$ZodIssue

function mistakesOf(issue: Issue, schema: ZodType, data: unknown): readonly Mistake[] {
  const path = issue.path.filter((part) => typeof part !== 'symbol')
  const value = path.reduce<unknown>(child, data)
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, path, data)
    return issue.keys.map((key) => {
      const near = nearest(key, known)
      const hint =
        key === '<<'
          ? 'merge keys are not supported: write the keys out'
          : near === undefined
            ? `known here: ${known.join(', ')}`
            : `did you mean ${near}?`
      return { path: [...path, key], what: 'is not a known key', hint }
    })
  }
  const allowed = allowedValues(issue)
  if (value === undefined)
    return [{ path, what: 'is missing', hint: allowed && `it must be one of: ${allowed.join(', ')}` }]
  if (allowed !== undefined) {
    const near = typeof value === 'string' ? nearest(value, allowed) : undefined
    return [
      {
        path,
        what: `must be one of ${allowed.join(', ')}`,
        hint: near === undefined ? `allowed: ${allowed.join(', ')}` : `did you mean ${near}?`,
      },
    ]
  }
  return [{ path, ...inWords(issue, value) }]
}

function inWords(issue: Issue, value: unknown): { what: string; hint?: string } {
  if (issue.code === 'invalid_type') {
    const expected = words[issue.expected] ?? issue.expected
    if (value === null)
      return { what: `is empty: it must be ${expected}`, hint: 'give it a value or leave the key out' }
    if (issue.expected === 'string' && typeof value !== 'object')
      return { what: `must be ${expected}, not a ${typeof value}`, hint: 'put it in quotes' }
    return { what: `must be ${expected}` }
  }
  if (issue.code === 'too_small' && issue.origin === 'string') return { what: 'is empty' }
  if (issue.code === 'too_small' && issue.origin === 'array') return { what: 'is an empty list' }
  if (issue.code === 'too_small') return { what: `must be at least ${issue.minimum}` }
  if (issue.code === 'too_big')
    return { what: `must be at most ${issue.maximum}${issue.origin === 'string' ? ' characters' : ''}` }
  // What remains is said by our schemas in plain words.
  return { what: issue.message }
}

const words: Readonly<Record<string, string>> = {
  string: 'text',
  array: 'a list',
  object: 'a mapping of keys to values',
  record: 'a mapping of keys to values',
  int: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
}

/** The values that would do, for an enumeration, a literal or the `kind` of a union. */
function allowedValues(issue: Issue): readonly string[] | undefined {
  if (issue.code === 'invalid_value') return issue.values.map(String)
  if (issue.code === 'invalid_union' && 'options' in issue && Array.isArray(issue.options))
    return issue.options.map(String)
  return undefined
}

/** The keys that the schema knows at a path; `data` says which kind of a union is meant. */
function knownKeys(schema: ZodType, path: Path, data: unknown): readonly string[] {
  let at: ZodType | undefined = resolve(schema, data)
  let value = data
  for (const part of path) {
    value = child(value, part)
    const next = at === undefined ? undefined : schemaAt(at, part)
    at = next === undefined ? undefined : resolve(next, value)
  }
  return Object.keys(at === undefined ? {} : (definition(at).shape ?? {}))
}

interface Definition {
  readonly type: string
  readonly shape?: Readonly<Record<string, ZodType>>
  readonly element?: ZodType
  readonly innerType?: ZodType
  readonly options?: readonly ZodType[]
  readonly discriminator?: string
}

const definition = (schema: ZodType) => schema._zod.def as unknown as Definition

function schemaAt(schema: ZodType, part: string | number): ZodType | undefined {
  const def = definition(schema)
  return typeof part === 'number' ? def.element : def.shape?.[part]
}

/** Without optional and default, and of a union the option that the value's kind names. */
function resolve(schema: ZodType, value: unknown): ZodType | undefined {
  const def = definition(schema)
  if (def.innerType !== undefined) return resolve(def.innerType, value)
  const { discriminator, options } = def
  if (options === undefined) return schema
  if (discriminator === undefined) {
    // Text or a mapping: the mapping is what has keys.
    const mapping = options.find((option) => definition(option).shape !== undefined)
    return mapping === undefined ? undefined : resolve(mapping, value)
  }
  const kind = child(value, discriminator)
  return options.find((option) => definition(option).shape?.[discriminator]?.safeParse(kind).success)
}

function child(value: unknown, part: string | number): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
  return (value as Record<string | number, unknown>)[part]
}

/** `servers[3].package.version` */
function shown(path: Path): string {
  return path.reduce<string>(
    (text, part) => (typeof part === 'number' ? `${text}[${part}]` : text === '' ? part : `${text}.${part}`),
    '',
  )
}

// ------------------------------------------------------------------------------------------------------------- the lines

interface Place {
  /** Offset in the text of the key that leads here, of the item for a list's. */
  readonly offset: number
  readonly children: Map<string | number, Place>
}

/** Finds the line (from 1) of a path; of what is missing, the line of what it is missing from. */
function lineFinder(text: string): (path: Path) => number {
  const root = places(text)
  const starts = [0]
  for (const match of text.matchAll(/\r\n|\r|\n/g)) starts.push(match.index + match[0].length)
  return (path) => {
    let place = root
    for (const part of path) {
      const next = place.children.get(part)
      if (next === undefined) break
      place = next
    }
    let low = 0
    let high = starts.length
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if ((starts[middle] ?? 0) <= place.offset) low = middle
      else high = middle
    }
    return low + 1
  }
}

/** The document as a tree of positions. An alias has the children of what it stands for. */
function places(text: string): Place {
  const root: Place = { offset: 0, children: new Map() }
  const anchors = new Map<string, Place>()
  const open: { place: Place; key?: { name: string; offset: number } | undefined; mapping: boolean }[] = []
  for (const event of parseEvents(text, { maxDepth })) {
    if (event.type === EVENT_ID.POP) {
      open.pop()
      continue
    }
    if (event.type === EVENT_ID.DOCUMENT) {
      open.push({ place: root, mapping: false })
      continue
    }
    const parent = open.at(-1)
    if (parent === undefined) break
    if (parent.mapping && parent.key === undefined) {
      // js-yaml has read the document before, so a key is a scalar.
      if (event.type === EVENT_ID.SCALAR) parent.key = { name: getScalarValue(text, event), offset: event.valueStart }
      continue
    }
    if (open.length === 1) {
      if (isCollection(event)) open.push({ place: root, mapping: event.type === EVENT_ID.MAPPING })
      continue
    }
    const place = placeOf(event, text, anchors, parent)
    parent.place.children.set(parent.mapping ? (parent.key?.name ?? '') : parent.place.children.size, place)
    parent.key = undefined
    if (isCollection(event)) open.push({ place, mapping: event.type === EVENT_ID.MAPPING })
  }
  return root
}

const isCollection = (event: Event) => event.type === EVENT_ID.MAPPING || event.type === EVENT_ID.SEQUENCE

function placeOf(
  event: Exclude<Event, { type: typeof EVENT_ID.POP | typeof EVENT_ID.DOCUMENT }>,
  text: string,
  anchors: Map<string, Place>,
  parent: { place: Place; key?: { offset: number } | undefined },
): Place {
  const own =
    event.type === EVENT_ID.ALIAS ? event.anchorStart : event.type === EVENT_ID.SCALAR ? event.valueStart : event.start
  const offset = parent.key?.offset ?? (own >= 0 ? own : parent.place.offset)
  const anchor = event.anchorStart >= 0 ? text.slice(event.anchorStart, event.anchorEnd) : undefined
  if (event.type === EVENT_ID.ALIAS)
    return { offset, children: anchors.get(anchor ?? '')?.children ?? new Map<string | number, Place>() }
  const place: Place = { offset, children: new Map() }
  if (anchor !== undefined) anchors.set(anchor, place)
  return place
}
