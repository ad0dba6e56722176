import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { mcpIr, workplace } from '../test/testbed/cli.ts'
import { startFaultProxy } from '../test/testbed/fault-proxy.ts'
import { type Openbao, startOpenbao } from '../test/testbed/openbao.ts'
import { type Postgres, startPostgres } from '../test/testbed/postgres.ts'
import { postgresCalls } from '../test/testbed/postgres-log.ts'
import { makeVaultEstate, type VaultEstate } from '../test/testbed/vault-estate.ts'
import type { BareCall } from './revoke-bare.ts'

export const name = 'revoke'

const size = 1000
const bare = fileURLToPath(new URL('revoke-bare.ts', import.meta.url))

/** How many calls at once OpenBao is asked for its limit with. */
const widths = [8, 16, 32]
/** One after the other, so that a machine whose speed changes changes it for all. */
const rounds = 3

/**
 * `revoke --yes` of 1,000 credentials (AppRoles, tokens, database leases, stored passwords) against OpenBao and PostgreSQL, beside a
 * bare script that makes the very same calls to both (they are recorded first) with the same clients: one after the other, and
 * as many at once as they answer fastest. Whole processes, each with servers of its own. The script mixes what it asks of
 * PostgreSQL evenly among the rest, so that none of it is waited for. Bounds: 4 times as fast as the script in sequence, or as fast
 * as the servers can answer; at most 200 MB.
 */
export async function run(print: (line: string) => void): Promise<void> {
  print(`revoke of ${size} credentials, whole processes against OpenBao and PostgreSQL`)
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-bench-'))
  try {
    const recording = await inEstate((estate, bao, postgres) => record(estate, bao, postgres))
    const sequence = await inEstate((estate, bao, postgres) => replay(folder, recording, estate, bao, postgres, 1))
    print(
      `  bare, in sequence  ${ms(sequence.ms)}   ${recording.calls.length} calls, ${sequence.refused} of them refused`,
    )
    const bareTimes = widths.map((): number[] => [])
    const times: number[] = []
    let peak = 0
    for (let round = 0; round < rounds; round++) {
      for (const [at, width] of widths.entries()) {
        const { ms: took } = await inEstate((estate, bao, postgres) =>
          replay(folder, recording, estate, bao, postgres, width),
        )
        bareTimes[at]?.push(took)
      }
      const ran = await inEstate((estate, bao, postgres) => command(estate, bao, postgres))
      times.push(ran.time)
      peak = Math.max(peak, ran.peak)
    }
    const limits = widths.map((width, at) => [width, median(bareTimes[at] ?? [])] as const)
    const [width, limit] = limits.reduce((best, one) => (one[1] < best[1] ? one : best))
    const time = median(times)
    print(`  bare, ${String(width).padStart(2)} at once   ${ms(limit)}   the servers' limit, median of ${rounds}`)
    print(
      `  mcp-ir revoke      ${ms(time)}   median of ${rounds}; peak memory ${(peak / 1024).toFixed(0)} MB (bound 200)`,
    )
    print(`  sequence / mcp-ir  ${(sequence.ms / time).toFixed(2)}; mcp-ir / limit  ${(time / limit).toFixed(2)}`)
    const could = (sequence.ms / limit).toFixed(1)
    print(
      `  bound: ${
        sequence.ms / time >= 4
          ? 'it is 4 times as fast'
          : time / limit <= 1.1
            ? `as fast as the servers, with which ${could} times is the most`
            : `neither (with these servers ${could} times is the most)`
      }`,
    )
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

interface Recording {
  readonly calls: readonly BareCall[]
  readonly ids: readonly string[]
}

/** One run of the command through a proxy that writes down every call. */
async function record(estate: VaultEstate, bao: Openbao, postgres: Postgres): Promise<Recording> {
  const proxy = await startFaultProxy(bao.url)
  try {
    const { log } = await command(estate, bao, postgres, proxy.url)
    const asked = postgresCalls(log, 'mcp-ir').map((call): BareCall => {
      if ('sql' in call) return call
      const password = estate.secrets[Number(/^estate_(\d+)$/.exec(call.login)?.[1])] ?? ''
      return { ...call, password }
    })
    return { calls: mixed(proxy.calls, asked), ids: estate.ids }
  } finally {
    await proxy.stop()
  }
}

/** The fewer evenly among the more. */
function mixed<T>(more: readonly T[], fewer: readonly T[]): readonly T[] {
  const at = (index: number): number => Math.floor((index * more.length) / fewer.length)
  const beside = Map.groupBy(fewer.entries(), ([index]) => at(index))
  return more.flatMap((one, index) => [one, ...(beside.get(index) ?? []).map(([, other]) => other)])
}

/** The recorded calls in another estate, where everything has another id. */
async function replay(
  folder: string,
  { calls, ids }: Recording,
  estate: VaultEstate,
  bao: Openbao,
  postgres: Postgres,
  width: number,
): Promise<{ readonly ms: number; readonly refused: number }> {
  const renamed = new Map(ids.map((id, index) => [id, estate.ids[index] ?? id]))
  const file = join(folder, 'calls.json')
  const text = JSON.stringify(calls).replaceAll(/[A-Za-z0-9_-]{20,}/g, (word) => renamed.get(word) ?? word)
  writeFileSync(file, text)
  const start = performance.now()
  const child = spawn(process.execPath, ['--no-warnings', bare, file, `${width}`], {
    env: {
      ...environment(bao, postgres),
      PATH: process.env.PATH,
      VAULT_ADDR: bao.url,
      PGHOST: postgres.host,
      PGPORT: `${postgres.port}`,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [said, [code]] = await Promise.all([textOf(child.stdout), once(child, 'close')])
  const time = performance.now() - start
  if (code !== 0) throw new Error(`the bare script ended with ${code}`)
  return { ms: time, refused: Number(said) }
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

const ms = (time: number): string => `${time.toFixed(0).padStart(7)} ms`

/** New servers each time: what was revoked is not to be had again. */
async function inEstate<T>(work: (estate: VaultEstate, bao: Openbao, postgres: Postgres) => Promise<T>): Promise<T> {
  const [bao, postgres] = await Promise.all([startOpenbao(), startPostgres()])
  try {
    const estate = await makeVaultEstate(bao, postgres, size)
    return await work(estate, bao, postgres)
  } finally {
    await Promise.all([bao.stop(), postgres.stop()])
  }
}

async function command(
  estate: VaultEstate,
  bao: Openbao,
  postgres: Postgres,
  address = bao.url,
): Promise<{ readonly time: number; readonly peak: number; readonly log: string }> {
  const cwd = workplace(estate.registry, `vault: {address: "${address}"}\n`)
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
  // What follows is the test's own.
  const log = postgres.log()
  const living = await estate.living()
  if (living.length > 0) throw new Error(`${living.length} are alive: ${living[0]}`)
  await rm(cwd, { recursive: true, force: true })
  return { time, peak, log }
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
