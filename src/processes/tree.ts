import type { Process, ProcessId } from './proc.ts'
import { same } from './proc.ts'

/** Which processes belong together. Works on one look at the process table and reads nothing itself but through `Look`. */

/** What is not in the process table; asked for few processes only. */
export interface Look {
  /** Path of the cgroup that systemd manages. */
  readonly cgroup: (pid: number) => string | undefined
  readonly commandLine: (pid: number) => readonly string[]
  readonly cwd: (pid: number) => string | undefined
  readonly exe: (pid: number) => string | undefined
  readonly uid: (pid: number) => number | undefined
}

/** A process, its parent, and so on up to the first. */
export function ancestors(table: readonly Process[], pid: number): Process[] {
  const byPid = index(table)
  const line: Process[] = []
  for (let process = byPid.get(pid); process !== undefined && !line.includes(process); ) {
    line.push(process)
    process = byPid.get(process.ppid)
  }
  return line
}

/** Pids that are never stopped, whatever a target says: the responder's own process, all that it hangs on, and init. */
export function untouchable(table: readonly Process[], self: number): ReadonlySet<number> {
  return new Set([0, 1, 2, self, ...ancestors(table, self).map(({ pid }) => pid)])
}

/**
 * The processes that live because of `roots`, parents before their children: descendants; members of a process group or
 * session that one of them leads (a child that left for its own session keeps its children there after it ended); and
 * members of the systemd unit or container whose main process is a root. A zombie may be among them: its other threads
 * can be alive, which `condition` tells.
 *
 * @param roots those that ended meanwhile still lead the groups and sessions that they left behind
 */
export function treeOf(
  table: readonly Process[],
  roots: readonly ProcessId[],
  protectedPids: ReadonlySet<number>,
  look: Pick<Look, 'cgroup'>,
): Process[] {
  const candidates = table.filter(({ pid }) => !protectedPids.has(pid))
  const byPid = index(candidates)
  const members = new Map<number, Process>()
  for (const root of roots) {
    const process = byPid.get(root.pid)
    if (process !== undefined && same(root, process)) members.set(process.pid, process)
  }
  const leaders = new Map<number, ProcessId>()
  for (const root of roots) {
    const now = byPid.get(root.pid)
    if (now === undefined || same(root, now)) leaders.set(root.pid, root)
  }
  const units = new Set([...members.values()].flatMap((root) => ownCgroup(table, root, protectedPids, look) ?? []))
  for (let before = -1; before !== members.size; ) {
    before = members.size
    for (const process of candidates) {
      if (members.has(process.pid)) continue
      const linked =
        members.has(process.ppid) ||
        leads(members.get(process.group) ?? leaders.get(process.group), process) ||
        leads(members.get(process.session) ?? leaders.get(process.session), process) ||
        (units.size > 0 && units.has(look.cgroup(process.pid) ?? ''))
      if (linked) members.set(process.pid, process)
    }
  }
  const depth = (process: Process): number => {
    const line = ancestors(table, process.pid)
    return line.filter(({ pid }) => members.has(pid)).length
  }
  return [...members.values()]
    .map((process) => ({ process, depth: depth(process) }))
    .sort((a, b) => a.depth - b.depth || a.process.startTicks - b.process.startTicks || a.process.pid - b.process.pid)
    .map(({ process }) => process)
}

/** The kernel gives a pid to nobody else while a group or session bears it, so an older leader of that pid is the one. */
function leads(leader: ProcessId | undefined, process: Process): boolean {
  return leader !== undefined && leader.startTicks <= process.startTicks
}

/**
 * The cgroup of a systemd service or container, if it is this process's own: the process is the first in it, and its
 * parent lives outside. (A job of cron lives in cron's cgroup, a program of a login in the login's.)
 */
function ownCgroup(
  table: readonly Process[],
  root: Process,
  protectedPids: ReadonlySet<number>,
  look: Pick<Look, 'cgroup'>,
): string | undefined {
  const path = look.cgroup(root.pid)
  if (path === undefined || unitOf(path) === undefined) return undefined
  const mates = table.filter(({ pid }) => look.cgroup(pid) === path)
  const first = mates.every(
    (mate) => mate.pid === root.pid || (mate.startTicks >= root.startTicks && mate.pid !== root.ppid),
  )
  return first && !mates.some(({ pid }) => protectedPids.has(pid)) ? path : undefined
}

/** The service or container that a cgroup path names; undefined for logins, user managers and everything shared. */
export function unitOf(cgroup: string): { kind: 'service' | 'container'; name: string; user: boolean } | undefined {
  const last = cgroup.split('/').at(-1) ?? ''
  const container = /^(?:docker|libpod|crio|cri-containerd)-([0-9a-f]{12,64})\.scope$/.exec(last)?.[1]
  const plain = /\/(?:docker|kubepods[^/]*(?:\/[^/]+)*)\/([0-9a-f]{64})$/.exec(cgroup)?.[1]
  const id = container ?? plain
  if (id !== undefined) return { kind: 'container', name: id.slice(0, 12), user: false }
  // Characters of a unit name, systemd.unit(5); anything else was not made by systemd and goes into no command.
  if (!/^[\w:.@\\-]+\.service$/.test(last) || /^user@\d+\.service$/.test(last)) return undefined
  return { kind: 'service', name: last, user: /\/user@\d+\.service\//.test(cgroup) }
}

export interface Supervisor {
  readonly name: string
  /** What ends its watch, for the responder. It ends the processes too, so it comes after the evidence. */
  readonly command: string
}

/** Names of process managers as their process name or command line shows them, and how each is told to leave it. */
const managers: readonly { name: string; seen: RegExp; command: string }[] = [
  {
    name: 'pm2',
    seen: /^PM2 v[\d.]+: God Daemon|[/\\]pm2[/\\]lib[/\\]Daemon\.js/,
    command: 'pm2 stop NAME (pm2 list shows it)',
  },
  { name: 'supervisord', seen: /(?:^|[/ ])supervisord(?: |$)/, command: 'supervisorctl stop NAME' },
  { name: 'nodemon', seen: /(?:^|[/ ])nodemon(?:\.js)?(?: |$)/, command: 'kill -STOP PID of nodemon' },
  { name: 'forever', seen: /[/ ]forever[/\\]bin[/\\]monitor/, command: 'forever stop NAME' },
  { name: 'runit', seen: /^(?:\S*\/)?runsv /, command: 'sv down NAME' },
  { name: 's6', seen: /^(?:\S*\/)?s6-supervise /, command: 's6-svc -d NAME' },
  {
    name: 'a container runtime',
    seen: /^(?:\S*\/)?(?:containerd-shim\S*|conmon)(?: |$)/,
    command: 'docker pause CONTAINER',
  },
]

/** Who would start the process again, should it end or fall silent. Undefined when nobody is seen. */
export function supervisorOf(table: readonly Process[], root: Process, look: Look): Supervisor | undefined {
  const unit = unitOf(look.cgroup(root.pid) ?? '')
  if (unit?.kind === 'container') {
    return { name: `a container runtime (container ${unit.name})`, command: `docker pause ${unit.name}` }
  }
  for (const parent of ancestors(table, root.pid).slice(1)) {
    if (parent.pid <= 1) break
    const line = look.commandLine(parent.pid).join(' ').slice(0, 4000)
    const manager = managers.find(({ seen }) => seen.test(line))
    if (manager !== undefined) {
      return {
        name: `${manager.name} (process ${parent.pid})`,
        command: manager.command.replace('PID', `${parent.pid}`),
      }
    }
  }
  if (unit === undefined) return undefined
  return {
    name: `systemd${unit.user ? ' of the user' : ''} (unit ${unit.name})`,
    command: `systemctl ${unit.user ? '--user ' : ''}stop '${unit.name}'`,
  }
}

/**
 * Processes that nothing links to the tree but that may have come from it: taken over by init, younger than the root, of
 * the same user, and run from the same folder or with the same script. Named, never stopped.
 */
export function relatedOrphans(
  table: readonly Process[],
  root: Process,
  members: ReadonlySet<number>,
  protectedPids: ReadonlySet<number>,
  look: Look,
): Process[] {
  const uid = look.uid(root.pid)
  const cwd = look.cwd(root.pid)
  const exe = look.exe(root.pid)
  const script = scriptOf(look.commandLine(root.pid))
  const inits = new Set([
    1,
    ...table.filter(({ comm, ppid }) => comm === 'systemd' && ppid === 1).map(({ pid }) => pid),
  ])
  return table.filter((process) => {
    const { pid } = process
    if (members.has(pid) || protectedPids.has(pid) || process.state === 'Z' || !inits.has(process.ppid)) return false
    if (process.startTicks < root.startTicks || look.uid(pid) !== uid) return false
    const sameFolder = cwd !== undefined && cwd !== '/' && look.cwd(pid) === cwd
    const sameProgram = exe !== undefined && script !== undefined && look.exe(pid) === exe
    return sameFolder || (sameProgram && scriptOf(look.commandLine(pid)) === script)
  })
}

/** The script that an interpreter was told to run: the first argument that is no flag. */
export function scriptOf(args: readonly string[]): string | undefined {
  const index = args.slice(1).findIndex((arg) => !arg.startsWith('-'))
  const before = args[index]
  if (index < 0 || /^(?:-e|-c|-p|--eval|--print|-m)$/.test(before ?? '')) return undefined
  return args[index + 1]
}

function index(table: readonly Process[]): Map<number, Process> {
  return new Map(table.map((process) => [process.pid, process]))
}
