import { IrError } from '../../errors.ts'
import { type ServedTool, toolsDigest } from '../../mcp/tools-digest.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Listing, Usage } from './port.ts'
import type { Judged, Suspicion } from './suspicion.ts'
import { listed, minute, shown } from './words.ts'

/** Characters of a description that are shown. */
const excerpt = 200

interface Answer extends Omit<Listing, 'json'> {
  readonly instructions: string | undefined
  /** Undefined: it says nothing of tools. */
  readonly tools: readonly ServedTool[] | undefined
  /** Whether it is one page of several. */
  readonly paged: boolean
}

/**
 * What the server said of its tools: against what it said before the window, and against the registry's digest.
 * @param approved the registry's `tools.digest`
 */
export function descriptions(usage: Usage, approved: string | undefined): Judged {
  const answers = usage.listings.flatMap((listing) => read(listing) ?? [])
  const lists = answers.filter(({ tools }) => tools !== undefined)
  const gaps: string[] = []
  if (usage.listingsLeftOut > 0)
    gaps.push(`${usage.listingsLeftOut} answers with lists of tools are too long or too many: they were not compared.`)
  if (answers.length < usage.listings.length)
    gaps.push('Some lists of tools in the log could not be read: they were not compared.')
  if (lists.length === 0)
    return {
      suspicions: [],
      gaps: [
        ...gaps,
        "The log holds no answer with the server's list of tools: whether descriptions changed was not seen.",
      ],
    }
  const changes = changed(lists, gaps)
  const told = new Set(changes.flatMap(({ records }) => records))
  return { suspicions: [...changes, ...unapproved(answers, approved, told, gaps)], gaps }
}

/** What the server itself says of its tools, before the window where it did: whether they only read. */
export function readOnlyHints(usage: Usage): ReadonlyMap<string, boolean> {
  const hints = new Map<string, boolean>()
  for (const { tools = [] } of usage.listings.flatMap((listing) => read(listing) ?? [])) {
    for (const { name, annotations } of tools) {
      const hint =
        typeof annotations === 'object' && annotations !== null && 'readOnlyHint' in annotations
          ? annotations.readOnlyHint
          : undefined
      if (typeof hint === 'boolean' && !hints.has(name)) hints.set(name, hint)
    }
  }
  return hints
}

function read({ json, ...listing }: Listing): Answer | undefined {
  const { tools, instructions, nextCursor } = JSON.parse(json) as Readonly<Record<string, unknown>>
  const list = Array.isArray(tools) ? tools : undefined
  if (list?.some((tool) => typeof tool !== 'object' || tool === null || typeof tool.name !== 'string') === true)
    return undefined
  return {
    ...listing,
    instructions: typeof instructions === 'string' ? instructions : undefined,
    tools: list as readonly ServedTool[] | undefined,
    paged: nextCursor !== undefined && nextCursor !== null,
  }
}

/** Tools whose definition in the window is none that they had before it, and tools that were not there. */
function changed(lists: readonly Answer[], gaps: string[]): (Suspicion & { records: readonly string[] })[] {
  const before = new Map<string, { readonly digests: Set<string>; latest: ServedTool }>()
  for (const { tools = [] } of lists.filter((list) => list.before)) {
    for (const tool of tools) {
      const known = before.get(tool.name) ?? { digests: new Set(), latest: tool }
      known.digests.add(digestOf([tool]) ?? '')
      known.latest = tool
      before.set(tool.name, known)
    }
  }
  if (before.size === 0) {
    gaps.push(
      "The log holds no list of the server's tools from before the window: what changed in them cannot be told.",
    )
    return []
  }
  const found = new Map<string, Suspicion & { records: readonly string[] }>()
  for (const { tools = [], first, record } of lists) {
    if (record === undefined) continue
    for (const tool of tools) {
      const known = before.get(tool.name)
      const digest = digestOf([tool])
      const key = JSON.stringify([tool.name, digest])
      if (known?.digests.has(digest ?? '') === true || found.has(key)) continue
      const told = known === undefined ? added(tool) : different(tool, known.latest)
      found.set(key, { ...told, from: first, records: [record] })
    }
  }
  return [...found.values()]
}

function added(tool: ServedTool): Pick<Suspicion, 'kind' | 'tell'> {
  return {
    kind: 'tool',
    tell: () => ({
      summary: `The server offers a tool that it did not offer before: ${shown(tool.name)}`,
      expected: 'the tools that it offered before the window',
      seen: quoted(text(tool.description)),
    }),
  }
}

function different(tool: ServedTool, known: ServedTool): Pick<Suspicion, 'kind' | 'tell'> {
  const keys = ['title', 'description', 'inputSchema', 'outputSchema', 'annotations', '_meta'].filter(
    (key) => digestOf([only(tool, key)]) !== digestOf([only(known, key)]),
  )
  const [was, is] = apart(text(known.description), text(tool.description))
  const described = keys.includes('description')
  return {
    kind: 'description',
    tell: () => ({
      summary: `The ${described ? 'description' : 'definition'} of tool ${shown(tool.name)} changed (${listed(keys)})`,
      expected: described ? quoted(was) : quoted(JSON.stringify(only(known, keys[0] ?? '')[keys[0] ?? ''])),
      seen: described ? quoted(is) : quoted(JSON.stringify(only(tool, keys[0] ?? '')[keys[0] ?? ''])),
    }),
  }
}

function only(tool: ServedTool, key: string): ServedTool {
  return { name: tool.name, ...(Object.hasOwn(tool, key) ? { [key]: tool[key] } : {}) }
}

/** Two texts from where they part on, with a little of what goes before. */
function apart(one: string, other: string): readonly [string, string] {
  const [a, b] = [[...one], [...other]]
  let same = 0
  while (same < a.length && same < b.length && a[same] === b[same]) same += 1
  const from = Math.max(0, same - 30)
  const rest = (characters: readonly string[]) => `${from > 0 ? '… ' : ''}${characters.slice(from).join('')}`
  return [rest(a), rest(b)]
}

/** Lists that are not those that the registry approves. */
function unapproved(
  answers: readonly Answer[],
  approved: string | undefined,
  told: ReadonlySet<string>,
  gaps: string[],
): Suspicion[] {
  if (approved === undefined) {
    gaps.push('The registry approves no digest of the tools: whether they are the approved ones cannot be told.')
    return []
  }
  const instructions = [...new Set(answers.map((answer) => answer.instructions)), undefined]
  const isApproved = ({ tools = [] }: Answer) => instructions.some((said) => digestOf(tools, said) === approved)
  const lists = answers.filter(({ tools, paged }) => tools !== undefined && !paged)
  const others = lists.filter((list) => list.record !== undefined && !isApproved(list))
  // The digest covers the instructions. Where the log has none, a list may differ for want of them.
  const comparable = instructions.some((said) => said !== undefined) || lists.some(isApproved)
  // A server that said the same before the window is not suspected for want of its instructions; one that is first seen in it is.
  if (others.length > 0 && !comparable && lists.some(({ before }) => before)) {
    gaps.push(
      "Whether the tools in the log are the approved ones cannot be told: the registry's digest covers the server's instructions too, which the log does not hold.",
    )
    return []
  }
  return others.flatMap(({ record = '', tools = [], first }): Suspicion[] => {
    if (told.has(record)) return []
    const digest = digestOf(tools)
    return [
      {
        kind: 'description',
        from: first,
        records: [record],
        tell: () => ({
          summary: 'The server offered other tools than the approved ones',
          expected: `the digest ${approved}${comparable ? '' : ', which covers its instructions too: the log does not hold those, and they alone may differ'}`,
          seen: `${digest ?? 'no digest, as two tools share a name'}, first at ${minute(first)}: ${listed(
            tools.slice(0, 5).map(({ name }) => shown(name)),
            Math.max(0, tools.length - 5),
          )}`,
        }),
      },
    ]
  })
}

/** Undefined where there is none: two tools of one name, numbers beyond JSON. */
function digestOf(tools: readonly ServedTool[], instructions?: string): string | undefined {
  try {
    return toolsDigest({ tools, instructions })
  } catch (error) {
    if (error instanceof IrError) return undefined
    throw error
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function quoted(value: string | undefined): string {
  return value === undefined || value === '' ? 'nothing' : `“${safe(value, excerpt)}”`
}
