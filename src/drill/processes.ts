import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, openSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, extname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { IrError, systemCode } from '../errors.ts'
import type { FromWorker, ToWorker } from './worker.ts'

/**
 * The processes of a drill's company. Each carries the company's marker, made of random characters, as its last argument:
 * that is how they are found again, whoever started them, and nothing else can be ended by mistake.
 */

/** A process that talks to the drill over IPC and ends with it. */
export interface Worker {
  readonly pid: number
  /** Lets it live on when the drill ends. */
  keep(): Promise<void>
}

export interface Place {
  /** Folder of the company. */
  readonly folder: string
  readonly marker: string
}

/** `src` in development, `dist` as built, from wherever in it the bundler put this code. */
export const codeRoot = ((): string => {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'drill', 'workers')) && dirname(folder) !== folder) folder = dirname(folder)
  return folder
})()

/** `.ts` in development (Node strips the types), `.js` as built. */
export const ownExtension = extname(fileURLToPath(import.meta.url))

function workerFile(name: string): string {
  return join(codeRoot, 'drill', 'workers', `${name}${ownExtension}`)
}

/** What a program needs to run at all, and nothing of what the responder's environment holds besides. */
export function minimalEnvironment(): Record<string, string> {
  const environment: Record<string, string> = {}
  for (const name of ['PATH', 'HOME', 'LANG', 'TZ']) {
    const value = process.env[name]
    if (value !== undefined) environment[name] = value
  }
  return environment
}

/** @throws IrError unreachable when it does not come up */
export async function startWorker<Settings, Ready>(
  name: string,
  settings: Settings,
  place: Place,
  label = name,
): Promise<Worker & { readonly ready: Ready }> {
  const log = openSync(join(place.folder, 'logs', `${label}.log`), 'a', 0o600)
  const child = spawn(process.execPath, [workerFile(name), place.marker], {
    cwd: place.folder,
    // A session of its own: Ctrl-C is for the drill, which then ends them all.
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
    env: minimalEnvironment(),
  })
  const answered = answer<Ready>(child, label)
  child.send({ settings } satisfies ToWorker<Settings>)
  const first = await answered
  if (!('ready' in first)) throw notUp(label, 'failed' in first ? first.failed : 'unexpected answer')
  return {
    pid: child.pid ?? 0,
    ready: first.ready,
    keep: async () => {
      const kept = answer<Ready>(child, label)
      child.send({ keep: true } satisfies ToWorker<Settings>)
      await kept
      child.disconnect()
      child.unref()
    },
  }
}

function answer<Ready>(child: ChildProcess, label: string): Promise<FromWorker<Ready>> {
  return new Promise((resolve, reject) => {
    const done = () => {
      child.off('message', onMessage).off('exit', onExit).off('error', onError)
    }
    const onMessage = (message: unknown) => {
      done()
      resolve(message as FromWorker<Ready>)
    }
    const onExit = (code: number | null, signal: string | null) => {
      done()
      reject(notUp(label, `ended with ${code ?? signal}`))
    }
    const onError = (error: Error) => {
      done()
      reject(notUp(label, error.message))
    }
    child.on('message', onMessage).on('exit', onExit).on('error', onError)
  })
}

function notUp(label: string, why: string): IrError {
  return new IrError('unreachable', `The drill's ${label} did not come up: ${why}`)
}

/** Process ids of every living process whose last argument is the marker. */
export async function findMarked(marker: string): Promise<readonly number[]> {
  return existsSync('/proc/self/cmdline') ? await markedInProc(marker) : await markedByPs(marker)
}

async function markedInProc(marker: string): Promise<readonly number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const args = (await readFile(`/proc/${name}/cmdline`, 'utf8')).split('\0')
      if (args.length > 2 && args.at(-2) === marker && /\/node[^/]*$/.test(args[0] ?? '')) found.push(Number(name))
    } catch (error) {
      // Ended meanwhile, or not ours to read and so none of the company.
      if (!['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(systemCode(error) ?? '')) throw error
    }
  }
  return found
}

async function markedByPs(marker: string): Promise<readonly number[]> {
  const { stdout } = await promisify(execFile)('ps', ['-axww', '-o', 'pid=,command='], { maxBuffer: 64 * 1024 ** 2 })
  return stdout
    .split('\n')
    .filter((line) => line.trimEnd().endsWith(` ${marker}`) && /^\s*\d+ \S*node\S* /.test(line))
    .map((line) => Number.parseInt(line, 10))
}

/** Ends them all, frozen ones too, and waits until they are gone. Returns how many there were. @throws IrError partial */
export async function endMarked(marker: string, except: readonly number[] = []): Promise<number> {
  const ended = new Set<number>()
  for (let round = 0; round < 100; round += 1) {
    const living = (await findMarked(marker)).filter((pid) => !except.includes(pid))
    if (living.length === 0) return ended.size
    for (const pid of living) {
      ended.add(pid)
      try {
        process.kill(pid, 'SIGKILL')
      } catch (error) {
        if (systemCode(error) !== 'ESRCH') throw error
      }
    }
    await sleep(30)
  }
  throw new IrError('partial', `Processes of the drill live on (${(await findMarked(marker)).join(', ')})`, {
    hints: ['End them with kill -9.'],
  })
}
