import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { access, constants, open, rename, rm, writeFile } from 'node:fs/promises'
import { basename, delimiter, dirname, isAbsolute, join, resolve, sep } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { IrError, systemCode } from '../errors.ts'
import * as proc from '../processes/proc.ts'

/** The process of a server that we started: how it is started, found again and ended. */

export interface Start {
  /** Program and arguments. */
  readonly command: readonly string[]
  readonly cwd: string
  /** Environment in addition to the minimal one. */
  readonly env: Readonly<Record<string, string>>
  /** Takes its stdout and stderr; made 0600. */
  readonly log: string
}

/** What of our own environment a server gets. Everything else could carry the responder's secrets. */
const inherited = ['PATH', 'HOME', 'LANG', 'TZ'] as const

/**
 * Starts a server in a session of its own, so that it outlives us and Ctrl-C.
 * @throws IrError `refused` when it cannot be started
 */
export async function startServer(start: Start): Promise<proc.Process> {
  const [program = '', ...args] = start.command
  const log = openSync(
    start.log,
    constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW,
    0o600,
  )
  try {
    const child = spawn(program, args, {
      cwd: start.cwd,
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...Object.fromEntries(inherited.flatMap((name) => entry(name))), ...start.env },
    })
    await new Promise<void>((done, fail) => {
      child.once('spawn', done)
      child.once('error', fail)
    })
    child.unref()
    const started = child.pid === undefined ? undefined : proc.readProcess(child.pid)
    if (started === undefined) throw new IrError('refused', 'The new server ended as soon as it was started')
    return started
  } catch (error) {
    if (error instanceof IrError) throw error
    const code = systemCode(error) ?? 'unknown error'
    throw new IrError('refused', `The new server cannot be started (${code})`, { cause: error })
  } finally {
    closeSync(log)
  }
}

function entry(name: string): [string, string][] {
  const value = process.env[name]
  return value === undefined ? [] : [[name, value]]
}

/** The processes that work in this folder or below, and those in the session of one that we started. */
export function processesOf(folder: string, started: readonly proc.ProcessId[] = []): proc.Process[] {
  const sessions = new Map(started.map((one) => [one.pid, one]))
  return proc.scan().filter((one) => {
    if (one.pid === process.pid || 'ZXx'.includes(one.state)) return false
    const leader = sessions.get(one.session)
    if (leader !== undefined && leader.startTicks <= one.startTicks) return true
    const cwd = proc.link(one.pid, 'cwd')
    return cwd !== undefined && within(cwd, folder)
  })
}

export function within(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep)
}

/**
 * Ends processes with SIGKILL and waits until they are gone.
 * @param again looks once more for those that appeared meanwhile
 * @throws IrError `denied` when one is not ours to end; `partial` when one does not go
 */
export async function endProcesses(
  first: readonly proc.ProcessId[],
  again?: () => readonly proc.ProcessId[],
): Promise<void> {
  const deadline = Date.now() + 5000
  for (let left = first; left.length > 0; ) {
    for (const one of left) kill(one)
    await sleep(20)
    const alive = left.filter((one) => proc.condition(one) !== 'gone')
    left = [...alive, ...(again?.() ?? []).filter((one) => !alive.some((other) => proc.same(one, other)))]
    if (left.length > 0 && Date.now() > deadline) {
      throw new IrError('partial', `Processes that do not end: ${left.map(({ pid }) => pid).join(', ')}`)
    }
  }
}

function kill(one: proc.ProcessId): void {
  // Looked at again right before: the pid may be somebody else's by now.
  if (proc.condition(one) === 'gone') return
  try {
    process.kill(one.pid, 'SIGKILL')
  } catch (error) {
    if (systemCode(error) === 'ESRCH') return
    throw new IrError('denied', `Process ${one.pid} may not be ended`, { cause: error })
  }
}

/** Where a program is: an absolute path as it is, a name along PATH, everything else below `cwd`. Undefined: nowhere. */
export async function findProgram(program: string, cwd: string): Promise<string | undefined> {
  const candidates = isAbsolute(program)
    ? [program]
    : program.includes('/')
      ? [resolve(cwd, program)]
      : // An empty or relative part of PATH would mean the folder that we happen to be in.
        (process.env.PATH ?? '')
          .split(delimiter)
          .filter(isAbsolute)
          .map((folder) => join(folder, program))
  for (const candidate of candidates) {
    const found = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (found) return candidate
  }
  return undefined
}

/** Replaces the pid file as a whole: whoever reads it sees the old or the new pid; a link is replaced, not followed. */
export async function writePidFile(file: string, pid: number): Promise<void> {
  const next = join(dirname(file), `.${basename(file)}.mcp-ir`)
  // Of a killed attempt; with `wx` below nothing that somebody else puts there meanwhile is written to.
  await rm(next, { force: true })
  await writeFile(next, `${pid}\n`, { mode: 0o644, flag: 'wx', flush: true })
  await rename(next, file)
  const parent = await open(dirname(file), constants.O_RDONLY | constants.O_DIRECTORY)
  await parent.sync().finally(() => parent.close())
}
