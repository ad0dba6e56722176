import { spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Ran {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  /** stdout as JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into it and fails where it is not as expected
  readonly json: any
}

export interface CliOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** Arguments for node itself. */
  readonly node?: readonly string[]
  /** Called with the process once it runs. */
  readonly started?: (pid: number) => void
}

/** A folder with a registry and a configuration, as a responder's would be. */
export function workplace(registry: string, config = ''): string {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-ir-cli-'))
  writeFileSync(join(folder, 'registry.yaml'), registry, { mode: 0o600 })
  writeFileSync(join(folder, 'mcp-ir.yaml'), `registry: ./registry.yaml\ncases: ./cases\n${config}`, { mode: 0o600 })
  return folder
}

/** Runs the built command as a person would, without a terminal, and waits for its end. */
export function mcpIr(args: readonly string[], options: CliOptions = {}): Promise<Ran> {
  const home = mkdtempSync(join(tmpdir(), 'mcp-ir-home-'))
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...(options.node ?? []), join(root, 'bin/run.js'), ...args], {
      cwd: options.cwd ?? home,
      env: { PATH: process.env.PATH ?? '', HOME: home, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      resolve({
        code,
        signal,
        stdout,
        stderr,
        get json() {
          return JSON.parse(stdout)
        },
      })
    })
    if (child.pid !== undefined) options.started?.(child.pid)
  })
}
