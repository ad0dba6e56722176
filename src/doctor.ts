import { access, constants, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Problem } from './change.ts'
import type { Context } from './context.ts'
import { IrError, systemCode } from './errors.ts'
import { writableByOthers } from './owned-file.ts'
import type { Credential, Deployment, Registry, Server } from './registry/port.ts'
import { findServer } from './registry/query.ts'
import { count } from './ui/format.ts'
import { safe } from './ui/safe-text.ts'

/** `missing`: not set up, or no adapter for it yet; `failed`: set up and not working. */
export interface DoctorRow {
  readonly check: string
  readonly state: 'ok' | 'warning' | 'missing' | 'failed'
  /** Ready to be shown. */
  readonly detail: string
  readonly hint?: string | undefined
}

/** What this build has, handed in by the command's context: the doctor knows no adapter. All checks read only. */
export interface DoctorAdapters {
  /** Kinds that have an adapter, by capability. */
  readonly kinds: {
    readonly containment: readonly string[]
    readonly credentials: readonly string[]
    readonly deployment: readonly string[]
    readonly invocations: readonly string[]
  }
  /** What is wrong with the invocation log; empty when it can be read. */
  readonly invocations?: (signal: AbortSignal) => Promise<readonly string[]>
  /** Whether the anchor of the journals can be asked: its name. Only where one is configured. */
  readonly anchor?: (signal: AbortSignal) => Promise<string>
  /** The containment adapter's `check` of a deployment. Asked for kinds that have an adapter. */
  readonly deployment?: (server: Server, deployment: Deployment, signal: AbortSignal) => Promise<readonly Problem[]>
  readonly credential?: (server: Server, credential: Credential, signal: AbortSignal) => Promise<readonly Problem[]>
  /** The check of a configuration file of an MCP client that may know the server. */
  readonly client?: (server: Server, file: string, signal: AbortSignal) => Promise<readonly Problem[]>
  /** Who we are to AWS and what it permits us; nothing when the server has nothing there. */
  readonly aws?: (server: Server, signal: AbortSignal) => Promise<readonly DoctorRow[]>
  /** Offsets of other systems' clocks against this host's. */
  readonly clocks?: (signal: AbortSignal) => Promise<readonly { server: string; offsetMs: number }[]>
}

const clockToleranceMs = 5_000

/**
 * Is everything that an incident needs there, reachable and permitted? Changes nothing.
 * @param name of a server: then its deployments and credentials are asked too
 * @throws IrError input when the registry knows no such server
 */
export async function doctor(
  context: Context,
  name: string | undefined,
  adapters: DoctorAdapters,
): Promise<readonly DoctorRow[]> {
  const { config } = context
  const rows: DoctorRow[] = [configRow(context), await casesRow(config.cases)]
  const { row, registry } = await registryRow(context)
  rows.push(row)
  if (registry !== undefined) rows.push(...(await openRegistryRows(registry)))
  rows.push(...(await clockRows(context, adapters)), await invocationsRow(context, adapters))
  if (adapters.anchor !== undefined) rows.push(await anchorRow(context, adapters.anchor))
  const servers = name === undefined ? (registry?.servers ?? []) : [findServer(registry, name)]
  rows.push(...kindRows(servers, adapters))
  if (name !== undefined) for (const server of servers) rows.push(...(await serverRows(context, server, adapters)))
  return rows
}

function configRow({ config }: Context): DoctorRow {
  const check = 'configuration'
  if (config.file === undefined)
    return {
      check,
      state: 'missing',
      detail: 'no mcp-ir.yaml here or above: defaults are used',
      hint: 'write one, or name one with --config FILE',
    }
  // That it belongs to the user and that nobody else can write it was checked when it was read.
  const owned = `${safe(config.file)}: yours, writable by nobody else`
  return config.trusted
    ? { check, state: 'ok', detail: `${owned}, trusted` }
    : {
        check,
        state: 'warning',
        detail: `${owned}, not trusted: nothing that it names gets a secret or is started`,
        hint: `read it, then: mcp-ir trust ${safe(config.file)}`,
      }
}

/** Asks for the permission only; the folder may not exist yet. */
async function casesRow(folder: string): Promise<DoctorRow> {
  const check = 'cases folder'
  let at = folder
  for (;;) {
    try {
      await access(at, constants.W_OK | constants.X_OK)
      if (!(await stat(at)).isDirectory()) return { check, state: 'failed', detail: `${safe(at)} is not a folder` }
      return { check, state: 'ok', detail: at === folder ? safe(at) : `${safe(folder)}: will be created` }
    } catch (error) {
      const code = systemCode(error)
      if (code === 'ENOENT' && dirname(at) !== at) at = dirname(at)
      else if (code !== undefined) return { check, state: 'failed', detail: `${safe(at)} cannot be written (${code})` }
      else throw error
    }
  }
}

async function registryRow(context: Context): Promise<{ row: DoctorRow; registry?: Registry }> {
  const check = 'registry'
  try {
    const registry = await context.registry()
    if (registry === undefined)
      return { row: { check, state: 'missing', detail: 'none is configured', hint: 'registry: FILE in mcp-ir.yaml' } }
    return {
      registry,
      row: { check, state: 'ok', detail: `${safe(registry.file)}: ${count(registry.servers.length, 'server')}` },
    }
  } catch (error) {
    return { row: failed(check, error) }
  }
}

/** Its `exec` commands run with the responder's rights. */
async function openRegistryRows(registry: Registry): Promise<readonly DoctorRow[]> {
  const open = await writableByOthers(registry.file, process.getuid?.())
  return open === undefined ? [] : [{ check: 'registry file', state: 'warning', detail: open.message, hint: open.hint }]
}

/** A clock that is wrong spoils the timeline. Files cannot be from the future; other systems' offsets are told. */
async function clockRows(context: Context, adapters: DoctorAdapters): Promise<readonly DoctorRow[]> {
  const check = 'clock'
  const now = context.now().getTime()
  const files = [context.config.file, context.config.registry].filter((file) => file !== undefined)
  for (const file of files) {
    const written = await modified(file)
    if (written !== undefined && written > now + clockToleranceMs)
      return [
        {
          check,
          state: 'warning',
          detail: `${new Date(now).toISOString()} is before ${safe(file)} was written: this host's clock is behind`,
          hint: 'compare with a time server (timedatectl, chronyc tracking)',
        },
      ]
  }
  let offsets: readonly { server: string; offsetMs: number }[] = []
  try {
    offsets = (await adapters.clocks?.(context.signal)) ?? []
  } catch (error) {
    return [failed(check, error)]
  }
  const off = offsets.filter((offset) => Math.abs(offset.offsetMs) > clockToleranceMs)
  if (off.length === 0) return [{ check, state: 'ok', detail: `${new Date(now).toISOString()} (UTC)` }]
  return off.map(({ server, offsetMs }) => ({
    check,
    state: 'warning',
    detail: `${safe(server)} is ${Math.abs(offsetMs / 1000).toFixed(1)} s ${offsetMs > 0 ? 'ahead of' : 'behind'} this host`,
  }))
}

async function modified(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).mtimeMs
  } catch (error) {
    // Whoever reads the file says that it is not there.
    if (systemCode(error) === undefined) throw error
    return undefined
  }
}

async function invocationsRow(context: Context, adapters: DoctorAdapters): Promise<DoctorRow> {
  const check = 'invocation log'
  const configured = context.config.invocations
  if (configured === undefined)
    return { check, state: 'missing', detail: 'none is configured: what a server did cannot be read' }
  const where = configured.kind === 'files' ? configured.path : `${configured.node} ${configured.index}`
  if (!adapters.kinds.invocations.includes(configured.kind) || adapters.invocations === undefined)
    return { check, state: 'missing', detail: `this version cannot read logs of kind ${safe(configured.kind)}` }
  // A folder takes no secret, a server does.
  if (configured.kind !== 'files' && !context.config.trusted)
    return { check, state: 'warning', detail: `${safe(where)}: not asked, as the configuration is not trusted` }
  try {
    const problems = await adapters.invocations(context.signal)
    if (problems.length > 0) return { check, state: 'failed', detail: problems.map((text) => safe(text)).join('; ') }
    return { check, state: 'ok', detail: `${safe(configured.kind)}: ${safe(where)}` }
  } catch (error) {
    return failed(check, error)
  }
}

async function anchorRow(context: Context, ask: (signal: AbortSignal) => Promise<string>): Promise<DoctorRow> {
  const check = 'anchor'
  if (!context.config.trusted)
    return { check, state: 'warning', detail: 'not asked, and not used, as the configuration is not trusted' }
  try {
    return { check, state: 'ok', detail: await ask(context.signal) }
  } catch (error) {
    return failed(check, error)
  }
}

/** One row for each capability and kind that the registry uses and this build has no adapter for. */
function kindRows(servers: readonly Server[], { kinds }: DoctorAdapters): readonly DoctorRow[] {
  const users = new Map<string, Set<string>>()
  for (const server of servers) {
    for (const { kind } of server.deployments) {
      if (!kinds.containment.includes(kind)) note(users, `isolating ${kind}`, server)
      if (!kinds.deployment.includes(kind)) note(users, `redeploying ${kind}`, server)
    }
    for (const { kind } of server.credentials)
      if (!kinds.credentials.includes(kind)) note(users, `credentials ${kind}`, server)
  }
  return [...users].map(([check, names]) => {
    const [first = ''] = names
    const others = names.size > 1 ? ` and ${names.size - 1} more` : ''
    return {
      check,
      state: 'missing',
      detail: `this version cannot do it; needed for ${safe(first)}${others}`,
      hint: 'have the way to do it by hand at the ready: the step that needs it stops',
    }
  })
}

function note(users: Map<string, Set<string>>, what: string, server: Server): void {
  const names = users.get(what)
  if (names === undefined) users.set(what, new Set([server.name]))
  else names.add(server.name)
}

const well = 'found, reachable and permitted'

async function serverRows(context: Context, server: Server, adapters: DoctorAdapters): Promise<readonly DoctorRow[]> {
  const rows: DoctorRow[] = []
  const { kinds } = adapters
  if (server.knownGood !== undefined && Date.parse(server.knownGood) > context.now().getTime())
    rows.push({ check: 'knownGood', state: 'warning', detail: `${server.knownGood} lies in the future` })
  if (server.deployments.length === 0)
    rows.push({ check: 'deployments', state: 'warning', detail: 'none is registered: there is nothing to isolate' })
  rows.push(...((await adapters.aws?.(server, context.signal)) ?? []))
  for (const deployment of server.deployments)
    if (kinds.containment.includes(deployment.kind))
      rows.push(
        ...(await asked(`deployment ${safe(deployment.id)}`, `${deployment.kind}: ${well}`, () =>
          adapters.deployment?.(server, deployment, context.signal),
        )),
      )
  for (const file of server.clients)
    rows.push(
      ...(await asked(`client ${safe(file)}`, 'can be read and replaced', () =>
        adapters.client?.(server, file, context.signal),
      )),
    )
  if (!context.config.trusted && server.credentials.length > 0)
    rows.push({
      check: 'credentials',
      state: 'warning',
      detail: 'not asked: the configuration that names where to ask is not trusted, and asking takes secrets',
    })
  else
    for (const credential of server.credentials) {
      if (!kinds.credentials.includes(credential.kind)) continue
      rows.push(
        ...(await asked(`credential ${safe(credential.id)}`, `${credential.kind}: ${well}`, () =>
          adapters.credential?.(server, credential, context.signal),
        )),
      )
    }
  return rows
}

/** No rows when there is nobody to ask. */
async function asked(
  check: string,
  well: string,
  ask: () => Promise<readonly Problem[]> | undefined,
): Promise<readonly DoctorRow[]> {
  try {
    const problems = await ask()
    if (problems === undefined) return []
    if (problems.length === 0) return [{ check, state: 'ok', detail: well }]
    return problems.map((problem) => ({
      check,
      state: problem.kind === 'warning' ? 'warning' : 'failed',
      detail: `${problem.kind === 'warning' ? '' : `${problem.kind}: `}${safe(problem.message)}`,
      hint: problem.hint,
    }))
  } catch (error) {
    return [failed(check, error)]
  }
}

/** Only what users are meant to see becomes a row; a bug of ours stays one. */
function failed(check: string, error: unknown): DoctorRow {
  if (!(error instanceof IrError)) throw error
  return { check, state: 'failed', detail: error.message, hint: error.hints[0] }
}
