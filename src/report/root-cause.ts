import type { Line } from '../case/events.ts'
import type { Review } from '../invocations/port.ts'
import type { Redeployment, RootCause } from './model.ts'

/** What people said of the cause, the last word; and beside it what was seen, which concludes nothing by itself. */
export function buildRootCause(
  lines: readonly Line[],
  redeployment: Redeployment | undefined,
  redeployedAt: string | undefined,
  review: Review | undefined,
): RootCause {
  const note = lines.findLast((line) => line.kind === 'note' && line.data.about === 'root-cause')
  const said = note?.kind === 'note' ? { text: note.data.text, by: note.by, at: note.data.at } : undefined
  const recorded =
    redeployment?.rootCause === undefined
      ? undefined
      : { text: redeployment.rootCause, by: 'with the redeployment', at: redeployedAt }
  const { text, by, at } = said ?? recorded ?? { text: undefined, by: undefined, at: undefined }
  const findings = review?.findings ?? []
  const telling = new Set(['description', 'tool', 'auth', 'address'])
  return {
    text,
    by,
    at,
    observed: [
      ...(redeployment?.tampered ?? []),
      ...findings.filter(({ kind }) => telling.has(kind)).map(({ summary, seen }) => `${summary}: ${seen}`),
    ].slice(0, 20),
  }
}
