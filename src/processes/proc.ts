import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { endianness } from 'node:os'
import { IrError, systemCode } from '../errors.ts'

/**
 * Linux /proc, read and parsed; see proc(5). Reads are synchronous on purpose: one look at the process table must be as
 * close to an instant as possible, because the suspect forks while we look. A process that ends meanwhile is skipped.
 * Every string in here was chosen by the suspect.
 */

/** A process for good: a pid is given out again, a pid together with its start time is not (until the next boot). */
export interface ProcessId {
  readonly pid: number
  /** Clock ticks from boot to its start. */
  readonly startTicks: number
}

export interface Process extends ProcessId {
  readonly comm: string
  readonly ppid: number
  /** Process group and session: the pid of the process that led them first. */
  readonly group: number
  readonly session: number
  /** One letter, of the main thread only: see `condition`. */
  readonly state: string
  readonly kernel: boolean
  /** User and system time used, in clock ticks. */
  readonly cpuTicks: number
}

// USER_HZ: what /proc counts in is 100 a second on every architecture that Node runs on, whatever the kernel's own HZ.
const ticksPerSecond = 100
const kernelThread = 0x00200000 // PF_KTHREAD
const accessMode = 0o3 // O_ACCMODE: read, write, both
const sigstop = 1n << 18n // bit of signal 19 in the masks of /proc/pid/status

/** One line of /proc/PID/stat. The name in parentheses may itself hold spaces, parentheses and newlines. */
export function parseStat(text: string): Process | undefined {
  const open = text.indexOf('(')
  const close = text.lastIndexOf(')')
  if (open < 0 || close < open) return undefined
  const pid = Number(text.slice(0, open))
  const fields = text
    .slice(close + 1)
    .trim()
    .split(' ')
  // fields[0] is field 3 (state) of proc_pid_stat(5).
  const field = (number: number): number => Number(fields[number - 3])
  const process = {
    pid,
    comm: text.slice(open + 1, close),
    state: fields[0] ?? '?',
    ppid: field(4),
    group: field(5),
    session: field(6),
    kernel: (field(9) & kernelThread) !== 0,
    cpuTicks: field(14) + field(15),
    startTicks: field(22),
  }
  return Number.isSafeInteger(process.pid) && Number.isSafeInteger(process.startTicks) ? process : undefined
}

/** The process table, one look at it. Kernel threads are left out. */
export function scan(): Process[] {
  const found: Process[] = []
  for (const name of numbered('/proc')) {
    const process = readProcess(Number(name))
    if (process !== undefined && !process.kernel) found.push(process)
  }
  return found
}

/** Undefined when no such process is there. */
export function readProcess(pid: number): Process | undefined {
  const text = attempt(() => readFileSync(`/proc/${pid}/stat`, 'latin1'))
  return text === undefined ? undefined : parseStat(text)
}

export function same(one: ProcessId, other: ProcessId | undefined): boolean {
  return other !== undefined && one.pid === other.pid && one.startTicks === other.startTicks
}

/**
 * `held`: none of its threads can run until somebody continues it; `running`; `gone`: ended, or the pid is another
 * process now. All threads count: a process whose main thread has ended looks like a zombie and may run all the same.
 */
export type Condition = 'held' | 'running' | 'gone'

export function condition(id: ProcessId): Condition {
  if (!same(id, readProcess(id.pid))) return 'gone'
  const threads = numbered(`/proc/${id.pid}/task`)
  const states = threads.flatMap((thread) => {
    const text = attempt(() => readFileSync(`/proc/${id.pid}/task/${thread}/stat`, 'latin1'))
    return (text === undefined ? undefined : parseStat(text)?.state) ?? []
  })
  return judge(states, () => stopPending(id.pid))
}

/**
 * A thread in uninterruptible sleep cannot run code of the process before the kernel lets it go, and then stops first if a
 * stop is on its way: one of its siblings has stopped already or the signal is pending. (A parent that waits for its
 * vforked child stays so for as long as the child is stopped.)
 */
export function judge(states: readonly string[], pending: () => boolean): Condition {
  const alive = states.filter((state) => !'ZXx'.includes(state))
  if (alive.length === 0) return 'gone'
  const stopped = alive.filter((state) => state === 'T' || state === 't')
  if (stopped.length === alive.length) return 'held'
  if (alive.some((state) => state !== 'T' && state !== 't' && state !== 'D')) return 'running'
  return stopped.length > 0 || pending() ? 'held' : 'running'
}

function stopPending(pid: number): boolean {
  const status = readStatus(pid)
  return status !== undefined && (status.pending & sigstop) !== 0n
}

export interface Status {
  /** Real, effective, saved and file system id. */
  readonly uids: readonly number[]
  readonly gids: readonly number[]
  /** Pid of the debugger; 0 when there is none. */
  readonly tracer: number
  /** Its pid in the innermost PID namespace that it lives in. */
  readonly innerPid: number
  readonly pending: bigint
}

export function parseStatus(text: string): Status {
  const value = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(text)?.[1]?.trim() ?? ''
  const ids = (name: string): number[] => value(name).split(/\s+/).map(Number)
  const mask = (name: string): bigint => BigInt(`0x${value(name) || '0'}`)
  return {
    uids: ids('Uid'),
    gids: ids('Gid'),
    tracer: Number(value('TracerPid')) || 0,
    innerPid: ids('NSpid').at(-1) ?? 0,
    pending: mask('SigPnd') | mask('ShdPnd'),
  }
}

export function readStatus(pid: number): Status | undefined {
  // The name (first line) is the suspect's: a newline in it is escaped by the kernel, so it cannot forge other lines.
  const text = attempt(() => readFileSync(`/proc/${pid}/status`, 'latin1'))
  return text === undefined ? undefined : parseStatus(text)
}

/** The argument list; what is left of it when the process overwrote it. Empty when it is not readable or a zombie's. */
export function commandLine(pid: number): string[] {
  return zeroSeparated(attempt(() => readFileSync(`/proc/${pid}/cmdline`)))
}

/** `NAME=value` strings as they were at its start. Undefined when we may not read them. */
export function environment(pid: number): string[] | undefined {
  const bytes = attempt(() => readFileSync(`/proc/${pid}/environ`))
  return bytes === undefined ? undefined : zeroSeparated(bytes)
}

/** Lines of /proc/PID/cgroup: `0::/system.slice/crm.service`. */
export function cgroups(pid: number): string[] {
  return lines(attempt(() => readFileSync(`/proc/${pid}/cgroup`, 'utf8')))
}

/** The cgroup that systemd manages, as a path: of the unified hierarchy, else of systemd's own. */
export function systemdCgroup(pid: number): string | undefined {
  const all = cgroups(pid)
  const found = all.find((line) => line.includes(':name=systemd:')) ?? all.find((line) => line.startsWith('0::'))
  return found?.split(':').slice(2).join(':')
}

export function link(pid: number, name: string): string | undefined {
  return attempt(() => readlinkSync(`/proc/${pid}/${name}`))
}

/** Counters of /proc/PID/io: bytes and calls, of all I/O. Undefined when we may not read them. */
export function ioCounters(pid: number): string | undefined {
  return attempt(() => readFileSync(`/proc/${pid}/io`, 'latin1'))
    ?.trim()
    .replaceAll('\n', ', ')
}

export interface OpenFile {
  readonly fd: number
  readonly to: string
}

/** Undefined when we may not look (another user's process). */
export function openFiles(pid: number): OpenFile[] | undefined {
  const names = attempt(() => readdirSync(`/proc/${pid}/fd`))
  return names?.flatMap((name) => {
    const to = link(pid, `fd/${name}`)
    return to === undefined ? [] : { fd: Number(name), to }
  })
}

/** Inodes of its sockets. */
export function socketInodes(pid: number): Set<number> {
  const inodes = (openFiles(pid) ?? []).flatMap(({ to }) => /^socket:\[(\d+)\]$/.exec(to)?.[1] ?? [])
  return new Set(inodes.map(Number))
}

/**
 * What it has open, by the kernel's own numbers, which no name can fake: `pipe:[1234] w` (the end that writes),
 * `socket:[1234] rw`, `file 27:5678 w` (mount and inode). Devices and what the kernel makes for one process are left out.
 * Nothing is asked of a file system: the suspect may serve one, and be stopped.
 */
export function openEnds(pid: number): Set<string> {
  const ends = (openFiles(pid) ?? []).flatMap(({ fd, to }) => {
    const kernels = /^(?:pipe|socket):\[\d+\]$/.test(to)
    if (!kernels && (!to.startsWith('/') || /^\/(?:$|dev\/(?!shm\/)|proc\/|sys\/)/.test(to))) return []
    const info = attempt(() => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1')) ?? ''
    const field = (name: string): string => new RegExp(`^${name}:\\s*(\\d+)$`, 'm').exec(info)?.[1] ?? ''
    const end = ['r', 'w', 'rw'][Number.parseInt(field('flags') || '0', 8) & accessMode] ?? ''
    return kernels ? `${to} ${end}` : `file ${field('mnt_id')}:${field('ino') || to} ${end}`
  })
  return new Set(ends)
}

/** Device and inode of the program that it runs: a copy has others, another name of the same has not. */
export function program(pid: number): string | undefined {
  const path = link(pid, 'exe')
  if (path === undefined) return undefined
  const maps = lines(attempt(() => readFileSync(`/proc/${pid}/maps`, 'utf8')))
  const mapped = maps.find((line) => line.endsWith(` ${path}`))?.split(/\s+/)
  return mapped === undefined ? path : `${mapped[3]} ${mapped[4]}`
}

/** Names of programs that take orphans over (PR_SET_CHILD_SUBREAPER), which the kernel does not tell. */
const reapers = /^(?:systemd|init|tini|docker-init|dumb-init|catatonit|conmon|containerd-shim.*|s6-svscan|runsvdir)$/

/** Whether orphans are given to this process: init, that of a PID namespace, or one that is known to take them. */
export function adopts(pid: number): boolean {
  if (pid === 1) return true
  return reapers.test(readProcess(pid)?.comm ?? '') || readStatus(pid)?.innerPid === 1
}

/** Distinct files that are mapped into its memory. */
export function mappedFiles(pid: number): string[] {
  const all = lines(attempt(() => readFileSync(`/proc/${pid}/maps`, 'utf8')))
  // Six columns; the path is the last and may hold blanks.
  return [...new Set(all.flatMap((line) => /^(?:\S+\s+){5}(\/.*)$/.exec(line)?.[1] ?? []))]
}

interface Endpoint {
  readonly address: string
  readonly port: number
}

export interface Socket {
  readonly protocol: 'tcp' | 'tcp6' | 'udp' | 'udp6'
  readonly local: Endpoint
  readonly remote: Endpoint
  readonly state: string
  /** Bytes sent or to be sent and not acknowledged; for a listener the longest backlog. */
  readonly sendQueue: number
  /** Bytes received and not read; for a listener the connections that wait to be accepted. */
  readonly receiveQueue: number
  readonly uid: number
  readonly inode: number
}

// include/net/tcp_states.h
const tcpStates = [
  'unknown',
  'established',
  'syn-sent',
  'syn-received',
  'fin-wait-1',
  'fin-wait-2',
  'time-wait',
  'close',
  'close-wait',
  'last-ack',
  'listen',
  'closing',
  'new-syn-received',
]

/** /proc/net/{tcp,tcp6,udp,udp6}. */
export function parseSockets(text: string, protocol: Socket['protocol']): Socket[] {
  return lines(text)
    .slice(1)
    .flatMap((line) => {
      const [, local, remote, state, queues, , , uid, , inode] = line.trim().split(/\s+/)
      if (local === undefined || remote === undefined || state === undefined || queues === undefined) return []
      const [send, receive] = queues.split(':')
      return {
        protocol,
        local: endpoint(local),
        remote: endpoint(remote),
        state: tcpStates[Number.parseInt(state, 16)] ?? state,
        sendQueue: Number.parseInt(send ?? '0', 16),
        receiveQueue: Number.parseInt(receive ?? '0', 16),
        uid: Number(uid),
        inode: Number(inode),
      }
    })
}

export interface UnixSocket {
  readonly path: string
  readonly inode: number
  readonly listening: boolean
}

/** /proc/net/unix. A path that begins with `@` is an abstract name. */
export function parseUnixSockets(text: string): UnixSocket[] {
  return lines(text)
    .slice(1)
    .flatMap((line) => {
      const match = /^\S+ \S+ \S+ (\S+) \S+ \S+\s+(\d+)(?: (.*))?$/.exec(line)
      if (match === null) return []
      // __SO_ACCEPTCON
      const listening = (Number.parseInt(match[1] ?? '0', 16) & 0x10000) !== 0
      return { path: match[3] ?? '', inode: Number(match[2]), listening }
    })
}

/** All TCP and UDP sockets of the network that this process lives in; `self` for ours. */
export function sockets(pid: number | 'self'): Socket[] {
  return (['tcp', 'tcp6', 'udp', 'udp6'] as const).flatMap((protocol) =>
    parseSockets(attempt(() => readFileSync(`/proc/${pid}/net/${protocol}`, 'latin1')) ?? '', protocol),
  )
}

export function unixSockets(pid: number): UnixSocket[] {
  return parseUnixSockets(attempt(() => readFileSync(`/proc/${pid}/net/unix`, 'utf8')) ?? '')
}

/** Address and port as /proc/net writes them: 32-bit words in the byte order of the host, port in that of the network. */
function endpoint(text: string): Endpoint {
  const [hex = '', port = '0'] = text.split(':')
  const words = hex.match(/.{8}/g) ?? []
  const bytes = words.flatMap((word) => {
    const four = Buffer.from(word, 'hex')
    return [...(endianness() === 'LE' ? four.reverse() : four)]
  })
  return { address: bytes.length === 4 ? bytes.join('.') : ipv6(bytes), port: Number.parseInt(port, 16) }
}

function ipv6(bytes: readonly number[]): string {
  if (bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff) {
    return bytes.slice(12).join('.') // an IPv4 peer of an IPv6 socket
  }
  const groups: string[] = []
  for (let i = 0; i < bytes.length; i += 2) groups.push((((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0)).toString(16))
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1) // written short, RFC 5952
}

/** Changes with every boot; start times count from there. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
}

/** When a process started by this host's clock; up to a second early, since the kernel tells the boot to the second. */
export function startedAt(id: ProcessId): Date {
  const boot = /^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'latin1'))?.[1]
  return new Date((Number(boot) + id.startTicks / ticksPerSecond) * 1000)
}

/** Name of a user of this host, else the number. */
export function userName(uid: number): string {
  const entry = lines(attempt(() => readFileSync('/etc/passwd', 'utf8'))).find(
    (line) => line.split(':')[2] === `${uid}`,
  )
  return entry?.split(':')[0] || `uid ${uid}`
}

/** @throws IrError input on a system without /proc */
export function requireLinux(): void {
  if (process.platform === 'linux') return
  throw new IrError('input', `local-process deployments can be handled on Linux only, not on ${process.platform}.`, {
    hints: ['Stop the server by hand: kill -STOP PID for it and each of its children; kill -CONT PID lets it go on.'],
  })
}

function numbered(folder: string): string[] {
  return (attempt(() => readdirSync(folder)) ?? []).filter((name) => /^\d+$/.test(name))
}

function zeroSeparated(bytes: Buffer | undefined): string[] {
  if (bytes === undefined || bytes.length === 0) return []
  const text = bytes.toString('utf8')
  return (text.endsWith('\0') ? text.slice(0, -1) : text).split('\0')
}

function lines(text: string | undefined): string[] {
  return (text ?? '').split('\n').filter((line) => line !== '')
}

/** What is not there (any more) or not ours to read is undefined; everything else is an error. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'EINVAL', 'ENOTDIR'].includes(systemCode(error) ?? '')) return undefined
    throw error
  }
}
