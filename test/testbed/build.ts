import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** Global set-up of the tests that run the real command: what they test is what is in src now. */
export default function build(): void {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
}
