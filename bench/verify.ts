import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { provenance } from '../src/provenance/index.ts'

export const name = 'verify'

const rounds = 25
const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
const file = path('../test/data/npm-provenance/provenance-npm-test-cli-v1-prega.tgz')
const document = `${file}.json`
const root = path('../src/provenance/public-good.json')
const identity = 'https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main'
const issuer = 'https://token.actions.githubusercontent.com'

/**
 * A tarball with its npm attestations: `mcp-ir verify` beside a script that does no more than sigstore-js needs, as whole
 * processes in turn, then both in this process. Bound: less than 2.
 */
export async function run(print: (line: string) => void): Promise<void> {
  const flags = ['--bundle', document, '--certificate-identity', identity, '--certificate-oidc-issuer', issuer]
  const direct = [path('./verify-direct.mjs'), file, document, root, identity, issuer]
  const ours = [path('../bin/run.js'), 'verify', file, ...flags]
  print(`verify of a tarball with npm attestations, ${rounds} rounds in turn (median; ratio pair by pair)`)
  await compare(
    print,
    'whole process',
    () => started(direct),
    () => started(ours),
  )
  // Plain JavaScript, so that as a process of its own it has no types to strip; by URL, as it has none to check either.
  const { verifyDirect } = (await import(new URL('./verify-direct.mjs', import.meta.url).href)) as {
    verifyDirect: (given: Readonly<Record<string, string>>) => boolean
  }
  await compare(
    print,
    'in this process',
    () => {
      if (!verifyDirect({ file, document, root, identity, issuer })) throw new Error('sigstore-js does not verify it')
    },
    async () => {
      const expected = { bundle: document, identity, issuer }
      const { state } = await provenance.verify(file, expected, AbortSignal.timeout(60_000))
      if (state !== 'verified') throw new Error(`we find it ${state}`)
    },
  )
  print('  bound: 2')
}

async function compare(
  print: (line: string) => void,
  what: string,
  peer: () => void,
  ours: () => void | Promise<void>,
): Promise<void> {
  const times: { readonly peer: number; readonly ours: number }[] = []
  for (let round = 0; round <= rounds; round++) {
    const start = performance.now()
    peer()
    const middle = performance.now()
    await ours()
    // The first round fills the caches and is not counted.
    if (round > 0) times.push({ peer: middle - start, ours: performance.now() - middle })
  }
  const ms = (values: readonly number[]) => `${median(values).toFixed(1).padStart(6)} ms`
  const ratio = median(times.map((time) => time.ours / time.peer))
  print(
    `  ${what.padEnd(16)} sigstore-js ${ms(times.map((time) => time.peer))}   mcp-ir ${ms(times.map((time) => time.ours))}   ratio ${ratio.toFixed(2)}`,
  )
}

function started(args: readonly string[]): void {
  const { status } = spawnSync(process.execPath, args, { stdio: 'ignore' })
  if (status !== 0) throw new Error(`${args[0]} ended with ${status}`)
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}
