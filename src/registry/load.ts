import { dirname, resolve } from 'node:path'
import { readRegular } from '../owned-file.ts'
import { safe } from '../ui/safe-text.ts'
import { type Mistake, type Path, readYaml } from '../yaml-file.ts'
import type { Registry } from './port.ts'
import { registrySchema, type Server } from './schema.ts'

const maxBytes = 256 * 1024 ** 2

/**
 * Reads and checks a registry. Relative paths in it become absolute, against the file's folder; moments become RFC 3339 UTC.
 * @throws IrError input with all its mistakes: file, line, place, and hints
 */
export async function loadRegistry(file: string): Promise<Registry> {
  const absolute = resolve(file)
  const { bytes, hash } = await readRegular(absolute, maxBytes)
  const { servers } = readYaml(absolute, bytes, registrySchema, { check })
  const folder = dirname(absolute)
  for (const server of servers) resolvePaths(server, folder)
  return { file: absolute, hash, servers }
}

function resolvePaths(server: Server, folder: string): void {
  const pack = server.package
  if (pack.path !== undefined) pack.path = resolve(folder, pack.path)
  if (pack.attestations !== undefined) pack.attestations = resolve(folder, pack.attestations)
  if (pack.key !== undefined) pack.key = resolve(folder, pack.key)
  if (pack.trustedRoot !== undefined) pack.trustedRoot = resolve(folder, pack.trustedRoot)
  if (server.tools?.document !== undefined) server.tools.document = resolve(folder, server.tools.document)
  server.clients = server.clients.map((client) => resolve(folder, client))
  for (const deployment of server.deployments) {
    if (deployment.redeploy?.command !== undefined) resolveProgram(deployment.redeploy.command, folder)
    if (deployment.kind !== 'local-process') continue
    if (deployment.pidFile !== undefined) deployment.pidFile = resolve(folder, deployment.pidFile)
    if (deployment.cwd !== undefined) deployment.cwd = resolve(folder, deployment.cwd)
  }
  for (const credential of server.credentials) {
    resolveCredential(credential, folder)
    if ('issuer' in credential && credential.issuer !== undefined) resolveCredential(credential.issuer, folder)
  }
  if (server.deliverTo?.kind === 'file') server.deliverTo.path = resolve(folder, server.deliverTo.path)
}

function resolveCredential(
  credential: {
    kind: string
    command?: string[]
    clientSecretFile?: string | undefined
    tokenFile?: string | undefined
  },
  folder: string,
): void {
  if (credential.clientSecretFile !== undefined)
    credential.clientSecretFile = resolve(folder, credential.clientSecretFile)
  if (credential.tokenFile !== undefined) credential.tokenFile = resolve(folder, credential.tokenFile)
  if (credential.command !== undefined) resolveProgram(credential.command, folder)
}

/** As a shell has it: a program without a slash is looked for in PATH, every other one is a path. */
function resolveProgram(command: string[], folder: string): void {
  const [program] = command
  if (program?.includes('/')) command[0] = resolve(folder, program)
}

/** What the schema cannot say. Looks at the document as it is written, which may be wrong in any other way. */
function check(document: unknown): readonly Mistake[] {
  const mistakes: Mistake[] = []
  const servers = list(of(document, 'servers'))
  const names = unique(servers, 'name', ['servers'], 'server', mistakes)
  servers.forEach((server, index) => {
    const at: Path = ['servers', index]
    const name = of(server, 'name')
    list(of(server, 'aliases')).forEach((alias, position) => {
      if (typeof alias !== 'string' || alias === name) return
      const other = names.get(alias)
      if (other !== undefined)
        mistakes.push({
          path: [...at, 'aliases', position],
          what: (line) => `${quoted(alias)} is the name of another server (line ${line(['servers', other, 'name'])})`,
          hint: 'the invocation log could not tell the two apart: rename one of them',
        })
    })
    unique(list(of(server, 'deployments')), 'id', [...at, 'deployments'], 'deployment', mistakes)
    const credentials = list(of(server, 'credentials'))
    const ids = unique(credentials, 'id', [...at, 'credentials'], 'credential', mistakes)
    if (of(of(server, 'deliverTo'), 'kind') === 'file') sameKey(credentials, at, mistakes)
    list(of(server, 'reaches')).forEach((reach, position) => {
      const via = of(reach, 'via')
      if (typeof via === 'string' && !ids.has(via))
        mistakes.push({
          path: [...at, 'reaches', position, 'via'],
          what: `${quoted(via)} is no credential of this server`,
          hint:
            ids.size === 0
              ? 'this server lists no credentials: add it there, or leave via out'
              : `its credentials: ${[...ids.keys()].slice(0, 20).map(quoted).join(', ')}`,
        })
    })
  })
  return mistakes
}

/** Reports what is named twice; returns the index of each name. */
function unique(items: readonly unknown[], key: string, at: Path, noun: string, mistakes: Mistake[]) {
  const seen = new Map<string, number>()
  items.forEach((item, index) => {
    const name = of(item, key)
    if (typeof name !== 'string') return
    const first = seen.get(name)
    if (first === undefined) seen.set(name, index)
    else
      mistakes.push({
        path: [...at, index, key],
        what: (line) => `${quoted(name)} is already the ${key} of another ${noun} (line ${line([...at, first, key])})`,
        hint: `every ${noun} needs ${key === 'id' ? 'an id' : 'a name'} of its own`,
      })
  })
  return seen
}

/** Delivered to a file, credentials `api-key` and `api.key` would both be API_KEY, and one of them lost. */
function sameKey(credentials: readonly unknown[], at: Path, mistakes: Mistake[]): void {
  const seen = new Map<string, number>()
  credentials.forEach((credential, index) => {
    const id = of(credential, 'id')
    if (typeof id !== 'string') return
    const key = id.toUpperCase().replace(/[^A-Z0-9]/g, '_')
    const first = seen.get(key)
    if (first === undefined) seen.set(key, index)
    else if (of(credentials[first], 'id') !== id)
      mistakes.push({
        path: [...at, 'credentials', index, 'id'],
        what: (line) =>
          `becomes ${safe(key)} in the delivered file, as the credential on line ${line([...at, 'credentials', first, 'id'])} does`,
        hint: 'ids that are delivered to a file must differ in letters and digits',
      })
  })
}

const quoted = (text: string) => `"${safe(text, 100)}"`

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function of(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined
}
