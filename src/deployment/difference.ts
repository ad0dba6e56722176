import { isDeepStrictEqual } from 'node:util'
import { covered, type ServedTools } from '../mcp/tools-digest.ts'
import { safe } from '../ui/safe-text.ts'

/** One place where what is served is not what was approved. Both texts may be hostile. */
export interface Difference {
  /** Undefined: the instructions of the server. */
  readonly tool?: string
  /** `description`, `inputSchema.properties.id.type`; empty for a tool as a whole. */
  readonly field: string
  /** Undefined: it is not there. */
  readonly approved: unknown
  readonly served: unknown
}

/** Of what the digest covers, field by field, in the order of the tools' names. */
export function differences(approved: ServedTools, served: ServedTools): Difference[] {
  const found: Difference[] = []
  compare(approved.instructions, served.instructions, { field: 'instructions' }, found)
  const [before, after] = [byName(approved), byName(served)]
  for (const name of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    const [old, now] = [before.get(name), after.get(name)]
    if (old === undefined || now === undefined) found.push({ tool: name, field: '', approved: old, served: now })
    else for (const key of covered) compare(old[key], now[key], { tool: name, field: key }, found)
  }
  return found
}

function byName({ tools }: ServedTools): Map<string, Readonly<Record<string, unknown>>> {
  return new Map(tools.map((tool) => [tool.name, tool]))
}

type Place = Pick<Difference, 'tool' | 'field'>

function compare(approved: unknown, served: unknown, place: Place, found: Difference[]): void {
  if (isDeepStrictEqual(approved, served)) return
  if (isObject(approved) && isObject(served)) {
    for (const key of new Set([...Object.keys(approved), ...Object.keys(served)].sort()))
      compare(own(approved, key), own(served, key), { ...place, field: `${place.field}.${key}` }, found)
    return
  }
  found.push({ ...place, approved, served })
}

/** `__proto__` is a key like any other here. */
function own(of: object, key: string): unknown {
  return Object.getOwnPropertyDescriptor(of, key)?.value
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const mostShown = 8

/** For people: `get_customer, description: approved "one [customer.]", served "one [client.]"`, made inert. */
export function told(found: readonly Difference[]): string {
  const lines = found.slice(0, mostShown).map(({ tool, field, approved, served }) => {
    const where = [tool === undefined ? [] : `tool ${safe(tool, 80)}`, field === '' ? [] : safe(field, 160)].flat()
    if (approved === undefined) return `${where.join(', ')}: not approved, served ${shown(served)}`
    if (served === undefined) return `${where.join(', ')}: approved and not served`
    const [old, now] = marked(text(approved), text(served))
    return `${where.join(', ')}: approved "${safe(old, 300)}", served "${safe(now, 300)}"`
  })
  const more = found.length - lines.length
  return lines.join('; ') + (more > 0 ? `; and ${more} more` : '')
}

function shown(value: unknown): string {
  return `"${safe(text(value), 300)}"`
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
}

/** How many of the words around a change are shown with it. */
const around = 6

/** The words that differ, in brackets, with some of those around them. */
function marked(old: string, now: string): [string, string] {
  const [before, after] = [old.split(/(?<=\s)/), now.split(/(?<=\s)/)]
  const shortest = Math.min(before.length, after.length)
  let head = 0
  while (head < shortest && before[head] === after[head]) head++
  let tail = 0
  while (tail < shortest - head && before.at(-1 - tail) === after.at(-1 - tail)) tail++
  const part = (words: readonly string[]): string => {
    const start = Math.max(0, head - around)
    const end = Math.min(words.length, words.length - tail + around)
    const middle = words.slice(head, words.length - tail).join('')
    const [lead, trail] = [words.slice(start, head).join(''), words.slice(words.length - tail, end).join('')]
    return `${start > 0 ? '… ' : ''}${lead}[${middle.trimEnd()}]${/\s$/.test(middle) ? ' ' : ''}${trail}${end < words.length ? ' …' : ''}`
  }
  return [part(before), part(after)]
}
