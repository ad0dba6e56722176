/**
 * What a configuration file says, without its layout: the same form for JSON, TOML and YAML. Members keep their order, and
 * a key may stand twice, as in JSON.
 */
export type Tree =
  | { readonly kind: 'map'; readonly members: readonly { readonly key: string; readonly value: Tree }[] }
  | { readonly kind: 'list'; readonly items: readonly Tree[] }
  | { readonly kind: 'scalar'; readonly type: string; readonly text: string }

/** Positions from the root: of a member in its map, of an item in its list. */
export type Path = readonly number[]

/** A parsed file that can lose one member or item. */
export interface Parsed {
  readonly tree: Tree
  /** The text without what stands at the path. @throws Uneditable when the layout does not allow it */
  without(path: Path): string
}

/** The file is not what its format asks for. The message is ours and holds nothing of the file. */
export class Unparsable extends Error {}

/** The file is right, but the entry cannot be taken out without touching something else. */
export class Uneditable extends Error {}

/** Deeper than any client's configuration; keeps hostile nesting off the stack. */
export const maxDepth = 200
/** More values than any client's configuration has; keeps aliases that multiply from filling the memory. */
export const maxValues = 100_000

export const scalar = (value: unknown): Tree => ({
  kind: 'scalar',
  type: value === null ? 'null' : value instanceof Date ? 'date' : typeof value,
  text: value instanceof Date ? `${value.getTime()}` : Object.is(value, -0) ? '-0' : String(value),
})

/** The value of a key; the last one where it stands twice, as the clients read it. */
export function member(tree: Tree | undefined, key: string): Tree | undefined {
  if (tree?.kind !== 'map') return undefined
  const own = tree.members.findLast((one) => one.key === key)?.value
  if (own !== undefined) return own
  // YAML's merge key
  const merged = tree.members.find((one) => one.key === '<<')?.value
  if (merged?.kind === 'list') {
    for (const one of merged.items) {
      const found = one.kind === 'map' ? member(one, key) : undefined
      if (found !== undefined) return found
    }
  }
  return merged?.kind === 'map' ? member(merged, key) : undefined
}

export function stringOf(tree: Tree | undefined): string | undefined {
  return tree?.kind === 'scalar' && tree.type === 'string' ? tree.text : undefined
}

/** The tree without what stands at the path. */
export function prune(tree: Tree, [index = -1, ...rest]: Path): Tree {
  if (tree.kind === 'map') {
    const members = tree.members.flatMap((one, at) => {
      if (at !== index) return one
      return rest.length === 0 ? [] : { key: one.key, value: prune(one.value, rest) }
    })
    return { kind: 'map', members }
  }
  if (tree.kind === 'list') {
    const items = tree.items.flatMap((one, at) => {
      if (at !== index) return one
      return rest.length === 0 ? [] : prune(one, rest)
    })
    return { kind: 'list', items }
  }
  return tree
}

/** Whether both say the same; the order of different keys does not count, the bytes tell that. */
export function same(a: Tree, b: Tree): boolean {
  if (a.kind === 'map' && b.kind === 'map') {
    const [left, right] = [sorted(a.members), sorted(b.members)]
    return (
      left.length === right.length &&
      left.every((one, at) => {
        const other = right[at]
        return other !== undefined && one.key === other.key && same(one.value, other.value)
      })
    )
  }
  if (a.kind === 'list' && b.kind === 'list') {
    return (
      a.items.length === b.items.length &&
      a.items.every((one, at) => {
        const other = b.items[at]
        return other !== undefined && same(one, other)
      })
    )
  }
  return a.kind === 'scalar' && b.kind === 'scalar' && a.type === b.type && a.text === b.text
}

function sorted<T extends { readonly key: string }>(members: readonly T[]): readonly T[] {
  return members.toSorted((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
}
