import { lookup } from 'node:dns/promises'
import { readFileSync, statSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { basename } from 'node:path'
import type { Problem } from '../change.ts'
import { systemCode } from '../errors.ts'
import type { DeploymentOf } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import { matches } from './glob.ts'
import type { Process } from './proc.ts'
import * as proc from './proc.ts'
import { redactCommand } from './redact.ts'
import { ancestors, type Look, treeOf, untouchable } from './tree.ts'

/** Finds the processes that a registry entry means, and makes sure that they are the ones. Reads only. */

export interface Found {
  /** The topmost process of each tree; empty when nothing of it runs. */
  readonly roots: readonly Process[]
  /** The process table that they were found in. */
  readonly table: readonly Process[]
  readonly protectedPids: ReadonlySet<number>
  readonly look: Look
  /** What speaks against stopping them, and warnings. With `refused`, roots is empty. */
  readonly problems: readonly Problem[]
}

/** Programs that hold a port for a server that runs elsewhere: to stop them silences the port and nothing else. */
const forwarders = /^(?:docker-proxy|rootlessport|slirp4netns|gvproxy|ssh|sshd|kubectl|socat)$/

export async function find(deployment: DeploymentOf<'local-process'>): Promise<Found> {
  const address = await localAddress(deployment.url)
  const table = proc.scan()
  const look = looker()
  const protectedPids = untouchable(table, process.pid)
  const found = (roots: readonly Process[], problems: readonly Problem[] = []): Found => ({
    roots,
    table,
    protectedPids,
    look,
    problems,
  })
  const refuse = (message: string, hint?: string): Found =>
    found([], [{ kind: 'refused', message, ...(hint === undefined ? {} : { hint }) }])
  const byPid = new Map(table.map((one) => [one.pid, one]))

  const holders = address === undefined ? [] : holdersOf(address, table)
  const forwarder = holders.find(({ comm }) => forwarders.test(comm))
  if (forwarder !== undefined && deployment.url !== undefined) {
    return refuse(
      `${deployment.url} is only passed on by ${describe(forwarder)}: the server itself runs elsewhere.`,
      'For a container: docker ps shows it, docker pause CONTAINER stops it.',
    )
  }
  // A socket of systemd's is held by init too, next to the service that it was passed to.
  const listeners = holders.filter(({ pid }) => pid > 1)

  const problems: Problem[] = []
  const noted = deployment.pid ?? readPidFile(deployment.pidFile)
  if (typeof noted === 'string') {
    // It stops nothing while there is another way to find the server.
    if (deployment.url === undefined && deployment.match === undefined) {
      return found([], [{ kind: 'input', message: noted }])
    }
    problems.push({ kind: 'warning', message: noted })
  }
  const named = typeof noted === 'string' ? undefined : noted
  const root = named === undefined ? undefined : byPid.get(named)
  if (root !== undefined) {
    if (protectedPids.has(root.pid)) return refuse(own(root, 'the target'))
    return guard(root)
  }

  if (typeof noted !== 'string' && (deployment.pidFile !== undefined || deployment.pid !== undefined)) {
    const what = deployment.pid === undefined ? 'the pid file' : `process ${deployment.pid}`
    const why =
      named === undefined
        ? 'does not exist'
        : deployment.pid === undefined
          ? `names ${named}, which does not run`
          : 'does not run'
    problems.push({ kind: 'warning', message: `${what} ${why}` })
  }
  if (address !== undefined && listeners.length > 0) {
    const responder = listeners.find(({ pid }) => protectedPids.has(pid))
    if (responder !== undefined) return refuse(own(responder, `the listener of ${deployment.url}`))
    return found(topmost(listeners), problems)
  }
  const owner = address === undefined ? undefined : listening(address).at(0)
  if (owner !== undefined) {
    return found(
      [],
      [
        {
          kind: 'denied',
          message: `port ${owner.local.port} is held by a process of ${proc.userName(owner.uid)} that we may not look at.`,
          hint: `Run the same as root: sudo ss -lptn 'sport = :${owner.local.port}' shows it.`,
        },
      ],
    )
  }
  if (deployment.match !== undefined && deployment.pid === undefined) {
    const { command } = deployment.match
    const hits = table.filter(({ pid }) => matches(command, look.commandLine(pid).join(' ')))
    const ours = hits.filter(({ pid }) => protectedPids.has(pid))
    // Our own command line names the server, so it may well match.
    if (ours.length > 0 && ours.some(({ pid }) => pid !== process.pid)) {
      problems.push({
        kind: 'warning',
        message: `left alone although the pattern matches them, since this session hangs on them: ${ours.map(describe).join(', ')}`,
      })
    }
    return found(topmost(hits.filter(({ pid }) => !protectedPids.has(pid))), problems)
  }
  return found([], problems)

  /** A pid may have been given to somebody else since it was written down: everything else that is known must agree. */
  function guard(root: Process): Found {
    const tree = treeOf(table, [root], protectedPids, look)
    const pids = new Set(tree.map(({ pid }) => pid))
    const from = deployment.pid === undefined ? 'The pid file names' : 'The target is'
    if (listeners.length > 0) {
      if (listeners.some(({ pid }) => pids.has(pid))) return found([root])
      const listener = listeners[0] as Process
      // A worker whose listening parent was found: the parent's tree holds both.
      if (ancestors(table, root.pid).some(({ pid }) => pid === listener.pid)) {
        if (protectedPids.has(listener.pid)) return refuse(own(listener, `the listener of ${deployment.url}`))
        return found(
          [listener],
          [
            {
              kind: 'warning',
              message: `${describe(root)} is a child of the listener ${describe(listener)}: that one is meant`,
            },
          ],
        )
      }
      return refuse(
        `${from} ${describe(root)}, but ${deployment.url} is served by ${describe(listener)}. One of them is somebody else's.`,
        `Look at both, then name the right one: --target pid:${root.pid} or --target pid:${listener.pid}.`,
      )
    }
    const against = contradictions(root, tree)
    if (against.length === 0) return found([root])
    return refuse(
      `${from} ${describe(root)}, which is not this server: ${against.join('; ')}.`,
      `If it is the server all the same: --target pid:${root.pid}.`,
    )
  }

  function contradictions(root: Process, tree: readonly Process[]): string[] {
    const against: string[] = []
    const started = proc.startedAt(root)
    const written = deployment.pid === undefined ? modified(deployment.pidFile) : undefined
    // Two seconds: the start is known to the second, and a file system may be as coarse.
    if (written !== undefined && started.getTime() - written.getTime() > 2000) {
      against.push(`it started at ${time(started)}, after the pid file was written at ${time(written)}`)
    }
    const other = address === undefined ? undefined : listening(address).at(0)
    if (other !== undefined && proc.openFiles(root.pid) !== undefined) {
      against.push(`${deployment.url} is served by a process of ${proc.userName(other.uid)}`)
    }
    const lines = tree.map(({ pid }) => look.commandLine(pid)).filter((line) => line.length > 0)
    const { match, command, cwd } = deployment
    if (match !== undefined && !lines.some((line) => matches(match.command, line.join(' ')))) {
      against.push('its command line does not match')
    }
    if (command !== undefined && !lines.some((line) => holds(line, command))) {
      against.push("its command line is not the registry's")
    }
    if (cwd !== undefined) {
      const folders = tree.flatMap(({ pid }) => look.cwd(pid) ?? [])
      // A verified build that was put in the server's place runs from a folder beside it, named <cwd>-….
      const near = (folder: string): boolean =>
        folder === cwd || folder.startsWith(`${cwd}/`) || folder.startsWith(`${cwd}-`)
      if (folders.length > 0 && !folders.some(near)) against.push("its working folder is not the registry's")
    }
    return against
  }

  function topmost(processes: readonly Process[]): Process[] {
    const pids = new Set(processes.map(({ pid }) => pid))
    return processes.filter(
      ({ pid }) =>
        !ancestors(table, pid)
          .slice(1)
          .some((parent) => pids.has(parent.pid)),
    )
  }
}

/** `process 4711 (node server.js)`, safe to show. */
export function describe(one: Process): string {
  const [program = '', ...rest] = redactCommand(proc.commandLine(one.pid))
  const line = [basename(program), ...rest].join(' ') || one.comm
  return `process ${one.pid} (${safe(line, 120)})`
}

/** Everything that the tree needs to know of a process, read once. */
export function looker(): Look {
  const once = <T>(read: (pid: number) => T): ((pid: number) => T) => {
    const known = new Map<number, T>()
    return (pid) => {
      if (!known.has(pid)) known.set(pid, read(pid))
      return known.get(pid) as T
    }
  }
  return {
    cgroup: once(proc.systemdCgroup),
    commandLine: once(proc.commandLine),
    cwd: once((pid) => proc.link(pid, 'cwd')),
    exe: once((pid) => proc.link(pid, 'exe')),
    program: once(proc.program),
    environment: once(proc.environment),
    open: once(proc.openEnds),
    adopts: once(proc.adopts),
    running: (id) => proc.condition(id) === 'running',
    uid: once((pid) => proc.readStatus(pid)?.uids[0]),
  }
}

export interface LocalAddress {
  readonly addresses: readonly string[]
  readonly port: number
}

/** Addresses and port that a URL means on this machine. Undefined when it is served elsewhere (a proxy, another host). */
export async function localAddress(url: string | undefined): Promise<LocalAddress | undefined> {
  if (url === undefined || !URL.canParse(url)) return undefined
  const { hostname, port, protocol } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '')
  const resolved = await lookup(host, { all: true }).catch(() => [])
  const own = new Set(Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address)))
  const local = resolved
    .map(({ address }) => address)
    .filter((address) => address.startsWith('127.') || address === '::1' || address === '0.0.0.0' || own.has(address))
  if (local.length === 0) return undefined
  return { addresses: local, port: Number(port) || (protocol === 'https:' ? 443 : 80) }
}

/** Sockets that accept what is sent to the address: bound to just that, else to all. */
function listening({ addresses, port }: LocalAddress): proc.Socket[] {
  const all = proc.sockets('self').filter(({ state, local }) => state === 'listen' && local.port === port)
  const wildcard = all.filter(({ local }) => local.address === '0.0.0.0' || local.address === '::')
  return addresses.flatMap((address) => {
    const exact = all.filter(({ local }) => local.address === address)
    return exact.length > 0 ? exact : wildcard
  })
}

/** The processes that have the listening socket open. */
export function holdersOf(address: LocalAddress, table: readonly Process[]): Process[] {
  const inodes = new Set(listening(address).map(({ inode }) => inode))
  if (inodes.size === 0) return []
  return table.filter(({ pid }) => [...proc.socketInodes(pid)].some((inode) => inodes.has(inode)))
}

/** The pid in the file; undefined when there is no file; a sentence when it cannot be used. */
function readPidFile(file: string | undefined): number | string | undefined {
  if (file === undefined) return undefined
  try {
    const text = readFileSync(file, 'latin1').trim()
    const pid = Number(text)
    if (/^\d{1,10}$/.test(text) && pid > 0) return pid
    return `the pid file ${file} does not hold a process id`
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    return `the pid file ${file} cannot be read (${systemCode(error) ?? 'unknown error'})`
  }
}

function modified(file: string | undefined): Date | undefined {
  return file === undefined ? undefined : statSync(file, { throwIfNoEntry: false })?.mtime
}

/** Every word of the command is among the arguments, in this order; paths may be written differently. */
function holds(args: readonly string[], command: readonly string[]): boolean {
  let from = 0
  return command.every((word) => {
    const at = args.findIndex((arg, index) => index >= from && (arg === word || basename(arg) === basename(word)))
    from = at + 1
    return at >= 0
  })
}

function own(one: Process, what: string): string {
  const self = one.pid === process.pid ? 'this very tool' : 'a process that this session hangs on'
  return `${what} is ${describe(one)}: ${one.pid === 1 ? 'the first process of the system' : self}. It is never stopped.`
}

function time(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, 'Z')
}
