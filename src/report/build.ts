import type { Line, LineOf } from '../case/events.ts'
import { evidenceOf, openPoints } from '../case/state.ts'
import { type CaseRecord, type Run, readOutputs, runsOf } from './facts.ts'
import type {
  CaseFacts,
  ChangeRow,
  CredentialRow,
  Decision,
  EvidenceRow,
  Irregularity,
  Moment,
  Proof,
  Report,
  Standing,
  StepRow,
  Unseen,
} from './model.ts'
import { readBlastRadius, readCredentials, readRedeployment, readReview } from './outputs.ts'
import { buildTimeline } from './timeline.ts'
import { buildDurations, buildTimes } from './times.ts'
import { capital, plural, utc } from './words.ts'

/**
 * The report as data: a pure fold over journal and evidence. No clock, no randomness, no order but the journal's, so the
 * same case gives the same report.
 * @throws TypeError when the record does not begin with `case.opened`
 */
export async function buildReport(record: CaseRecord): Promise<Report> {
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
  const times = buildTimes({ lines, runs, review, credentials })
  const open = openPoints(lines)

  return {
    schema: 'mcp-ir/report/1',
    case: buildCase(lines, opened, times),
    standing: buildStanding({ times, runs, credentials, open }),
    times,
    durations: buildDurations(times),
    timeline: buildTimeline({ lines, runs, review, blastRadius }),
    steps: runs.map(stepRow),
    decisions: buildDecisions(lines, runs),
    changes: runs.flatMap(changeRows),
    proof: runs.flatMap(proofs),
    credentials,
    review,
    blastRadius,
    redeployment,
    evidence: buildEvidence(lines),
    open,
    unseen: buildUnseen(runs, [
      ...(review?.gaps ?? []),
      ...(blastRadius?.gaps ?? []),
      ...unreadable.map(({ text }) => text),
    ]),
    irregularities: buildIrregularities(lines, unreadable),
  }
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

function buildStanding(input: {
  times: readonly Moment[]
  runs: readonly Run[]
  credentials: readonly CredentialRow[]
  open: readonly string[]
}): Standing[] {
  const moment = (key: Moment['key']) => input.times.find((time) => time.key === key)
  return [
    containment(input.runs, moment('contained')),
    credentialStanding(input.credentials),
    recovery(input.runs, moment('recovered')),
    {
      topic: 'open',
      label: 'Still open',
      state: input.open.length === 0 ? 'good' : 'partly',
      value: input.open.length === 0 ? 'Nothing' : plural(input.open.length, 'point'),
      detail:
        input.open.length === 0
          ? 'No step left anything behind that it knows of.'
          : 'Listed under “What is left open”.',
    },
  ]
}

function containment(runs: readonly Run[], moment: Moment | undefined): Standing {
  const base = { topic: 'containment', label: 'Containment' } as const
  const released = runs.findLastIndex((run) => run.use === 'network.release' && isFinished(run))
  const isolated = runs.findLastIndex((run) => run.use === 'network.isolate' && isFinished(run))
  if (moment?.at === undefined) {
    const tried = runs.some((run) => run.use === 'network.isolate')
    return { ...base, state: tried ? 'bad' : 'unknown', value: 'Not contained', detail: moment?.note ?? '' }
  }
  if (released > isolated) {
    return { ...base, state: 'bad', value: 'Released again', detail: moment.note }
  }
  const run = runs[isolated]
  const residue = run?.verdict?.data.operations.some(({ state }) => state === 'residual') ?? false
  const partial = run?.finished?.data.state === 'partial'
  return {
    ...base,
    state: residue || partial ? 'partly' : 'good',
    value: partial ? 'Contained in part' : residue ? 'Contained, with residue' : 'Contained',
    detail: `Since ${utc(moment.at)}. ${moment.note}`,
  }
}

function credentialStanding(credentials: readonly CredentialRow[]): Standing {
  const base = { topic: 'credentials', label: 'Old credentials' } as const
  if (credentials.length === 0) {
    return {
      ...base,
      state: 'unknown',
      value: 'None known',
      detail: 'The registry names no credential of this server.',
    }
  }
  const having = (state: string) => credentials.filter(({ old }) => old?.state === state).length
  const dead = having('dead')
  const alive = having('alive')
  const expires = having('expires')
  const unknown = credentials.length - dead - alive - expires
  const counts = [
    [expires, 'expiring'],
    [alive, 'alive'],
    [unknown, 'not proven'],
  ] as const
  const others = counts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`)
  const fresh = credentials.filter(({ delivered }) => delivered !== undefined).length
  return {
    ...base,
    state: dead === credentials.length ? 'good' : alive > 0 ? 'bad' : dead + expires > 0 ? 'partly' : 'unknown',
    value: dead === credentials.length ? 'All dead' : `${dead} of ${credentials.length} dead`,
    detail: capital(
      `${others.length === 0 ? '' : `${others.join(', ')}; `}${fresh === 0 ? 'no new one' : plural(fresh, 'new one')} delivered.`,
    ),
  }
}

function recovery(runs: readonly Run[], moment: Moment | undefined): Standing {
  const base = { topic: 'recovery', label: 'Recovery' } as const
  if (moment?.at !== undefined) {
    const partial = runs.findLast((run) => run.use === 'deployment.redeploy')?.finished?.data.state === 'partial'
    return {
      ...base,
      state: partial ? 'partly' : 'good',
      value: partial ? 'Recovered in part' : 'Recovered',
      detail: `Since ${utc(moment.at)}. ${moment.note}`,
    }
  }
  const tried = runs.some((run) => run.use === 'deployment.redeploy' && run.finished !== undefined)
  return { ...base, state: tried ? 'bad' : 'unknown', value: 'Not recovered', detail: moment?.note ?? '' }
}

function isFinished(run: Run): boolean {
  const state = run.finished?.data.state
  return state === 'done' || state === 'residual' || state === 'partial' || state === 'nothing-to-do'
}

function stepRow(run: Run): StepRow {
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

function changeRows(run: Run): ChangeRow[] {
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

function proofs(run: Run): Proof[] {
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

/** One row per credential that the registry or a step names: the old one and the new one apart. */
function buildCredentials(
  opened: LineOf<'case.opened'>,
  runs: readonly Run[],
  byUse: ReadonlyMap<string, unknown>,
): CredentialRow[] {
  const revoked = new Map(readCredentials(byUse.get('credentials.revoke')).map((state) => [state.id, state]))
  const rotated = new Map(readCredentials(byUse.get('credentials.rotate')).map((state) => [state.id, state]))
  const kinds = new Map<string, string>(opened.data.server.credentials.map(({ id, kind }) => [id, kind]))
  for (const { id, kind } of [...revoked.values(), ...rotated.values()]) if (!kinds.has(id)) kinds.set(id, kind)
  const reinstated = runs.findLastIndex((run) => run.use === 'credentials.reinstate' && isFinished(run))
  const revocation = runs.findLastIndex((run) => run.use === 'credentials.revoke' && run.finished !== undefined)

  return [...kinds].map(([id, kind]) => {
    const old = revoked.get(id)
    const fresh = rotated.get(id)
    // The revocation's word, unless the rotation looked later and saw more.
    const later = fresh !== undefined && fresh.state !== 'unknown' && old?.state !== 'dead'
    const known = later ? fresh : (old ?? fresh)
    return {
      id,
      kind,
      old:
        known === undefined
          ? undefined
          : {
              state: known.state,
              proof: known.proof,
              ...(known.until === undefined ? {} : { until: known.until }),
            },
      delivered: fresh?.delivered,
      rotated: fresh?.proof,
      sharedWith: unique([...(old?.sharedWith ?? []), ...(fresh?.sharedWith ?? [])]),
      reinstated: reinstated > revocation && old !== undefined,
    }
  })
}

function buildDecisions(lines: readonly Line[], runs: readonly Run[]): Decision[] {
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

function buildEvidence(lines: readonly Line[]): EvidenceRow[] {
  const stored = new Map(
    lines.flatMap((line) => (line.kind === 'evidence.stored' ? [[`${line.data.sha256} ${line.data.name}`, line]] : [])),
  )
  return evidenceOf(lines).map(({ name, sha256, bytes, mediaType }) => {
    const line = stored.get(`${sha256} ${name}`)
    return { name, sha256, bytes, mediaType, at: line?.at ?? '', by: line?.by ?? '' }
  })
}

/** Of the last finished run of each step: what an earlier run could not see, a later one may have. */
function buildUnseen(runs: readonly Run[], gaps: readonly string[]): Unseen {
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

function buildIrregularities(
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

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)]
}
