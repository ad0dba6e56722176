import { type AST, ParseError, parseTOML } from 'toml-eslint-parser'
import { commaCut, type Range, skipHash, wholeLines, without } from './layout.ts'
import { maxDepth, type Parsed, type Path, scalar, type Tree, Uneditable, Unparsable } from './tree.ts'

type Keys = readonly string[]

export function parseToml(text: string): Parsed {
  const tree = treeOf(text, parse(text).body[0])
  return {
    tree,
    without: (path) => {
      const keys = keysOf(tree, path)
      // Keys with dots may say one table in several places.
      for (let now = text; ; ) {
        const cuts = places(now, parse(now).body[0], keys)
        if (cuts.length === 0) return now
        now = without(now, cuts)
      }
    },
  }
}

function parse(text: string): AST.TOMLProgram {
  try {
    return parseTOML(text, { tomlVersion: '1.1' })
  } catch (error) {
    if (error instanceof ParseError) throw new Unparsable(`not valid TOML in line ${error.lineNumber}`)
    if (error instanceof RangeError) throw new Unparsable('it nests too deeply')
    throw error
  }
}

type Table = Map<string, Tree | Table | Table[]>

/** Not by the parser's getStaticTOMLValue: a table named __proto__ would change every object of this process. */
function treeOf(text: string, root: AST.TOMLTopLevelTable): Tree {
  const all: Table = new Map()
  for (const node of root.body) {
    if (node.type === 'TOMLKeyValue') set(all, text, node, 0)
    else {
      const table = reach(all, node.resolvedKey)
      for (const one of node.body) set(table, text, one, 0)
    }
  }
  return toTree(all, 0)
}

/** The table of these keys, made where it is not there yet; a number is a position in an array of tables. */
function reach(from: Table, keys: readonly (string | number)[]): Table {
  let table = from
  for (const [at, key] of keys.entries()) {
    if (typeof key === 'number') continue
    const position = keys[at + 1]
    const found = table.get(key)
    if (typeof position === 'number') {
      const list = Array.isArray(found) ? found : []
      const item = list[position] ?? new Map()
      list[position] = item
      table.set(key, list)
      table = item
    } else {
      const next: Table = found instanceof Map ? found : new Map()
      table.set(key, next)
      table = next
    }
  }
  return table
}

function set(table: Table, text: string, { key, value }: AST.TOMLKeyValue, depth: number): void {
  const keys = names(key)
  reach(table, keys.slice(0, -1)).set(keys.at(-1) ?? '', contentOf(text, value, depth + 1))
}

function contentOf(text: string, node: AST.TOMLContentNode, depth: number): Tree {
  refuseDeeper(depth)
  if (node.type === 'TOMLArray') {
    return { kind: 'list', items: node.elements.map((one) => contentOf(text, one, depth + 1)) }
  }
  if (node.type === 'TOMLInlineTable') {
    const table: Table = new Map()
    for (const one of node.body) set(table, text, one, depth)
    return toTree(table, depth)
  }
  if (node.kind === 'string') return scalar(node.value)
  return { kind: 'scalar', type: node.kind, text: text.slice(...node.range) }
}

function toTree(value: Table | Table[] | Tree, depth: number): Tree {
  refuseDeeper(depth)
  if (Array.isArray(value)) return { kind: 'list', items: value.map((one) => toTree(one, depth + 1)) }
  if (!(value instanceof Map)) return value
  return { kind: 'map', members: [...value].map(([key, one]) => ({ key, value: toTree(one, depth + 1) })) }
}

function refuseDeeper(depth: number): void {
  if (depth > maxDepth) throw new Unparsable(`it nests deeper than ${maxDepth} levels`)
}

function names(key: AST.TOMLKey): Keys {
  return key.keys.map((one) => (one.type === 'TOMLBare' ? one.name : one.value))
}

function keysOf(tree: Tree, path: Path): Keys {
  let now = tree
  return path.map((index) => {
    const found = now.kind === 'map' ? now.members[index] : undefined
    if (found === undefined) throw new Uneditable('it stands in a list')
    now = found.value
    return found.key
  })
}

const begins = (whole: readonly (string | number)[], start: Keys): boolean =>
  start.every((key, at) => whole[at] === key)

/** Where the table of these keys stands: its headers and bodies with whole lines, else one part of an inline table. */
function places(text: string, root: AST.TOMLTopLevelTable, keys: Keys): readonly Range[] {
  const cuts: Range[] = []
  const lines = ({ range: [from, to] }: AST.TOMLTable | AST.TOMLKeyValue): Range =>
    wholeLines(text, { from, to }) ?? { from, to }
  for (const node of root.body) {
    if (node.type === 'TOMLKeyValue') {
      const found = inside(text, node, [], keys)
      if (found === 'itself') cuts.push(lines(node))
      else if (found !== undefined) return found
    } else if (begins(node.resolvedKey, keys)) {
      cuts.push(lines(node))
    } else if (node.resolvedKey.every((key, at) => keys[at] === key)) {
      for (const one of node.body) {
        const found = inside(text, one, node.resolvedKey.map(String), keys)
        if (found === 'itself') cuts.push(lines(one))
        else if (found !== undefined) return found
      }
    }
  }
  return cuts
}

function inside(
  text: string,
  node: AST.TOMLKeyValue,
  prefix: Keys,
  keys: Keys,
): 'itself' | readonly Range[] | undefined {
  const full = [...prefix, ...names(node.key)]
  if (begins(full, keys)) return 'itself'
  if (!begins(keys, full) || node.value.type !== 'TOMLInlineTable') return undefined
  const { body } = node.value
  for (const [index, one] of body.entries()) {
    const found = inside(text, one, full, keys)
    const parts = body.map(({ range: [from, to] }) => ({ from, to }))
    if (found !== undefined) return found === 'itself' ? commaCut(text, parts, index, skipHash) : found
  }
  return undefined
}
