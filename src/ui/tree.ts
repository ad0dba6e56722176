/** A tree of names, merged from paths; names in it come escaped. */
interface Node {
  readonly children: Map<string, Node>
}

/** So many children are shown of one node; of more, how many. */
const shown = 12

/**
 * Paths as one tree, in the order in which they come, each line a string.
 * @example tree([['db', 'lease a'], ['db', 'lease b', 'session 7']]) is `db`, `├─ lease a`, `└─ lease b`, `   └─ session 7`
 */
export function tree(paths: readonly (readonly string[])[]): string[] {
  const root: Node = { children: new Map() }
  for (const path of paths) {
    let node = root
    for (const name of path) {
      const next = node.children.get(name) ?? { children: new Map() }
      node.children.set(name, next)
      node = next
    }
  }
  return [...root.children].flatMap(([name, node]) => [name, ...branches(node, '')])
}

function branches({ children }: Node, indent: string): string[] {
  const all = [...children]
  // One more takes no more room than the line that says so.
  const some = all.length <= shown + 1 ? all : all.slice(0, shown)
  const more = all.length - some.length
  const lines = some.flatMap(([name, node], index) => {
    const last = index === some.length - 1 && more === 0
    return [`${indent}${last ? '└─' : '├─'} ${name}`, ...branches(node, `${indent}${last ? '  ' : '│ '} `)]
  })
  return more === 0 ? lines : [...lines, `${indent}└─ and ${more} more`]
}
