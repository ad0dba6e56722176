import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseEnv } from 'node:util'
import type { ExecSettings } from '../../src/credentials/exec/program.ts'
import { execCredentials } from '../../src/credentials/exec.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import type { CredentialsWorld } from '../contracts/credentials.ts'

/** What the test's own program (test/testbed/programs/issuer.mjs) has as its world. */
interface IssuerWorld {
  /** What the program itself logs in with: known to it alone. */
  master: string
  secrets: { ref: string; secret: string; changeId?: string; dead?: boolean }[]
  faults: { operation: string; kind: string; times: number }[]
  requests: { operation: string; changeId?: string; ref?: string; env: string[]; argv: string[]; cwd: string }[]
  /** Values that it issues next. */
  next?: string[]
  /** Operations that it does not have. */
  without?: string[]
}

export interface ExecWorld extends CredentialsWorld<CredentialOf<'exec'>> {
  readonly folder: string
  readonly destination: string
  readonly oldSecret: string
  read(): IssuerWorld
  change(alter: (world: IssuerWorld) => void): void
}

const program = fileURLToPath(new URL('../testbed/programs/issuer.mjs', import.meta.url))

export async function startExecWorld(settings: Partial<ExecSettings> = {}): Promise<ExecWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-exec-'))
  const script = join(folder, 'issuer.mjs')
  const file = join(folder, 'world.json')
  copyFileSync(program, script)
  chmodSync(script, 0o700)
  mkdirSync(join(folder, 'crm'))
  const destination = join(folder, 'next.env')
  const oldSecret = 'pk-old-5b1e77c0ffee'
  const read = (): IssuerWorld => JSON.parse(readFileSync(file, 'utf8')) as IssuerWorld
  const change = (alter: (world: IssuerWorld) => void): void => {
    const world = read()
    alter(world)
    writeFileSync(file, JSON.stringify(world))
  }
  writeFileSync(
    file,
    JSON.stringify({
      master: 'issuer-master-77aa31b2',
      secrets: [{ ref: 'key-1', secret: oldSecret }],
      faults: [],
      requests: [],
    } satisfies IssuerWorld),
  )
  const works = (secret: string | undefined): boolean =>
    read().secrets.some((one) => one.secret === secret && one.dead !== true)
  return {
    folder,
    destination,
    oldSecret,
    read,
    change,
    adapter: execCredentials({ attempts: 3, pauseMs: 1, ...settings }),
    target: {
      server: 'io.acme/crm',
      credential: { id: 'partner-key', kind: 'exec', command: [process.execPath, script, file] },
      sharedWith: [],
      deliverTo: { kind: 'file', path: destination },
      deployments: [{ id: 'dev', kind: 'local-process', url: 'http://127.0.0.1:9/mcp', cwd: join(folder, 'crm') }],
      held: async () => [{ secret: oldSecret, where: 'the environment of dev (PARTNER_KEY)' }],
    },
    oldWorks: async () => works(oldSecret),
    deliveredWorks: async () => works(parseEnv(readFileSync(destination, 'utf8')).PARTNER_KEY),
    liveNew: async () => read().secrets.filter(({ secret, dead }) => secret !== oldSecret && dead !== true).length,
    changingCalls: () => read().requests.filter(({ operation }) => ['revoke', 'rotate'].includes(operation)).length,
    secrets: () => [...read().secrets.map(({ secret }) => secret), read().master],
    fault: (operation, kind, times = 1) => change((world) => world.faults.push({ operation, kind, times })),
    stop: async () => rmSync(folder, { recursive: true, force: true }),
  }
}
