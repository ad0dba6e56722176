import { lstat, realpath } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { AnchorConfig, Config } from './config.ts'
import { IrError, systemCode } from './errors.ts'
import { readOwned } from './owned-file.ts'
import { isTrusted } from './trust-store.ts'
import { safe } from './ui/safe-text.ts'
import { dataFolder, type Env } from './xdg.ts'

const fileName = 'mcp-ir.yaml'
/** Larger is no configuration. */
const maxConfigBytes = 1024 ** 2

export interface ConfigSource {
  /** Value of `--config`. */
  readonly flag?: string | undefined
  readonly env: Env
  /** Absolute. */
  readonly cwd: string
  /** The user's home folder, absolute. */
  readonly home: string
  /** Of the user; undefined where the system has none (Windows), where ownership is not checked. Default: this process's. */
  readonly uid?: number | undefined
}

export interface FoundConfig {
  /** Absolute; with links resolved when it was named. */
  readonly file: string
  /** `found` by walking up: not the responder's own word, so it needs `mcp-ir trust`. */
  readonly by: 'flag' | 'environment' | 'found'
}

/**
 * The configuration file: named by `--config` or `MCP_IR_CONFIG`, else `mcp-ir.yaml` in the working folder or the nearest
 * folder above it, up to the repository's root or home, whichever comes first. Undefined: there is none.
 * @throws IrError input when the named one does not exist
 */
export async function findConfig(source: ConfigSource): Promise<FoundConfig | undefined> {
  if (source.flag !== undefined) return { file: await named(source.flag, source.cwd, '--config'), by: 'flag' }
  const variable = source.env.MCP_IR_CONFIG
  if (variable) return { file: await named(variable, source.cwd, 'MCP_IR_CONFIG'), by: 'environment' }
  const home = (await real(source.home)) ?? source.home
  let folder = (await real(source.cwd)) ?? source.cwd
  for (;;) {
    const file = join(folder, fileName)
    if (await exists(file)) return { file, by: 'found' }
    const parent = dirname(folder)
    if (folder === home || parent === folder || (await exists(join(folder, '.git')))) return undefined
    folder = parent
  }
}

/**
 * The configuration, all paths absolute. Without a file: the defaults, with what the environment says.
 * `MCP_IR_REGISTRY` and `MCP_IR_CASES` stand above the file and are relative to the working folder.
 * @throws IrError refused when somebody else could have written the file; input with line and hint for its mistakes
 */
export async function loadConfig(source: ConfigSource): Promise<Config> {
  const uid = 'uid' in source ? source.uid : process.getuid?.()
  const found = await findConfig(source)
  const read = found === undefined ? undefined : await readConfig(found.file, uid)
  const variable = (name: string) => {
    const value = source.env[name]
    return value ? resolve(source.cwd, value) : undefined
  }
  return {
    file: found?.file,
    // Without a file, all there is was said by the responder: flags, variables, the vendor's own chain.
    trusted:
      found === undefined ||
      read === undefined ||
      found.by !== 'found' ||
      (await isTrusted({ file: found.file, hash: read.hash }, { env: source.env, home: source.home, uid })),
    registry: variable('MCP_IR_REGISTRY') ?? read?.values.registry,
    cases: variable('MCP_IR_CASES') ?? read?.values.cases ?? join(dataFolder(source.env, source.home), 'cases'),
    invocations: read?.values.invocations,
    vault: read?.values.vault ?? {},
    aws: read?.values.aws ?? {},
    hours: read?.values.hours,
    duties: read?.values.duties ?? [],
    anchor: read?.values.anchor,
    tlp: read?.values.tlp ?? 'amber+strict',
  }
}

/** The values of a configuration file, paths absolute. @throws as `loadConfig` */
export async function readConfig(file: string, uid: number | undefined) {
  const { bytes, hash } = await readOwned(file, maxConfigBytes, uid)
  // Only now, as a run without a configuration need not wait for the parser and the schema.
  const [{ readYaml }, { configSchema }] = await Promise.all([import('./yaml-file.ts'), import('./config-schema.ts')])
  const { registry, cases, invocations, vault, anchor, ...rest } = readYaml(file, bytes, configSchema, { empty: {} })
  const absolute = (path: string) => resolve(dirname(file), path)
  return {
    hash,
    values: {
      ...rest,
      registry: registry === undefined ? undefined : absolute(registry),
      cases: cases === undefined ? undefined : absolute(cases),
      invocations: invocations?.kind === 'files' ? { ...invocations, path: absolute(invocations.path) } : invocations,
      anchor: anchor === undefined ? undefined : absoluteAnchor(anchor, absolute),
      vault: vault?.auditLog === undefined ? vault : { ...vault, auditLog: absolute(vault.auditLog) },
    },
  }
}

function absoluteAnchor(anchor: AnchorConfig, absolute: (path: string) => string): AnchorConfig {
  if (anchor.kind === 'file') return { ...anchor, path: absolute(anchor.path) }
  if (anchor.kind === 'rfc3161') return { ...anchor, certificate: absolute(anchor.certificate) }
  if (anchor.kind === 'elasticsearch') return anchor
  // As in the registry: a bare name is looked up in PATH.
  const [program = '', ...args] = anchor.command
  return { ...anchor, command: [/^\.\.?\//.test(program) ? absolute(program) : program, ...args] }
}

async function named(file: string, cwd: string, how: string): Promise<string> {
  const found = await real(resolve(cwd, file))
  if (found === undefined) throw new IrError('input', `${safe(file)}, named by ${how}, does not exist`)
  return found
}

/** With links resolved; undefined when there is no such file. */
async function real(path: string): Promise<string | undefined> {
  try {
    return await realpath(path)
  } catch (error) {
    return missing(path, error)
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    // A folder above that the user may not look into holds no configuration of theirs.
    if (systemCode(error) !== 'EACCES') missing(path, error)
    return false
  }
}

/** @throws IrError for anything but a missing file */
function missing(path: string, error: unknown): undefined {
  const code = systemCode(error)
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
  throw new IrError('input', `${safe(path)} cannot be read (${code ?? 'unknown error'})`, { cause: error })
}
