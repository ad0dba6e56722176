import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Global set-up of the tests that run the real command: what they test is what is in src now, and all that they leave behind
 * lies in one folder that goes when they have ended.
 */
export default function setUp(): () => void {
  build()
  const folder = mkdtempSync(join(tmpdir(), 'mcp-ir-tests-'))
  // PostgreSQL runs as a user of its own and has to get through.
  chmodSync(folder, 0o711)
  process.env.TMPDIR = folder
  return () => rmSync(folder, { recursive: true, force: true, maxRetries: 10 })
}

function build(): void {
  const built = join(root, 'dist', 'package.json')
  if (existsSync(built) && newest(join(root, 'src')) < statSync(built).mtimeMs) return
  execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
}

function newest(folder: string): number {
  return Math.max(
    ...readdirSync(folder, { recursive: true }).map((file) => statSync(join(folder, String(file))).mtimeMs),
  )
}
