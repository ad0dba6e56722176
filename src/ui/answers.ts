import type { BlastRadius } from '../blast-radius/port.ts'
import type { StoredCase } from '../case/case.ts'
import type { Line, StepState } from '../case/events.ts'
import { type CaseState, openPoints, standing } from '../case/state.ts'
import type { Review } from '../invocations/port.ts'
import { count, moment, number } from './format.ts'
import { safe } from './safe-text.ts'
import { table } from './table.ts'
import { wrap } from './wrap.ts'

const numberOrDash = (value: number | undefined): string => (value === undefined ? '–' : number(value))

/** Of the terminal; undefined where there is none. */
type Columns = number | undefined

function widthFor(columns: Columns): number {
  return Math.max(80, Math.min(columns ?? 140, 140))
}

/** A log that a suspect filled must not fill the terminal. */
function most(heads: readonly string[], rows: readonly (readonly string[])[], columns: Columns, shown = 50): string {
  const more =
    rows.length > shown ? `\n… and ${count(rows.length - shown, 'more row')}: all are in the JSON and the report` : ''
  return `${table(heads, rows.slice(0, shown), widthFor(columns))}${more}`
}

/** What a server did, for a person: first what was out of the ordinary. The output is our own, the strings in it are not. */
function reviewText(output: unknown, columns: Columns): string {
  const review = output as Review | undefined
  if (review === undefined) return ''
  const { window, source } = review
  const parts = [
    `${count(review.records, 'call')} from ${moment(window.since)} to ${moment(window.until)} in ${safe(source.name)} (${safe(source.format)})`,
    ...findingsText(review),
  ]
  if (review.tools.length > 0) {
    const rows = review.tools.map((tool) => [
      tool.tool,
      tool.changes === undefined ? '?' : tool.changes ? 'changes' : 'reads',
      number(tool.calls),
      number(tool.failed),
      numberOrDash(tool.rows),
      numberOrDash(tool.bytes),
      moment(tool.first),
      moment(tool.last),
    ])
    parts.push(most(['TOOL', 'WHAT IT DOES', 'CALLS', 'FAILED', 'ROWS', 'BYTES', 'FIRST', 'LAST'], rows, columns))
  }
  if (review.callers.length > 0) {
    const rows = review.callers.map((caller) => [
      caller.caller,
      number(caller.calls),
      number(caller.failed),
      numberOrDash(caller.rows),
      numberOrDash(caller.bytes),
      moment(caller.last),
    ])
    parts.push(most(['CALLER', 'CALLS', 'FAILED', 'ROWS', 'BYTES', 'LAST'], rows, columns))
  }
  if (review.resources.length > 0) {
    const rows = review.resources.map(({ resource, system, access, tools, calls }) => [
      resource,
      system,
      access === 'write' ? 'changed' : 'read',
      number(calls),
      tools.join(', '),
    ])
    parts.push(most(['RESOURCE', 'SYSTEM', 'WAS', 'CALLS', 'BY TOOLS'], rows, columns, 20))
  }
  if (review.export !== undefined) {
    const { file, records, sha256 } = review.export
    parts.push(`${count(records, 'record')} exported to ${safe(file, 4096)}\nsha256 ${sha256}`)
  }
  return [...parts, ...gapsText(review.gaps, columns)].join('\n\n')
}

/** Findings that are shown on a terminal. */
const mostFindings = 20

function findingsText({ findings, baseline }: Review): string[] {
  if (baseline === undefined && findings.length === 0) return []
  const before =
    baseline === undefined ? '' : ` against ${count(baseline.calls, 'call')} since ${moment(baseline.since)}`
  if (findings.length === 0) return [`Nothing was out of the ordinary${before}.`]
  const blocks = findings.slice(0, mostFindings).map(({ summary, expected, seen, records, more = 0 }) => {
    const ids = records.slice(0, 3).map((id) => safe(id, 60))
    const others = records.length - ids.length + more
    return [
      wrap(`! ${safe(summary, 500)}`, findingWidth, '  '),
      ...[
        ['expected', expected],
        ['seen', seen],
        ['records', `${ids.join(', ')}${others > 0 ? ` and ${number(others)} more` : ''}`],
      ].map(([label = '', text = '']) =>
        wrap(`    ${label.padEnd(9)} ${safe(text, 1000)}`, findingWidth, ' '.repeat(14)),
      ),
    ].join('\n')
  })
  const left = findings.length - blocks.length
  return [
    `Out of the ordinary${before}:`,
    ...blocks,
    ...(left > 0 ? [`… and ${count(left, 'more finding')}: all are in the JSON and the report`] : []),
  ]
}

const findingWidth = 120

/** How far it got, for a person; the tiers stay apart. */
function blastRadiusText(output: unknown, columns: Columns): string {
  const radius = output as BlastRadius | undefined
  if (radius === undefined) return ''
  const parts = [
    'Could reach (what its credentials open):',
    most(
      ['SYSTEM', 'BY WAY OF', 'ACCESS', 'DATA', 'OWNER'],
      radius.couldReach.map((reach) => [
        reach.system,
        reach.via,
        reach.access,
        reach.data.join(', ') || '–',
        reach.owner ?? '–',
      ]),
      columns,
    ),
    ...radius.couldReach.flatMap((reach) => permissionsText(reach, columns)),
    'Did reach (what the log shows):',
    table(
      ['SYSTEM', 'COVERAGE', 'CALLS', 'ROWS', 'BYTES', 'DATA'],
      radius.didReach.map((reach) => [
        reach.system,
        { accessed: 'accessed', 'not-seen': 'not seen', 'no-visibility': 'no visibility' }[reach.coverage],
        ...(reach.coverage === 'no-visibility' ? ['?', '?', '?'] : [reach.calls, reach.rows, reach.bytes].map(number)),
        reach.data.join(', ') || '–',
      ]),
      widthFor(columns),
    ),
  ]
  parts.push(...leftText(radius, columns), ...exposedText(radius, columns), ...suspectText(radius, columns))
  if (radius.dataClasses.length > 0)
    parts.push(
      `Classes of data that may start duties to notify: ${radius.dataClasses.map((data) => safe(data)).join(', ')}`,
    )
  if (radius.owners.length > 0) parts.push(`Owners to call: ${radius.owners.map((owner) => safe(owner)).join(', ')}`)
  return [...parts, ...gapsText(radius.gaps, columns)].join('\n\n')
}

/** The first few of them, and how many there are. */
function few(names: readonly string[], shown = 5, more = 0): string {
  const left = names.length - shown + more
  return names.length === 0 ? '–' : `${names.slice(0, shown).join(', ')}${left > 0 ? ` and ${left} more` : ''}`
}

/** What may be done in one system, the worst first, where the system itself said so. */
function permissionsText(
  { system, via, permissions = [] }: BlastRadius['couldReach'][number],
  columns: Columns,
): string[] {
  if (permissions.length === 0) return []
  const rows = permissions.map(({ group, actions, more, resources, except = [], condition }) => [
    group,
    few(actions, 6, more),
    `${few(resources, 3)}${except.length === 0 ? '' : `, but not ${few(except, 3)}`}`,
    condition ?? '–',
  ])
  return [
    `In ${safe(system)}, by way of ${safe(via)}, it may:`,
    most(['WHAT FOR', 'ACTIONS', 'ON', 'ONLY IF'], rows, columns, 20),
  ]
}

/** To whom its answers went. */
function leftText({ left }: BlastRadius, columns: Columns): string[] {
  if (left.length === 0) return []
  const rows = left.map(({ caller, calls, rows, bytes }) => [
    caller,
    number(calls),
    numberOrDash(rows),
    numberOrDash(bytes),
  ])
  return ['Left (its answers, and who got them):', most(['CALLER', 'CALLS', 'ROWS', 'BYTES'], rows, columns, 20)]
}

/** What was sent to it: names and sizes, never values. */
function exposedText({ exposed }: BlastRadius, columns: Columns): string[] {
  if (exposed.length === 0) return []
  const rows = exposed.map(({ context, caller, calls, bytes, parameters, before }) => [
    context,
    caller,
    number(calls),
    numberOrDash(bytes),
    few(parameters.map(({ name }) => name)),
    few([...new Set(before.map(({ server, data }) => (data.length > 0 ? `${server} (${data.join(', ')})` : server)))]),
  ])
  return [
    'Exposed (what it was told, and what those who told it had called before):',
    most(['CONTEXT', 'CALLER', 'CALLS', 'BYTES SENT', 'PARAMETERS', 'CALLED BEFORE'], rows, columns, 20),
  ]
}

/** Who may have carried on what it said: the worst first, as a person has to start somewhere. */
function suspectText({ suspect, worst, hubs }: BlastRadius, columns: Columns): string[] {
  const parts: string[] = []
  if (suspect.length > 0) {
    const byRecord = new Map(suspect.map((call) => [call.record, call]))
    const rows = worst.flatMap(({ record, why }) => {
      const call = byRecord.get(record)
      return call === undefined
        ? []
        : [[moment(call.at), call.server, call.tool, why, `hop ${call.hop}, ${told[call.by]}`]]
    })
    const more = suspect.length - rows.length
    parts.push(
      `Suspect (${count(suspect.length, 'call')} to other servers by those who had listened to it), the worst first:`,
      `${table(['AT', 'SERVER', 'TOOL', 'WHAT IT IS', 'HOW IT IS KNOWN'], rows, widthFor(columns))}${more > 0 ? `\n… and ${count(more, 'more call')}: all are in the JSON and the report, with the chain of records` : ''}`,
    )
  }
  if (hubs.length > 0) {
    const rows = hubs.map(({ context, contexts, calls }) => [context, number(contexts), number(calls)])
    parts.push(
      'Hubs (so many contexts meet there that following them says nothing):',
      most(['WHERE', 'CONTEXTS', 'SUSPECT CALLS NOT LISTED'], rows, columns),
    )
  }
  return parts
}

const told = {
  session: 'same session',
  trace: 'same trace',
  'idle-gap': 'same user and client, soon after',
  inferred: 'inferred: it has the server configured',
} as const

function gapsText(gaps: readonly string[], columns: Columns): string[] {
  return gaps.length === 0
    ? []
    : [['What could not be seen:', ...gaps.map((gap) => fitted(`  - ${safe(gap, 1000)}`, columns))].join('\n')]
}

/** Prose breaks between words at the edge of a terminal, and nowhere else. */
function fitted(line: string, columns: Columns): string {
  return columns === undefined ? line : wrap(line, columns, '    ')
}

function whereItStands(state: CaseState, lines: readonly Line[]): string {
  if (state.sealedAt !== undefined) return 'sealed'
  if (state.closedAt !== undefined) return 'closed'
  if (state.rebuiltAt !== undefined) return 'open, rebuilt'
  if (state.isolatedAt !== undefined) return 'open, isolated'
  return standing(lines, 'network.isolate').length === 0 ? 'open, NOT isolated' : 'open, cut but NOT verified'
}

/** The cases, newest first. */
export function casesText(cases: readonly StoredCase[]): string {
  if (cases.length === 0) return 'No cases.'
  const rows = cases.map(({ id, state, lines }) => [
    id,
    state.server.name,
    whereItStands(state, lines),
    moment(state.openedAt),
    count(openPoints(lines).length, 'point'),
  ])
  return table(['CASE', 'SERVER', 'STATE', 'OPENED', 'STILL OPEN'], rows, 140)
}

const states: Readonly<Record<StepState, string>> = {
  done: 'done',
  residual: 'done, with residue',
  partial: 'in part',
  failed: 'failed',
  skipped: 'skipped',
  'nothing-to-do': 'nothing to do',
}

/** One case: where each step stands and what is open. */
export function caseText({ id, folder, lines, state }: StoredCase): string {
  const rows = [...state.steps.values()].map((step) => {
    const last = step.runs.at(-1)
    const finished = last?.finished
    const now =
      finished === undefined
        ? last?.approved
          ? 'begun, not finished'
          : 'not approved'
        : last?.undone
          ? 'undone since'
          : states[finished.state]
    return [step.id, step.use, now, finished === undefined ? '–' : moment(finished.at)]
  })
  const open = openPoints(lines)
  return [
    `${id}: ${safe(state.server.name)} (owner ${safe(state.server.owner)})`,
    `opened ${moment(state.openedAt)}, window since ${moment(state.since)}${state.closedAt === undefined ? '' : `, closed ${moment(state.closedAt)}`}${state.sealedAt === undefined ? '' : `, sealed ${moment(state.sealedAt)}`}`,
    folder,
    '',
    rows.length === 0 ? 'No step was begun.' : table(['STEP', 'KIND', 'STATE', 'FINISHED'], rows, 120),
    ...(state.notes.length === 0
      ? []
      : [
          '',
          table(
            ['NOTED', 'KIND', 'TEXT'],
            state.notes.map(({ at, kind, text }) => [moment(at), kind, text]),
            120,
          ),
        ]),
    ...(open.length === 0 ? [] : ['', 'Still open:', ...open.map((point) => `  - ${safe(point, 1000)}`)]),
  ].join('\n')
}

/** What a reading step found out, by its kind; empty for the others. */
/** @param columns of the terminal that it is for; undefined where there is none */
export function answerText(use: string, output: unknown, columns: number | undefined): string {
  if (use === 'invocations.review') return reviewText(output, columns)
  if (use === 'blast-radius.compute') return blastRadiusText(output, columns)
  return ''
}
