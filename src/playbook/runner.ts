import { bounded } from '../bounded.ts'
import type { Case } from '../case/case.ts'
import type { PlannedOperation, StepState } from '../case/events.ts'
import { type StepRun, standing, undoneBy } from '../case/state.ts'
import type { Adapter, Call, Change, JsonObject, Problem, Receipt, Verdict } from '../change.ts'
import type { Context } from '../context.ts'
import { IrError, StorageError } from '../errors.ts'
import type { Server } from '../registry/port.ts'
import { forgetAnswers } from '../shared-answers.ts'
import { applyAll, describe, type Open, type Task } from './apply.ts'
import { changeId, planHash } from './plan.ts'
import type { Applied, CaseView, Operation, Outcome, StepInput, StepKind, StepResult } from './step.ts'
import { undoOrder } from './undo-order.ts'

/** How the responder's yes is to be had. */
export type Consent = 'yes' | 'ask' | 'none'

export interface StepOptions {
  readonly id: string
  readonly with: JsonObject
  readonly consent: Consent
  readonly dryRun: boolean
  /** Hash that the plan must have. */
  readonly expect: string | undefined
  readonly deployment: string | undefined
}

/** What the responder is shown and asked. The terminal implements it; see ui/presenter.ts. */
export interface Presenter {
  warnings(step: string, warnings: readonly string[]): void
  plan(step: string, server: Server, operations: readonly PlannedOperation[], hash: string): void
  /** `undefined`: nobody consented; otherwise how. */
  consent(step: string, server: Server, changes: readonly Change[]): Promise<boolean>
  /** @returns what the progress line should say from now on */
  change(
    step: string,
    change: Change,
    event: 'started' | 'applied' | 'settled' | 'failed',
    error?: string,
  ): string | undefined
  report(report: StepReport): void
}

export interface StepReport {
  readonly id: string
  readonly use: string
  readonly state: StepState | 'planned' | 'consent-required' | 'declined'
  readonly startedAt: string
  readonly endedAt: string
  /** Milliseconds, without the wait for a person's answer. */
  readonly tookMs: number
  readonly plan?: { readonly hash: string; readonly changes: readonly Change[] }
  readonly verdict?: readonly Outcome['operations'][number][]
  readonly output?: unknown
  /** What still stands open, with what somebody with the right can run. */
  readonly open: readonly string[]
  readonly residue: readonly string[]
  readonly limits: readonly string[]
  readonly warnings: readonly string[]
  /** It failed because what was made was refused: verification did not hold, and it was taken out again. */
  readonly refused?: true
}

type Ended = Omit<StepReport, 'id' | 'use' | 'startedAt' | 'endedAt' | 'tookMs'>

/** An operation with what the runner needs to drive it. */
interface Prepared {
  readonly operation: Operation
  readonly adapter: Adapter<unknown>
  readonly call: Call<unknown>
  readonly receipts: Map<string, Receipt>
  /** Filled by the plan. */
  changes: readonly Change[]
  undoes: Map<string, Applied>
  /** Why it could not be checked or planned: it then counts as failed, the others go on. */
  failed?: string
}

/**
 * The one loop that changes the world: check, plan, ask, apply, verify. Every line of the journal is on disk before what
 * it announces, so that the same call after a crash goes on where this one ended and does nothing twice.
 *
 * @throws IrError refused, unreachable, denied, input: nothing was changed by this step; interrupted: resumable
 */
export async function runStep(
  kind: StepKind,
  options: StepOptions,
  incident: Case,
  view: CaseView,
  context: Context,
  presenter: Presenter,
): Promise<StepReport> {
  const { journal } = incident
  const { id } = options
  const startedAt = context.now()
  /** How long it waited for a person, which is not how long it took. */
  let waitedMs = 0
  const previous = incident.state().steps.get(id)?.runs.at(-1)
  const resumed = previous?.approved === true && previous.finished === undefined && !previous.undone
  const number = previous === undefined ? 1 : previous.undone ? previous.run + 1 : previous.run
  /** Which operation each change of this run belongs to: an adapter sees the receipts of its own target alone. */
  const owners = new Map<string, string>()
  for (const line of journal.lines) {
    if (line.kind !== 'step.planned' || line.step !== id || line.data.run !== number) continue
    for (const operation of line.data.operations)
      for (const change of operation.changes) owners.set(change.id, nameOf(operation))
  }

  let progress: (text: string) => void = () => {}
  /** What takes longer than a moment is seen to go on. */
  const stage = <T>(name: string, work: () => Promise<T>): Promise<T> =>
    context.ui.task(`${id}: ${name}`, (update) => {
      progress = update
      return work()
    })

  const input: StepInput = {
    context,
    case: view,
    with: options.with,
    deployment: options.deployment,
    subjects: previous?.run === number ? [...previous.subjects] : [],
    dryRun: options.dryRun,
    evidence: incident.evidence,
    signal: context.signal,
    progress: (text) => progress(text),
  }
  const tookMs = (): number => Math.max(0, context.now().getTime() - startedAt.getTime() - waitedMs)
  const finish = (report: Ended): StepReport => {
    const done: StepReport = {
      id,
      use: kind.kind,
      startedAt: startedAt.toISOString(),
      endedAt: context.now().toISOString(),
      tookMs: tookMs(),
      ...report,
    }
    presenter.report(done)
    return done
  }

  try {
    forgetAnswers(context.signal)
    const prepared = await stage('looking', async () =>
      Promise.all(((await kind.operations?.(input)) ?? []).map((operation) => prepare(operation))),
    )
    const recalled = resumed ? recall(prepared, previous) : []
    await stage('looking', () => recognise(prepared))
    // What the interrupted attempt did not plan (it was narrowed, the registry has more by now) is planned now.
    const fresh = prepared.filter(({ operation }) => !recalled.some((planned) => isOf(planned, operation)))
    const warnings = await stage('looking', () => check(fresh))

    journal.append('step.started', { use: kind.kind, run: number, resumed }, id)
    const run = (): StepRun => {
      const last = incident.state().steps.get(id)?.runs.at(-1)
      if (last === undefined) throw new TypeError(`step ${id} was not started`)
      return last
    }

    let hash: string | undefined
    if (prepared.length > 0) {
      const added = await stage('planning', () => plan(fresh, warnings))
      const isNew = !resumed || added.some((operation) => operation.changes.length > 0)
      const current = [...recalled, ...added]
      hash = planHash(id, current, incident.id)
      const changes = current.flatMap((operation) => operation.changes)
      if (isNew) journal.append('step.planned', { run: number, hash, operations: current, warnings }, id)
      if (options.dryRun && needsApprover(view.server, context)) warnings.push('it will need --approved-by NAME')
      const shown = { plan: { hash, changes }, open: [], residue: [], limits: [], warnings }
      if (options.expect !== undefined && options.expect !== hash) {
        throw new IrError('refused', `The plan is not the expected one: its hash is ${hash}.`, {
          hints: ['Something changed since that plan was made. Look at it again with --dry-run.'],
        })
      }
      presenter.warnings(id, warnings)
      if (changes.length > 0 || options.dryRun) presenter.plan(id, view.server, current, hash)
      if (options.dryRun) return finish({ state: 'planned', ...shown })
      if (changes.length > 0 && options.consent === 'none') return finish({ state: 'consent-required', ...shown })
      // What was agreed to before an interruption is gone on with; a person at the terminal is asked again.
      if (changes.length > 0 && (isNew || options.consent === 'ask')) {
        requireApprover(view.server, context)
        const asked = context.now().getTime()
        const agreed = await presenter.consent(id, view.server, changes)
        waitedMs += context.now().getTime() - asked
        if (!agreed) {
          journal.append('step.declined', { hash }, id)
          return finish({ state: 'declined', ...shown })
        }
        const { approvedBy } = context
        journal.append(
          'step.approved',
          {
            hash,
            how: options.consent === 'yes' ? 'flag' : 'prompt',
            ...(approvedBy === undefined ? {} : { approvedBy }),
          },
          id,
        )
      }
    }

    const tasks: Task[] = prepared.flatMap(({ adapter, call, receipts, changes, undoes }) =>
      changes.map((change) => ({ adapter, call, receipts, change, undoes: undoes.get(change.id) })),
    )
    const before = run()
    const open = await stage('changing', () =>
      applyAll(tasks, {
        journal,
        step: id,
        run: before,
        signal: context.signal,
        // A plan made anew names what is not as it should be, whatever was applied before.
        done: new Set(resumed ? before.applied.keys() : []),
        on: (change, event, error) => {
          const now = presenter.change(id, change, event, error)
          if (now !== undefined) progress(now)
        },
      }),
    )
    // Not all that changes something is a change of ours: what was read before does not count for a verdict.
    forgetAnswers(context.signal)
    const outcome = await stage('observing', () => observe(prepared, open))
    if (prepared.length > 0) {
      journal.append(
        'step.verdict',
        { operations: outcome.operations.map(({ output: _, ...operation }) => operation) },
        id,
      )
    }
    const result = await stage('working it out', () => kind.result(input, outcome))
    context.signal.throwIfAborted()
    return finish(await conclude(result, outcome, prepared, warnings, hash))
  } catch (error) {
    const made = incident.state().steps.get(id)?.runs.at(-1)?.applied.size ?? 0
    const stands = made === 0 ? [] : [`${made} of the changes of ${id} are made and stand; they are not verified yet.`]
    if (!(error instanceof StorageError) && context.signal.aborted) {
      journal.append('interrupted', { during: id })
      throw new IrError('interrupted', `Interrupted during ${id}. Case ${incident.id} is consistent.`, {
        hints: [
          ...(error instanceof IrError ? error.hints : []),
          ...stands,
          'Run the same command again: it goes on from here.',
        ],
      })
    }
    if (error instanceof StorageError) {
      throw new StorageError(`${error.message} (case ${incident.id})`, {
        hints: [...stands, ...error.hints],
        cause: error,
      })
    }
    throw error
  }

  async function prepare(operation: Operation): Promise<Prepared> {
    const adapter = (await operation.load()) as unknown as Adapter<unknown>
    const own = new Map<string, Receipt>()
    for (const [change, { receipt }] of previous?.run === number ? previous.applied : [])
      if (owners.get(change) === nameOf(operation)) own.set(change, receipt)
    const prepared: Prepared = {
      operation,
      adapter,
      receipts: own,
      changes: [],
      undoes: new Map(),
      call: {
        target: operation.target,
        intent: operation.intent,
        signal: context.signal,
        caseId: incident.id,
        privateFolder: `${incident.folder}/private`,
        now: context.now,
        changeId: (action, target) => changeId(incident.id, id, number, `${operation.key} ${action}`, target),
        get changes() {
          return prepared.changes
        },
        receipts: own,
        evidence: incident.evidence,
        progress: (text) => progress(text),
      },
    }
    return prepared
  }

  /** That changes of an earlier attempt are those of the targets as they are named now. @throws IrError refused */
  async function recognise(all: readonly Prepared[]): Promise<void> {
    const errors: IrError[] = []
    const earlier = all.filter(({ changes }) => changes.length > 0)
    await bounded(earlier, async (one) => {
      try {
        const originals = one.changes.map((change) => one.undoes.get(change.id)?.change ?? change)
        await one.adapter.recognise?.(originals, one.call)
      } catch (error) {
        if (!(error instanceof IrError) || error.code !== 'refused') throw error
        errors.push(error)
        Object.assign(one, { failed: error.message, changes: [] })
      }
    })
    const [error] = errors
    if (error !== undefined && errors.length === all.length) throw error
  }

  /** @returns warnings; @throws when the step must not begin */
  async function check(all: readonly Prepared[]): Promise<string[]> {
    const problems: (Problem & { readonly key: string })[] = []
    await bounded(all, async (one) => {
      try {
        const found = await one.adapter.check(one.call)
        for (const problem of found) problems.push({ ...problem, key: one.operation.key })
      } catch (error) {
        if (!(error instanceof IrError)) throw error
        problems.push({ kind: kindOf(error), message: error.message, key: one.operation.key, ...hintOf(error) })
      }
    })
    const refused = problems.filter((problem) => problem.kind === 'refused')
    if (refused.length > 0) {
      journal.append('step.started', { use: kind.kind, run: number, resumed: false }, id)
      journal.append('step.refused', { problems: refused }, id)
      throw stopped('refused', refused)
    }
    const fatal = problems.filter((problem) => problem.kind !== 'warning')
    for (const one of all) {
      const own = fatal.filter((problem) => problem.key === one.operation.key)
      if (own.length > 0) one.failed = own.map((problem) => problem.message).join('; ')
    }
    if (all.length > 0 && all.every((one) => one.failed !== undefined)) {
      throw stopped(
        fatal[0]?.kind === 'input' ? 'input' : fatal[0]?.kind === 'denied' ? 'denied' : 'unreachable',
        fatal,
      )
    }
    return problems
      .filter((problem) => problem.kind === 'warning')
      .map((problem) => `${problem.key}: ${problem.message}${problem.hint === undefined ? '' : ` (${problem.hint})`}`)
  }

  async function plan(all: readonly Prepared[], warnings: string[]): Promise<PlannedOperation[]> {
    const first = previous?.run === number ? previous.firstPlanned : undefined
    const errors: IrError[] = []
    await bounded(all, async (one) => {
      if (one.failed !== undefined) return
      try {
        one.changes =
          one.operation.undoes === undefined ? await one.adapter.plan(one.call) : await planUndo(one, warnings)
      } catch (error) {
        if (!(error instanceof IrError)) throw error
        errors.push(error)
        one.failed = error.message
      }
      // The original state is the one before the run's first attempt at it.
      one.changes = one.changes.map((change) => {
        const undo = previous?.attempts.has(change.id) === true ? first?.get(change.id)?.undo : undefined
        return undo === undefined ? change : { ...change, undo }
      })
    })
    const [error] = errors
    if (error !== undefined && all.every((one) => one.failed !== undefined)) throw error
    return all.map((one) => ({
      key: one.operation.key,
      adapter: one.operation.adapter,
      intent: one.operation.intent,
      changes: one.changes,
      ...(one.operation.subject === undefined ? {} : { subject: one.operation.subject }),
      ...(one.undoes.size === 0
        ? {}
        : {
            undoes: Object.fromEntries([...one.undoes].map(([change, { change: original }]) => [change, original.id])),
          }),
    }))
  }

  /** What stands of this target is put back: the last change first where they have to do with each other. */
  async function planUndo(one: Prepared, warnings: string[]): Promise<readonly Change[]> {
    const found = standing(journal.lines, undoneBy[kind.kind] ?? '')
      .filter(({ operation }) => operation.key === one.operation.key && operation.adapter === one.operation.adapter)
      .flatMap((stands) => {
        const undo = one.adapter.actions[stands.change.action]?.undo
        return undo === undefined ? [] : [{ ...stands, undo }]
      })
    await one.adapter.recognise?.(
      found.map(({ change }) => change),
      one.call,
    )
    const drifts = new Map<string, readonly string[]>()
    await bounded(found, async ({ undo, change, receipt }) => {
      drifts.set(change.id, await undo.drift(change, receipt, one.call))
    })
    // By the id of what it undoes, as an action on a target may stand twice: from before a release that was cut short.
    const undoId = (of: Change): string => changeId(incident.id, id, number, `undo ${of.action} ${of.id}`, of.target)
    return undoOrder(found).map(({ stands: { change, receipt }, after }) => {
      const drift = drifts.get(change.id) ?? []
      if (drift.length > 0 && options.consent === 'yes' && options.expect === undefined && !options.dryRun) {
        throw new IrError('refused', `${change.target} changed since: ${drift.join('; ')}.`, {
          hints: ['Look at the plan with --dry-run, then agree to exactly that one with --yes --expect HASH.'],
        })
      }
      warnings.push(...drift.map((what) => `${change.target} changed since: ${what}`))
      const undone: Change = {
        id: undoId(change),
        action: `undo ${change.action}`,
        target: change.target,
        summary: `Put back: ${change.summary}`,
        effect: 'reversible',
        priority: 'essential',
        after: after.map((other) => undoId(other.change)),
        breaks: drift,
        ...(change.facts === undefined ? {} : { facts: change.facts }),
      }
      one.undoes.set(undone.id, { change, receipt })
      return undone
    })
  }

  /** The journalled plan, put back onto the operations. */
  function recall(all: readonly Prepared[], run: StepRun | undefined): readonly PlannedOperation[] {
    const operations = run?.planned?.operations ?? []
    const missing = operations.filter((planned) => !all.some(({ operation }) => isOf(planned, operation)))
    if (missing.length > 0) {
      throw new IrError(
        'input',
        `${id} was interrupted at work on ${missing.map(({ key }) => key).join(', ')} as well.`,
        {
          hints: ['Finish that first: run it again without --deployment, on the registry as it was.'],
        },
      )
    }
    const stands = standing(journal.lines, undoneBy[kind.kind] ?? '')
    for (const one of all) {
      const planned = operations.find(
        ({ key, adapter }) => key === one.operation.key && adapter === one.operation.adapter,
      )
      one.changes = planned?.changes ?? []
      for (const [change, original] of Object.entries(planned?.undoes ?? {})) {
        // What is no longer standing was put back before the interruption.
        const found = stands.find((other) => other.change.id === original)
        if (found !== undefined) one.undoes.set(change, found)
      }
      one.changes = one.changes.filter((change) => planned?.undoes === undefined || one.undoes.has(change.id))
    }
    return operations
  }

  /** Of an undoing step: what stands all the same, as its target is no longer among the registered ones. */
  function leftStanding(all: readonly Prepared[]): string[] {
    if (undoneBy[kind.kind] === undefined || options.deployment !== undefined) return []
    return standing(journal.lines, undoneBy[kind.kind] ?? '')
      .filter(({ operation }) => !all.some((one) => isOf(operation, one.operation)))
      .map(
        ({ operation, change }) =>
          `${change.target} stands: ${operation.key} is no longer in the registry entry of this case`,
      )
  }

  async function observe(all: readonly Prepared[], open: readonly Open[]): Promise<Outcome> {
    const operations = await bounded(all, async (one): Promise<Outcome['operations'][number]> => {
      const { key, adapter } = one.operation
      const failure = (error: string): Outcome['operations'][number] => ({
        key,
        adapter,
        state: 'failed',
        observed: [{ claim: 'the step could look at the target', seen: error, holds: false }],
        residue: [],
        limits: [],
        output: undefined,
      })
      if (one.failed !== undefined) return failure(one.failed)
      const residue: string[] = []
      try {
        await one.adapter.collect?.(one.call)
      } catch (error) {
        if (error instanceof StorageError || context.signal.aborted) throw error
        residue.push(`evidence could not be captured: ${describe(error)}`)
      }
      try {
        const verdict: Verdict = await one.adapter.verify(one.call)
        return {
          key,
          adapter,
          state: verdict.state === 'verified' && residue.length > 0 ? 'residual' : verdict.state,
          observed: verdict.observed,
          residue: [...verdict.residue, ...residue],
          limits: verdict.limits,
          output: verdict.output,
        }
      } catch (error) {
        if (error instanceof StorageError || context.signal.aborted) throw error
        return failure(describe(error))
      }
    })
    return { operations, open }
  }

  async function conclude(
    result: StepResult,
    outcome: Outcome,
    all: readonly Prepared[],
    warnings: readonly string[],
    hash: string | undefined,
  ): Promise<Ended> {
    const failed = outcome.operations.filter((operation) => operation.state === 'failed')
    const open = [
      ...outcome.open.map(({ change, error }) => openPoint(change, error)),
      ...failed.flatMap(({ key, observed }) =>
        observed.filter(({ holds }) => !holds).map(({ claim, seen }) => `${key}: not seen that ${claim}: ${seen}`),
      ),
      ...(result.open ?? []),
      ...leftStanding(all),
    ]
    const residue = [...outcome.operations.flatMap((operation) => operation.residue), ...(result.residue ?? [])]
    const limits = [
      ...new Set([...outcome.operations.flatMap((operation) => operation.limits), ...(result.limits ?? [])]),
    ]
    const changes = all.flatMap((one) => one.changes)
    const state =
      kind.operations !== undefined && all.length === 0 && open.length === 0
        ? 'nothing-to-do'
        : stateOf(result, outcome, open, residue, changes)
    const stored = await incident.evidence.put(
      `${id}-output.json`,
      'application/json',
      `${JSON.stringify(result.output ?? null, undefined, 2)}\n`,
    )
    journal.append(
      'step.finished',
      {
        use: kind.kind,
        state,
        ...(options.deployment === undefined ? {} : { only: options.deployment }),
        output: stored.sha256,
        open,
        residue,
        limits,
        tookMs: tookMs(),
      },
      id,
    )
    return {
      state,
      ...(hash === undefined ? {} : { plan: { hash, changes } }),
      ...(outcome.operations.length === 0 ? {} : { verdict: outcome.operations }),
      output: result.output,
      open,
      residue,
      limits,
      warnings,
      ...(state === 'failed' && outcome.open.some(({ code }) => code === 'refused') ? { refused: true } : {}),
    }
  }
}

/** Of an operation, within its step. */
function nameOf({ key, adapter }: Pick<Operation, 'key' | 'adapter'>): string {
  return `${adapter} ${key}`
}

function isOf(planned: PlannedOperation, operation: Operation): boolean {
  return planned.key === operation.key && planned.adapter === operation.adapter
}

function stateOf(
  result: StepResult,
  outcome: Outcome,
  open: readonly string[],
  residue: readonly string[],
  changes: readonly Change[],
): StepState {
  const { operations } = outcome
  if (operations.length > 0 && operations.every((operation) => operation.state === 'failed')) return 'failed'
  if (open.length > 0 || result.state === 'partial') return 'partial'
  if (residue.length > 0 || result.state === 'residual' || operations.some(({ state }) => state === 'residual')) {
    return 'residual'
  }
  if (operations.length > 0 && changes.length === 0) return 'nothing-to-do'
  return 'done'
}

function openPoint(change: Change, error: string): string {
  const command = change.command === undefined ? '' : ` Somebody with the right can run: ${change.command}`
  return `${change.summary}: ${error.replace(/\.$/, '')}.${command}`
}

/** Whether the approval of somebody else than who acts is still missing. */
function needsApprover(server: Server, context: Context): boolean {
  const { by, approvedBy } = context
  if (server.criticality !== 'high') return false
  return approvedBy === undefined || approvedBy.toLowerCase() === by.toLowerCase()
}

/** Four eyes on what matters most. @throws IrError consent */
export function requireApprover(server: Server, context: Context): void {
  if (!needsApprover(server, context)) return
  throw new IrError(
    'consent',
    `${server.name} is of high criticality: somebody else than ${context.by} must approve.`,
    {
      hints: ['Add --approved-by NAME.'],
    },
  )
}

function stopped(
  code: 'refused' | 'input' | 'denied' | 'unreachable',
  problems: readonly (Problem & { key: string })[],
): IrError {
  return new IrError(code, problems.map(({ key, message }) => `${key}: ${message}`).join('\n'), {
    hints: problems.flatMap(({ hint }) => (hint === undefined ? [] : [hint])),
  })
}

function kindOf(error: IrError): Problem['kind'] {
  return error.code === 'refused' || error.code === 'denied' || error.code === 'input' ? error.code : 'unreachable'
}

function hintOf(error: IrError): { hint?: string } {
  return error.hints.length === 0 ? {} : { hint: error.hints.join(' ') }
}
