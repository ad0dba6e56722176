import type { Line, LineOf } from '../case/events.ts'
import type { CredentialState } from '../credentials/port.ts'
import type { Review } from '../invocations/port.ts'
import type { Run } from './facts.ts'
import type { Duration, Law, Moment } from './model.ts'
import { duration, holds, utc } from './words.ts'

export interface TimesInput {
  readonly lines: readonly Line[]
  readonly runs: readonly Run[]
  readonly review: Review | undefined
  readonly duties: readonly Law[]
  readonly credentials: readonly { readonly id: string; readonly old: Pick<CredentialState, 'state'> | undefined }[]
}

/** The moments that an incident is judged by, each for itself: none stands in for another. */
export function buildTimes(input: TimesInput): readonly Moment[] {
  return [
    occurred(input),
    noted(input.lines, 'detected', 'Detected', 'when somebody or something first noticed'),
    noted(input.lines, 'aware', 'Aware', 'when the organisation became aware: duties to notify count from here'),
    declared(input.lines),
    ...classified(input),
    contained(input.runs),
    observed(input.runs, 'revoked', 'Revoked', 'credentials.revoke', 'mcp-ir revoke', alive(input)),
    observed(input.runs, 'rotated', 'Rotated', 'credentials.rotate', 'mcp-ir rotate', ''),
    observed(input.runs, 'recovered', 'Recovered', 'deployment.redeploy', 'mcp-ir redeploy', ''),
  ]
}

function occurred({ lines, review }: TimesInput): Moment {
  const opened = lines.find((line): line is LineOf<'case.opened'> => line.kind === 'case.opened')
  const since = opened?.data.since
  const from = {
    knownGood: 'when the server was last known to be good',
    flag: 'the start of the window that the responder gave',
    default: 'seven days back, as nobody said when the server was last good',
  }[opened?.data.sinceFrom ?? 'default']
  const base = { key: 'occurred', label: 'Occurred', mark: 'inferred', record: undefined } as const
  if (review?.first !== undefined && review.first !== '') {
    const before = since === undefined ? '' : ` Not before ${utc(since)}, ${from}.`
    return {
      ...base,
      at: review.first,
      note: `First call of the server in the log of the window; the compromise itself may be earlier or later.${before}`,
    }
  }
  return { ...base, at: since, note: `No call is in the log: this is the start of the window, ${from}.` }
}

/** Of those only who have to classify incidents, or did. */
function classified({ lines, duties }: TimesInput): Moment[] {
  const moment = noted(lines, 'classified', 'Classified as major', 'when the incident was classified as major (DORA)')
  return moment.at !== undefined || duties.includes('dora') ? [moment] : []
}

/** Told by a person. What was said last counts: it corrects what was said before, which stays in the timeline. */
function noted(lines: readonly Line[], key: 'detected' | 'aware' | 'classified', label: string, what: string): Moment {
  const notes = lines.filter((line): line is LineOf<'note'> => line.kind === 'note' && line.data.kind === key)
  const last = notes.at(-1)
  const record = `mcp-ir case note TEXT --kind ${key} --at TIME`
  if (last === undefined) {
    return { key, label, at: undefined, mark: undefined, note: `Nobody recorded ${what}.`, record }
  }
  const earlier = notes.slice(0, -1).map((line) => utc(line.data.at))
  return {
    key,
    label,
    at: last.data.at,
    mark: 'told',
    note: `${last.data.text} (told by ${last.by}${earlier.length === 0 ? '' : `; told before: ${earlier.join(', ')}`})`,
    record: undefined,
  }
}

function declared(lines: readonly Line[]): Moment {
  const opened = lines[0]
  return {
    key: 'declared',
    label: 'Declared',
    at: opened?.at,
    mark: 'done',
    note: `Case opened by ${opened?.by ?? 'nobody'}.`,
    record: undefined,
  }
}

/** The first isolation whose verdict held and that was not put back; one that was put back is told, not counted. */
function contained(runs: readonly Run[]): Moment {
  const moment = observed(runs, 'contained', 'Contained', 'network.isolate', 'mcp-ir isolate', '')
  const released = runs.findLast((run) => run.use === 'network.release' && run.finished !== undefined)
  if (released?.finished === undefined || moment.at === undefined) return moment
  const again = runs.some((run) => run.use === 'network.isolate' && !run.undone && isHeld(run))
  const told = `${again ? 'It had been isolated and released before:' : 'No longer:'} released at ${utc(released.finished.at)}.`
  return { ...moment, note: `${moment.note} ${told}` }
}

function observed(
  runs: readonly Run[],
  key: Moment['key'],
  label: string,
  use: string,
  command: string,
  partly: string,
): Moment {
  const all = runs.filter((run) => run.use === use)
  const held = all.filter(isHeld)
  const run = held.find(({ undone }) => !undone) ?? held[0]
  const last = all.at(-1)
  if (run === undefined) {
    const why =
      last === undefined
        ? 'This was not done in this case.'
        : last.verdict !== undefined
          ? `Done, but what was observed at ${utc(last.verdict.at)} does not bear it out.`
          : last.finished !== undefined
            ? `The step ended as ${last.finished.data.state} at ${utc(last.finished.at)}.`
            : last.refused !== undefined
              ? `It was refused at ${utc(last.refused.at)}.`
              : `Begun at ${utc(last.startedAt)} and not finished.`
    return { key, label, at: undefined, mark: undefined, note: why, record: `${command} SERVER` }
  }
  const operations = run.verdict?.data.operations ?? []
  const observations = operations.flatMap((operation) => operation.observed)
  const holding = observations.filter(({ holds }) => holds).length
  const residue = operations.some(({ state }) => state === 'residual')
    ? ', with residue that could not be excluded'
    : ''
  const state = run.finished?.data.state
  const part = state === 'partial' ? ' In part: something still stands open.' : ''
  const proof =
    observations.length === 0
      ? 'The step is finished; it recorded no observation.'
      : `${holds(holding, observations.length)}${residue}.`
  const at = run.verdict?.at ?? run.finished?.at
  return { key, label, at, mark: 'observed', note: `${proof}${part}${partly}`, record: undefined }
}

/** Whether the world was seen to be as the step wanted it. */
function isHeld(run: Run): boolean {
  if (run.verdict !== undefined) {
    const { operations } = run.verdict.data
    if (operations.length > 0) return operations.every(({ state }) => state !== 'failed')
  }
  const state = run.finished?.data.state
  return state === 'done' || state === 'residual'
}

function alive({ credentials }: TimesInput): string {
  const living = credentials.filter(({ old }) => old?.state === 'alive')
  return living.length === 0
    ? ''
    : ` In part: ${living.map(({ id }) => id).join(', ')} ${living.length === 1 ? 'is' : 'are'} still alive.`
}

const pairs: readonly (readonly [Moment['key'], Moment['key']])[] = [
  ['occurred', 'detected'],
  ['detected', 'aware'],
  ['aware', 'declared'],
  ['aware', 'contained'],
  ['declared', 'contained'],
  ['contained', 'revoked'],
  ['contained', 'recovered'],
  ['declared', 'recovered'],
]

export function buildDurations(times: readonly Moment[]): readonly Duration[] {
  const at = new Map(times.map((moment) => [moment.key, moment]))
  return pairs.flatMap(([from, to]) => {
    const first = at.get(from)
    const second = at.get(to)
    if (first?.at === undefined || second?.at === undefined) return []
    const ms = Date.parse(second.at) - Date.parse(first.at)
    if (Number.isNaN(ms)) return []
    const text = ms < 0 ? `${duration(ms)} before` : duration(ms)
    return [{ from, to, label: `${first.label} → ${second.label.toLowerCase()}`, ms, text }]
  })
}
