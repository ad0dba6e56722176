import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { bundling } from '../scripts/bundling.mjs'
import { type Elasticsearch, skipWithoutElasticsearch, startElasticsearch } from '../test/testbed/elasticsearch.ts'
import { cache, madeOnce } from '../test/testbed/made-once.ts'
import { makeLog } from '../test/testbed/search-log.ts'

export const name = 'logs'

const sizes = process.env.BENCH_SMALL === '1' ? [20_000, 200_000] : [200_000, 2_000_000]
const rounds = 3
/** Rounds before, which do not count: a cluster that has just been started compiles itself while it answers. */
const warmUps = 3
/** Its best is taken. */
const pageSizes = [1000, 5000, 10_000]
const pin = 'elasticdump@6.125.1'
const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

/** Lines of some 480 bytes, all of one server. */
export function* lines(records: number): Generator<string> {
  for (let n = 0; n < records; n += 1) {
    yield JSON.stringify({
      timestamp: new Date(
        Date.parse('2026-11-16T00:00:00Z') + Math.floor((n / records) * 4 * 86_400_000),
      ).toISOString(),
      duration_ms: n % 3000,
      'mcp.method.name': 'tools/call',
      'mcp.server.name': 'io.acme/crm',
      'mcp.session.id': `session-${n % 5000}`,
      'gen_ai.tool.name': `tool-${n % 40}`,
      'gen_ai.agent.name': `agent-${n % 25}`,
      'user.name': `user-${n % 900}`,
      span_id: (n * 2654435761).toString(16),
      'gen_ai.tool.call.arguments': { query: `customer ${n}`, limit: 20 },
      'gen_ai.tool.call.result': {
        structuredContent: {
          rows: [
            { id: n, name: 'Jane Example' },
            { id: n + 1, name: 'John Example' },
          ],
        },
      },
    })
  }
}

/** Export from Elasticsearch beside elasticdump, and a review of files beside a script that counts the same; each a process of its own. */
export async function run(print: (line: string) => void): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-bench-'))
  await bundle()
  try {
    if (!skipWithoutElasticsearch('bench logs, export')) await exports(print, folder)
    await reviews(print, folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function exports(print: (line: string) => void, folder: string): Promise<void> {
  const es = await startElasticsearch('2g')
  try {
    print(
      `export from Elasticsearch, best of ${rounds} in turn, after ${warmUps} that do not count (bounds: 4 times elasticdump; 250 MB, flat)`,
    )
    let pages: readonly number[] = pageSizes
    for (const size of sizes) {
      const index = `log-${size}`
      await makeLog(es, index, { number_of_shards: 1 })
      await es.index(index, lines(size))
      await es.call('POST', `/${index}/_forcemerge?max_num_segments=1`)
      const ours: Measured[] = []
      const theirs: (Measured & { readonly page: number })[] = []
      for (let round = -warmUps; round < rounds; round += 1) {
        const file = join(folder, `export-${size}-${round}`)
        const our = await measured([join(bundled, 'logs-export.mjs'), es.url, index, file])
        await rm(file)
        if (round >= 0) ours.push(our)
        for (const page of pages) {
          const their = await dumped(es, index, page, file)
          await rm(file)
          if (round >= 0) theirs.push({ page, ...their })
        }
      }
      const best = fastest(ours)
      print(
        `  mcp-ir       ${shown(size, best)}  peak ${(Math.max(...ours.map(({ rss }) => rss)) / 1e6).toFixed(0)} MB`,
      )
      const peer = fastest(theirs)
      print(`  elasticdump  ${shown(size, peer)}   ratio ${(peer.ms / best.ms).toFixed(1)}, ${peer.page} a page`)
      // Its best page size is looked for at the smaller size only: at the larger one a run takes more than half a minute.
      pages = [peer.page]
    }
  } finally {
    await es.stop()
  }
}

async function reviews(print: (line: string) => void, folder: string): Promise<void> {
  const size = sizes.at(-1) ?? 0
  const file = join(folder, 'log.ndjson')
  await pipeline(
    Readable.from(lines(size)).map((line: string) => `${line}\n`),
    createWriteStream(file),
  )
  print(
    `review of ${size.toLocaleString('en')} records in files (${((await stat(file)).size / 1e6).toFixed(0)} MB), best of ${rounds} in turn (bound: 3 times the script)`,
  )
  const ours: Measured[] = []
  const script: Measured[] = []
  for (let round = 0; round < rounds; round += 1) {
    ours.push(await measured([join(bundled, 'logs-review.mjs'), file]))
    script.push(await measured([path('./logs-counts.mjs'), file]))
    if (ours[round]?.said !== script[round]?.said)
      throw new Error(`not the same: ${ours[round]?.said} ${script[round]?.said}`)
  }
  print(`  mcp-ir       ${shown(size, fastest(ours))}  peak ${(fastest(ours).rss / 1e6).toFixed(0)} MB`)
  print(`  a script     ${shown(size, fastest(script))}   ratio ${(fastest(script).ms / fastest(ours).ms).toFixed(1)}`)
}

const bundled = path('../dist/bench')

/** As the product is. */
async function bundle(): Promise<void> {
  const entryPoints = ['./logs-export.ts', './logs-review.ts'].map(path)
  await build({ ...bundling, entryPoints, splitting: true, outdir: bundled, outExtension: { '.js': '.mjs' } })
}

interface Measured {
  readonly ms: number
  /** Peak, bytes. */
  readonly rss: number
  /** What it printed. */
  readonly said: string
}

/** The programs print what they found; their memory is what the system counted for them when they say that they are done. */
async function measured(args: readonly string[]): Promise<Measured> {
  const begin = performance.now()
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  let rss = 0
  const look = () => {
    try {
      const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))
      rss = Math.max(rss, Number(peak?.[1] ?? 0) * 1024)
    } catch {
      // It has ended.
    }
  }
  const timer = setInterval(look, 50)
  child.stdout.setEncoding('utf8').on('data', (text) => {
    said += text
    look()
  })
  const [code] = await once(child, 'close')
  clearInterval(timer)
  if (code !== 0) throw new Error(`${args[0]} ended with ${code}`)
  return { ms: performance.now() - begin, rss, said: said.trim() }
}

async function dumped(es: Elasticsearch, index: string, page: number, file: string): Promise<Measured> {
  const home = join(cache, pin)
  const program = join(home, 'node_modules', 'elasticdump', 'bin', 'elasticdump')
  await madeOnce(
    pin,
    () => existsSync(program),
    async () => {
      const { status } = spawnSync('npm', ['install', '--prefix', home, '--no-save', '--no-audit', '--no-fund', pin], {
        stdio: 'ignore',
      })
      if (status !== 0) throw new Error(`${pin} cannot be installed`)
    },
  )
  return measured([
    program,
    `--input=${es.url}/${index}`,
    `--output=${file}`,
    `--limit=${page}`,
    '--type=data',
    '--quiet',
  ])
}

function fastest<T extends Measured>(all: readonly T[]): T {
  return all.toSorted((a, b) => a.ms - b.ms)[0] as T
}

function shown(records: number, { ms }: Measured): string {
  return `${records.toLocaleString('en').padStart(9)} records  ${(ms / 1000).toFixed(2).padStart(7)} s  ${Math.round(
    (records / ms) * 1000,
  )
    .toLocaleString('en')
    .padStart(9)} records/s`
}
