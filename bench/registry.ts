import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { load } from 'js-yaml'
import { loadRegistry } from '../src/registry/load.ts'

export const name = 'registry'

const servers = 10_000
const rounds = 7

/** Loading a registry of 10,000 servers against js-yaml's bare parse of the same bytes, in alternation. Bound: 2. */
export async function run(print: (line: string) => void): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-bench-'))
  try {
    const file = join(folder, 'registry.yaml')
    await writeFile(file, registry())
    const bare: number[] = []
    const ours: number[] = []
    // The first round warms both up and is not counted.
    for (let round = 0; round <= rounds; round += 1) {
      const turns = [
        async () => time(bare, round, async () => load(await readFile(file, 'utf8'))),
        async () => time(ours, round, () => loadRegistry(file)),
      ]
      for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn()
    }
    const bytes = (await readFile(file)).length
    print(`registry of ${servers} servers, ${(bytes / 1e6).toFixed(1)} MB, median of ${rounds}`)
    print(`  js-yaml load       ${median(bare).toFixed(0)} ms`)
    print(`  loadRegistry       ${median(ours).toFixed(0)} ms`)
    print(`  ratio              ${(median(ours) / median(bare)).toFixed(2)} (bound 2)`)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function time(into: number[], round: number, work: () => Promise<unknown>): Promise<void> {
  globalThis.gc?.()
  const start = performance.now()
  await work()
  if (round > 0) into.push(performance.now() - start)
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN

/** Entries as an organisation has them: credentials of several kinds, what they reach, where they run. */
function registry(): string {
  const entries = Array.from(
    { length: servers },
    (_, index) => `  - name: io.acme/server-${index}
    aliases: [server-${index}-mcp]
    version: 1.${index % 40}.0
    status: approved
    owner: team-${index % 90}
    knownGood: 2026-11-20T00:00:00Z
    package:
      registryType: npm
      identifier: "@acme/server-${index}"
      version: 1.${index % 40}.0
      integrity: sha512-VjvG2IfMxgkXsTz0g4RzLu6m7H6gQw8mcrFvQ8KlyCwjmUnHyuf+E7vjswRXHD5W3mJKox6kPJjBLxPzKL7Heg==
      path: ./builds/server-${index}.tgz
    tools: {digest: sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=}
    deployments:
      - {id: prod, kind: aws-ec2, region: us-east-1, instances: [i-${index}], url: "https://server-${index}.internal.example/mcp"}
      - {id: dev, kind: local-process, pidFile: ./run/${index}.pid, url: "http://127.0.0.1:7001/mcp"}
    credentials:
      - {id: role, kind: aws-iam-role, role: server-${index}}
      - {id: db, kind: vault-database, mount: database, role: server-${index}, database: {engine: postgres, host: 10.0.0.5, name: db-${index}}}
      - {id: api, kind: oauth, tokenEndpoint: "https://auth.example/token", clientId: server-${index}, tokenFile: ./run/${index}.token}
    reaches:
      - {system: db-${index}, kind: database, via: db, access: read-write, data: [customer-pii], classification: restricted}
    consumers: [agent-${index % 200}]
`,
  )
  return `apiVersion: mcp-ir/v1\nservers:\n${entries.join('')}`
}
