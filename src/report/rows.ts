import type { Run } from './facts.ts'
import type { ChangeRow, Proof, StepRow } from './model.ts'

export function stepRow(run: Run): StepRow {
  return {
    id: run.step,
    use: run.use,
    run: run.run,
    state: stepState(run),
    startedAt: run.startedAt,
    endedAt: run.finished?.at,
    tookMs: run.finished?.data.tookMs,
    resumed: run.resumed,
    undone: run.undone,
  }
}

function stepState(run: Run): string {
  if (run.finished !== undefined) return run.finished.data.state
  if (run.refused !== undefined) return 'refused'
  return run.declined === undefined || run.approved !== undefined ? 'unfinished' : 'declined'
}

export function changeRows(run: Run): ChangeRow[] {
  return [...run.changes.values()].map(({ change, operation, attempts, applied, failed, undoneAt }) => {
    const state =
      undoneAt !== undefined
        ? 'put back'
        : applied !== undefined
          ? applied.data.settled
            ? 'settled'
            : 'applied'
          : failed !== undefined
            ? 'failed'
            : 'not done'
    const open = state === 'failed' || state === 'not done'
    return {
      id: change.id,
      step: run.step,
      run: run.run,
      operation: operation.key,
      adapter: operation.adapter,
      action: change.action,
      target: change.target,
      summary: change.summary,
      effect: change.effect,
      priority: change.priority,
      state,
      at: undoneAt ?? applied?.at ?? failed?.at,
      attempts,
      breaks: change.breaks,
      error: failed?.data.error,
      command: open ? (failed?.data.command ?? change.command) : undefined,
    }
  })
}

export function proofs(run: Run): Proof[] {
  const { verdict } = run
  if (verdict === undefined) return []
  return verdict.data.operations.map(({ key, adapter, state, observed }) => ({
    step: run.step,
    run: run.run,
    operation: key,
    adapter,
    at: verdict.at,
    state,
    observed,
  }))
}
