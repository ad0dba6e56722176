import type { Change, EvidenceRef, JsonObject, Receipt } from '../change.ts'
import type { Server } from '../registry/port.ts'
import type { Events, Line, PlannedOperation, StepState } from './events.ts'

/** Where a case stands: a fold over its journal and nothing else. */
export interface CaseState {
  readonly id: string
  readonly server: Server
  readonly local: boolean
  readonly registry: { readonly file: string; readonly hash: string } | undefined
  readonly openedAt: string
  readonly since: string
  readonly sinceFrom: Events['case.opened']['sinceFrom']
  readonly closedAt: string | undefined
  readonly sealedAt: string | undefined
  /** When the isolation that stands was seen to be whole; undefined once any of it was put back. */
  readonly isolatedAt: string | undefined
  /** When a verified build took the place of the isolated one. */
  readonly rebuiltAt: string | undefined
  /** The playbook that was last started. */
  readonly playbook: string | undefined
  /** By step id, in the order in which they were first met. */
  readonly steps: ReadonlyMap<string, StepHistory>
  readonly notes: readonly Events['note'][]
}

interface StepHistory {
  readonly id: string
  readonly use: string
  /** Oldest first. Only the last can be unfinished. */
  readonly runs: readonly StepRun[]
}

/** One run of a step, over all its attempts, until what it did is put back: then the next run begins. */
export interface StepRun {
  readonly run: number
  readonly startedAt: string
  /** The newest plan of the run. */
  readonly planned: Events['step.planned'] | undefined
  /** Each change as it was first planned in this run: its undo is the original state, a half-changed one never is. */
  readonly firstPlanned: ReadonlyMap<string, Change>
  readonly approved: boolean
  /** What the plans that were agreed to act on, where no registry names it. */
  readonly subjects: ReadonlySet<string>
  readonly declined: boolean
  /** Newest last. */
  readonly applied: ReadonlyMap<string, { readonly receipt: Receipt; readonly settled: boolean }>
  readonly attempts: ReadonlyMap<string, number>
  readonly recorded: ReadonlyMap<string, readonly JsonObject[]>
  readonly failed: ReadonlyMap<string, Events['change.failed']>
  readonly finished: (Events['step.finished'] & { readonly at: string }) | undefined
  /** What it did was put back, or its server was replaced, since: the step is to be done again. */
  readonly undone: boolean
}

/** A change that stands: applied, and not put back since. */
export interface StandingChange {
  readonly step: string
  readonly use: string
  readonly operation: PlannedOperation
  readonly change: Change
  readonly receipt: Receipt
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
type RunDraft = Mutable<Omit<StepRun, 'firstPlanned' | 'subjects' | 'applied' | 'attempts' | 'recorded' | 'failed'>> & {
  subjects: Set<string>
  firstPlanned: Map<string, Change>
  applied: Map<string, { receipt: Receipt; settled: boolean }>
  attempts: Map<string, number>
  recorded: Map<string, JsonObject[]>
  failed: Map<string, Events['change.failed']>
}

/** Which step a finished undoing step makes undone. */
export const undoneBy: Readonly<Record<string, string>> = {
  'network.release': 'network.isolate',
  'credentials.reinstate': 'credentials.revoke',
}

/** @throws TypeError when the first line does not open the case */
export function fold(lines: readonly Line[]): CaseState {
  const first = lines[0]
  if (first?.kind !== 'case.opened') throw new TypeError('a journal begins with case.opened')
  const steps = new Map<string, { id: string; use: string; runs: RunDraft[] }>()
  const state: Mutable<CaseState> = {
    id: first.data.case,
    server: first.data.server,
    local: first.data.local,
    registry: first.data.registry,
    openedAt: first.at,
    since: first.data.since,
    sinceFrom: first.data.sinceFrom,
    closedAt: undefined,
    sealedAt: undefined,
    isolatedAt: undefined,
    rebuiltAt: undefined,
    playbook: undefined,
    steps,
    notes: [],
  }
  const notes: Events['note'][] = []
  const run = (line: Line): RunDraft => {
    const found = steps.get(line.step ?? '')?.runs.at(-1)
    if (found === undefined) throw new TypeError(`line ${line.seq} belongs to no started step`)
    return found
  }

  const agreed = ({ subjects, planned }: RunDraft): void => {
    for (const { subject } of planned?.operations ?? []) if (subject !== undefined) subjects.add(subject)
  }
  const forget = (which: (use: string) => boolean): void => {
    for (const history of steps.values()) if (which(history.use)) for (const one of history.runs) one.undone = true
  }

  for (const line of lines) {
    switch (line.kind) {
      case 'case.closed':
        state.closedAt = line.at
        break
      case 'case.sealed':
        state.sealedAt = line.at
        break
      case 'registry.accepted':
        state.server = line.data.server
        state.registry = { file: line.data.file, hash: line.data.hash }
        break
      case 'playbook.started':
        state.playbook = line.data.playbook
        break
      case 'note':
        notes.push(line.data)
        break
      case 'step.started': {
        const id = line.step ?? ''
        const history = steps.get(id) ?? { id, use: line.data.use, runs: [] }
        steps.set(id, history)
        // An attempt that comes to nothing (refused, declined, mistyped) leaves what was done before as it is.
        if (history.runs.at(-1)?.run === line.data.run) break
        history.runs.push({
          run: line.data.run,
          startedAt: line.at,
          planned: undefined,
          firstPlanned: new Map(),
          approved: false,
          subjects: new Set(),
          declined: false,
          applied: new Map(),
          attempts: new Map(),
          recorded: new Map(),
          failed: new Map(),
          finished: undefined,
          undone: false,
        })
        break
      }
      case 'step.planned':
        Object.assign(run(line), { planned: line.data, approved: false, declined: false })
        for (const change of line.data.operations.flatMap((operation) => operation.changes)) {
          const { firstPlanned, attempts } = run(line)
          // What was never started is planned from the world as it is now, not as an abandoned plan saw it.
          if (!attempts.has(change.id)) firstPlanned.set(change.id, change)
        }
        break
      case 'step.approved':
        Object.assign(run(line), { approved: true, finished: undefined })
        agreed(run(line))
        break
      case 'step.declined':
        run(line).declined = true
        break
      case 'change.started':
        run(line).attempts.set(line.data.id, line.data.attempt)
        break
      case 'change.recorded': {
        const { recorded } = run(line)
        recorded.set(line.data.id, [...(recorded.get(line.data.id) ?? []), line.data.data])
        break
      }
      case 'change.applied': {
        const { applied, failed, planned } = run(line)
        applied.set(line.data.id, { receipt: line.data.receipt, settled: line.data.settled })
        failed.delete(line.data.id)
        const use = steps.get(line.step ?? '')?.use ?? ''
        const undone = undoneBy[use]
        if (undone !== undefined && planned?.operations.some(({ undoes }) => undoes?.[line.data.id] !== undefined)) {
          // With the first change that is put back the step is no longer done, whatever becomes of the rest.
          forget((other) => other === undone)
          if (undone === 'network.isolate') state.isolatedAt = undefined
        } else if (use === 'network.isolate' && state.rebuiltAt !== undefined) {
          // The rebuilt server is cut off in its turn: what was done for the one before it is to be done again.
          forget((other) => other !== 'network.isolate' && other !== 'manual')
          state.isolatedAt = undefined
          state.rebuiltAt = undefined
        }
        break
      }
      case 'change.failed':
        run(line).failed.set(line.data.id, line.data)
        break
      case 'step.finished': {
        const finished = run(line)
        finished.finished = { ...line.data, at: line.at }
        // Where there was nothing to agree to, all the same.
        agreed(finished)
        if (line.data.use === 'network.isolate' && isWhole(line.data)) state.isolatedAt ??= line.at
        if (line.data.use === 'deployment.redeploy' && isWhole(line.data)) state.rebuiltAt = line.at
        break
      }
      default:
        break
    }
  }
  state.notes = notes
  return state
}

/** Whether a playbook may go on after it. */
export function isDone(state: StepState): boolean {
  return state === 'done' || state === 'residual' || state === 'nothing-to-do' || state === 'skipped'
}

/** Whether a step is done for the whole server, so that it need not be done again. */
export function isWhole(finished: Pick<Events['step.finished'], 'state' | 'only'>): boolean {
  return isDone(finished.state) && finished.only === undefined
}

/**
 * Changes of steps of this kind that stand, oldest first: what an undoing step puts back, last one first. One that failed, or was
 * cut short, stands too once it has recorded that it does (`stands`): from then on there is something to put back.
 */
export function standing(lines: readonly Line[], use: string): readonly StandingChange[] {
  const found = new Map<string, StandingChange>()
  const planned = new Map<string, Omit<StandingChange, 'receipt'>>()
  const undoes = new Map<string, string>()
  const uses = new Map<string, string>()
  const replacing = use === 'network.isolate' ? 'deployment.redeploy' : undefined
  for (const line of lines) {
    const step = line.step ?? ''
    if (line.kind === 'step.started') uses.set(step, line.data.use)
    if (line.kind === 'step.planned') {
      for (const operation of line.data.operations) {
        for (const change of operation.changes) {
          planned.set(change.id, { step, use: uses.get(step) ?? '', operation, change })
          const original = operation.undoes?.[change.id]
          if (original !== undefined) undoes.set(change.id, original)
        }
      }
    }
    if (line.kind === 'step.finished' && line.data.use === replacing && isDone(line.data.state)) {
      // A rebuilt server took the place of the isolated one, which never runs again: there is nothing to put back.
      for (const [id, { operation }] of found) {
        // Its clients still lack it: their configurations are put back by release, as they start or find the rebuilt one.
        if (operation.key.startsWith('client:')) continue
        if (line.data.only === undefined || line.data.only === operation.key) found.delete(id)
      }
    }
    if (line.kind === 'change.recorded' && line.data.data.stands === true) {
      const plan = planned.get(line.data.id)
      if (plan?.use === use && !found.has(line.data.id)) found.set(line.data.id, { ...plan, receipt: {} })
    }
    if (line.kind === 'change.applied') {
      const original = undoes.get(line.data.id)
      if (original !== undefined) found.delete(original)
      const plan = planned.get(line.data.id)
      if (plan !== undefined && plan.use === use && original === undefined) {
        found.set(line.data.id, { ...plan, receipt: line.data.receipt })
      }
    }
  }
  return [...found.values()]
}

/** What people decided since a step of this kind was last finished: notes, and questions of manual steps with their answers. */
export function decisionsSince(lines: readonly Line[], use: string): readonly string[] {
  const finished = lines.findLastIndex((line) => line.kind === 'step.finished' && line.data.use === use)
  return lines.slice(finished + 1).flatMap((line) => {
    if (line.kind === 'note' && line.data.kind === 'decision') return [line.data.text]
    return line.kind === 'manual.answered' ? [`${line.data.question} ${line.data.answer}`] : []
  })
}

export function evidenceOf(lines: readonly Line[]): readonly (EvidenceRef & { readonly path: string })[] {
  return lines.flatMap((line) => (line.kind === 'evidence.stored' ? [line.data] : []))
}

/** Everything that still stands open, in plain words: what `case close` refuses over. */
export function openPoints(lines: readonly Line[]): readonly string[] {
  const state = fold(lines)
  const open: string[] = []
  for (const step of state.steps.values()) {
    const last = step.runs.at(-1)
    if (last === undefined || last.undone) continue
    if (last.finished === undefined) {
      if (last.approved) open.push(`${step.id}: begun and not finished`)
      continue
    }
    if (last.finished.state === 'failed') open.push(`${step.id}: failed`)
    open.push(...last.finished.open.map((what) => `${step.id}: ${what}`))
  }
  const manual = new Map<string, string>()
  for (const line of lines) {
    const step = line.step ?? ''
    if (line.kind === 'manual.open') manual.set(step, line.data.question)
    if (line.kind === 'manual.answered' || line.kind === 'manual.skipped') manual.delete(step)
  }
  for (const [id, question] of manual) open.push(`${id}: not answered: ${question}`)
  const cut = standing(lines, 'network.isolate')
  if (cut.length > 0) {
    open.push(`cut off, and neither rebuilt nor released: ${cut.map(({ change }) => change.target).join(', ')}`)
  }
  return open
}
