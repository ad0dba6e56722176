import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname, isAbsolute } from 'node:path'
import { IrError, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'

export interface RunLimits {
  readonly timeoutMs: number
  /** Bytes of stdout. */
  readonly maxOutput: number
}

export interface Ran {
  readonly stdout: Uint8Array
  /** The last of it: at most 4 KB. */
  readonly stderr: string
  readonly stderrBytes: number
  /** Why it counts as failed although it was started, in plain words; undefined when it ended with 0 in time. */
  readonly failed: string | undefined
}

/** All of our own environment that it gets. Everything else could carry the responder's secrets. */
const inherited = ['PATH', 'HOME', 'LANG', 'TZ'] as const
const keptStderr = 4096
/** How long its pipes may stay open, and it itself, once it should be gone. */
const lastMs = 1000

/**
 * Runs a program without a shell, in a process group of its own, which is gone when this returns. What it is to know comes
 * on its stdin: arguments and environment can be read by others.
 * @throws IrError input when it cannot be started (nothing happened); interrupted, ambiguous when it was running
 */
export async function run(
  command: readonly string[],
  stdin: string,
  limits: RunLimits,
  signal: AbortSignal,
): Promise<Ran> {
  if (signal.aborted) throw new IrError('interrupted', 'Interrupted.')
  const child = await start(command)
  const { promise: over, resolve: giveUp } = Promise.withResolvers<void>()
  let failed: string | undefined
  let last: NodeJS.Timeout | undefined
  const end = (why?: string): void => {
    failed ??= why
    killGroup(child)
    // Something that left the group, or that we may not end, could hold the pipes open for ever.
    last ??= setTimeout(giveUp, lastMs)
  }
  const interrupted = (): void => end('it was interrupted')
  const timer = setTimeout(() => end(`it did not end within ${limits.timeoutMs / 1000} s`), limits.timeoutMs)
  signal.addEventListener('abort', interrupted, { once: true })
  // It may have been while the program was being started.
  if (signal.aborted) interrupted()

  const stdout: Uint8Array[] = []
  let size = 0
  let stderr = Buffer.alloc(0)
  let stderrBytes = 0
  child.stdout?.on('data', (part: Buffer) => {
    size += part.length
    if (size > limits.maxOutput) end(`it wrote more than ${limits.maxOutput} bytes`)
    else stdout.push(part)
  })
  child.stderr?.on('data', (part: Buffer) => {
    stderrBytes += part.length
    stderr = Buffer.concat([stderr, part]).subarray(-keptStderr)
  })
  // A program that needs nothing of the request may close it unread.
  child.stdin?.on('error', () => {})
  child.stdin?.end(stdin)
  child.once('exit', (code, endedBy) => {
    if (endedBy !== null) failed ??= `it was ended by ${endedBy}`
    else if (code !== 0) failed ??= `it ended with code ${code}`
    // What it left running goes with it.
    end()
  })
  await Promise.race([once(child, 'close'), over])
  clearTimeout(timer)
  clearTimeout(last)
  signal.removeEventListener('abort', interrupted)
  for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe?.destroy()
  if (signal.aborted)
    throw new IrError('interrupted', `Interrupted while ${safe(command[0] ?? '')} was running`, { ambiguous: true })
  return { stdout: Buffer.concat(stdout), stderr: stderr.toString('utf8'), stderrBytes, failed }
}

async function start([program = '', ...args]: readonly string[]): Promise<ChildProcess> {
  const child = spawn(program, args, {
    // Never the responder's own working folder, which may be the suspect's.
    cwd: isAbsolute(program) ? dirname(program) : '/',
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: Object.fromEntries(
      inherited.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
    ),
  })
  try {
    await once(child, 'spawn')
  } catch (error) {
    const code = systemCode(error) ?? 'unknown error'
    const why = code === 'ENOENT' ? 'is not there' : `cannot be started (${code})`
    throw new IrError('input', `The program ${safe(program)} ${why}`)
  }
  return child
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // EPERM: what is left of the group has changed its user (sudo), and is not ours to end.
    if (systemCode(error) !== 'ESRCH' && systemCode(error) !== 'EPERM') throw error
  }
}
