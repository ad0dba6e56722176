import { createRequire } from 'node:module'
import type { Node, ParseError } from 'jsonc-parser'
import { commaCut, without } from './layout.ts'
import { maxDepth, type Parsed, type Path, scalar, type Tree, Unparsable } from './tree.ts'

// Its ES modules lack file extensions, which Node needs, and its UMD form cannot be bundled: it is required as it is.
const { parseTree, printParseErrorCode } = createRequire(import.meta.url)(
  'jsonc-parser',
) as typeof import('jsonc-parser')

/** JSON, with comments and trailing commas as Visual Studio Code and Zed allow them. */
export function parseJson(text: string): Parsed {
  refuseDepth(text)
  const errors: ParseError[] = []
  const root = parseTree(text, errors, { allowTrailingComma: true })
  const [error] = errors
  if (error !== undefined) {
    const line = text.slice(0, error.offset).split('\n').length
    throw new Unparsable(`not valid JSON in line ${line} (${printParseErrorCode(error.error)})`)
  }
  if (root === undefined) throw new Unparsable('not valid JSON: it is empty')
  return {
    tree: toTree(root),
    without: (path) => {
      const [parent, index] = holder(root, path)
      const parts = (parent.children ?? []).map(({ offset, length }) => ({ from: offset, to: offset + length }))
      return without(text, commaCut(text, parts, index, skip))
    },
  }
}

function toTree(node: Node): Tree {
  const { children = [] } = node
  if (node.type === 'array') return { kind: 'list', items: children.map(toTree) }
  if (node.type !== 'object') return scalar(node.value)
  const members = children.map(({ children: [key, value] = [] }) => {
    if (key === undefined || value === undefined) throw new Unparsable('not valid JSON: a value is missing')
    return { key: String(key.value), value: toTree(value) }
  })
  return { kind: 'map', members }
}

/** The object or array that holds what stands at the path, and its position there. */
function holder(root: Node, path: Path): readonly [Node, number] {
  let node = root
  for (const index of path.slice(0, -1)) {
    const child = node.children?.[index]
    const next = child?.type === 'property' ? child.children?.[1] : child
    if (next === undefined) throw new TypeError('no such path')
    node = next
  }
  return [node, path.at(-1) ?? -1]
}

/** Blanks, line comments and block comments. */
function skip(text: string, at: number): number {
  let next = at
  for (;;) {
    while (/[ \t\r\n]/.test(text[next] ?? '')) next++
    if (text.startsWith('//', next)) {
      while (next < text.length && !/[\r\n]/.test(text[next] ?? '')) next++
    } else if (text.startsWith('/*', next)) {
      const end = text.indexOf('*/', next + 2)
      next = end < 0 ? text.length : end + 2
    } else return next
  }
}

/** The parser calls itself for every level: what nests too deeply is told apart before. */
function refuseDepth(text: string): void {
  let depth = 0
  for (const [token] of text.matchAll(/"(?:[^"\\\r\n]|\\.)*"|\/\/[^\r\n]*|\/\*[\s\S]*?\*\/|[[\]{}]/g)) {
    if (token === '{' || token === '[') depth++
    else if (token === '}' || token === ']') depth--
    if (depth > maxDepth) throw new Unparsable(`it nests deeper than ${maxDepth} levels`)
  }
}
