import {
  type CST,
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  parseAllDocuments,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml'
import { commaCut, type Range, skipHash, wholeLines, without } from './layout.ts'
import { maxDepth, maxValues, type Parsed, type Path, scalar, type Tree, Uneditable, Unparsable } from './tree.ts'

export function parseYaml(text: string): Parsed {
  const document = parse(text)
  return {
    tree: document.contents === null ? scalar(null) : toTree(document.contents),
    without: (path) => remove(text, document, path),
  }
}

function parse(text: string): Document.Parsed {
  try {
    const documents = parseAllDocuments(text, { keepSourceTokens: true, logLevel: 'silent', prettyErrors: true })
    const [document, more] = Array.isArray(documents) ? documents : []
    if (document === undefined) throw new Unparsable('not valid YAML: it is empty')
    if (more !== undefined) throw new Unparsable('it holds several YAML documents')
    const [error] = document.errors
    if (error !== undefined) {
      throw new Unparsable(`not valid YAML in line ${error.linePos?.[0].line ?? '?'} (${error.code})`)
    }
    return document
  } catch (error) {
    if (error instanceof RangeError) throw new Unparsable('it nests too deeply')
    throw error
  }
}

function toTree(root: Node): Tree {
  let values = 0
  // In the order of the text, as an alias means the last anchor before it. (The library's own look-up reads all of it each time.)
  const anchors = new Map<string, unknown>()
  const convert = (node: unknown, depth: number): Tree => {
    if (depth > maxDepth) throw new Unparsable(`it nests deeper than ${maxDepth} levels`)
    if (++values > maxValues) throw new Unparsable('it holds too many values')
    if (isAlias(node)) {
      const target = anchors.get(node.source)
      if (target === undefined) throw new Unparsable('not valid YAML: an alias leads nowhere')
      return convert(target, depth + 1)
    }
    const anchor = isNode(node) && !isAlias(node) ? node.anchor : undefined
    if (anchor !== undefined) anchors.set(anchor, node)
    if (isSeq(node)) return { kind: 'list', items: node.items.map((one) => convert(one, depth + 1)) }
    if (isMap(node)) {
      const members = node.items.map(({ key, value }) => ({ key: keyText(key), value: convert(value, depth + 1) }))
      return { kind: 'map', members }
    }
    return scalar(isScalar(node) ? node.value : null)
  }
  return convert(root, 0)
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : isAlias(key) ? `*${key.source}` : '?'
}

function remove(text: string, document: Document.Parsed, path: Path): string {
  let node: unknown = document.contents
  let holding: Pair | undefined
  for (const index of path.slice(0, -1)) {
    const found: unknown = isMap(node) ? node.items[index] : isSeq(node) ? node.items[index] : undefined
    if (found === undefined) throw new Uneditable('it stands behind an alias, which others may share')
    holding = isMap(node) ? (found as Pair) : undefined
    node = isMap(node) ? (found as Pair).value : found
  }
  const index = path.at(-1) ?? -1
  if (!isMap(node) && !isSeq(node)) throw new Uneditable('it stands behind an alias, which others may share')
  const parts = isMap(node) ? node.items.map((pair) => pairRange(pair)) : node.items.map((item) => nodeRange(item))
  if (node.flow === true) return without(text, commaCut(text, parts, index, skipHash))
  const part = isMap(node) ? parts[index] : itemRange(node, index, parts[index])
  if (part === undefined) throw new Uneditable('its place in the text is not known')
  const lineStart = Math.max(text.lastIndexOf('\n', part.from - 1), text.lastIndexOf('\r', part.from - 1)) + 1
  if (text.slice(lineStart, part.from).trim() !== '') throw new Uneditable('something else stands on its first line')
  const cut = trimmed(text, part)
  const rest = without(text, [wholeLines(text, cut) ?? cut])
  if (node.items.length > 1) return rest
  // A key with nothing behind it would be null, which is not an empty list of servers.
  const colon = valueIndicator(holding)
  if (colon === undefined) throw new Uneditable('it is the only one, and what holds it cannot be left empty')
  return `${rest.slice(0, colon + 1)} ${isMap(node) ? '{}' : '[]'}${rest.slice(colon + 1)}`
}

/** From the key to the end of the value, without what follows it. */
function pairRange(pair: Pair): Range {
  const key = nodeRange(pair.key)
  const colon = valueIndicator(pair)
  const value = pair.value === null ? undefined : nodeRange(pair.value)
  if (key === undefined) throw new Uneditable('its key has no place in the text')
  return { from: key.from, to: Math.max(key.to, value?.to ?? 0, (colon ?? -1) + 1) }
}

function nodeRange(node: unknown): Range {
  const { range } = node as Node
  if (range === undefined || range === null) throw new Uneditable('its place in the text is not known')
  let to = range[1]
  if (isMap(node) && node.flow !== true) for (const pair of node.items) to = Math.max(range[0], pairRange(pair).to)
  if (isSeq(node) && node.flow !== true) for (const item of node.items) to = Math.max(range[0], nodeRange(item).to)
  return { from: range[0], to }
}

/** An item with its dash. */
function itemRange(list: YAMLSeq | YAMLMap, index: number, value: Range | undefined): Range | undefined {
  const token = list.srcToken as CST.BlockSequence | undefined
  const dash = token?.items[index]?.start.find(({ type }) => type === 'seq-item-ind')
  if (dash === undefined || value === undefined) return undefined
  return { from: dash.offset, to: Math.max(value.to, dash.offset + 1) }
}

function valueIndicator(pair: Pair | undefined): number | undefined {
  const token = pair?.srcToken as CST.CollectionItem | undefined
  return token?.sep?.find(({ type }) => type === 'map-value-ind')?.offset
}

/** A block scalar ends after its line breaks: they stay. */
function trimmed(text: string, { from, to }: Range): Range {
  let end = to
  while (end > from && /[ \t\r\n]/.test(text[end - 1] ?? '')) end--
  return { from, to: end }
}
