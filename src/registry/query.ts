import { distance } from 'fastest-levenshtein'
import { named } from '../aws/principal.ts'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import type { Credential, Registry, Server } from './port.ts'

const targetHint = 'a server that no registry knows: mcp-ir isolate --target pid:PID or --target url:URL'

/**
 * The server of that name, else the one that has it as an alias.
 * @throws IrError input when none has, with the nearest names, or several have
 */
export function findServer(registry: Registry | undefined, name: string): Server {
  if (registry === undefined)
    throw new IrError('input', `no registry is configured, so ${shown(name)} cannot be looked up`, {
      hints: ['name one: registry: FILE in mcp-ir.yaml, or MCP_IR_REGISTRY', targetHint],
    })
  const named = registry.servers.find((server) => server.name === name)
  if (named !== undefined) return named
  const aliased = registry.servers.filter((server) => server.aliases.includes(name))
  const [only, another] = aliased
  if (only !== undefined && another === undefined) return only
  if (only !== undefined)
    throw new IrError('input', `${shown(name)} is an alias of ${aliased.length} servers in ${safe(registry.file)}`, {
      hints: [`name the one that is meant: ${some(aliased.map((server) => server.name))}`],
    })
  const near = nearestNames(registry.servers, name)
  const hints =
    registry.servers.length === 0
      ? ['the registry is empty']
      : near.length === 0
        ? []
        : [`nearest: ${near.map(shown).join(', ')}`]
  throw new IrError('input', `no server ${shown(name)} in ${safe(registry.file)}`, { hints: [...hints, targetHint] })
}

/** The three names or aliases most like it, by edit distance to the whole or to what follows the last slash. */
function nearestNames(servers: readonly Server[], name: string): readonly string[] {
  const word = name.slice(0, 200).toLowerCase()
  const last = (text: string) => text.slice(text.lastIndexOf('/') + 1)
  const far = (candidate: string) => {
    const other = candidate.toLowerCase()
    return Math.min(distance(word, other), distance(last(word), last(other)) + (last(other) === other ? 0 : 0.5))
  }
  const bound = Math.max(2, Math.floor(last(word).length / 2))
  return servers
    .flatMap((server) => [server.name, ...server.aliases])
    .map((candidate) => ({ candidate, distance: far(candidate) }))
    .filter((entry) => entry.distance <= bound + 0.5)
    .sort((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1))
    .slice(0, 3)
    .map((entry) => entry.candidate)
}

/** Names of the other servers that authenticate with the very same credential: they break when it is revoked. */
export function sharedCredential(
  servers: readonly Server[],
  server: Pick<Server, 'name'>,
  credential: Credential,
): string[] {
  const own = identities(credential)
  return servers
    .filter((other) => other.name !== server.name)
    .filter((other) => other.credentials.some((theirs) => identities(theirs).some((b) => own.some((a) => same(a, b)))))
    .map((other) => other.name)
}

type Identity = Readonly<Record<string, string | readonly string[] | undefined>>

/** What a credential really is, whatever its entry is called; also what it is issued from, as revoking it revokes that. */
function identities(credential: Credential): readonly Identity[] {
  const own = identity(credential)
  if (!('issuer' in credential) || credential.issuer === undefined) return [own]
  // Two secrets that the same program issues are two secrets.
  return credential.issuer.kind === 'exec' ? [own] : [own, identity(credential.issuer)]
}

type Issuer = NonNullable<Extract<Credential, { kind: 'vault-kv' }>['issuer']>

function identity(credential: Credential | Issuer): Identity {
  const { kind } = credential
  switch (kind) {
    case 'aws-iam-role':
      return { kind, ...named(credential.role) }
    case 'aws-iam-user':
      return { kind, ...named(credential.user) }
    case 'vault-approle':
      return { kind, mount: trimmed(credential.mount), role: credential.role }
    case 'vault-token':
      return { kind, accessor: credential.accessor }
    case 'vault-entity':
      return { kind, entity: credential.entity }
    case 'vault-database':
      return { kind, mount: trimmed(credential.mount), role: credential.role }
    case 'postgres': {
      // A PostgreSQL user belongs to the whole cluster, so the database's name does not tell two apart.
      const { host, port } = credential.database
      return { kind, user: credential.user, host: host.toLowerCase(), port: String(port) }
    }
    case 'vault-kv':
      return { kind, mount: trimmed(credential.mount), path: trimmed(credential.path), fields: credential.fields }
    case 'aws-secret':
      return { kind, secret: credential.secret, region: credential.region }
    case 'azure-key-vault':
      return { kind, vault: new URL(credential.vault).host, secret: credential.secret }
    case 'oauth':
      return { kind, tokenEndpoint: credential.tokenEndpoint, clientId: credential.clientId }
    case 'exec':
      return { kind, command: JSON.stringify(credential.command) }
  }
}

/** What one of them leaves open (all fields, the default region) may be the same: better one warning too many. */
function same(a: Identity, b: Identity): boolean {
  return Object.keys(a).every((key) => {
    const mine = a[key]
    const theirs = b[key]
    if (mine === undefined || theirs === undefined) return true
    if (Array.isArray(mine) && Array.isArray(theirs)) return mine.some((field) => theirs.includes(field))
    return mine === theirs
  })
}

const trimmed = (path: string) => path.replace(/^\/+|\/+$/g, '')

/** What differs between two entries of a server, in plain words, one line each; empty when nothing does. */
export function registryDifference(before: Server, after: Server): string[] {
  const lines: string[] = []
  compare('', before, after, lines)
  return lines
}

function compare(where: string, before: unknown, after: unknown, lines: string[]): void {
  if (isRecord(before) && isRecord(after)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)]))
      compare(where === '' ? key : `${where} ${key}`, before[key], after[key], lines)
    return
  }
  if (Array.isArray(before) && Array.isArray(after)) {
    compareLists(where, before, after, lines)
    return
  }
  if (JSON.stringify(before) === JSON.stringify(after)) return
  if (before === undefined) lines.push(`${safe(where)} was added: ${value(after)}`)
  else if (after === undefined) lines.push(`${safe(where)} was removed: it was ${value(before)}`)
  else lines.push(`${safe(where)} changed from ${value(before)} to ${value(after)}`)
}

/** Entries are told apart by what names them, so that one that was put in between does not change all that follow. */
function compareLists(where: string, before: readonly unknown[], after: readonly unknown[], lines: string[]): void {
  const old = byName(before)
  const now = byName(after)
  // A command's arguments: their order matters, and one may stand in it twice.
  const words = old === undefined || now === undefined || where.split(' ').at(-1) === 'command'
  if (words) {
    if (JSON.stringify(before) !== JSON.stringify(after))
      lines.push(`${safe(where)} changed from ${value(before)} to ${value(after)}`)
    return
  }
  for (const [name, entry] of old) {
    if (!now.has(name)) lines.push(`${safe(where)}: ${shown(name)} was removed`)
    else if (isRecord(entry)) compare(`${where} ${name}`, entry, now.get(name), lines)
  }
  for (const name of now.keys()) if (!old.has(name)) lines.push(`${safe(where)}: ${shown(name)} was added`)
}

function byName(items: readonly unknown[]): ReadonlyMap<string, unknown> | undefined {
  const named = new Map<string, unknown>()
  for (const item of items) {
    const name = nameOf(item)
    if (name === undefined || named.has(name)) return undefined
    named.set(name, item)
  }
  return named
}

function nameOf(item: unknown): string | undefined {
  if (typeof item === 'string') return item
  if (!isRecord(item)) return undefined
  if (typeof item.id === 'string') return item.id
  if (typeof item.tool === 'string') return `${item.tool} ${item.access} ${item.resource}`
  return typeof item.system === 'string'
    ? `${item.system}${item.via === undefined ? '' : ` via ${item.via}`}`
    : undefined
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const value = (of: unknown) => safe(typeof of === 'string' ? of : JSON.stringify(of), 120)

const shown = (name: string) => safe(name, 100)

const some = (names: readonly string[]) =>
  `${names.slice(0, 5).map(shown).join(', ')}${names.length > 5 ? ` and ${names.length - 5} more` : ''}`
