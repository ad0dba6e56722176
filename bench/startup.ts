import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export const name = 'startup'

const rounds = 30
const command = fileURLToPath(new URL('../bin/run.js', import.meta.url))

/** Whole processes in turn: bare `node -e 0`, `mcp-ir --version`, `mcp-ir --help`. Bound: `--version` at most 4. */
export async function run(print: (line: string) => void): Promise<void> {
  const contenders = [
    { name: 'node -e 0', args: ['-e', '0'], times: [] as number[] },
    { name: 'mcp-ir --version', args: [command, '--version'], times: [] as number[] },
    { name: 'mcp-ir --help', args: [command, '--help'], times: [] as number[] },
  ]
  for (let round = 0; round <= rounds; round++) {
    for (const { name, args, times } of contenders) {
      const start = performance.now()
      const { status } = spawnSync(process.execPath, args, { stdio: 'ignore' })
      if (status !== 0) throw new Error(`${name} ended with ${status}`)
      // The first round fills the caches and is not counted.
      if (round > 0) times.push(performance.now() - start)
    }
  }
  const [floor = []] = contenders.map(({ times }) => times)
  print(`start-up, whole process, ${rounds} rounds in turn (median; ratio pair by pair)`)
  for (const { name, times } of contenders) {
    const ratio = median(times.map((time, index) => time / (floor[index] ?? Number.NaN)))
    print(`  ${name.padEnd(18)} ${median(times).toFixed(0).padStart(4)} ms   ratio ${ratio.toFixed(2)}`)
  }
  print('  bound for --version: 4')
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}
