import type { Line, LineOf } from '../case/events.ts'
import { openPoints } from '../case/state.ts'
import { buildConcerned } from './concerned.ts'
import { buildCredentials } from './credential-rows.ts'
import { buildCustody, buildEvidence } from './custody.ts'
import { buildDecisions } from './decisions.ts'
import { buildDuties } from './duties.ts'
import { type CaseRecord, readOutputs, runsOf } from './facts.ts'
import { buildMappings } from './mappings.ts'
import type { CaseFacts, Law, Moment, Report, Tlp } from './model.ts'
import { readBlastRadius, readRedeployment, readReview } from './outputs.ts'
import { redact } from './redact.ts'
import { buildRisks } from './risks.ts'
import { buildRootCause } from './root-cause.ts'
import { changeRows, proofs, stepRow } from './rows.ts'
import { buildStanding } from './standing.ts'
import { buildTimeline } from './timeline.ts'
import { buildDurations, buildTimes } from './times.ts'
import { buildIrregularities, buildUnseen } from './unseen.ts'
import { unique } from './words.ts'

/** What is asked of a report beside the case itself: by flags, else by the configuration. */
export interface Wanted {
  readonly tlp: Tlp
  /** Whose notification clocks are shown. */
  readonly duties: readonly Law[]
  /** For handing outside; see redact.ts. */
  readonly redacted?: boolean
}

/**
 * The report as data: a pure fold over journal and evidence. No clock, no randomness, no order but the journal's, so the
 * same case gives the same report.
 * @throws TypeError when the record does not begin with `case.opened`
 */
export async function buildReport(record: CaseRecord, { tlp, duties: laws, redacted }: Wanted): Promise<Report> {
  const { lines } = record
  const opened = lines[0]
  if (opened?.kind !== 'case.opened') throw new TypeError('a journal begins with case.opened')
  const runs = runsOf(lines)
  const { byUse, unreadable } = await readOutputs(record)

  const review = readReview(byUse.get('invocations.review'))
  const blastRadius = readBlastRadius(byUse.get('blast-radius.compute'))
  const redeployed = runs.findLast((run) => run.use === 'deployment.redeploy' && run.finished !== undefined)
  const redeployment = readRedeployment(byUse.get('deployment.redeploy'), redeployed?.finished?.data.state ?? '')
  const credentials = buildCredentials(opened, runs, byUse)
  const times = buildTimes({ lines, runs, review, credentials, duties: laws })
  const facts = buildCase(lines, opened, times)
  const open = openPoints(lines)
  const standing = buildStanding({ times, runs, credentials, open })
  const concerned = buildConcerned(lines, blastRadius)
  const rootCause = buildRootCause(lines, redeployment, redeployed?.finished?.at, review)
  const unseen = buildUnseen(runs, [
    ...(review?.gaps ?? []),
    ...(blastRadius?.gaps ?? []),
    ...unreadable.map(({ text }) => text),
  ])
  const known = { case: facts, times, standing, concerned, rootCause, review, blastRadius, redeployment, credentials }
  const duties = buildDuties(laws, lines, known)

  const report = {
    case: facts,
    standing,
    times,
    durations: buildDurations(times),
    duties,
    concerned,
    timeline: buildTimeline({ lines, runs, review, blastRadius }),
    steps: runs.map(stepRow),
    decisions: buildDecisions(lines, runs),
    changes: runs.flatMap(changeRows),
    proof: runs.flatMap(proofs),
    credentials,
    review,
    blastRadius,
    redeployment,
    rootCause,
    evidence: buildEvidence(lines),
    custody: buildCustody(lines),
    open,
    risks: buildRisks({ ...known, duties, open, unseen }),
    unseen,
    irregularities: buildIrregularities(lines, unreadable),
  }
  const whole: Report = { schema: 'mcp-ir/report/1', tlp, redacted: false, ...report, mappings: buildMappings(report) }
  return redacted === true ? redact(whole) : whole
}

function buildCase(lines: readonly Line[], opened: LineOf<'case.opened'>, times: readonly Moment[]): CaseFacts {
  const { data } = opened
  const accepted = lines.findLast((line): line is LineOf<'registry.accepted'> => line.kind === 'registry.accepted')
  const closed = lines.findLast((line): line is LineOf<'case.closed'> => line.kind === 'case.closed')
  const server = accepted?.data.server ?? data.server
  const last = lines.at(-1) ?? opened
  return {
    id: data.case,
    status: closed === undefined ? 'open' : 'closed',
    openedAt: opened.at,
    openedBy: opened.by,
    closedAt: closed?.at,
    closedWhy: closed?.data.reason,
    playbooks: unique(lines.flatMap((line) => (line.kind === 'playbook.started' ? [line.data.playbook] : []))),
    server: {
      name: server.name,
      version: server.version,
      owner: server.owner,
      criticality: server.criticality,
      status: server.status,
      package: `${server.package.registryType}:${server.package.identifier}@${server.package.version}`,
      deployments: server.deployments.map(({ id, kind }) => `${id} (${kind})`),
      local: data.local,
    },
    registry: accepted === undefined ? data.registry : { file: accepted.data.file, hash: accepted.data.hash },
    window: {
      since: data.since,
      sinceFrom: data.sinceFrom,
      until: times.find(({ key }) => key === 'contained')?.at,
    },
    tool: data.tool,
    host: data.host,
    identities: data.identities,
    people: unique(
      lines.flatMap((line) => [
        line.by,
        ...(line.kind === 'step.approved' && line.data.approvedBy !== undefined ? [line.data.approvedBy] : []),
      ]),
    ),
    clocks: data.clocks,
    journal: { lines: lines.length, head: last.hash, lastAt: last.at },
  }
}
