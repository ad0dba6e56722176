import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { mcpIr, workplace } from '../test/testbed/cli.ts'
import { type Openbao, startOpenbao } from '../test/testbed/openbao.ts'
import { type Postgres, startPostgres } from '../test/testbed/postgres.ts'
import { makeVaultEstate, type VaultEstate } from '../test/testbed/vault-estate.ts'

export const name = 'revoke'

const size = 1000
const bare = fileURLToPath(new URL('revoke-bare.ts', import.meta.url))

/**
 * `revoke --yes` of 1,000 credentials (AppRoles, tokens, database leases, stored passwords) against OpenBao and PostgreSQL, beside a
 * script with the same clients that does the least of it: one after the other, and as many at once as OpenBao answers
 * fastest. Whole processes, each with servers of its own. Bounds: 4 times as fast as the script in sequence, or as fast as
 * OpenBao can answer; memory at most 200 MB.
 */
export async function run(print: (line: string) => void): Promise<void> {
  print(`revoke of ${size} credentials, whole processes against OpenBao and PostgreSQL`)
  const sequence = await inEstate((estate, bao, postgres) => script(estate, bao, postgres, 1))
  print(`  script, in sequence ${ms(sequence)}`)
  const limits: (readonly [number, number])[] = []
  for (const width of [4, 8, 16]) {
    limits.push([width, await inEstate((estate, bao, postgres) => script(estate, bao, postgres, width))])
  }
  const [width, limit] = limits.reduce((best, one) => (one[1] < best[1] ? one : best))
  print(`  script, ${String(width).padStart(2)} at once  ${ms(limit)}   OpenBao's limit`)
  const { time, peak } = await inEstate(command)
  print(`  mcp-ir revoke       ${ms(time)}   peak memory ${(peak / 1024).toFixed(0)} MB (bound 200)`)
  print(`  sequence / mcp-ir  ${(sequence / time).toFixed(2)} (bound 4); mcp-ir / limit  ${(time / limit).toFixed(2)}`)
}

const ms = (time: number): string => `${time.toFixed(0).padStart(7)} ms`

/** New servers each time: what was revoked is not to be had again. */
async function inEstate<T>(work: (estate: VaultEstate, bao: Openbao, postgres: Postgres) => Promise<T>): Promise<T> {
  const [bao, postgres] = await Promise.all([startOpenbao(), startPostgres()])
  try {
    const estate = await makeVaultEstate(bao, postgres, size)
    const result = await work(estate, bao, postgres)
    const living = await estate.living()
    if (living.length > 0) throw new Error(`${living.length} are alive: ${living[0]}`)
    return result
  } finally {
    await Promise.all([bao.stop(), postgres.stop()])
  }
}

async function script(estate: VaultEstate, bao: Openbao, postgres: Postgres, width: number): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-bench-'))
  const file = join(folder, 'estate.json')
  writeFileSync(file, JSON.stringify(estate.listed))
  const start = performance.now()
  const env = { ...environment(bao, postgres), VAULT_ADDR: bao.url, PGPORT: `${postgres.port}` }
  const child = spawn(process.execPath, ['--no-warnings', bare, file, `${width}`], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const [code] = await once(child, 'close')
  const time = performance.now() - start
  await rm(folder, { recursive: true, force: true })
  if (code !== 0) throw new Error(`the script ended with ${code}`)
  return time
}

async function command(
  estate: VaultEstate,
  bao: Openbao,
  postgres: Postgres,
): Promise<{ readonly time: number; readonly peak: number }> {
  const cwd = workplace(estate.registry, `vault: {address: "${bao.url}"}\n`)
  const env = { ...environment(bao, postgres), MCP_IR_CONFIG: join(cwd, 'mcp-ir.yaml') }
  let peak = 0
  let timer: NodeJS.Timeout | undefined
  const start = performance.now()
  const ran = await mcpIr(['revoke', 'io.acme/estate', '--yes', '--json'], {
    cwd,
    env,
    started: (pid) => {
      timer = setInterval(() => {
        peak = Math.max(peak, residentKb(pid))
      }, 100)
    },
  })
  clearInterval(timer)
  const time = performance.now() - start
  if (ran.code !== 0) throw new Error(`revoke ended with ${ran.code}: ${ran.stdout.slice(0, 2000)}`)
  await rm(cwd, { recursive: true, force: true })
  return { time, peak }
}

function environment(bao: Openbao, postgres: Postgres): Record<string, string> {
  return { VAULT_TOKEN: bao.root, PGUSER: postgres.admin.user, PGPASSWORD: postgres.admin.password }
}

function residentKb(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
