import { isAbsolute, join } from 'node:path'

/** The environment, handed in: nothing below the commands reads `process.env`. */
export type Env = Readonly<Record<string, string | undefined>>

/** `$XDG_DATA_HOME/mcp-ir`. Relative values are ignored, as the XDG base directory specification asks. */
export function dataFolder(env: Env, home: string): string {
  return folder(env.XDG_DATA_HOME, join(home, '.local', 'share'))
}

/** `$XDG_CONFIG_HOME/mcp-ir`. */
export function configFolder(env: Env, home: string): string {
  return folder(env.XDG_CONFIG_HOME, join(home, '.config'))
}

function folder(set: string | undefined, otherwise: string): string {
  return join(set !== undefined && isAbsolute(set) ? set : otherwise, 'mcp-ir')
}
