import { extname } from 'node:path'
import { parseJson } from './json.ts'
import { parseToml } from './toml.ts'
import { type Parsed, type Path, prune, same, type Tree, Uneditable, Unparsable } from './tree.ts'
import { parseYaml } from './yaml.ts'

/** A client's configuration file: what it says, and how to take one entry out of it. */
export interface Document {
  readonly tree: Tree
  /**
   * The bytes of the file without what stands at the path: every other byte as it was. What comes out is read again, and
   * must say the same without that entry.
   * @throws Uneditable
   */
  without(path: Path): Uint8Array
}

const mark = '\uFEFF'
/** Bytes; the YAML parser takes about a second for each MiB. */
const limits = { json: 64 * 1024 ** 2, toml: 4 * 1024 ** 2, yaml: 4 * 1024 ** 2 }
const parsers = { json: parseJson, toml: parseToml, yaml: parseYaml }

/** @throws Unparsable when it is not what the name's ending says; the words hold nothing of the file */
export function parseClientFile(file: string, bytes: Uint8Array): Document {
  const format = formatOf(file)
  if (bytes.length > limits[format]) throw new Unparsable(`it is larger than ${limits[format] / 1024 ** 2} MiB`)
  const decoded = decode(bytes)
  const bom = decoded.startsWith(mark) ? mark : ''
  const parse = (text: string): Parsed => {
    try {
      return parsers[format](text)
    } catch (error) {
      if (error instanceof RangeError) throw new Unparsable('it nests too deeply')
      throw error
    }
  }
  const parsed = parse(decoded.slice(bom.length))
  return {
    tree: parsed.tree,
    without: (path) => {
      const text = parsed.without(path)
      try {
        const now = parse(text).tree
        if (!remains(parsed.tree, path, now)) throw new Uneditable('taking it out would alter something else')
      } catch (error) {
        if (error instanceof Unparsable) throw new Uneditable('what is left would not be valid', { cause: error })
        throw error
      }
      return Buffer.from(bom + text, 'utf8')
    },
  }
}

function formatOf(file: string): keyof typeof parsers {
  const ending = extname(file).toLowerCase()
  return ending === '.toml' ? 'toml' : ending === '.yaml' || ending === '.yml' ? 'yaml' : 'json'
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    throw new Unparsable('it is not text in UTF-8', { cause: error })
  }
}

/** Whether `now` is `before` without the entry. A TOML table goes with its last member, as it has no place of its own. */
function remains(before: Tree, path: Path, now: Tree): boolean {
  for (let up = path; up.length > 0; up = up.slice(0, -1)) {
    if (same(prune(before, up), now)) return true
    const holder = at(prune(before, up), up.slice(0, -1))
    if (holder?.kind !== 'map' || holder.members.length > 0) return false
  }
  return false
}

function at(tree: Tree, path: Path): Tree | undefined {
  let now: Tree | undefined = tree
  for (const index of path) {
    now = now?.kind === 'map' ? now.members[index]?.value : now?.kind === 'list' ? now.items[index] : undefined
  }
  return now
}
