import { lstat, readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { IrError, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'

/** Which client reads a configuration file, and where it lies below a home folder. */
export interface KnownFile {
  readonly client: string
  /** `*` stands for any one name, or for any start of one. */
  readonly path: string
}

const support = 'Library/Application Support'
const roaming = 'AppData/Roaming'
const codes = [support, '.config', roaming].flatMap((folder) => [`${folder}/Code`, `${folder}/Code - Insiders`])

/** Client configurations below a home folder, as their makers document them (docs/clients.md). */
export const knownFiles: readonly KnownFile[] = [
  ...[`${support}/Claude`, `${roaming}/Claude`, '.config/Claude'].map((folder) => ({
    client: 'Claude Desktop',
    path: `${folder}/claude_desktop_config.json`,
  })),
  { client: 'Claude Code', path: '.claude.json' },
  { client: 'Claude Code', path: '.mcp.json' },
  { client: 'Claude Code', path: 'etc/claude-code/managed-mcp.json' },
  { client: 'Claude Code', path: `${support}/ClaudeCode/managed-mcp.json` },
  { client: 'Cursor', path: '.cursor/mcp.json' },
  ...codes.flatMap((folder) => [
    { client: 'Visual Studio Code', path: `${folder}/User/mcp.json` },
    { client: 'Visual Studio Code', path: `${folder}/User/settings.json` },
    { client: 'Visual Studio Code', path: `${folder}/User/profiles/*/mcp.json` },
    {
      client: 'Cline',
      path: `${folder}/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json`,
    },
  ]),
  { client: 'Cline', path: '.cline/data/settings/cline_mcp_settings.json' },
  { client: 'Visual Studio Code', path: '.vscode/mcp.json' },
  { client: 'Windsurf', path: '.codeium/windsurf/mcp_config.json' },
  { client: 'Gemini CLI', path: '.gemini/settings.json' },
  { client: 'Codex', path: '.codex/config.toml' },
  { client: 'Copilot', path: '.copilot/mcp-config.json' },
  { client: 'Kiro', path: '.kiro/settings/mcp.json' },
  { client: 'Kiro', path: '.kiro/agents/*.json' },
  { client: 'Amazon Q', path: '.aws/amazonq/mcp.json' },
  { client: 'Amazon Q', path: '.aws/amazonq/default.json' },
  { client: 'Amazon Q', path: '.aws/amazonq/cli-agents/*.json' },
  { client: 'Amazon Q', path: '.amazonq/mcp.json' },
  { client: 'OpenCode', path: '.config/opencode/opencode.json' },
  { client: 'OpenCode', path: '.config/opencode/opencode.jsonc' },
  { client: 'Zed', path: '.config/zed/settings.json' },
  { client: 'Zed', path: '.zed/settings.json' },
  { client: 'Goose', path: '.config/goose/config.yaml' },
  { client: 'Goose', path: `${roaming}/Block/goose/config/config.yaml` },
  { client: 'Continue', path: '.continue/config.yaml' },
  ...['yaml', 'yml', 'json'].map((ending) => ({ client: 'Continue', path: `.continue/mcpServers/*.${ending}` })),
  { client: 'LM Studio', path: '.lmstudio/mcp.json' },
]

/** The client that reads a file, told by where it lies; undefined for a file that is none of the list. */
export function clientOf(file: string): string | undefined {
  const names = file.replaceAll('\\', '/').split('/')
  // The longest one: `.mcp.json` is also the end of others.
  return knownFiles
    .map((one) => ({ ...one, parts: one.path.split('/') }))
    .filter(({ parts }) => parts.length < names.length)
    .filter(({ parts }) => parts.every((part, at) => isNamed(part, names.at(at - parts.length) ?? '')))
    .sort((a, b) => b.parts.length - a.parts.length)[0]?.client
}

/** The client configurations that exist below a home folder. @throws IrError input when there is no such folder */
export async function knownFilesIn(folder: string): Promise<readonly string[]> {
  const home = resolve(folder)
  const isFolder = await stat(home).then((stats) => stats.isDirectory(), absent)
  if (isFolder !== true) {
    throw new IrError('input', `${safe(home)} is no folder.`, { hints: ['--clients takes a home folder.'] })
  }
  const found = await Promise.all(knownFiles.map(({ path }) => below(home, path.split('/'))))
  return found.flat()
}

/** The files of this pattern, in the order of their names. The last part may be a link: it is told, and left. */
async function below(folder: string, [part = '', ...rest]: readonly string[]): Promise<readonly string[]> {
  const names = part.includes('*') ? await listed(folder, part) : [part]
  const found = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name)
      if (rest.length > 0) return below(path, rest)
      const there = await lstat(path).then(() => true, absent)
      return there ? [path] : []
    }),
  )
  return found.flat()
}

async function listed(folder: string, part: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch(absent)
  return names === false ? [] : names.filter((name) => isNamed(part, name)).sort()
}

/** Whether a name is what one part of a pattern asks for. */
function isNamed(part: string, name: string): boolean {
  if (!part.startsWith('*')) return part === name
  return name.endsWith(part.slice(1)) && name.length >= part.length && !name.startsWith('.')
}

function absent(error: unknown): false {
  const code = systemCode(error)
  if (code === 'ENOENT' || code === 'ENOTDIR') return false
  throw new IrError('denied', `The folder of the client configurations cannot be read (${code ?? 'unknown error'}).`, {
    hints: ['Run the same with sudo, or as the user whose home folder it is.'],
    cause: error,
  })
}
