import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { awsEnvironment, buildAwsWorld } from '../test/testbed/aws-world.ts'
import { mcpIr, workplace } from '../test/testbed/cli.ts'
import { type Emulator, startMoto } from '../test/testbed/python.ts'
import { createdIds, necessary, type Recorded } from './isolate-bare.ts'

export const name = 'isolate'

const root = fileURLToPath(new URL('..', import.meta.url))
const server = 'io.acme/crm'
const sizes = [
  { instances: 1, rounds: 3 },
  { instances: 10, rounds: 1 },
  { instances: 100, rounds: 5 },
]
/** How many calls at once moto is asked for its limit with. */
const widths = [4, 8, 16]

/**
 * `isolate --yes` of 1, 10 and 100 EC2 instances against moto, beside a bare script that does the same with the same SDK:
 * one call after the other, and as many at once as moto answers fastest, which is moto's limit. The script makes every call
 * of the command that changes something, and only the reads that nobody could do without: each once before and once after
 * (`necessary`); what the command asks beyond that is its own loss. Whole processes, each in a world that is made anew.
 * Bounds: for 1 instance the command takes at most 1.5 times the bare script, plus its start-up; for 100 it is 4 times as
 * fast as the script, or as fast as moto can answer.
 */
export async function run(print: (line: string) => void): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-bench-'))
  const moto = await startMoto()
  // Once, for what moto draws when it is first asked: from here on the same seed gives the same ids.
  await build(moto, 1)
  try {
    const startUp = median(Array.from({ length: 7 }, () => versionMs()))
    print(`isolate on EC2, whole processes against moto; start-up of the command ${startUp.toFixed(0)} ms`)
    for (const { instances, rounds } of sizes) {
      const recording = join(folder, `${instances}.json`)
      const { calls, bare: needed, group } = await record(moto, instances, recording)
      const cli: number[] = []
      const bare: number[] = []
      const limits = new Map(widths.map((width) => [width, [] as number[]]))
      let failed = 0
      for (let round = 0; round < rounds; round++) {
        const turns = [
          async () => void cli.push(await isolate(moto, await build(moto, instances))),
          async () => void bare.push((await replay(moto, instances, recording, group, 1)).ms),
        ]
        for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn()
        for (const [width, times] of limits) {
          const fired = await replay(moto, instances, recording, group, width)
          times.push(fired.ms)
          failed = Math.max(failed, fired.failed)
        }
      }
      const [command, sequence] = [median(cli), median(bare)]
      const [width, fastest] = [...limits]
        .map(([at, times]) => [at, median(times)] as const)
        .reduce((best, one) => (one[1] < best[1] ? one : best))
      print(`  ${instances} instances, ${calls} calls, ${needed} of them by the bare script, median of ${rounds}`)
      print(`    bare, in sequence   ${ms(sequence)}`)
      print(
        `    bare, ${String(width).padStart(2)} at once    ${ms(fastest)}   moto's limit (${failed} of them refused)`,
      )
      print(`    mcp-ir isolate      ${ms(command)}`)
      if (instances === 1) {
        print(`    (mcp-ir - start-up) / sequence  ${((command - startUp) / sequence).toFixed(2)} (bound 1.5)`)
      } else {
        print(
          `    sequence / mcp-ir  ${(sequence / command).toFixed(2)}; mcp-ir / limit  ${(command / fastest).toFixed(2)}`,
        )
      }
      if (instances === 100)
        print(`    bound: 4 times as fast, or as fast as moto: ${bound(sequence, command, fastest)}`)
    }
  } finally {
    await moto.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/** Which of the two bounds is met; runs of the same thing differ by a tenth. */
function bound(sequence: number, command: number, limit: number): string {
  if (sequence / command >= 4) return 'it is 4 times as fast'
  const could = (sequence / limit).toFixed(1)
  return command / limit <= 1.1
    ? `as fast as moto, with which ${could} times is the most`
    : `neither (with moto ${could} times is the most)`
}

const ms = (time: number): string => `${time.toFixed(0).padStart(6)} ms`

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}

function versionMs(): number {
  const start = performance.now()
  const { status } = spawnSync(process.execPath, [join(root, 'bin/run.js'), '--version'], { stdio: 'ignore' })
  if (status !== 0) throw new Error(`--version ended with ${status}`)
  return performance.now() - start
}

interface Scene {
  /** The working folder of a responder. */
  readonly cwd: string
  /** What differs from world to world: the name of the auto scaling group and all that is called after it. */
  readonly group: string
}

/** The same world each time, down to the ids that moto draws. */
async function build(moto: Emulator, instances: number): Promise<Scene> {
  for (const path of ['reset', 'seed?a=7']) {
    const answer = await fetch(`${moto.url}/moto-api/${path}`, { method: 'POST' })
    if (!answer.ok) throw new Error(`moto does not ${path}: ${answer.status}`)
    await answer.body?.cancel()
  }
  const { group } = await buildAwsWorld(moto.url, instances)
  // Straight into the isolation group: the second that the way through the open group takes is no work.
  const cwd = workplace(`
servers:
  - name: ${server}
    version: 1.0.0
    status: approved
    owner: crm-team
    package: {registryType: npm, identifier: crm, version: 1.0.0}
    deployments:
      - {id: prod, kind: aws-ec2, region: us-east-1, autoScalingGroup: ${group}, cut: groups}
`)
  return { cwd, group }
}

/** @returns milliseconds of the whole process */
async function isolate(moto: Emulator, { cwd }: Scene, endpoint = moto.url): Promise<number> {
  const start = performance.now()
  const ran = await mcpIr(['isolate', server, '--yes', '--json'], { cwd, env: awsEnvironment(endpoint) })
  const time = performance.now() - start
  await rm(cwd, { recursive: true, force: true })
  if (ran.code !== 0 && ran.code !== 6) throw new Error(`isolate ended with ${ran.code}: ${ran.stdout}${ran.stderr}`)
  return time
}

/** One run of the command through a proxy that writes down every call. */
async function record(
  moto: Emulator,
  instances: number,
  file: string,
): Promise<{ calls: number; bare: number; group: string }> {
  const calls: Recorded[] = []
  const proxy = createServer((incoming, outgoing) => {
    void (async () => {
      const body = await text(incoming)
      const service = /Credential=[^/]+\/\d+\/[^/]+\/([^/]+)\//.exec(incoming.headers.authorization ?? '')?.[1] ?? ''
      const action =
        new URLSearchParams(body).get('Action') ?? String(incoming.headers['x-amz-target']).replace(/.*\./, '')
      const call: Recorded = { service, action, body, ids: [] }
      calls.push(call)
      const passed = request(new URL(incoming.url ?? '/', moto.url), { method: 'POST', headers: incoming.headers })
      passed.end(body)
      const [response] = await once(passed, 'response')
      const answer = await text(response)
      call.ids.push(...createdIds(answer))
      outgoing.writeHead(response.statusCode, { 'content-type': response.headers['content-type'] ?? 'text/xml' })
      outgoing.end(answer)
    })()
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const scene = await build(moto, instances)
  await isolate(moto, scene, `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`)
  proxy.close()
  const bare = necessary(calls)
  writeFileSync(file, JSON.stringify(bare))
  return { calls: calls.length, bare: bare.length, group: scene.group }
}

/** The recorded calls by the bare script, `width` at once. */
async function replay(
  moto: Emulator,
  instances: number,
  recording: string,
  recorded: string,
  width: number,
): Promise<{ ms: number; failed: number }> {
  const { cwd, group } = await build(moto, instances)
  await rm(cwd, { recursive: true, force: true })
  const start = performance.now()
  const child = spawn(process.execPath, [join(root, 'bench/isolate-bare.ts'), recording, `${width}`, recorded, group], {
    env: { PATH: process.env.PATH, ...awsEnvironment(moto.url) },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
  const time = performance.now() - start
  if (code !== 0) throw new Error(`the bare script ended with ${code}`)
  return { ms: time, failed: Number(said) }
}
