import { createHash } from 'node:crypto'
import type { Events, Line, LineOf, PlannedOperation } from '../case/events.ts'
import type { Change } from '../change.ts'

/** A case as it lies on disk: all that a report may know. */
export interface CaseRecord {
  readonly lines: readonly Line[]
  /** The bytes of the evidence with this SHA-256 (hex). */
  readonly read: (sha256: string) => Promise<Uint8Array>
}

/** One run of one step, with every line that tells of it. */
export interface Run {
  readonly step: string
  readonly use: string
  readonly run: number
  readonly startedAt: string
  resumed: number
  planned: LineOf<'step.planned'> | undefined
  approved: LineOf<'step.approved'> | undefined
  refused: LineOf<'step.refused'> | undefined
  declined: LineOf<'step.declined'> | undefined
  verdict: LineOf<'step.verdict'> | undefined
  finished: LineOf<'step.finished'> | undefined
  readonly changes: Map<string, ChangeFacts>
  /** What it did was put back by a later step. */
  undone: boolean
}

interface ChangeFacts {
  readonly change: Change
  readonly operation: PlannedOperation
  attempts: number
  applied: LineOf<'change.applied'> | undefined
  failed: LineOf<'change.failed'> | undefined
  /** The change of a later run that put it back. */
  undoneAt: string | undefined
}

/** What the outputs of the steps say, and which could not be read. */
export interface Outputs {
  /** Of the last finished run of each kind of step that left one. */
  readonly byUse: ReadonlyMap<string, unknown>
  /** Outputs that are missing, changed or no JSON, in plain words. */
  readonly unreadable: readonly { readonly at: string; readonly text: string }[]
}

const undoneBy: Readonly<Record<string, string>> = {
  'network.release': 'network.isolate',
  'credentials.reinstate': 'credentials.revoke',
}

/** Every run of every step, in the order in which they were started. Lenient: lines that belong nowhere are passed over. */
export function runsOf(lines: readonly Line[]): readonly Run[] {
  const runs: Run[] = []
  const last = new Map<string, Run>()
  /** Applied changes by id, over all runs, to find what an undoing step puts back. */
  const all = new Map<string, ChangeFacts>()
  const undoes = new Map<string, string>()

  for (const line of lines) {
    const step = line.step ?? ''
    const current = last.get(step)
    if (line.kind === 'step.started') {
      if (line.data.resumed && current?.run === line.data.run) {
        current.resumed += 1
        continue
      }
      const run: Run = {
        step,
        use: line.data.use,
        run: line.data.run,
        startedAt: line.at,
        resumed: 0,
        planned: undefined,
        approved: undefined,
        refused: undefined,
        declined: undefined,
        verdict: undefined,
        finished: undefined,
        changes: new Map(),
        undone: false,
      }
      runs.push(run)
      last.set(step, run)
      continue
    }
    if (current === undefined) continue
    switch (line.kind) {
      case 'step.planned':
        current.planned = line
        for (const operation of line.data.operations) {
          for (const change of operation.changes) {
            // A plan that was made again keeps what is known of the changes that it still has.
            if (current.changes.has(change.id)) continue
            const facts: ChangeFacts = {
              change,
              operation,
              attempts: 0,
              applied: undefined,
              failed: undefined,
              undoneAt: undefined,
            }
            current.changes.set(change.id, facts)
            all.set(change.id, facts)
            const original = operation.undoes?.[change.id]
            if (original !== undefined) undoes.set(change.id, original)
          }
        }
        break
      case 'step.approved':
        current.approved = line
        break
      case 'step.refused':
        current.refused = line
        break
      case 'step.declined':
        current.declined = line
        break
      case 'step.verdict':
        current.verdict = line
        break
      case 'step.finished': {
        current.finished = line
        const undone = undoneBy[line.data.use]
        if (undone !== undefined && isDone(line.data.state)) {
          for (const other of runs) if (other.use === undone) other.undone = true
        }
        break
      }
      case 'change.started': {
        const facts = current.changes.get(line.data.id)
        if (facts !== undefined) facts.attempts = Math.max(facts.attempts, line.data.attempt)
        break
      }
      case 'change.failed': {
        const facts = current.changes.get(line.data.id)
        if (facts !== undefined) facts.failed = line
        break
      }
      case 'change.applied': {
        const facts = current.changes.get(line.data.id)
        if (facts === undefined) break
        facts.applied = line
        facts.failed = undefined
        const original = all.get(undoes.get(line.data.id) ?? '')
        if (original !== undefined) original.undoneAt = line.at
        break
      }
      default:
        break
    }
  }
  return runs
}

function isDone(state: Events['step.finished']['state']): boolean {
  return state === 'done' || state === 'residual' || state === 'nothing-to-do'
}

/** Reads the outputs that the report shows. What is missing or was changed is told, and nothing of it is shown. */
export async function readOutputs(record: CaseRecord): Promise<Outputs> {
  const newest = new Map<string, LineOf<'step.finished'>>()
  for (const line of record.lines) {
    if (line.kind === 'step.finished' && line.data.output !== undefined) newest.set(line.data.use, line)
  }
  const byUse = new Map<string, unknown>()
  const unreadable: { at: string; text: string }[] = []
  for (const [use, line] of newest) {
    const sha256 = line.data.output ?? ''
    const fail = (what: string) =>
      unreadable.push({
        at: line.at,
        text: `The output of ${line.step ?? use} (${use}) ${what}; what it found is missing from this report. Evidence ${sha256}.`,
      })
    let content: Uint8Array
    try {
      content = await record.read(sha256)
    } catch {
      // Whatever keeps it from being read, the reader of the report has to know; `case check` names the cause.
      fail('cannot be read')
      continue
    }
    if (createHash('sha256').update(content).digest('hex') !== sha256) {
      fail('was changed after it was written')
      continue
    }
    try {
      byUse.set(use, JSON.parse(new TextDecoder().decode(content)))
    } catch {
      fail('is not JSON')
    }
  }
  return { byUse, unreadable }
}
