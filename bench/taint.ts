import { follow } from '../src/blast-radius/suspect.ts'
import type { TrailRecord } from '../src/invocations/port.ts'
import { serverSchema } from '../src/registry/schema.ts'
import { touchesOf } from '../src/registry/touches.ts'

export const name = 'taint'

const serversInRegistry = 10_000
/** Records in a piece, as a source gives them. */
const piece = 2048
const second = 1_000_000

/**
 * Following a taint through logs of 10^5 and 10^6 records of 10,000 servers (10^7 with BENCH_LARGE=1), made up as they are
 * read: sessions of 20 calls, one in ten of which calls the compromised server; one call in eight writes or reads one of as many
 * notes as there are sessions. Prints the time per record and the slope: 1 is linear.
 */
export async function run(print: (line: string) => void): Promise<void> {
  const servers = Array.from({ length: serversInRegistry }, (_, index) =>
    serverSchema.parse({
      name: `io.acme/server-${index}`,
      version: '1.0.0',
      status: 'approved',
      owner: 'team',
      package: { registryType: 'npm', identifier: 'x', version: '1.0.0' },
      deployments: [],
      resources: [
        { tool: 'save_note', access: 'write', resource: 'note:${params.id}', system: `db-${index % 500}` },
        { tool: 'get_note', access: 'read', resource: 'note:${params.id}', system: `db-${index % 500}` },
      ],
    }),
  )
  const sizes = [100_000, 1_000_000, ...(process.env.BENCH_LARGE === '1' ? [10_000_000] : [])]
  const times: number[] = []
  print(`taint over ${serversInRegistry} servers, best of 3`)
  for (const size of sizes) {
    let best = Number.POSITIVE_INFINITY
    let found = { total: 0, hubs: 0 }
    for (let round = 0; round < (size > 1_000_000 ? 1 : 3); round += 1) {
      globalThis.gc?.()
      const touches = touchesOf(servers)
      const begin = performance.now()
      const { total, hubs } = await follow(() => traffic(size), {
        touches: touches.of,
        rank: () => 0,
        configured: new Set(),
        throughHubs: true,
      })
      best = Math.min(best, performance.now() - begin)
      found = { total, hubs: hubs.length }
    }
    // What making the records up costs by itself is not ours.
    const begin = performance.now()
    for await (const records of traffic(size)) if (records.length === 0) throw new Error('nothing was made up')
    const bare = performance.now() - begin
    times.push(best - bare)
    print(
      `  ${size.toLocaleString('en').padStart(10)} records  ${(best - bare).toFixed(0).padStart(6)} ms  ${(((best - bare) / size) * 1000).toFixed(2)} us a record  ${found.total.toLocaleString('en')} suspect, ${found.hubs} hubs  ${(process.memoryUsage().rss / 1e6).toFixed(0)} MB`,
    )
  }
  const slopes = times.slice(1).map((time, index) => Math.log10(time / (times[index] ?? Number.NaN)))
  print(`  slope               ${slopes.map((slope) => slope.toFixed(2)).join(', ')} (1 is linear)`)
}

async function* traffic(size: number): AsyncGenerator<readonly TrailRecord[]> {
  const random = seeded(20261123)
  const sessions = Math.ceil(size / 20)
  for (let from = 0; from < size; from += piece) {
    yield Array.from({ length: Math.min(piece, size - from) }, (_, index) => {
      const at = from + index
      // A session is active for a stretch of the log, among 500 others.
      const session = Math.min(sessions - 1, Math.floor(at / 20 / 500) * 500 + Math.floor(random() * 500))
      const own = session % 10 === 0 && random() < 0.1
      const note = !own && random() < 0.125
      return {
        id: `r${at}`,
        time: at * second,
        ends: at * second + 300_000,
        own,
        call: true,
        list: false,
        server: own ? 'io.acme/crm' : `io.acme/server-${Math.floor(random() * serversInRegistry)}`,
        tool: note ? (random() < 0.5 ? 'save_note' : 'get_note') : 'lookup',
        agent: 'copilot',
        user: `user-${session % 5000}`,
        session: `s${session}`,
        trace: undefined,
        address: undefined,
        values: note ? [`${Math.floor(random() * sessions)}`] : undefined,
        sent: undefined,
      }
    })
  }
}

/** Small and repeatable; nothing here is a secret. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296
    return state / 4294967296
  }
}
