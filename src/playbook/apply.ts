import { setTimeout as sleep } from 'node:timers/promises'
import { width } from '../bounded.ts'
import type { Journal } from '../case/journal.ts'
import type { StepRun } from '../case/state.ts'
import type { Action, ActionCall, Adapter, Call, Change, Receipt } from '../change.ts'
import { IrError, StorageError, systemCode } from '../errors.ts'
import type { Applied } from './step.ts'

/** One change with the adapter that makes it. `undoes` is given when it puts another one back. */
export interface Task {
  readonly change: Change
  readonly adapter: Adapter<unknown>
  readonly call: Call<unknown>
  readonly undoes: Applied | undefined
  /** Of the operation that it belongs to: filled as changes are applied, and read by its adapter through the call. */
  readonly receipts: Map<string, Receipt>
}

export interface Open {
  readonly change: Change
  readonly error: string
  /** Of the IrError; `bug`, or `not-attempted`. */
  readonly code: string
}

export interface ApplyContext {
  readonly journal: Journal
  readonly step: string
  /** What the journal says of this step run so far. */
  readonly run: StepRun
  readonly signal: AbortSignal
  /** Changes of this plan that the journal says are applied. Grows. */
  readonly done: Set<string>
  /** Told when a change begins and ends, for the display. */
  readonly on: (change: Change, event: 'started' | 'applied' | 'settled' | 'failed', error?: string) => void
}

const tries = 5

/**
 * Makes every change that is not made yet: stage by stage, in the order of `after`, else in parallel, what is essential first.
 * One that fails stops only those that wait for it. After an interruption nothing new begins.
 *
 * @returns what failed or was not attempted
 * @throws IrError interrupted, once whatever was under way has ended
 */
export async function applyAll(tasks: readonly Task[], context: ApplyContext): Promise<readonly Open[]> {
  const queue = new Queue(
    tasks.filter((task) => !context.done.has(task.change.id)),
    context.done,
  )
  const running = new Set<Promise<void>>()
  const failed = new Map<string, Open>()
  let broken: unknown
  /** Calls under way, about: changes that go together in one call share it. */
  let load = 0
  let bestEffort = 0

  const start = (task: Task): void => {
    const share = 1 / inOneCall(task)
    const ofBestEffort = task.change.priority === 'best-effort' ? share : 0
    load += share
    bestEffort += ofBestEffort
    const work = perform(task, context)
      .then((error) => {
        if (error === undefined) queue.applied(task)
        else failed.set(task.change.id, { change: task.change, ...error })
      })
      .catch((error: unknown) => {
        broken ??= error
      })
      .finally(() => {
        running.delete(work)
        load = running.size === 0 ? 0 : load - share
        bestEffort = running.size === 0 ? 0 : bestEffort - ofBestEffort
      })
    running.add(work)
  }

  const goesOn = (): boolean => broken === undefined && !context.signal.aborted
  const next = (): Task | undefined => (goesOn() && load < width ? queue.take(bestEffort) : undefined)
  for (;;) {
    for (let task = next(); task !== undefined; task = next()) start(task)
    if (running.size > 0) await Promise.race(running)
    else if (!goesOn() || !queue.nextStage()) break
  }
  if (broken !== undefined) throw broken
  if (context.signal.aborted) throw new IrError('interrupted', 'Interrupted.')
  for (const { change } of queue.left()) {
    const cause = change.after.find((id) => failed.has(id))
    const error = `not attempted, because ${failed.get(cause ?? '')?.change.summary ?? 'what it waits for'} failed`
    const code = 'not-attempted'
    context.journal.append('change.failed', { id: change.id, error, code }, context.step)
    failed.set(change.id, { change, error, code })
  }
  return [...failed.values()]
}

/** What may begin now. Each step of it takes the same time however many changes there are. */
class Queue {
  /** How many others each still waits for; gone once it was taken. */
  readonly #waiting = new Map<Task, number>()
  readonly #dependents = new Map<string, Task[]>()
  readonly #ready = { essential: new Ready(), 'best-effort': new Ready() }
  /** Those whose stage has not come, by stage. */
  readonly #later = new Map<number, Task[]>()
  #stage = Number.NEGATIVE_INFINITY
  /** How many that are essential were not taken yet. */
  #essential = 0

  constructor(tasks: readonly Task[], done: ReadonlySet<string>) {
    for (const task of tasks) {
      const after = new Set(task.change.after.filter((id) => !done.has(id)))
      this.#waiting.set(task, after.size)
      if (task.change.priority === 'essential') this.#essential++
      for (const id of after) listAt(this.#dependents, id).push(task)
      if (after.size === 0) this.#offer(task)
    }
  }

  /** @param bestEffort how many calls of these are under way: while the cut is to come, half of the places are kept for it */
  take(bestEffort: number): Task | undefined {
    const room = this.#essential === 0 || bestEffort < width / 2
    const task = this.#ready.essential.take() ?? (room ? this.#ready['best-effort'].take() : undefined)
    if (task === undefined) return undefined
    this.#waiting.delete(task)
    if (task.change.priority === 'essential') this.#essential--
    return task
  }

  applied({ change }: Task): void {
    for (const task of this.#dependents.get(change.id) ?? []) {
      const left = (this.#waiting.get(task) ?? 0) - 1
      this.#waiting.set(task, left)
      if (left === 0) this.#offer(task)
    }
  }

  /** Called when nothing is ready or under way. @returns whether there is a later stage */
  nextStage(): boolean {
    const stages = [...this.#later.keys()]
    if (stages.length === 0) return false
    this.#stage = Math.min(...stages)
    const tasks = this.#later.get(this.#stage) ?? []
    this.#later.delete(this.#stage)
    for (const task of tasks) this.#offer(task)
    return true
  }

  /** What waits for something that failed. */
  left(): Iterable<Task> {
    return this.#waiting.keys()
  }

  #offer(task: Task): void {
    const { stage = 1, priority } = task.change
    if (stage > this.#stage) listAt(this.#later, stage).push(task)
    else this.#ready[priority].add(task, this.#dependents.has(task.change.id) || inOneCall(task) > 1)
  }
}

/** In the order in which they became ready; before the others what others wait for, and what can share a call. */
class Ready {
  readonly #soon: Task[] = []
  readonly #then: Task[] = []

  add(task: Task, soon: boolean): void {
    const list = soon ? this.#soon : this.#then
    list.push(task)
  }

  take(): Task | undefined {
    return this.#soon.shift() ?? this.#then.shift()
  }
}

function listAt<K, V>(lists: Map<K, V[]>, key: K): V[] {
  const list = lists.get(key) ?? []
  lists.set(key, list)
  return list
}

/** @returns why it failed; undefined when it is applied */
async function perform(task: Task, context: ApplyContext): Promise<Omit<Open, 'change'> | undefined> {
  const { change } = task
  const { journal, step, run, signal } = context
  const recorded = [...(run.recorded.get(change.id) ?? [])]
  const call: ActionCall<unknown> = {
    ...task.call,
    recorded,
    record: async (data) => {
      await journal.commit('change.recorded', { id: change.id, data }, step)
      recorded.push(data)
    },
  }
  const act = actOf(task)
  const applied = async (receipt: Receipt, settled: boolean): Promise<undefined> => {
    await journal.commit('change.applied', { id: change.id, receipt, settled }, step)
    task.receipts.set(change.id, receipt)
    context.done.add(change.id)
    context.on(change, settled ? 'settled' : 'applied')
  }
  const fail = async (error: unknown, prefix = ''): Promise<Omit<Open, 'change'>> => {
    const why = `${prefix}${describe(error)}`
    const code = error instanceof IrError ? error.code : 'bug'
    const command = change.command === undefined ? {} : { command: change.command }
    await journal.commit('change.failed', { id: change.id, error: why, code, ...command }, step)
    context.on(change, 'failed', why)
    return { error: why, code }
  }
  const orInterrupted = (error: unknown): void => {
    if (error instanceof StorageError) throw error
    if (!signal.aborted) return
    // What went wrong in what was under way is told all the same.
    const wrong = error instanceof IrError && error.code !== 'interrupted' ? [error.message] : []
    throw new IrError('interrupted', 'Interrupted.', { hints: wrong })
  }

  let attempt = run.attempts.get(change.id) ?? 0
  let last: unknown
  for (let tried = 0; ; tried++) {
    if (attempt > 0) {
      // It may have happened: the world says, not a lost answer or a journal that a crash cut short.
      try {
        const receipt = await settle(act, call, signal)
        if (receipt !== undefined) return await applied(receipt, true)
      } catch (error) {
        orInterrupted(error)
        const before = last === undefined ? '' : `${describe(last)} `
        return await fail(error, `${before}it is not known whether this happened: `)
      }
    }
    if (tried === tries) return await fail(last)
    attempt++
    await journal.commit('change.started', { id: change.id, attempt }, step)
    if (signal.aborted) throw new IrError('interrupted', 'Interrupted.')
    context.on(change, 'started')
    try {
      return await applied(await act.apply(call), false)
    } catch (error) {
      orInterrupted(error)
      if (error instanceof IrError && !error.ambiguous) return await fail(error)
      last = error
      // A bug of ours is not tried again; whether the change happened is still asked.
      if (!(error instanceof IrError)) {
        tried = tries - 1
        continue
      }
      await sleep(50 * 2 ** tried, undefined, { signal }).catch(orInterrupted)
    }
  }
}

interface Act {
  apply(call: ActionCall<unknown>): Promise<Receipt>
  settle(call: ActionCall<unknown>): Promise<Receipt | undefined>
}

function actionOf({ adapter, change, undoes }: Task): Action<unknown> {
  const name = (undoes?.change ?? change).action
  const found = adapter.actions[name]
  if (found === undefined) throw new TypeError(`the adapter has no action ${name}`)
  return found
}

function inOneCall(task: Task): number {
  return actionOf(task).together ?? 1
}

function actOf(task: Task): Act {
  const { change, undoes } = task
  const found = actionOf(task)
  if (undoes === undefined) {
    return { apply: (call) => found.apply(change, call), settle: (call) => found.settle(change, call) }
  }
  const { undo } = found
  if (undo === undefined) throw new TypeError(`${undoes.change.action} cannot be undone`)
  return {
    apply: (call) => undo.apply(undoes.change, undoes.receipt, call),
    settle: (call) => undo.settle(undoes.change, undoes.receipt, call),
  }
}

/** Asks again when the question itself fails: an unanswered one says nothing about the change. */
async function settle(act: Act, call: ActionCall<unknown>, signal: AbortSignal): Promise<Receipt | undefined> {
  for (let asked = 1; ; asked++) {
    try {
      return await act.settle(call)
    } catch (error) {
      if (error instanceof StorageError || signal.aborted || asked === tries) throw error
      await sleep(50 * 2 ** asked, undefined, { signal })
    }
  }
}

/** In words that hold nothing which an unknown error object may carry. */
export function describe(error: unknown): string {
  if (error instanceof IrError) return error.message
  const code = systemCode(error)
  const name = error instanceof Error ? error.name : typeof error
  return `unexpected ${name}${code === undefined ? '' : ` (${code})`}`
}
