import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Global set-up of the tests that run the real command: what they test is what is in src now. */
export default function build(): void {
  const built = join(root, 'dist', 'package.json')
  if (existsSync(built) && newest(join(root, 'src')) < statSync(built).mtimeMs) return
  execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
}

function newest(folder: string): number {
  return Math.max(
    ...readdirSync(folder, { recursive: true }).map((file) => statSync(join(folder, String(file))).mtimeMs),
  )
}
