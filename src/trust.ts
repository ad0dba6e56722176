import { realpath } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { AnchorConfig, Config } from './config.ts'
import { readConfig } from './config-file.ts'
import { IrError, systemCode } from './errors.ts'
import { writableByOthers } from './owned-file.ts'
import type { Registry } from './registry/port.ts'
import { isTrusted, type TrustPlace } from './trust-store.ts'
import { count } from './ui/format.ts'
import { safe } from './ui/safe-text.ts'

/** What `mcp-ir trust FILE` shows before it asks. Storing it (`storeTrust`) accepts what was shown, not what is there by then. */
export interface TrustView {
  readonly file: string
  /** SHA-256 of its bytes, hex. */
  readonly hash: string
  readonly trusted: boolean
  /** Where it sends secrets and what it starts, one line each, ready to be shown. */
  readonly directs: readonly string[]
}

/**
 * @param file relative to `cwd`, or absolute
 * @throws IrError refused when somebody else could have written it; input for its mistakes
 */
export async function viewTrust(file: string, cwd: string, place: TrustPlace): Promise<TrustView> {
  const real = await found(resolve(cwd, file))
  const { hash, values } = await readConfig(real, place.uid)
  const directs: string[] = []
  if (values.vault?.address !== undefined) directs.push(`Vault token: goes to ${safe(values.vault.address)}`)
  if (values.invocations?.kind === 'elasticsearch')
    directs.push(`Elasticsearch key: goes to ${safe(values.invocations.node)}`)
  directs.push(...anchorDirects(values.anchor))
  if (values.registry !== undefined) directs.push(...(await registryDirects(values.registry, place.uid)))
  return { file: real, hash, trusted: await isTrusted({ file: real, hash }, place), directs }
}

/**
 * For a step that is about to hand a secret to, or run, something that the configuration or its registry names.
 * @param what completes "… directs": `the Vault address`, `the command of credential ledger`
 * @throws IrError refused
 */
export async function assertTrusted(config: Config, what: string, uid = process.getuid?.()): Promise<void> {
  if (!config.trusted && config.file !== undefined)
    throw new IrError(
      'refused',
      `${safe(config.file)} directs ${safe(what)}, and it was only found, not named by you`,
      {
        hints: [`read it, then: mcp-ir trust ${safe(config.file)}`, `or name it: --config ${safe(config.file)}`],
      },
    )
  const open = config.registry === undefined ? undefined : await writableByOthers(config.registry, uid)
  if (open !== undefined)
    throw new IrError('refused', `the registry directs ${safe(what)}, but ${open.message}`, { hints: [open.hint] })
}

async function found(file: string): Promise<string> {
  try {
    return await realpath(file)
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    throw new IrError('input', `${safe(file)} cannot be read (${systemCode(error)})`, { cause: error })
  }
}

function anchorDirects(anchor: AnchorConfig | undefined): readonly string[] {
  if (anchor === undefined) return []
  if (anchor.kind === 'exec') return [`Anchor: starts ${safe(anchor.command.join(' '))}`]
  if (anchor.kind === 'elasticsearch')
    return [`Anchor: journal heads and the Elasticsearch key go to ${safe(anchor.node)}`]
  return [`Anchor: journal heads go to ${safe(anchor.kind === 'file' ? anchor.path : anchor.url)}`]
}

/** The registry is part of what is trusted: it names programs to start and servers that get client secrets. */
async function registryDirects(file: string, uid: number | undefined): Promise<readonly string[]> {
  const open = await writableByOthers(file, uid)
  const { loadRegistry } = await import('./registry/load.ts')
  let registry: Registry
  try {
    registry = await loadRegistry(file)
  } catch (error) {
    // The configuration can be accepted before its registry is written; the person is told.
    if (error instanceof IrError) return [`registry ${safe(file)}: cannot be shown, ${error.message}`]
    throw error
  }
  const starts = new Set<string>()
  const sends = new Set<string>()
  for (const server of registry.servers) {
    for (const deployment of server.deployments) {
      if (deployment.kind === 'local-process' && deployment.command !== undefined)
        starts.add(deployment.command.join(' '))
      if (deployment.redeploy?.command !== undefined) starts.add(deployment.redeploy.command.join(' '))
    }
    for (const credential of server.credentials)
      for (const way of [credential, 'issuer' in credential ? credential.issuer : undefined]) {
        if (way?.kind === 'exec') starts.add(way.command.join(' '))
        if (way?.kind !== 'oauth') continue
        for (const endpoint of [way.tokenEndpoint, way.revocationEndpoint, way.introspectionEndpoint])
          if (endpoint !== undefined) sends.add(new URL(endpoint).origin)
        if ('probe' in way && typeof way.probe === 'string') sends.add(new URL(way.probe).origin)
      }
  }
  return [
    `registry ${safe(file)}: ${count(registry.servers.length, 'server')}${open === undefined ? '' : `; careful: ${open.message}`}`,
    ...some('may start', starts),
    ...some('sends client secrets or tokens to', sends),
  ]
}

function some(what: string, items: ReadonlySet<string>): readonly string[] {
  const lines = [...items].slice(0, 20).map((item) => `registry ${what} ${safe(item)}`)
  return items.size > lines.length ? [...lines, `registry ${what} ${items.size - lines.length} more`] : lines
}
