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
  /** Device and inode of the program that it runs. */
  readonly program: (pid: number) => string | undefined
  readonly uid: (pid: number) => number | undefined
  /** `NAME=value` strings; undefined when we may not read them. */
  readonly environment: (pid: number) => readonly string[] | undefined
  /** What it has open, each with the kernel's number and the end of it: `pipe:[1234] w`, `file 27:5678 w`. */
  readonly open: (pid: number) => ReadonlySet<string>
  /** Whether orphans are given to it as to init. */
  readonly adopts: (pid: number) => boolean
  readonly running: (id: ProcessId) => boolean
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

/** A process outside the tree that may have come from it. */
export interface Related {
  readonly process: Process
  /** `strong`: it has what only a descendant is likely to have. `weak`: others of the same user may have it too. */
  readonly link: 'strong' | 'weak'
  /** What they have in common, for people. */
  readonly common: readonly string[]
}

/**
 * Running processes that are not of the tree but that may have come from it: a process that forks twice and starts a
 * session of its own leaves no trace of its parent. So: taken over by init, younger than the tree, of the same user (of
 * any, if the tree has root's), and with something in common that it would have had to shed. Named, never stopped.
 *
 * @param tree all of its living members
 */
export function relatedOrphans(
  table: readonly Process[],
  tree: readonly Process[],
  protectedPids: ReadonlySet<number>,
  look: Look,
): Related[] {
  if (tree.length === 0) return []
  const members = new Set(tree.map(({ pid }) => pid))
  const oldest = tree.reduce((ticks, { startTicks }) => Math.min(ticks, startTicks), Number.POSITIVE_INFINITY)
  const uids = new Set(tree.map(({ pid }) => look.uid(pid)))
  const orphans = table.filter(
    (one) =>
      !members.has(one.pid) &&
      !protectedPids.has(one.pid) &&
      one.startTicks >= oldest &&
      (one.ppid === 1 || look.adopts(one.ppid)) &&
      (uids.has(0) || uids.has(look.uid(one.pid))) &&
      look.running(one),
  )
  if (orphans.length === 0) return []
  const marks = marksOf(
    tree,
    table.filter((one) => !members.has(one.pid) && one.startTicks < oldest),
    look,
  )
  return orphans.flatMap((process): Related[] => {
    const { pid } = process
    const environment = marks.environment(pid)
    const open = marks.open(pid)
    const unit = unitOf(look.cgroup(pid) ?? '')?.name
    const strong = [
      ...(environment === 'own' ? ['environment'] : []),
      ...(open.some((what) => !what.startsWith('file ')) ? ['open pipe or socket'] : []),
    ]
    const weak = [
      ...(environment === 'common' ? ['environment'] : []),
      ...(open.some((what) => what.startsWith('file ')) ? ['open file'] : []),
      ...(marks.folders.has(look.cwd(pid)) ? ['folder'] : []),
      ...(marks.scripts.has(programAndScript(look, pid)) ? ['script'] : []),
      // Two servers may well run the same interpreter: that alone says little.
      ...(marks.program(pid) && (unit === undefined || marks.units.has(unit)) ? ['program'] : []),
    ]
    // A folder alone may be shared with another user's processes.
    const common = [...strong, ...(uids.has(look.uid(pid)) ? weak : [])]
    return common.length === 0 ? [] : [{ process, link: strong.length > 0 ? 'strong' : 'weak', common }]
  })
}

/** Variables that a shell sets anew for every command. */
const volatile = /^(?:_|PWD|OLDPWD|SHLVL)=/

/** What a descendant of the tree would have in common with it; what older processes have too is nothing of its own. */
function marksOf(tree: readonly Process[], older: readonly Process[], look: Look) {
  const known = <T>(values: readonly (T | undefined)[]): Set<T | undefined> =>
    new Set(values.filter((value) => value !== undefined))
  const folders = known(tree.map(({ pid }) => look.cwd(pid)))
  folders.delete('/')
  const block = (pid: number): string | undefined => look.environment(pid)?.join('\0') || undefined
  const blocks = known(tree.map(({ pid }) => block(pid)))
  const olderBlocks = new Set(older.map(({ pid }) => block(pid)))
  const olderVariables = new Set(older.flatMap(({ pid }) => look.environment(pid) ?? []))
  const variables = [...blocks]
    .map((text) => (text ?? '').split('\0').filter((entry) => !volatile.test(entry) && !olderVariables.has(entry)))
    .filter((own) => own.length > 0)
  const programs = known(tree.map(({ pid }) => look.program(pid)))
  const olderPrograms = new Set(older.map(({ pid }) => look.program(pid)))
  const held = new Set(tree.flatMap(({ pid }) => [...look.open(pid)]))
  let shared: Set<string> | undefined
  return {
    folders,
    scripts: known(tree.map(({ pid }) => programAndScript(look, pid))),
    units: new Set(tree.map(({ pid }) => unitOf(look.cgroup(pid) ?? '')?.name)),
    /** `own`: all of what the tree alone has; `common`: the same, but others that did not come from it have it too. */
    environment(pid: number): 'own' | 'common' | undefined {
      const text = block(pid)
      if (text === undefined) return undefined
      const entries = new Set(look.environment(pid))
      if (variables.some((own) => own.every((entry) => entries.has(entry)))) return 'own'
      if (!blocks.has(text)) return undefined
      return olderBlocks.has(text) ? 'common' : 'own'
    },
    /** A program of the tree that others do not run, or one that hides what it is. */
    program(pid: number): boolean {
      const mine = look.program(pid)
      return programs.has(mine) && (!olderPrograms.has(mine) || disguised(look, pid))
    },
    open(pid: number): string[] {
      const both = [...look.open(pid)].filter((what) => held.has(what))
      if (both.length === 0) return both
      shared ??= new Set(older.flatMap((one) => [...look.open(one.pid)]))
      return both.filter((what) => !shared?.has(what))
    },
  }
}

/** It calls itself other than its program, or was started without any environment. */
function disguised(look: Look, pid: number): boolean {
  const name = (path: string | undefined): string => path?.split('/').at(-1) ?? ''
  const called = name(look.commandLine(pid)[0]).replace(/^-/, '')
  return called === '' || !name(look.exe(pid)).startsWith(called) || look.environment(pid)?.length === 0
}

function programAndScript(look: Look, pid: number): string | undefined {
  const [exe, script] = [look.exe(pid), scriptOf(look.commandLine(pid))]
  return exe === undefined || script === undefined ? undefined : `${exe}\0${script}`
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
