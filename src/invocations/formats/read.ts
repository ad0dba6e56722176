import { createHash } from 'node:crypto'
import { type LogFormat, placesOf, spellings } from './format.ts'

/**
 * One line of a log as a format understands it: the same as the query in engine/extract.ts says of it, in JavaScript. It is for
 * the few lines that are too long for the query, which needs dozens of times their size; the contract holds both to one answer.
 */
export interface ReadLine {
  readonly isCall: boolean
  /** Something else that a client takes from a server: a list of tools, a prompt, a resource. */
  readonly takes: boolean
  /** And that is the list of tools. */
  readonly lists: boolean
  /** Whether it is about one of the names; every line is, in a log that names no servers. */
  readonly mine: boolean
  /** Start and end, microseconds since 1970. */
  readonly t: bigint | undefined
  readonly ends: bigint | undefined
  readonly server: string | undefined
  readonly tool: string
  readonly agent: string | undefined
  readonly user: string | undefined
  readonly address: string | undefined
  readonly session: string | undefined
  readonly trace: string | undefined
  readonly id: string | undefined
  /** A hash of the whole line, for one without an id: copies are told by it. */
  readonly line: string | undefined
  readonly failed: boolean | undefined
  /** For want of rights or of a valid identity. */
  readonly refused: boolean
  /** What the server says of its tools or of itself: the result of such a request. */
  readonly listing: unknown
  readonly rows: number | undefined
  readonly bytes: number | undefined
  readonly sent: number | undefined
  readonly hasParams: boolean
  readonly hasResponse: boolean
  /** The parameters themselves, without what a request wraps around them. */
  readonly told: unknown
  /** What is at a path such as `params.a.b` or `response.a.b`. */
  readonly at: (path: string) => string | undefined
}

/** Microseconds; some 285 years. What claims to have taken longer says nothing. */
export const longestDuration = 9e15

export function readLine(format: LogFormat, line: Uint8Array, value: unknown, names: readonly string[]): ReadLine {
  const f = format.fields
  const text = (paths: readonly string[] | undefined) => firstOf(paths, value, asText)
  const server = text(f.server)
  const tool = text(f.tool)
  const said = text(f.id)
  const id = said !== undefined && /^0{8,}$/.test(said) ? undefined : said
  const at = (paths: readonly string[] | undefined) => {
    const time = instant(text(paths))
    return time === undefined ? undefined : time - BigInt(format.ahead ?? 0) * 1000n
  }
  const t = at(f.time)
  const session = named(text(f.session))
  const trace = named(text(f.trace))
  const isCall =
    format.calls === undefined ? tool !== undefined : format.calls.values.includes(text(format.calls.fields) ?? '')
  const taken = text(format.takes?.fields)
  const params = firstOf(f.params, value, asJson)
  const response = firstOf(f.response, value, asJson)
  const duration = Number(text(f.durationMs))
  const end = at(format.end)
  const micros = Math.round((duration * 1000) / (format.durationPerMs ?? 1))
  const took =
    text(f.durationMs) !== undefined && Math.abs(micros) <= longestDuration
      ? BigInt(micros)
      : end !== undefined && t !== undefined
        ? end - t
        : 0n
  const hash = createHash('sha256').update(line).digest('hex')
  const told = asked(parsed(params)?.value ?? params)
  const result = resultOf(response)
  const carries = carried(result)
  const reached = (path: string) => {
    const [from, ...keys] = path.split('.')
    return named(asText(memberAt(keys, from === 'params' ? told : carries)))
  }
  return {
    isCall,
    takes: taken !== undefined && format.takes?.values.includes(taken) === true,
    lists: taken !== undefined && format.takes?.lists.includes(taken) === true,
    mine: f.server === undefined || (server !== undefined && names.includes(server)),
    t,
    ends: t === undefined ? undefined : t + (took > 0n && format.timeIsEnd !== true ? took : 0n),
    server: named(server),
    tool: named(tool) ?? 'unknown',
    agent: named(text(f.agent)),
    user: named(text(f.user)),
    address: named(withoutPort(text(f.address))),
    session,
    trace,
    id: named(id) ?? `line:${hash.slice(0, 16)}`,
    line: id === undefined ? hash : undefined,
    failed: failed(format, text(f.outcome), value, result),
    refused: refused(format, text),
    listing: isListing(carries) ? carries : undefined,
    rows: whole(text(f.rows)) ?? countRows(carries),
    bytes: whole(text(f.bytes)) ?? sizeOf(response),
    sent: sizeOf(params),
    hasParams: params !== undefined,
    hasResponse: response !== undefined,
    told,
    at: reached,
  }
}

function firstOf<T>(
  paths: readonly string[] | undefined,
  value: unknown,
  take: (value: unknown) => T | undefined,
): T | undefined {
  return firstAt(
    (paths ?? []).flatMap((path) => spellings(path)),
    value,
    take,
  )
}

function firstAt<T>(
  places: readonly (readonly string[])[],
  value: unknown,
  take: (value: unknown) => T | undefined,
): T | undefined {
  for (const keys of places) {
    const found = take(memberAt(keys, value))
    if (found !== undefined) return found
  }
  return undefined
}

function memberAt(keys: readonly string[], value: unknown): unknown {
  return keys.reduce<unknown>((at, key) => (isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined), value)
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function asText(value: unknown): string | undefined {
  if (value === undefined || value === null || value === '') return undefined
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function asJson(value: unknown): unknown {
  return value === null ? undefined : value
}

function instant(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined
  const date =
    /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.](\d+))?)?\s*(?:([Zz])|([+-]\d\d)(?::?(\d\d))?)?$/.exec(text)
  if (date !== null) {
    const [, day, minute, second = '00', fraction = '', , hours, minutes = '00'] = date
    const at = Date.parse(`${day}T${minute}:${second}${hours === undefined ? 'Z' : `${hours}:${minutes}`}`)
    return Number.isNaN(at) ? undefined : BigInt(at) * 1000n + BigInt(fraction.slice(0, 6).padEnd(6, '0'))
  }
  if (/^\d{1,19}$/.test(text)) {
    const n = BigInt(text)
    if (n >= 1n << 63n) return undefined
    return n < 10n ** 11n ? n * 1_000_000n : n < 10n ** 14n ? n * 1000n : n < 10n ** 17n ? n : n / 1000n
  }
  if (/^\d{1,18}[.]\d{1,20}$/.test(text)) {
    const n = Number(text)
    return BigInt(Math.round(n < 1e11 ? n * 1e6 : n < 1e14 ? n * 1e3 : n < 1e17 ? n : n / 1e3))
  }
  return undefined
}

function whole(text: string | undefined): number | undefined {
  if (text === undefined || text.trim() === '') return undefined
  const n = Number(text)
  return Number.isSafeInteger(n) && n >= 0 ? n : undefined
}

/** The port of a client is another one each time. */
function withoutPort(address: string | undefined): string | undefined {
  return (
    /^(?:\[(.+)\]|([^:]+)):\d+$/
      .exec(address ?? '')
      ?.slice(1)
      .find((host) => host !== undefined) ?? address
  )
}

function named(text: string | undefined): string | undefined {
  if (text === undefined || text.length <= 300) return text?.toWellFormed()
  const characters = [...text.toWellFormed()]
  if (characters.length <= 300) return text.toWellFormed()
  const hash = createHash('sha256').update(text.toWellFormed()).digest('hex').slice(0, 16)
  return `${characters.slice(0, 200).join('')}… (${characters.length} characters, sha256 ${hash})`
}

function failed(format: LogFormat, said: string | undefined, line: unknown, result: unknown): boolean | undefined {
  const outcome = said?.toLowerCase()
  if (outcome !== undefined && (['true', 'success', 'ok'].includes(outcome) || /^2\d\d(?:[.]0)?$/.test(outcome)))
    return false
  if (outcome !== undefined && outcome !== 'unknown') return true
  for (const rule of format.failures ?? []) {
    const word = firstAt(placesOf(rule), rule.of === 'result' ? result : line, asText)
    if (word === undefined) continue
    if (rule.values === 'any' ? word !== 'false' && word !== '0' : rule.values.includes(word)) return true
  }
  return format.otherwise === 'success' ? false : undefined
}

function refused(format: LogFormat, text: (paths: readonly string[] | undefined) => string | undefined): boolean {
  return (format.refusals ?? []).some(({ fields, values }) =>
    fields.some((field) => values.includes(text([field])?.toLowerCase() ?? '')),
  )
}

function isListing(value: unknown): boolean {
  return isObject(value) && (Array.isArray(value.tools) || typeof value.instructions === 'string')
}

function parsed(text: unknown): { readonly value: unknown } | undefined {
  if (typeof text !== 'string') return undefined
  try {
    return { value: JSON.parse(text) }
  } catch {
    return undefined
  }
}

/** The arguments inside a request; see the macros of engine/extract.ts. */
function asked(value: unknown): unknown {
  if (!isObject(value)) return value
  if (isObject(value.params) && isObject(value.params.arguments)) return value.params.arguments
  return isObject(value.arguments) && typeof value.name === 'string' ? value.arguments : value
}

/** What a tool gave back: the response, or the result inside a JSON-RPC answer. */
function resultOf(response: unknown): unknown {
  const value = parsed(response)?.value ?? response
  return isObject(value) && isObject(value.result) && 'jsonrpc' in value ? value.result : value
}

/** What a tool result carries. */
function carried(result: unknown): unknown {
  let value = result
  if (isObject(value)) {
    const { structuredContent, content } = value
    const only =
      Array.isArray(content) && content.length === 1 && isObject(content[0]) ? parsed(content[0].text) : undefined
    if (typeof structuredContent === 'object' && structuredContent !== null) value = structuredContent
    else if (only !== undefined) value = only.value
  }
  return value
}

/** How many rows that is. */
function countRows(value: unknown): number | undefined {
  if (Array.isArray(value)) return value.length
  if (!isObject(value)) return undefined
  for (const key of ['rows', 'records', 'items', 'results', 'data']) {
    const list = value[key]
    if (Array.isArray(list)) return list.length
  }
  for (const key of ['rows', 'rowCount', 'row_count']) {
    const n = value[key]
    if (typeof n === 'number' && whole(String(n)) !== undefined) return n
  }
  return undefined
}

export function sizeOf(value: unknown): number | undefined {
  if (value === undefined) return undefined
  return Buffer.byteLength(typeof value === 'string' ? value : JSON.stringify(value))
}
