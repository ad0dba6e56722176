import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import type { PlannedOperation } from '../case/events.ts'

/**
 * SHA-256 (hex) of what a step would do: step, action, target, effect, undo and breaks of every change. The case id is
 * replaced and the order does not matter, so that a plan made by `--dry-run` and the one made in earnest agree.
 */
export function planHash(step: string, operations: readonly PlannedOperation[], caseId: string): string {
  const changes = operations.flatMap((operation) =>
    operation.changes.map(({ action, target, effect, undo, breaks }) => ({
      step,
      action,
      target,
      effect,
      undo: undo ?? null,
      breaks: [...breaks].sort(),
    })),
  )
  const forms = changes.map((change) => (canonicalize(change) ?? '').replaceAll(caseId, '<case>')).sort()
  return createHash('sha256').update(forms.join('\n')).digest('hex')
}

/** Id of a change: the same in every run of the same step run, so that what it made can be found again by name or tag. */
export function changeId(caseId: string, step: string, run: number, action: string, target: string): string {
  return createHash('sha256')
    .update(JSON.stringify([caseId, step, run, action, target]))
    .digest('hex')
    .slice(0, 16)
}
