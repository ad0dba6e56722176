import { createHash } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { open, realpath } from 'node:fs/promises'
import { resolve, sep } from 'node:path'
import { systemCode } from '../errors.ts'
import type { Process, ProcessId } from './proc.ts'
import * as proc from './proc.ts'
import { redactCommand } from './redact.ts'
import { scriptOf } from './tree.ts'

/** What stopped processes show of themselves. Reads only; the same state gives the same object, so it holds no clock. */

/** How many entries of each list are kept; the true number stands beside it. */
const bound = 2000

/**
 * @returns JSON data. The strings in it are as the suspect wrote them, except for secrets: of environment values only the
 *   length is kept, and in command lines what looks like a secret is replaced
 */
export async function capture(processes: readonly Process[], signal: AbortSignal): Promise<unknown> {
  const hashes = new Map<string, Promise<FileDigest>>()
  const captured: unknown[] = []
  for (const one of processes) {
    signal.throwIfAborted()
    captured.push(await captureOne(one, hashes))
  }
  return { schema: 'mcp-ir/process-capture/1', bootId: proc.bootId(), processes: captured }
}

async function captureOne(one: Process, hashes: Map<string, Promise<FileDigest>>): Promise<unknown> {
  const { pid } = one
  const status = proc.readStatus(pid)
  const files = proc.openFiles(pid)
  const inodes = proc.socketInodes(pid)
  const args = proc.commandLine(pid)
  const environment = proc.environment(pid)
  const exe = `/proc/${pid}/exe`
  return {
    pid,
    startTicks: one.startTicks,
    startedAt: proc.startedAt(one).toISOString(),
    parent: one.ppid,
    processGroup: one.group,
    session: one.session,
    name: one.comm,
    state: one.state,
    condition: proc.condition(one),
    cpuTicks: one.cpuTicks,
    io: proc.ioCounters(pid) ?? null,
    commandLine: redactCommand(args),
    cwd: proc.link(pid, 'cwd') ?? null,
    root: proc.link(pid, 'root') ?? null,
    executable: { path: proc.link(pid, 'exe') ?? null, ...(await digestOnce(exe, hashes)) },
    script: await script(one, args, hashes),
    uids: status?.uids ?? null,
    gids: status?.gids ?? null,
    tracer: status?.tracer ?? null,
    cgroups: proc.cgroups(pid),
    namespaces: Object.fromEntries(
      ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'user', 'uts'].map((name) => [name, proc.link(pid, `ns/${name}`) ?? null]),
    ),
    environment: bounded(environment?.map(nameAndLength)),
    openFiles: bounded(files),
    sockets: bounded(proc.sockets(pid).filter(({ inode }) => inodes.has(inode))),
    unixSockets: bounded(proc.unixSockets(pid).filter(({ inode }) => inodes.has(inode))),
    mappedFiles: bounded(proc.mappedFiles(pid)),
  }
}

function nameAndLength(entry: string): { name: string; valueLength: number } | { unnamedLength: number } {
  const sign = entry.indexOf('=')
  // Without a name it may be anything: a process can write over its environment.
  if (sign < 1 || sign > 200) return { unnamedLength: entry.length }
  return { name: entry.slice(0, sign), valueLength: entry.length - sign - 1 }
}

function bounded<T>(list: readonly T[] | undefined): { count: number; listed: readonly T[] } | null {
  return list === undefined ? null : { count: list.length, listed: list.slice(0, bound) }
}

type FileDigest = { readonly sha256: string; readonly bytes: number } | { readonly unreadable: string }

/** The script that the interpreter runs, if it is a regular file below the working folder. */
async function script(
  { pid }: ProcessId,
  args: readonly string[],
  hashes: Map<string, Promise<FileDigest>>,
): Promise<unknown> {
  const name = scriptOf(args)
  const cwd = proc.link(pid, 'cwd')
  // A process with a file system of its own means other files by the same paths.
  if (name === undefined || cwd === undefined || proc.link(pid, 'ns/mnt') !== proc.link(process.pid, 'ns/mnt'))
    return null
  try {
    const path = await realpath(resolve(cwd, name))
    if (!path.startsWith(`${await realpath(cwd)}${sep}`)) return null
    return { path, ...(await digestOnce(path, hashes)) }
  } catch (error) {
    if (systemCode(error) === undefined) return null // no path at all (a zero byte in it)
    return { unreadable: systemCode(error) }
  }
}

/** Processes of one tree mostly run the same files: each is read once. */
async function digestOnce(path: string, hashes: Map<string, Promise<FileDigest>>): Promise<FileDigest> {
  try {
    // Not blocking: the path may have become a pipe.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const info = await handle.stat()
    const key = `${info.dev}:${info.ino}`
    const known = hashes.get(key)
    if (known !== undefined || !info.isFile()) {
      await handle.close()
      return known ?? { unreadable: 'not a regular file' }
    }
    const digest = (async (): Promise<FileDigest> => {
      const hash = createHash('sha256')
      let bytes = 0
      for await (const chunk of createReadStream('', { fd: handle })) {
        hash.update(chunk)
        bytes += chunk.length
      }
      return { sha256: hash.digest('hex'), bytes }
    })()
    hashes.set(key, digest)
    return await digest
  } catch (error) {
    return { unreadable: systemCode(error) ?? 'unknown error' }
  }
}
