import { lstat, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { IrError, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'

/** Which client reads a configuration file, and where it lies below a home folder. */
export interface KnownFile {
  readonly client: string
  readonly path: string
}

const support = 'Library/Application Support'
const roaming = 'AppData/Roaming'
const codes = [`${support}/Code`, '.config/Code', `${roaming}/Code`]

/** Client configurations below a home folder, as their makers document them (docs/clients.md). */
export const knownFiles: readonly KnownFile[] = [
  ...[`${support}/Claude`, `${roaming}/Claude`, '.config/Claude'].map((folder) => ({
    client: 'Claude Desktop',
    path: `${folder}/claude_desktop_config.json`,
  })),
  { client: 'Claude Code', path: '.claude.json' },
  { client: 'Claude Code', path: '.mcp.json' },
  { client: 'Claude Code', path: 'etc/claude-code/managed-mcp.json' },
  { client: 'Cursor', path: '.cursor/mcp.json' },
  ...codes.flatMap((folder) => [
    { client: 'Visual Studio Code', path: `${folder}/User/mcp.json` },
    { client: 'Visual Studio Code', path: `${folder}/User/settings.json` },
    {
      client: 'Cline',
      path: `${folder}/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json`,
    },
  ]),
  { client: 'Visual Studio Code', path: '.vscode/mcp.json' },
  { client: 'Windsurf', path: '.codeium/windsurf/mcp_config.json' },
  { client: 'Gemini CLI', path: '.gemini/settings.json' },
  { client: 'Codex', path: '.codex/config.toml' },
  { client: 'Copilot', path: '.copilot/mcp-config.json' },
  { client: 'Kiro', path: '.kiro/settings/mcp.json' },
  { client: 'Amazon Q', path: '.aws/amazonq/mcp.json' },
  { client: 'OpenCode', path: '.config/opencode/opencode.json' },
  { client: 'Zed', path: '.config/zed/settings.json' },
  { client: 'Goose', path: '.config/goose/config.yaml' },
  { client: 'Continue', path: '.continue/config.yaml' },
  { client: 'LM Studio', path: '.lmstudio/mcp.json' },
]

/** The client that reads a file, told by where it lies; undefined for a file that is none of the list. */
export function clientOf(file: string): string | undefined {
  const path = file.replaceAll('\\', '/')
  // The longest one: `.mcp.json` is also the end of others.
  return knownFiles.filter((one) => path.endsWith(`/${one.path}`)).sort((a, b) => b.path.length - a.path.length)[0]
    ?.client
}

/** The client configurations that exist below a home folder. @throws IrError input when there is no such folder */
export async function knownFilesIn(folder: string): Promise<readonly string[]> {
  const home = resolve(folder)
  const isFolder = await stat(home).then((stats) => stats.isDirectory(), absent)
  if (isFolder !== true) {
    throw new IrError('input', `${safe(home)} is no folder.`, { hints: ['--clients takes a home folder.'] })
  }
  const files = knownFiles.map(({ path }) => join(home, path))
  const there = await Promise.all(files.map((file) => lstat(file).then(() => true, absent)))
  return files.filter((_, at) => there[at] === true)
}

function absent(error: unknown): false {
  const code = systemCode(error)
  if (code === 'ENOENT' || code === 'ENOTDIR') return false
  throw new IrError('denied', `The folder of the client configurations cannot be read (${code ?? 'unknown error'}).`, {
    hints: ['Run the same with sudo, or as the user whose home folder it is.'],
    cause: error,
  })
}
