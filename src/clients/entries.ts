import { member, type Path, stringOf, type Tree } from './tree.ts'

/** One MCP server as a client's configuration knows it. What it holds was written by anybody: hostile. */
export interface Entry {
  readonly name: string
  /** Keys from the root, for people. */
  readonly where: readonly string[]
  readonly path: Path
  readonly node: Tree
  /** The command and its arguments, of an entry that the client starts itself. */
  readonly argv: readonly string[]
  readonly cwd: string | undefined
  readonly urls: readonly string[]
}

// Where clients keep their MCP servers (docs/clients.md has the list with its sources).
const containers = new Set([
  'mcpServers', // Claude, Cursor, Windsurf, Gemini CLI, Copilot, Kiro, Amazon Q, Cline, LM Studio, Continue (a list)
  'servers', // Visual Studio Code: mcp.json
  'mcp', // OpenCode; Visual Studio Code: settings.json, with `servers` in it
  'mcp.servers',
  'context_servers', // Zed
  'extensions', // Goose
  'mcp_servers', // Codex
])
export const urlKeys: readonly string[] = ['url', 'uri', 'serverUrl', 'httpUrl', 'baseUrl', 'endpoint']

/** Every entry for an MCP server in a client's configuration. */
export function entriesOf(root: Tree): readonly Entry[] {
  if (root.kind !== 'map') return []
  const found: Entry[] = []
  const collect = (holder: Tree, where: readonly string[], path: Path): void => {
    if (holder.kind === 'list') {
      for (const [at, node] of holder.items.entries()) {
        const name = stringOf(member(node, 'name'))
        if (name !== undefined) found.push(entry(name, [...where, name], [...path, at], node))
      }
    }
    if (holder.kind !== 'map') return
    for (const [at, { key, value }] of holder.members.entries()) {
      if (value.kind !== 'map') continue
      const nested =
        key === 'servers' && where.at(-1) === 'mcp' && value.members.every((one) => one.value.kind === 'map')
      if (nested) collect(value, [...where, key], [...path, at])
      else found.push(entry(key, [...where, key], [...path, at], value))
    }
  }
  const look = (tree: Tree, where: readonly string[], path: Path): void => {
    if (tree.kind !== 'map') return
    for (const [at, { key, value }] of tree.members.entries()) {
      if (containers.has(key)) collect(value, [...where, key], [...path, at])
      // Claude Code keeps the servers of each project in ~/.claude.json.
      if (key === 'projects' && path.length === 0 && value.kind === 'map') {
        for (const [index, project] of value.members.entries()) {
          look(project.value, [key, project.key], [at, index])
        }
      }
    }
  }
  look(root, [], [])
  return found
}

function entry(name: string, where: readonly string[], path: Path, node: Tree): Entry {
  // A URL may stand one level deeper: in Zed's settings of an extension, in Goose's config, in a transport.
  const deeper = ['transport', 'settings', 'config'].map((key) => member(node, key))
  const parts = [node, ...deeper].filter((part) => part?.kind === 'map')
  const argv: string[] = []
  const urls: string[] = []
  let cwd: string | undefined
  for (const part of parts) {
    argv.push(...argvOf(part))
    for (const key of urlKeys) urls.push(...texts(member(part, key)))
    cwd ??= stringOf(member(part, 'cwd'))
  }
  return { name, where, path, node, argv, cwd, urls }
}

/** `command` is a string with `args` beside it (most), a list (OpenCode), or a map with `path` and `args` (Zed). */
function argvOf(node: Tree | undefined): readonly string[] {
  const command = member(node, 'command') ?? member(node, 'cmd')
  const inner = command?.kind === 'map' ? [...texts(member(command, 'path')), ...texts(member(command, 'args'))] : []
  const first = [...texts(command), ...inner]
  return first.length === 0 ? [] : [...first, ...texts(member(node, 'args'))]
}

function texts(tree: Tree | undefined): readonly string[] {
  if (tree?.kind === 'list') return tree.items.flatMap((one) => (one.kind === 'scalar' ? [one.text] : []))
  const text = stringOf(tree)
  return text === undefined ? [] : [text]
}
