import { hostname } from 'node:os'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ActionCall, Call, Change, Json, JsonObject, Observation, Problem, Receipt, Verdict } from '../change.ts'
import { IrError, systemCode } from '../errors.ts'
import { answersMcp, type Probe } from '../mcp/probe.ts'
import { capture } from '../processes/capture.ts'
import { describe, type Found, find, holdersOf, localAddress, looker } from '../processes/find.ts'
import type { Process, ProcessId } from '../processes/proc.ts'
import * as proc from '../processes/proc.ts'
import { redactCommand } from '../processes/redact.ts'
import { type Related, relatedOrphans, supervisorOf, treeOf, untouchable } from '../processes/tree.ts'
import type { DeploymentOf } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import type { Containment, ContainmentTarget, Discovered } from './port.ts'

/**
 * A server that runs as processes of this machine. It is cut off by stopping (SIGSTOP) every process of its tree, which
 * loses nothing: memory, files and connections stay as they are. Release lets them go on (SIGCONT).
 */

type Local = DeploymentOf<'local-process'>
type Target = ContainmentTarget<Local>

const action = 'suspend-process-tree'
/** How long to wait for an answer of the URL; and between two readings of counters. */
const probeMs = 2500
const spacingMs = 300
/** A tree that still runs after so long of stopping it is held awake by somebody. */
const patienceMs = 10_000

const limits = [
  'What the processes had handed to the kernel before they were stopped may still be delivered by it.',
  'The kernel keeps connections of stopped processes open and accepts new ones; nobody reads or answers them.',
  'A process that detached itself from the server before and has shed its environment, open files, folder, script and program cannot be linked to it.',
  'Only processes on this machine were stopped: copies of the server on other machines are not touched.',
]

/** What `apply` needs to act. */
interface Params {
  readonly pid: number
  readonly startTicks: number
  readonly bootId: string
  readonly tree: readonly (ProcessId & { readonly stopped: boolean })[]
}

/**
 * The undo as it is planned: names the process and nothing that it could change between two looks, since the plan is
 * approved by its hash. Which processes of the tree were stopped comes with the receipt.
 */
interface PlannedUndo extends ProcessId {
  readonly bootId: string
}

/** What release continues; processes that somebody else had stopped before are not among them. Parents first. */
interface Stopped {
  readonly bootId: string
  readonly processes: readonly ProcessId[]
}

export const localProcess: Containment<Local> = {
  permissions: [
    'to signal the processes (the same user, or CAP_KILL)',
    'to read their /proc (the same user, or CAP_SYS_PTRACE)',
  ],

  async check({ target, intent }) {
    proc.requireLinux()
    if (intent === 'release') return []
    const found = await find(target.deployment)
    const { url } = target.deployment
    const problems: Problem[] = [...found.problems]
    if (found.roots.length === 0 && problems.every(({ kind }) => kind === 'warning')) {
      problems.push({
        kind: 'warning',
        message: 'no process of it runs on this machine',
        hint: `This is ${hostname()}. If it runs elsewhere, run the same there.`,
      })
    }
    for (const root of found.roots) {
      if (!permitted(root)) {
        problems.push({
          kind: 'denied',
          message: `${describe(root)} belongs to ${owner(root)}: we may not stop it.`,
          hint: 'Run the same with sudo, or as that user.',
        })
        continue
      }
      const others = members(found, [root]).filter((one) => !permitted(one))
      if (others.length > 0) {
        problems.push({
          kind: 'warning',
          message: `we may not stop these of its processes: ${others.map((one) => `${describe(one)} of ${owner(one)}`).join(', ')}`,
          hint: 'Run the same with sudo to stop them too.',
        })
      }
      for (const message of alsoHurt(root, members(found, [root]), target.deployment)) {
        problems.push({ kind: 'warning', message })
      }
      const supervisor = supervisorOf(found.table, root, found.look)
      if (supervisor !== undefined) {
        problems.push({
          kind: 'warning',
          message: `${describe(root)} is watched over by ${supervisor.name}, which may start it again`,
          hint: `Once the evidence is captured: ${supervisor.command}`,
        })
      }
    }
    if (url !== undefined && (await localAddress(url)) === undefined) {
      problems.push({
        kind: 'warning',
        message: `${url} is not served by this machine directly: it is only asked afterwards.`,
      })
    }
    return problems
  },

  async plan({ target, intent, changeId }) {
    if (intent === 'release') return []
    const found = await find(target.deployment)
    refuseIfAny(found.problems)
    return found.roots.flatMap((root): Change[] => {
      const tree = members(found, [root]).map((one) => ({ process: one, stopped: proc.condition(one) === 'held' }))
      if (tree.every(({ stopped }) => stopped)) return []
      const started = proc.startedAt(root).toISOString().slice(0, 19)
      // Not by the clock, which may be set, and from which the kernel tells the boot to the second only.
      const name = `process ${root.pid} (start tick ${root.startTicks})`
      const ids = tree.map(({ process, stopped }) => ({ pid: process.pid, startTicks: process.startTicks, stopped }))
      const params: Params = { pid: root.pid, startTicks: root.startTicks, bootId: proc.bootId(), tree: ids }
      const running = ids.filter(({ stopped }) => !stopped).map(({ pid, startTicks }) => ({ pid, startTicks }))
      const ports = listeningPorts(tree.map(({ process }) => process))
      const supervisor = supervisorOf(found.table, root, found.look)
      return [
        {
          id: changeId(action, name),
          action,
          target: name,
          summary: `Stop ${describe(root)}${tree.length > 1 ? ` and ${tree.length - 1} more of its tree` : ''}`,
          effect: 'reversible',
          priority: 'essential',
          after: [],
          params: params as unknown as Json,
          undo: { pid: root.pid, startTicks: root.startTicks, bootId: params.bootId } satisfies PlannedUndo,
          // Only what the suspect cannot change between two looks: the rest is warned of (see `check`).
          breaks: (target.consumers ?? []).map((consumer) => `${consumer} loses its tools`),
          command: `kill -STOP ${running.map(({ pid }) => pid).join(' ')}`,
          facts: {
            host: hostname(),
            owner: owner(root),
            'running since': `${started}Z`,
            command: safe(redactCommand(proc.commandLine(root.pid)).join(' ') || root.comm, 200),
            executable: safe(proc.link(root.pid, 'exe') ?? 'not readable', 200),
            folder: safe(proc.link(root.pid, 'cwd') ?? 'not readable', 200),
            listening: ports.join(', ') || 'nothing',
            processes: `${tree.length}`,
            ...(supervisor === undefined ? {} : { 'watched over by': safe(supervisor.name) }),
          },
        },
      ]
    })
  },

  async collect({ target, changes, receipts, evidence, intent, signal, progress }) {
    if (intent === 'release') return
    const stopped = known(changes, receipts)
    if (stopped.length === 0) return
    progress('capturing the stopped processes')
    const content = await capture(members(look(), stopped), signal)
    const slug = target.deployment.id.replace(/[^A-Za-z0-9-]+/g, '-').slice(0, 60)
    await evidence.put(`processes-${slug}.json`, 'application/json', `${JSON.stringify(content, undefined, 2)}\n`)
  },

  async verify(call) {
    return call.intent === 'release' ? verifyReleased(call) : verifyIsolated(call)
  },

  actions: {
    [action]: {
      apply: suspend,
      async settle(change, call) {
        const params = change.params as unknown as Params
        if (params.bootId !== proc.bootId()) return undefined
        const ids = [...params.tree, ...recorded(call)]
        const found = look()
        const tree = members(found, ids)
        if (tree.some((one) => proc.condition(one) === 'running')) return undefined
        return receiptOf(change, call, tree)
      },
      undo: {
        // A process that has ended is no drift: there is nothing of it that could be overridden.
        async drift(change, receipt) {
          return livingOf(stoppedBy(change, receipt))
            .filter((id) => proc.condition(id) === 'running')
            .map(({ pid }) => `process ${pid} already runs again: somebody continued it`)
        },
        async apply(change, receipt, call) {
          notInterrupted(call.signal)
          const stopped = stoppedBy(change, receipt)
          const back = continued(change, receipt)
          // Children first, so that none is missed by a parent that looks for it at once.
          const denied = livingOf(stopped)
            .toReversed()
            .filter((id) => !signal(id, 'SIGCONT'))
          if (denied.length > 0) {
            const pids = denied.map(({ pid }) => pid).join(' ')
            throw new IrError('denied', `We may not continue: ${pids}.`, { hints: [`sudo kill -CONT ${pids}`] })
          }
          return back
        },
        async settle(change, receipt) {
          const held = livingOf(stoppedBy(change, receipt)).some((id) => proc.condition(id) === 'held')
          return held ? undefined : continued(change, receipt)
        },
      },
    },
  },
}

/**
 * Stops the tree: parents before their children, so that a stopped parent makes no more of them, then whatever appeared
 * meanwhile, until two looks in a row find everything held and nothing new.
 */
async function suspend(change: Change, call: ActionCall<Target>): Promise<Receipt> {
  const params = change.params as unknown as Params
  notInterrupted(call.signal)
  if (params.bootId !== proc.bootId()) {
    throw new IrError('refused', 'This machine was started again since the plan was made.', {
      hints: ['Run the same command again: it plans anew.'],
    })
  }
  const ids = new Map<string, ProcessId>()
  for (const id of [...params.tree, ...recorded(call)]) ids.set(key(id), id)
  // A later try may plan anew, and must not take for somebody else's what this one stopped.
  const mine = params.tree.filter(({ stopped }) => !stopped).map(({ pid, startTicks }) => ({ pid, startTicks }))
  const noted = new Set(recorded(call).map(key))
  if (mine.some((id) => !noted.has(key(id)))) {
    await call.record({ stopping: mine, heldBefore: heldBefore(change, call) as unknown as Json })
  }
  const groups = new Set(recordedGroups(call))
  const denied = new Map<string, Process>()
  const began = performance.now()
  // From here on it is not interrupted: it takes milliseconds, and half of it is worse than none.
  for (let quiet = 0; quiet < 2; ) {
    const found = look()
    const tree = treeOf(found.table, [...ids.values()], found.protectedPids, found.look)
    const conditions = new Map(tree.map((one) => [one, proc.condition(one)]))
    const fresh = tree.filter((one) => !ids.has(key(one)))
    for (const one of fresh) ids.set(key(one), { pid: one.pid, startTicks: one.startTicks })
    const running = tree.filter((one) => conditions.get(one) === 'running' && !denied.has(key(one)))
    // Alive in the table and gone when looked at again: it may have left a child that the table does not show.
    const slipped = tree.some((one) => conditions.get(one) === 'gone' && one.state !== 'Z' && one.state !== 'X')
    const active = running.length > 0 || slipped ? ownGroups(tree, found) : []
    // On disk before it is stopped, so that a crash right after leaves nothing stopped that release does not know.
    const unknown = running.filter((one) => fresh.includes(one)).map(({ pid, startTicks }) => ({ pid, startTicks }))
    const newGroups = active.filter(({ pid }) => !groups.has(pid)).map(({ pid }) => pid)
    if (unknown.length > 0 || newGroups.length > 0) await call.record({ stopping: unknown, groups: newGroups })
    for (const pid of newGroups) groups.add(pid)

    for (const one of running) if (!signal(one, 'SIGSTOP')) denied.set(key(one), one)
    for (const leader of active) if (proc.same(leader, proc.readProcess(leader.pid))) send(-leader.pid, 'SIGSTOP')
    quiet = running.length === 0 && fresh.length === 0 && !slipped ? quiet + 1 : 0
    if (quiet === 0 && performance.now() - began > patienceMs) {
      throw new IrError('partial', `Still running although it was stopped: ${list(running)}.`, {
        hints: ['Something continues it or keeps starting more: look for a watchdog, and run the same again.'],
      })
    }
    call.progress(`${ids.size} processes, ${running.length} still running`)
    // The first looks follow each other at once: a process that forks as fast as it can must not win.
    if (running.length === 0 && !slipped) await sleep(20)
  }
  if (denied.size > 0) {
    const pids = [...denied.values()].map(({ pid }) => pid).join(' ')
    const names = [...denied.values()].map((one) => `${describe(one)} of ${owner(one)}`).join(', ')
    throw new IrError('denied', `We may not stop ${names}.`, { hints: [`sudo kill -STOP ${pids}`] })
  }
  return receiptOf(change, call, members(look(), [...ids.values()]))
}

/**
 * Leaders of process groups that are the tree's alone. A chain of processes that each fork and end is faster than one
 * signal at a time; a signal to a whole group is one act for the kernel, which no fork slips through.
 */
function ownGroups(
  tree: readonly Process[],
  { table, protectedPids }: Pick<Found, 'table' | 'protectedPids'>,
): Process[] {
  const pids = new Set(tree.map(({ pid }) => pid))
  const shared = new Set(table.filter(({ pid }) => protectedPids.has(pid) || !pids.has(pid)).map(({ group }) => group))
  return tree.filter((one) => one.group === one.pid && !shared.has(one.pid))
}

async function verifyIsolated({ target, changes, receipts, signal }: Call<Target>): Promise<Verdict> {
  const { deployment } = target
  const observed: Observation[] = []
  const residue: string[] = []
  const planned = known(changes, receipts)
  const first = await find(deployment)
  const before = members(first, [...first.roots, ...planned])
  const readings = new Map(before.map((one) => [key(one), { condition: proc.condition(one), counters: counters(one) }]))
  const [asked] = await Promise.all([ask(deployment.url, signal), sleep(spacingMs, undefined, { signal })])
  const second = await find(deployment)
  const after = members(second, [...second.roots, ...planned, ...before])

  const runs = after.filter(
    (one) => proc.condition(one) === 'running' || readings.get(key(one))?.condition === 'running',
  )
  const fresh = after.filter((one) => !readings.has(key(one)))
  const moved = after.filter((one) => {
    const then = readings.get(key(one))?.counters
    return then !== undefined && then !== counters(one)
  })
  // What ran in either look, unless it is seen to be stopped since or turned out to be one of the tree.
  const seen = [relatedTo(first, before), relatedTo(second, after)].flat()
  const related = new Map(
    seen
      .filter(({ process: one }) => proc.condition(one) !== 'held' && !after.some((other) => proc.same(other, one)))
      .map((one) => [key(one.process), one]),
  )
  const linked = [...related.values()].filter(({ link }) => link === 'strong')
  const dark = after.filter((one) => proc.ioCounters(one.pid) === undefined)
  const all = after.length
  observed.push(
    all === 0
      ? { claim: 'no process of the server runs', seen: 'none found', holds: true }
      : {
          claim: 'every process of the server is stopped, in two readings',
          seen: runs.length === 0 ? `${all} of ${all} stopped` : `running: ${list(runs)}`,
          holds: runs.length === 0,
        },
  )
  if (all > 0) {
    observed.push(
      {
        claim: 'processor time and I/O counters stand still',
        seen: moved.length === 0 ? `unchanged for ${all} of ${all}` : `moving: ${list(moved)}`,
        holds: moved.length === 0,
      },
      {
        claim: 'no new process appears',
        seen: fresh.length === 0 ? 'none' : list(fresh),
        holds: fresh.length === 0,
      },
      {
        claim: 'no process that descends from the server runs on',
        seen: linked.length === 0 ? 'none seen' : `running with what is its own: ${listRelated(linked)}`,
        holds: linked.length === 0,
      },
    )
  }
  if (deployment.url !== undefined && asked !== undefined) {
    const silent = asked.answers === false
    const address = silent ? undefined : await localAddress(deployment.url)
    const holders = address === undefined ? [] : holdersOf(address, second.table)
    observed.push({
      claim: `${deployment.url} does not answer MCP requests`,
      seen: `${asked.seen}${holders.length === 0 ? '' : `, served by ${list(holders)}`}`,
      holds: silent,
    })
  }
  for (const problem of second.problems) if (problem.kind !== 'warning') residue.push(problem.message)

  if (dark.length > 0) residue.push(`the I/O counters of these may not be read, only processor time was: ${list(dark)}`)
  const pids = (some: readonly Related[]): string => some.map(({ process }) => process.pid).join(' ')
  if (linked.length > 0) {
    residue.push(
      `detached from the server, and not stopped: ${listRelated(linked)}. Look at them, then: kill -STOP ${pids(linked)}`,
    )
  }
  const similar = [...related.values()].filter(({ link }) => link === 'weak')
  if (similar.length > 0) {
    residue.push(
      `these still run and may have been started by the server: ${listRelated(similar)}. Those that were: kill -STOP ${pids(similar)}`,
    )
  }
  for (const root of tops(second, after)) {
    const supervisor = supervisorOf(second.table, root, second.look)
    if (supervisor !== undefined) {
      residue.push(
        `${safe(supervisor.name)} watches over process ${root.pid} and may start the server again. Once the evidence is captured: ${supervisor.command}`,
      )
    }
  }
  for (const one of after) {
    const tracer = proc.readStatus(one.pid)?.tracer ?? 0
    if (tracer > 0 && !after.some(({ pid }) => pid === tracer)) {
      residue.push(`process ${one.pid} is debugged by process ${tracer}, which can let it go on`)
    }
  }
  return { ...verdict(observed, [...new Set(residue)]), output: { processes: state(after) } }
}

const nothingLeft =
  'the processes ended while they were stopped: there is nothing to put back; start the server by its own means'

async function verifyReleased({ target, changes, receipts, signal }: Call<Target>): Promise<Verdict> {
  const { deployment } = target
  const observed: Observation[] = []
  const found = await find(deployment)
  const continued = new Set(known(changes, receipts).map(key))
  const alive = members(found, [...known(changes, receipts), ...found.roots])
  const held = alive.filter((one) => proc.condition(one) === 'held')
  // What somebody else had stopped before was left as it was; without a receipt everything must run.
  const ours = continued.size === 0 ? alive : alive.filter((one) => continued.has(key(one)))
  const still = ours.filter((one) => held.includes(one))
  const ended = endedOf(receipts)
  const residue: string[] = []
  if (ours.length === 0 && (continued.size === 0 || ended > 0)) {
    observed.push({ claim: 'no process of the server is still stopped', seen: 'none is left', holds: true })
    residue.push(nothingLeft)
  } else {
    observed.push({
      claim: 'the processes of the server run again',
      seen:
        ours.length === 0
          ? 'none is left'
          : still.length === 0
            ? `${ours.length} of ${ours.length}`
            : `stopped: ${list(still)}`,
      holds: ours.length > 0 && still.length === 0,
    })
    if (ended > 0) residue.push(`${ended} of its processes ended while they were stopped`)
    if (deployment.url !== undefined) {
      // It first works off what waited for it.
      let asked = await ask(deployment.url, signal)
      for (let tried = 1; tried < 5 && asked?.answers !== true; tried++) {
        await sleep(spacingMs, undefined, { signal })
        asked = await ask(deployment.url, signal)
      }
      if (asked?.answers === false && ended > 0) {
        // The one that answered may be among those that ended: nothing that release could put back.
        residue.push(`${deployment.url} does not answer (${asked.seen}): start the server by its own means`)
      } else if (asked !== undefined) {
        observed.push({
          claim: `${deployment.url} answers MCP requests`,
          seen: asked.seen,
          holds: asked.answers === true,
        })
      }
    }
  }
  residue.push(...found.problems.flatMap(({ kind, message }) => (kind === 'warning' ? [] : message)))
  const others = held.filter((one) => !still.includes(one))
  if (others.length > 0) residue.push(`still stopped, not by this case: ${list(others)}`)
  return { ...verdict(observed, residue, []), output: { processes: state(alive) } }
}

/** A question that cannot be asked proves neither that it is silent nor that it answers. */
async function ask(
  url: string | undefined,
  signal: AbortSignal,
): Promise<Probe | { answers: undefined; seen: string } | undefined> {
  if (url === undefined) return undefined
  try {
    return await answersMcp(url, { timeoutMs: probeMs, signal })
  } catch (error) {
    if (!(error instanceof IrError) || error.code === 'interrupted') throw error
    return { answers: undefined, seen: error.message }
  }
}

function verdict(observed: readonly Observation[], residue: readonly string[], always = limits): Verdict {
  const state = observed.some(({ holds }) => !holds) ? 'failed' : residue.length > 0 ? 'residual' : 'verified'
  return { state, observed, residue, limits: always }
}

function state(processes: readonly Process[]): Json {
  return processes.map((one) => ({ pid: one.pid, startTicks: one.startTicks, condition: proc.condition(one) }))
}

/** Processes that this operation is about, by its plan and by what came of it. */
function known(changes: readonly Change[], receipts: ReadonlyMap<string, Receipt>): ProcessId[] {
  return changes.flatMap((change) => {
    const receipt = receipts.get(change.id)
    const params = change.params as unknown as Params | undefined
    const output = receipt?.output as { processes?: readonly ProcessId[] } | undefined
    const undo = receipt?.undo as unknown as Partial<Stopped> | undefined
    return [...(params?.tree ?? []), ...(undo?.processes ?? []), ...(output?.processes ?? [])]
  })
}

/** What earlier tries of the same change were about to stop beyond the plan. */
function recorded(call: ActionCall<Target>): ProcessId[] {
  return call.recorded.flatMap((data: JsonObject) => (data.stopping ?? []) as unknown as readonly ProcessId[])
}

/**
 * Stopped by somebody else, as the first try found it: a later plan also finds stopped what the first one's signals to
 * whole groups caught, and which it did not live to note.
 */
function heldBefore(change: Change, call: ActionCall<Target>): ProcessId[] {
  const first = call.recorded.find((data: JsonObject) => data.heldBefore !== undefined)
  if (first !== undefined) return first.heldBefore as unknown as ProcessId[]
  const { tree } = change.params as unknown as Params
  return tree.filter(({ stopped }) => stopped).map(({ pid, startTicks }) => ({ pid, startTicks }))
}

function recordedGroups(call: ActionCall<Target>): number[] {
  return call.recorded.flatMap((data: JsonObject) => (data.groups ?? []) as unknown as readonly number[])
}

/**
 * Stopped by this change, in this try or an earlier one: what the plan found running, what was found on the way, and what
 * a receipt of the same change says. What others had stopped before is theirs.
 */
function receiptOf(change: Change, call: ActionCall<Target>, tree: readonly Process[]): Receipt {
  const before = call.receipts.get(change.id)?.undo as unknown as Stopped | undefined
  const ours = new Set([...plannedToStop(change), ...recorded(call), ...(before?.processes ?? [])].map(key))
  const groups = new Set(recordedGroups(call))
  const others = new Set(heldBefore(change, call).map(key))
  const mine = (one: Process): boolean => ours.has(key(one)) || (groups.has(one.group) && !others.has(key(one)))
  const held = tree.filter((one) => proc.condition(one) === 'held')
  const ids = (list: readonly Process[]): ProcessId[] => list.map(({ pid, startTicks }) => ({ pid, startTicks }))
  const undo: Stopped = { bootId: proc.bootId(), processes: ids(held.filter(mine)) }
  return {
    output: { stopped: undo.processes.length, stoppedBefore: held.length - undo.processes.length },
    undo: undo as unknown as Json,
  }
}

/** Running when it was planned. */
function plannedToStop(change: Change): ProcessId[] {
  const { tree } = change.params as unknown as Params
  return tree.filter(({ stopped }) => !stopped).map(({ pid, startTicks }) => ({ pid, startTicks }))
}

/** The receipt's list; the plan's where that misses some. */
function stoppedBy(change: Change, receipt: Receipt): Stopped {
  const { bootId, processes } = (receipt.undo ?? change.undo) as unknown as Partial<Stopped> & PlannedUndo
  const all = new Map([...(processes ?? []), ...plannedToStop(change)].map((id) => [key(id), id]))
  return { bootId, processes: [...all.values()] }
}

/** After a boot none of them is left, whoever has their pids. */
function livingOf({ bootId, processes }: Stopped): ProcessId[] {
  return bootId === proc.bootId() ? processes.filter((id) => proc.condition(id) !== 'gone') : []
}

function continued(change: Change, receipt: Receipt): Receipt {
  const all = stoppedBy(change, receipt)
  // Only those that are known to have been stopped: of what was planned, some end by themselves before.
  const certain = (receipt.undo as unknown as Partial<Stopped> | undefined)?.processes ?? all.processes
  const ended = certain.length - livingOf({ ...all, processes: certain }).length
  const processes = all.processes.map(({ pid, startTicks }) => ({ pid, startTicks }))
  return {
    output: {
      processes: all.bootId === proc.bootId() ? processes : [],
      ended,
      ...(livingOf(all).length === 0 ? { note: nothingLeft } : {}),
    },
  }
}

/** How many had ended before they could be continued. */
function endedOf(receipts: ReadonlyMap<string, Receipt>): number {
  const outputs = [...receipts.values()].map(({ output }) => output as { ended?: number } | undefined)
  return outputs.reduce((sum, output) => sum + (output?.ended ?? 0), 0)
}

function relatedTo(found: Pick<Found, 'table' | 'protectedPids' | 'look'>, tree: readonly Process[]): Related[] {
  return relatedOrphans(found.table, tree, found.protectedPids, found.look)
}

function listRelated(related: readonly Related[]): string {
  const shown = related.slice(0, 10).map(({ process, common }) => `${describe(process)}, same ${common.join(', ')}`)
  return `${shown.join('; ')}${related.length > 10 ? `; and ${related.length - 10} more` : ''}`
}

/** One look at the process table, with what is needed to tell a tree. */
function look(): Pick<Found, 'table' | 'protectedPids' | 'look'> {
  const table = proc.scan()
  return { table, protectedPids: untouchable(table, process.pid), look: looker() }
}

/** The living processes of these roots' trees, parents first. */
function members(found: Pick<Found, 'table' | 'protectedPids' | 'look'>, roots: readonly ProcessId[]): Process[] {
  return treeOf(found.table, roots, found.protectedPids, found.look).filter((one) => proc.condition(one) !== 'gone')
}

/** Those without a parent among them. */
function tops({ table }: Pick<Found, 'table'>, tree: readonly Process[]): Process[] {
  const pids = new Set(tree.map(({ pid }) => pid))
  return table.filter((one) => pids.has(one.pid) && !pids.has(one.ppid))
}

/**
 * Signals exactly this process, or nobody if it is gone. (Between the look and the signal the pid could in theory be
 * given away; pids are given out in a circle, so that takes thousands of starts in microseconds.)
 * @returns false when it is not permitted
 */
function signal(id: ProcessId, name: 'SIGSTOP' | 'SIGCONT'): boolean {
  return proc.same(id, proc.readProcess(id.pid)) ? send(id.pid, name) : true
}

function send(pid: number, name: 'SIGSTOP' | 'SIGCONT' | 0): boolean {
  try {
    process.kill(pid, name)
    return true
  } catch (error) {
    if (systemCode(error) === 'EPERM') return false
    if (systemCode(error) === 'ESRCH') return true
    throw error
  }
}

function permitted({ pid }: ProcessId): boolean {
  return send(pid, 0)
}

/** Processor time, and I/O where we may read it; must stand still. */
function counters({ pid }: ProcessId): string {
  return `cpu ${proc.readProcess(pid)?.cpuTicks}, ${proc.ioCounters(pid) ?? ''}`
}

function owner({ pid }: ProcessId): string {
  const uid = proc.readStatus(pid)?.uids[0]
  return uid === undefined ? 'unknown' : proc.userName(uid)
}

function listeningPorts(tree: readonly Process[]): string[] {
  const ports = tree.flatMap(({ pid }) => {
    const inodes = proc.socketInodes(pid)
    return proc
      .sockets(pid)
      .filter(({ inode, state }) => inodes.has(inode) && state === 'listen')
      .map(({ local }) =>
        local.address.includes(':') ? `[${local.address}]:${local.port}` : `${local.address}:${local.port}`,
      )
  })
  return [...new Set(ports)].sort()
}

/**
 * What else goes down: other ports that the tree serves, and processes that merely share its session, group or unit. The
 * suspect can change it from one look to the next, so it is told, and is no part of what is approved by its hash.
 */
function alsoHurt(root: Process, tree: readonly Process[], { url }: Local): string[] {
  const own = url === undefined ? undefined : new URL(url).port
  const ports = listeningPorts(tree)
  // Without a URL its only port is taken for its own.
  const others = own === undefined && ports.length < 2 ? [] : ports.filter((port) => !port.endsWith(`:${own}`))
  const descends = new Set([root.pid])
  for (const one of tree) if (descends.has(one.ppid)) descends.add(one.pid)
  const beside = tree.filter(({ pid }) => !descends.has(pid))
  return [
    ...(others.length === 0 ? [] : [`${describe(root)} serves ${others.join(', ')} too: that falls silent as well`]),
    ...(beside.length === 0
      ? []
      : [`processes of its session, group or unit that it did not start itself are stopped too: ${list(beside)}`]),
  ]
}

function list(processes: readonly Process[]): string {
  const shown = processes.slice(0, 10).map(describe).join(', ')
  return processes.length > 10 ? `${shown} and ${processes.length - 10} more` : shown
}

function refuseIfAny(problems: readonly Problem[]): void {
  const problem = problems.find(({ kind }) => kind !== 'warning')
  if (problem === undefined) return
  const code = problem.kind === 'warning' ? 'refused' : problem.kind
  throw new IrError(code, problem.message, { hints: problem.hint === undefined ? [] : [problem.hint] })
}

function notInterrupted(signal: AbortSignal): void {
  if (signal.aborted) throw new IrError('interrupted', 'Interrupted before anything was stopped or continued.')
}

function key({ pid, startTicks }: ProcessId): string {
  return `${pid}:${startTicks}`
}

/**
 * What `--target pid:…` or `--target url:…` names.
 * @throws IrError input when nothing of the kind runs; refused for our own processes; denied for what we may not look at
 */
export async function discover(kind: 'pid' | 'url', id: string): Promise<Discovered> {
  proc.requireLinux()
  const deployment = kind === 'pid' ? byPid(id) : await byUrl(id)
  const found = await find(deployment)
  refuseIfAny(found.problems)
  const [root] = found.roots
  if (root === undefined) {
    throw new IrError(
      'input',
      kind === 'pid' ? `No process ${id} runs on this machine.` : `Nothing listens for ${safe(id)} on this machine.`,
      {
        hints: [`This is ${hostname()}. Run the same where the server runs.`],
      },
    )
  }
  const line = redactCommand(proc.commandLine(root.pid))
  const cwd = proc.link(root.pid, 'cwd')
  // A pid is given out again: the command line must still be the one of now.
  const command = line.join(' ').replace(/\[redacted \d+ characters\]|… \(\d+ (?:characters|arguments)\)/g, '*')
  const suffix = deployment.url === undefined ? `${root.pid}` : new URL(deployment.url).port || 'http'
  const word = basename(proc.link(root.pid, 'exe') ?? '')
    .replace(/[^A-Za-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
  return {
    deployment: {
      id: 'target',
      kind: 'local-process',
      pid: root.pid,
      ...(deployment.url === undefined ? {} : { url: deployment.url }),
      ...(command === '' ? {} : { match: { command } }),
      ...(cwd === undefined || cwd === '/' ? {} : { cwd }),
    },
    suggestedName: `local/${word || 'process'}-${suffix}`,
  }
}

function byPid(id: string): Local {
  if (!/^\d{1,10}$/.test(id) || Number(id) < 1) throw new IrError('input', `pid:${safe(id)} is no process id.`)
  return { id: 'target', kind: 'local-process', pid: Number(id) }
}

async function byUrl(id: string): Promise<Local> {
  const url = URL.canParse(id) ? new URL(id) : undefined
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw new IrError('input', `${safe(id)} is no http or https URL.`)
  }
  // It is journalled with the case.
  if (url.username !== '' || url.password !== '')
    throw new IrError('input', 'The URL of a target must hold no password.')
  if ((await localAddress(id)) === undefined) {
    throw new IrError('input', `${safe(id)} is not served by this machine.`, {
      hints: [`This is ${hostname()}. Run the same where the server runs, or name its process with --target pid:PID.`],
    })
  }
  return { id: 'target', kind: 'local-process', url: id }
}
