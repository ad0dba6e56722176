import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** What tests download or build stays here. */
export const cache = fileURLToPath(new URL('../../node_modules/.cache/mcp-ir', import.meta.url))

/** Makes something in the cache, once; whoever comes meanwhile waits for it. `build` must leave it ready or not at all. */
export async function madeOnce(name: string, ready: () => boolean, build: () => Promise<void>): Promise<void> {
  await mkdir(cache, { recursive: true })
  const lock = join(cache, `${name}.lock`)
  while (!ready()) {
    try {
      writeFileSync(lock, `${process.pid}`, { flag: 'wx' })
    } catch {
      if (!alive(lock)) rmSync(lock, { force: true })
      await sleep(200)
      continue
    }
    try {
      if (!ready()) await build()
    } finally {
      rmSync(lock, { force: true })
    }
  }
}

function alive(lock: string): boolean {
  try {
    const pid = Number(readFileSync(lock, 'utf8'))
    // Empty for the instant between its making and its writing.
    if (pid !== 0) process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
