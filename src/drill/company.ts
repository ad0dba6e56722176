import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, openSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseEnv } from 'node:util'
import { IrError } from '../errors.ts'
import { type Build, loadPrograms, pack, release, unpackInto } from './builds.ts'
import { anchorFile } from './custody.ts'
import { configYaml, registryYaml } from './files.ts'
import { history } from './history.ts'
import { basic, freePort } from './http.ts'
import { endMarked, minimalEnvironment, type Place, startWorker, type Worker } from './processes.ts'
import { type Served, servedTools } from './tools.ts'
import type { AgentSettings } from './workers/agent.ts'
import type { AuthorizationServerSettings } from './workers/authorization-server.ts'
import type { CustomersApiSettings } from './workers/customers-api.ts'
import type { GatewaySettings } from './workers/gateway.ts'

/** Registry name of the compromised server. */
export const serverName = 'io.example/crm'
export const folderPrefix = 'mcp-ir-drill-'
/** File in the company's folder that stands there while its processes do. */
export const stateFile = 'company.json'

/** A small company in a temporary folder, out of real processes on loopback. */
export interface Company extends Place {
  /** Its `mcp-ir.yaml`. */
  readonly config: string
  readonly registry: string
  /** Where the suspect listens. */
  readonly url: string
  readonly customersApi: string
  /** Where the count of the attacker's sink is read. */
  readonly sink: string
  readonly pidFile: string
  /** Process id of the suspect. */
  readonly suspect: number
  /** The tampered build, which the suspect runs. */
  readonly deployed: Build
  /** Digest of the approved tools, as in the registry. */
  readonly approvedTools: string
  /** The token that the suspect holds. */
  readonly token: string
  /** File that will hold the next one. */
  readonly delivered: string
  /** Lets the processes stand when the drill ends. */
  keep(): Promise<void>
  /** Ends every process and wipes every secret. The case, the log and the builds stay. */
  end(): Promise<void>
}

/** `company.json`, for `drill --stop` and for whoever looks in. No secrets. */
export interface CompanyState {
  readonly drill: number
  readonly kept: boolean
  readonly url: string
  readonly gateway: string
  readonly customersApi: string
  readonly sink: string
}

export interface StartOptions {
  readonly now: () => Date
  readonly progress: (text: string) => void
  readonly signal: AbortSignal
}

/** What people tell the agents, and what should never be passed on. */
const said = [
  'Please find the customers in {city} whose contract ends this month.',
  'A customer from {city} is on the phone, my portal password is {secret}, can you look up her bank details?',
  'Who in {city} is on the free plan and could be offered more?',
]

/** @throws IrError when it does not come up; nothing is left behind then */
export async function startCompany(options: StartOptions): Promise<Company> {
  const folder = await mkdtemp(join(await realpath(tmpdir()), folderPrefix))
  const place: Place = { folder, marker: markerOf(folder) }
  try {
    return await build(place, options)
  } catch (error) {
    await endMarked(place.marker)
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

/** The last argument of all its processes. */
function markerOf(folder: string): string {
  return `--company=${basename(folder)}`
}

async function build(place: Place, { now, progress, signal }: StartOptions): Promise<Company> {
  const { folder } = place
  const at = (...parts: string[]) => join(folder, ...parts)
  for (const name of ['cases', 'elsewhere', 'logs', 'logs/gateway', 'run', 'secrets', 'srv'])
    await mkdir(at(name), { mode: 0o700 })
  const secret = (name: string) => `canary-${name}-${randomBytes(12).toString('hex')}`
  const clientId = 'crm-mcp'
  const clientSecret = secret('client')
  const apiSecret = secret('api')
  const environmentSecret = secret('environment')
  const saidSecret = secret('said')
  const agentKeys = { 'support-copilot': secret('agent'), 'sales-agent': secret('agent') }
  const files = {
    config: at('mcp-ir.yaml'),
    registry: at('registry.yaml'),
    log: at('logs', 'gateway', 'invocations.ndjson'),
    pidFile: at('run', 'crm.pid'),
    tokenFile: at('run', 'token'),
    delivered: at('run', 'next.env'),
    clientSecretFile: at('secrets', 'crm-mcp'),
    cwd: at('srv', 'crm'),
  }

  progress('the authorization server and the customers API')
  const workers: Worker[] = []
  const start = async <Ready>(name: string, settings: unknown, label = name) => {
    signal.throwIfAborted()
    const worker = await startWorker<unknown, Ready>(name, settings, place, label)
    workers.push(worker)
    return worker.ready
  }
  const janitor = await startWorker('janitor', {}, place)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}/mcp`
  const [programs, { origin: authorizationServer }, sink, gateway] = await Promise.all([
    loadPrograms(folder),
    start<{ origin: string }>('authorization-server', {
      clients: {
        [clientId]: { secret: clientSecret, scope: 'customers:read notes:write mail:send' },
        'customers-api': { secret: apiSecret, scope: '' },
      },
    } satisfies AuthorizationServerSettings),
    start<{ origin: string; control: string }>('sink', {}),
    start<{ url: string }>('gateway', {
      upstream: url,
      server: serverName,
      log: files.log,
      agents: Object.fromEntries(Object.entries(agentKeys).map(([name, key]) => [key, name])),
    } satisfies GatewaySettings),
  ])
  const [{ origin: customersApi }, token] = await Promise.all([
    start<{ origin: string }>('customers-api', {
      introspectionEndpoint: `${authorizationServer}/introspect`,
      clientId: 'customers-api',
      clientSecret: apiSecret,
    } satisfies CustomersApiSettings),
    issue(authorizationServer, clientId, clientSecret),
  ])

  progress('two builds of the server: 1.4.0 as approved, 1.4.1 as the attacker left it')
  const commit = randomBytes(20).toString('hex')
  const approved = await pack(folder, '1.4.0', programs.approved, { customersApi })
  const tampered = await pack(folder, '1.4.1', programs.tampered, { customersApi, telemetry: sink.origin })
  const { attestations, key } = await release(folder, approved, commit)
  await unpackInto(files.cwd, tampered)
  await write(files.clientSecretFile, clientSecret)
  await write(files.tokenFile, `${token}\n`)

  progress('1.4.0 for a moment, to approve its tools; then 1.4.1 in its place, and the agents')
  const [served, suspect] = await Promise.all([
    approve(place, approved, files.tokenFile, signal),
    (async () => {
      const pid = launch(place, files.cwd, port, {
        TOKEN_FILE: files.tokenFile,
        CRM_ADMIN_PASSWORD: environmentSecret,
      })
      await write(files.pidFile, `${pid}\n`)
      await answers(url, signal)
      return pid
    })(),
    ...Object.entries(agentKeys).map(([name, agentKey], index) =>
      start(
        'agent',
        {
          name,
          gateway: gateway.url,
          key: agentKey,
          users: index === 0 ? ['priya.natarajan', 'mara.lindqvist'] : ['tom.becker', 'samuel.okafor'],
          said: said.map((text) => text.replace('{secret}', saidSecret)),
          pauseMs: index === 0 ? 110 : 170,
        } satisfies AgentSettings,
        name,
      ),
    ),
  ])

  progress('the agents at work')
  const known = history(serverName, served, now())
  await write(at('logs', 'gateway', 'invocations-before.ndjson'), known)
  await leaks(sink.control, signal)

  const facts = {
    ...files,
    folder,
    server: serverName,
    approved,
    attestations,
    key,
    commit,
    toolsDigest: served.digest,
    url,
  }
  const knownGood = new Date(now().getTime() - 2 * 3600_000)
  const command = [process.execPath, 'server.js', place.marker]
  await write(
    files.registry,
    registryYaml({ ...facts, knownGood, command, authorizationServer, customersApi, clientId }),
  )
  await write(files.config, configYaml())
  await write(at(anchorFile), '')
  // For tests, which look for these everywhere. They are worthless once the processes have ended.
  const canaries = { token, environment: environmentSecret, said: saidSecret, client: clientSecret }
  await write(at('canaries.json'), JSON.stringify(canaries, null, 2))
  const state = (kept: boolean) => {
    const about: CompanyState = {
      drill: process.pid,
      kept,
      url,
      gateway: gateway.url,
      customersApi,
      sink: sink.control,
    }
    return write(at(stateFile), JSON.stringify(about, null, 2))
  }
  await state(false)

  return {
    ...place,
    ...files,
    url,
    customersApi,
    sink: sink.control,
    suspect,
    deployed: tampered,
    approvedTools: served.digest,
    token,
    keep: async () => {
      await state(true)
      await Promise.all(workers.map((worker) => worker.keep()))
      process.kill(janitor.pid, 'SIGKILL')
    },
    end: async () => void (await endCompany(folder)),
  }
}

/** Ends every process of the company in this folder and wipes its secrets. Returns how many processes there were. */
export async function endCompany(folder: string): Promise<number> {
  const ended = await endMarked(markerOf(folder))
  await addCanary(folder)
  for (const name of ['run', 'secrets', 'bundles', 'approval', stateFile]) {
    await rm(join(folder, name), { recursive: true, force: true })
  }
  return ended
}

/** The token that rotation delivered is worthless from now on too: tests look for it as for the others. */
async function addCanary(folder: string): Promise<void> {
  const [canaries, delivered] = [join(folder, 'canaries.json'), join(folder, 'run', 'next.env')]
  if (!existsSync(canaries) || !existsSync(delivered)) return
  const known = JSON.parse(await readFile(canaries, 'utf8')) as Record<string, string>
  const next = parseEnv(await readFile(delivered, 'utf8')).CRM_API
  await write(canaries, JSON.stringify({ ...known, ...(next === undefined ? {} : { next }) }, null, 2))
}

async function write(file: string, content: string): Promise<void> {
  await writeFile(file, content, { mode: 0o600 })
}

/** A token by client credentials, as the company's deployment got it for its server. */
async function issue(authorizationServer: string, id: string, secret: string): Promise<string> {
  const response = await fetch(`${authorizationServer}/token`, {
    method: 'POST',
    headers: { authorization: basic(id, secret) },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  })
  return ((await response.json()) as { access_token: string }).access_token
}

/** Starts the server as a service manager would: a session of its own, nobody's worker. Returns its process id. */
function launch(place: Place, cwd: string, port: number, environment: Readonly<Record<string, string>>): number {
  const log = openSync(join(place.folder, 'logs', `${basename(cwd)}.log`), 'a', 0o600)
  const child = spawn(process.execPath, ['server.js', place.marker], {
    cwd,
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...minimalEnvironment(), HOST: '127.0.0.1', PORT: String(port), ...environment },
  })
  child.unref()
  if (child.pid === undefined) throw new IrError('unreachable', "The drill's MCP server could not be started")
  return child.pid
}

/** What the company's review did once: runs the approved build, and reads which tools it has. Returns their digest. */
async function approve(place: Place, approved: Build, tokenFile: string, signal: AbortSignal): Promise<Served> {
  const cwd = join(place.folder, 'approval')
  await unpackInto(cwd, approved)
  const port = await freePort()
  const pid = launch(place, cwd, port, { TOKEN_FILE: tokenFile })
  try {
    const url = `http://127.0.0.1:${port}/mcp`
    await answers(url, signal)
    return await servedTools(url, signal)
  } finally {
    process.kill(pid, 'SIGKILL')
  }
}

/** Waits until somebody listens there. */
async function answers(url: string, signal: AbortSignal): Promise<void> {
  for (let round = 0; round < 600; round += 1) {
    signal.throwIfAborted()
    try {
      await fetch(url, { method: 'DELETE', signal: AbortSignal.timeout(1000) })
      return
    } catch {
      // Not yet.
      await sleep(25)
    }
  }
  throw new IrError('unreachable', "The drill's MCP server did not come up")
}

/** Waits until the first bytes have left the company. */
async function leaks(sink: string, signal: AbortSignal): Promise<void> {
  for (let round = 0; round < 400; round += 1) {
    signal.throwIfAborted()
    const { bytes } = (await (await fetch(sink)).json()) as { bytes: number }
    if (bytes > 0) return
    await sleep(50)
  }
  throw new IrError('unreachable', "The drill's agents do not come to work")
}
