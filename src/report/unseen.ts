import type { Line } from '../case/events.ts'
import type { Run } from './facts.ts'
import type { Irregularity, Unseen } from './model.ts'
import { plural, unique } from './words.ts'

/** Of the last finished run of each step: what an earlier run could not see, a later one may have. */
export function buildUnseen(runs: readonly Run[], gaps: readonly string[]): Unseen {
  const last = new Map(
    runs.filter((run) => run.finished !== undefined || run.verdict !== undefined).map((run) => [run.step, run]),
  )
  const collect = (pick: 'residue' | 'limits') =>
    unique(
      [...last.values()].flatMap((run) => [
        ...(run.finished?.data[pick] ?? []),
        ...(run.verdict?.data.operations.flatMap((operation) => operation[pick]) ?? []),
      ]),
    )
  return { residue: collect('residue'), limits: collect('limits'), gaps: unique(gaps) }
}

export function buildIrregularities(
  lines: readonly Line[],
  unreadable: readonly { readonly at: string; readonly text: string }[],
): Irregularity[] {
  const told = lines.flatMap((line): Irregularity[] => {
    const base = { at: line.at, by: line.by, details: [] }
    switch (line.kind) {
      case 'registry.accepted':
        return [
          {
            ...base,
            kind: 'registry',
            text: `The registry changed after the case was opened; accepted, now ${line.data.hash}`,
            details: line.data.difference,
          },
        ]
      case 'lock.taken-over': {
        const { by, host, pid } = line.data.from
        return [{ ...base, kind: 'lock', text: `Taken over from ${by} (process ${pid} on ${host}): ${line.data.why}` }]
      }
      case 'journal.torn':
        return [
          {
            ...base,
            kind: 'journal',
            text: `A half-written last line of ${plural(line.data.bytes, 'byte')} was set aside as evidence ${line.data.evidence}`,
          },
        ]
      case 'interrupted':
        return [{ ...base, kind: 'interrupted', text: `Interrupted during ${line.data.during}` }]
      case 'step.refused':
        return [
          {
            ...base,
            kind: 'refused',
            text: `Step ${line.step ?? ''} was refused`,
            details: line.data.problems.map(
              ({ kind, message, hint }) => `${kind}: ${message}${hint === undefined ? '' : ` (${hint})`}`,
            ),
          },
        ]
      default:
        return []
    }
  })
  return [...told, ...unreadable.map(({ at, text }) => ({ at, by: '', kind: 'evidence' as const, text, details: [] }))]
}
