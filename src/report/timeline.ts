import type { BlastRadius } from '../blast-radius/port.ts'
import type { Events, Line } from '../case/events.ts'
import type { NoteKind } from '../case/notes.ts'
import type { Review } from '../invocations/port.ts'
import type { Run } from './facts.ts'
import type { Entry } from './model.ts'
import { bytes, count, duration, holds, plural } from './words.ts'

export interface TimelineInput {
  readonly lines: readonly Line[]
  readonly runs: readonly Run[]
  readonly review: Review | undefined
  readonly blastRadius: BlastRadius | undefined
}

/** Everything that is known to have happened, oldest first; the order of equal times is that of the journal. */
export function buildTimeline(input: TimelineInput): readonly Entry[] {
  const entries = [
    ...windowStart(input.lines),
    ...calls(input.review),
    ...findings(input.review),
    ...suspects(input.blastRadius),
    ...journal(input.lines, input.runs),
  ].filter((entry) => !Number.isNaN(Date.parse(entry.at)))
  return entries
    .map((entry, index) => ({ entry, index, time: Date.parse(entry.at) }))
    .sort((a, b) => a.time - b.time || a.index - b.index)
    .map(({ entry }) => entry)
}

function windowStart(lines: readonly Line[]): Entry[] {
  const opened = lines[0]
  if (opened?.kind !== 'case.opened') return []
  const { since, sinceFrom } = opened.data
  const text = {
    knownGood: 'Last moment at which the server was known to be good (registry): what came later is in question',
    flag: 'The responder set the start of the window here',
    default:
      'The window starts here for want of anything better: seven days, nobody said when the server was last good',
  }[sinceFrom]
  return [{ at: since, lane: 'system', mark: sinceFrom === 'default' ? 'inferred' : 'told', text }]
}

/** What the invocation log says of the server: one entry per tool, from its first to its last call. */
function calls(review: Review | undefined): Entry[] {
  return (review?.tools ?? []).map((use) => ({
    at: use.first,
    until: use.last,
    lane: 'attacker',
    mark: 'observed',
    text: [
      `Tool ${use.tool} of the compromised server: ${plural(use.calls, 'call')}`,
      use.failed > 0 ? `, ${count(use.failed)} failed` : '',
      use.rows === undefined ? '' : `, ${plural(use.rows, 'row')} returned`,
      use.bytes === undefined ? '' : `, ${bytes(use.bytes)} returned`,
    ].join(''),
  }))
}

/** What was out of the ordinary, where the log says when. */
function findings(review: Review | undefined): Entry[] {
  return (review?.findings ?? []).flatMap(({ first, last, summary, seen }): Entry[] =>
    first === undefined
      ? []
      : [
          {
            at: first,
            ...(last === undefined || last === first ? {} : { until: last }),
            lane: 'attacker',
            mark: 'observed',
            text: `Out of the ordinary: ${summary} (seen: ${seen})`,
          },
        ],
  )
}

/** Calls that agents made to other servers after they had taken in output of this one. */
function suspects(blastRadius: BlastRadius | undefined): Entry[] {
  const how = {
    session: 'in the same session',
    trace: 'in the same trace',
    'idle-gap': 'by the same user and client, without a pause',
    inferred: 'as far as can be inferred',
  }
  return (blastRadius?.suspect ?? []).map((suspect) => ({
    at: suspect.at,
    lane: 'attacker',
    mark: 'inferred',
    text: `Suspect call of ${suspect.tool} on ${suspect.server}: made ${how[suspect.by]} after output of the compromised server was taken in (hop ${suspect.hop})`,
  }))
}

function journal(lines: readonly Line[], runs: readonly Run[]): Entry[] {
  const changes = new Map(runs.flatMap((run) => [...run.changes].map(([id, { change }]) => [id, change] as const)))
  return lines.flatMap((line): Entry | Entry[] => {
    const base = { at: line.at, by: line.by, seq: line.seq, ...(line.step === undefined ? {} : { step: line.step }) }
    const responder = (text: string): Entry => ({ ...base, lane: 'responder', mark: 'done', text })
    const told = (text: string): Entry => ({ ...base, lane: 'responder', mark: 'told', text })
    const system = (text: string): Entry => ({ ...base, lane: 'system', mark: 'observed', text })
    const summary = (id: string) => changes.get(id)?.summary ?? `change ${id}`

    switch (line.kind) {
      case 'case.opened':
        return responder(`Case opened on ${line.data.server.name}`)
      case 'case.closed':
        return responder(`Case closed${line.data.reason === undefined ? '' : `: ${line.data.reason}`}`)
      case 'case.sealed':
        return responder(`Case sealed with the key ${line.data.key.slice(0, 32)}`)
      case 'registry.accepted':
        return responder(
          `The registry had changed since the case was opened; ${plural(line.data.difference.length, 'difference')} accepted`,
        )
      case 'lock.taken-over':
        return responder(
          `Took the case over from ${line.data.from.by} (process ${line.data.from.pid} on ${line.data.from.host}): ${line.data.why}`,
        )
      case 'journal.torn':
        return system(
          `A half-written journal line (${bytes(line.data.bytes)}) was found and set aside as evidence ${line.data.evidence}`,
        )
      case 'playbook.started':
        return responder(`Playbook ${line.data.playbook} started (${plural(line.data.steps.length, 'step')})`)
      case 'interrupted':
        return responder(`Interrupted during ${line.data.during}`)
      case 'note':
        return {
          ...told(`${noteLabel(line.data)}: ${line.data.text}`),
          at: line.data.at,
          ...(line.data.kind === 'detected' ? { lane: 'system' as const } : {}),
        }
      case 'step.started':
        // What a person was asked is told by the answer.
        if (line.data.use === 'manual') return []
        return responder(`${line.data.resumed ? 'Step taken up again' : 'Step started'}: ${line.data.use}`)
      case 'step.refused':
        return line.data.problems.map((problem) => system(`Refused (${problem.kind}): ${problem.message}`))
      case 'step.planned': {
        const planned = line.data.operations.flatMap((operation) => operation.changes).length
        return responder(`Planned ${plural(planned, 'change')} (plan ${line.data.hash.slice(0, 12)})`)
      }
      case 'step.approved':
        return responder(
          `Approved ${line.data.how === 'prompt' ? 'at the prompt' : 'by flag'}${
            line.data.approvedBy === undefined ? '' : `, with ${line.data.approvedBy}`
          } (plan ${line.data.hash.slice(0, 12)})`,
        )
      case 'step.declined':
        return responder(`Declined (plan ${line.data.hash.slice(0, 12)})`)
      case 'change.started':
        return line.data.attempt > 1 ? responder(`Attempt ${line.data.attempt}: ${summary(line.data.id)}`) : []
      case 'change.recorded':
        return []
      case 'change.applied':
        return line.data.settled
          ? system(`Found to be in place already: ${summary(line.data.id)}`)
          : responder(summary(line.data.id))
      case 'change.failed':
        return system(`Failed (${line.data.code}): ${summary(line.data.id)}: ${line.data.error}`)
      case 'step.verdict':
        return line.data.operations.map(({ key, adapter, state, observed, residue }) => {
          const holding = observed.filter((observation) => observation.holds).length
          return system(
            `${verdictWords[state]} ${key} (${adapter})${observed.length === 0 ? '' : `. ${holds(holding, observed.length)}`}${
              residue.length === 0 ? '' : `; ${plural(residue.length, 'residue', 'residues')}`
            }`,
          )
        })
      case 'step.finished':
        if (line.data.use === 'manual') return []
        return responder(
          `Step finished: ${line.data.use}: ${line.data.state}, after ${duration(line.data.tookMs)}${
            line.data.open.length === 0 ? '' : `, ${plural(line.data.open.length, 'point')} open`
          }`,
        )
      case 'manual.answered':
        return told(`${line.data.question} ${line.data.answer}`)
      case 'manual.skipped':
        return told(`Skipped: ${line.data.question} Reason: ${line.data.reason}`)
      case 'manual.open':
        return responder(`Left open: ${line.data.question}`)
      case 'evidence.stored':
        return responder(`Evidence kept: ${line.data.name} (${bytes(line.data.bytes)})`)
      default:
        return []
    }
  })
}

const noteWords: Readonly<Record<NoteKind, string>> = {
  detected: 'Detected',
  aware: 'Aware',
  classified: 'Classified as major',
  notified: 'Notice sent',
  call: 'Call',
  decision: 'Decision',
  note: 'Note',
}

function noteLabel({ kind, about }: Events['note']): string {
  // Of a later version there may be others.
  const word = noteWords[kind] ?? noteWords.note
  return about === undefined ? word : `${word} (${about})`
}

const verdictWords = {
  verified: 'Verified',
  residual: 'Verified, with residue,',
  failed: 'Not as it should be:',
} as const
