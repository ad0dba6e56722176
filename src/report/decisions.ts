import type { Line } from '../case/events.ts'
import type { Run } from './facts.ts'
import type { Decision } from './model.ts'
import { plural, unique } from './words.ts'

export function buildDecisions(lines: readonly Line[], runs: readonly Run[]): Decision[] {
  const plans = new Map(
    runs.flatMap((run) => (run.planned === undefined ? [] : [[run.planned.data.hash, run] as const])),
  )
  return lines.flatMap((line): Decision[] => {
    const base = {
      at: line.at,
      by: line.by,
      step: line.step,
      how: undefined,
      approver: undefined,
      planHash: undefined,
      known: [],
    }
    switch (line.kind) {
      case 'step.approved':
      case 'step.declined': {
        const planned = plans.get(line.data.hash)?.planned?.data
        const changes = planned?.operations.flatMap((operation) => operation.changes) ?? []
        const irreversible = changes.filter(({ effect }) => effect === 'irreversible').length
        const approved = line.kind === 'step.approved'
        return [
          {
            ...base,
            kind: approved ? 'approved' : 'declined',
            text: `${plural(changes.length, 'change')}${irreversible === 0 ? '' : `, ${irreversible} irreversible`}`,
            how: !approved ? undefined : line.data.how === 'prompt' ? 'at the prompt' : 'by flag (--yes)',
            approver: approved ? line.data.approvedBy : undefined,
            planHash: line.data.hash,
            known: unique([
              ...doneBefore(runs, line.at),
              ...(planned?.warnings ?? []),
              ...changes.flatMap(({ breaks }) => breaks.map((who) => `hurts ${who}`)),
            ]),
          },
        ]
      }
      case 'manual.answered':
        return [{ ...base, kind: 'answered', text: `${line.data.question}\n${line.data.answer}` }]
      case 'manual.skipped':
        return [{ ...base, kind: 'skipped', text: `${line.data.question}\nReason: ${line.data.reason}` }]
      case 'manual.open':
        return [{ ...base, kind: 'left open', text: line.data.question }]
      case 'note':
        return line.data.kind === 'decision' ? [{ ...base, at: line.data.at, kind: 'noted', text: line.data.text }] : []
      case 'registry.accepted':
        return [
          {
            ...base,
            kind: 'accepted',
            text: 'The registry as it changed after the case was opened',
            known: line.data.difference,
          },
        ]
      case 'case.closed':
        return [
          {
            ...base,
            kind: 'closed',
            text:
              line.data.reason === undefined ? 'The case' : `The case, although points were open: ${line.data.reason}`,
            known: line.data.open,
          },
        ]
      default:
        return []
    }
  })
}

/** Which steps had ended by then, and how: what whoever decided could know. */
function doneBefore(runs: readonly Run[], at: string): string[] {
  const ended = runs.filter(({ finished, use }) => finished !== undefined && finished.at < at && use !== 'manual')
  if (ended.length === 0) return []
  return [`by then: ${ended.map(({ step, finished }) => `${step} ${finished?.data.state}`).join(', ')}`]
}
