import type { BlastRadius } from '../blast-radius/port.ts'
import type { Observation } from '../change.ts'
import type { Review } from '../invocations/port.ts'
import type { CaseFacts, Entry, Moment, Redeployment, Report } from './model.ts'
import { leftOut, Pseudonyms } from './pseudonyms.ts'

/**
 * The report for handing outside: from model to model, so every format of it is redacted. What names a person, a host, an
 * address, a system of the company or a record goes, and gets a pseudonym that is the same wherever it is named in this
 * report. What people wrote is left out, since nobody can tell what is in it. What stays is listed in docs/report.md.
 *
 * A test walks every text of the model: one that is new and goes out as it is fails it until somebody decides.
 */
export function redact(report: Report): Report {
  const names = namesOf(report)
  const text = (value: string) => names.scrub(value)
  const texts = (values: readonly string[]) => values.map(text)
  const maybe = (value: string | undefined) => (value === undefined ? undefined : text(value))
  const person = (value: string) => names.of('person', value)
  const observations = (observed: readonly Observation[]) =>
    observed.map(({ claim, seen, holds }) => ({ claim: text(claim), seen: text(seen), holds }))

  return {
    schema: report.schema,
    tlp: report.tlp,
    redacted: true,
    case: caseFacts(report.case, names),
    standing: report.standing.map((one) => ({ ...one, detail: text(one.detail) })),
    times: report.times.map((one) => ({ ...one, note: note(one, names), record: undefined })),
    durations: report.durations,
    duties: report.duties.map((duty) => ({
      ...duty,
      notices: duty.notices.map((notice) => ({
        ...notice,
        sent: notice.sent === undefined ? undefined : { at: notice.sent.at, by: person(notice.sent.by), text: leftOut },
        // It is drawn from all of the report, and from what people said.
        content: [],
      })),
    })),
    concerned: {
      classes: report.concerned.classes.map((one) => ({
        ...one,
        systems: one.systems.map((system) => names.of('system', system)),
        note: maybe(one.note),
      })),
      told: report.concerned.told.map(() => leftOut),
      method: report.concerned.method,
    },
    timeline: report.timeline.map((entry) => timelineEntry(entry, names)),
    steps: report.steps,
    decisions: report.decisions.map((one) => ({
      ...one,
      by: person(one.by),
      text: one.kind === 'approved' || one.kind === 'declined' ? one.text : leftOut,
      approver: one.approver === undefined ? undefined : person(one.approver),
      known: one.kind === 'accepted' ? one.known.map(() => leftOut) : texts(one.known),
    })),
    changes: report.changes.map((one) => ({
      ...one,
      operation: names.of('target', one.operation),
      target: names.of('target', one.target),
      summary: text(one.summary),
      breaks: texts(one.breaks),
      error: one.error === undefined ? undefined : leftOut,
      command: undefined,
    })),
    proof: report.proof.map((one) => ({
      ...one,
      operation: names.of('target', one.operation),
      observed: observations(one.observed),
    })),
    credentials: report.credentials.map((one) => ({
      ...one,
      id: names.of('credential', one.id),
      old: one.old === undefined ? undefined : { ...one.old, proof: text(one.old.proof) },
      delivered: one.delivered === undefined ? undefined : { kind: one.delivered.kind, path: leftOut },
      rotated: maybe(one.rotated),
      sharedWith: one.sharedWith.map((server) => names.of('server', server)),
    })),
    review: report.review === undefined ? undefined : review(report.review, names),
    blastRadius: report.blastRadius === undefined ? undefined : blastRadius(report.blastRadius, names),
    redeployment:
      report.redeployment === undefined ? undefined : redeployment(report.redeployment, names, observations),
    rootCause: {
      text: report.rootCause.text === undefined ? undefined : leftOut,
      by: report.rootCause.by === undefined ? undefined : person(report.rootCause.by),
      at: report.rootCause.at,
      observed: texts(report.rootCause.observed),
    },
    evidence: report.evidence.map((one, index) => ({ ...one, name: `evidence-${index + 1}`, by: person(one.by) })),
    custody: report.custody.map((one) => ({ ...one, by: person(one.by) })),
    open: texts(report.open),
    risks: report.risks.map((one) => ({ ...one, what: text(one.what), command: undefined })),
    unseen: {
      residue: texts(report.unseen.residue),
      limits: texts(report.unseen.limits),
      gaps: texts(report.unseen.gaps),
    },
    mappings: report.mappings.map((one) => ({ ...one, shown: texts(one.shown) })),
    irregularities: report.irregularities.map((one) => ({
      ...one,
      by: one.by === '' ? '' : person(one.by),
      text: text(one.text),
      details: one.details.map(() => leftOut),
    })),
  }
}

function caseFacts(facts: CaseFacts, names: Pseudonyms): CaseFacts {
  const { server } = facts
  return {
    ...facts,
    openedBy: names.of('person', facts.openedBy),
    closedWhy: facts.closedWhy === undefined ? undefined : leftOut,
    server: {
      ...server,
      owner: names.of('team', server.owner),
      deployments: server.deployments.map((deployment) => names.scrub(deployment)),
    },
    registry: facts.registry === undefined ? undefined : { file: leftOut, hash: facts.registry.hash },
    host: names.of('host', facts.host),
    identities: facts.identities.map(() => leftOut),
    people: facts.people.map((one) => names.of('person', one)),
    clocks: facts.clocks.map(({ server: clock, offsetMs }) => ({ server: names.of('host', clock), offsetMs })),
  }
}

function note({ mark, note: words }: Moment, names: Pseudonyms): string {
  return mark === 'told' ? leftOut : names.scrub(words)
}

const told = /^(?:Detected|Aware|Classified as major|Notice sent|Call|Decision|Note)(?: \([a-z0-9-]+\))?(?=: )/

function timelineEntry(entry: Entry, names: Pseudonyms): Entry {
  const text =
    entry.mark === 'told' ? `${told.exec(entry.text)?.[0] ?? 'Told by a person'}: ${leftOut}` : names.scrub(entry.text)
  return { ...entry, text, ...(entry.by === undefined ? {} : { by: names.of('person', entry.by) }) }
}

function review(found: Review, names: Pseudonyms): Review {
  return {
    ...found,
    source: { ...found.source, name: leftOut },
    callers: found.callers.map((one) => ({ ...one, caller: names.of('caller', one.caller) })),
    findings: found.findings.map((one) => ({
      ...one,
      summary: names.scrub(one.summary),
      expected: names.scrub(one.expected),
      seen: names.scrub(one.seen),
      records: one.records.map((record) => names.of('record', record)),
    })),
    resources: found.resources.map((one) => ({
      ...one,
      resource: names.of('resource', one.resource),
      system: names.of('system', one.system),
    })),
    gaps: found.gaps.map((gap) => names.scrub(gap)),
    ...(found.evidence === undefined ? {} : { evidence: { name: 'the raw records', sha256: found.evidence.sha256 } }),
  }
}

function blastRadius(radius: BlastRadius, names: Pseudonyms): BlastRadius {
  const system = (name: string) => names.of('system', name)
  const context = (name: string) => names.of('context', name)
  const record = (name: string) => names.of('record', name)
  return {
    ...radius,
    couldReach: radius.couldReach.map(({ permissions: _, way, owner, ...one }) => ({
      ...one,
      system: system(one.system),
      via: names.scrub(one.via),
      ...(way === undefined ? {} : { way: way.map((step) => names.scrub(step)) }),
      ...(owner === undefined ? {} : { owner: names.of('team', owner) }),
    })),
    didReach: radius.didReach.map((one) => ({ ...one, system: system(one.system) })),
    left: radius.left.map((one) => ({ ...one, caller: names.of('caller', one.caller) })),
    exposed: radius.exposed.map((one) => ({
      ...one,
      context: context(one.context),
      caller: names.of('caller', one.caller),
      before: one.before.map((before) => ({ ...before, server: names.of('server', before.server) })),
    })),
    suspect: radius.suspect.map(({ context: of, resource, ...one }) => ({
      ...one,
      record: record(one.record),
      server: names.of('server', one.server),
      chain: one.chain.map(record),
      ...(of === undefined ? {} : { context: context(of) }),
      ...(resource === undefined ? {} : { resource: names.of('resource', resource) }),
    })),
    hubs: radius.hubs.map((one) => ({ ...one, context: context(one.context) })),
    worst: radius.worst.map((one) => ({ record: record(one.record), why: names.scrub(one.why) })),
    owners: radius.owners.map((owner) => names.of('team', owner)),
    gaps: radius.gaps.map((gap) => names.scrub(gap)),
  }
}

function redeployment(
  rebuilt: Redeployment,
  names: Pseudonyms,
  observations: (observed: readonly Observation[]) => Observation[],
): Redeployment {
  const { verification } = rebuilt
  return {
    ...rebuilt,
    deployments: rebuilt.deployments.map((one) => ({
      ...one,
      deployment: names.of('deployment', one.deployment),
      url: one.url === undefined ? undefined : leftOut,
    })),
    verification:
      verification === undefined
        ? undefined
        : {
            ...verification,
            observed: observations(verification.observed),
            reasons: verification.reasons.map((reason) => names.scrub(reason)),
          },
    tampered: rebuilt.tampered.map((line) => names.scrub(line)),
    rootCause: rebuilt.rootCause === undefined ? undefined : leftOut,
    exceptions: rebuilt.exceptions.map((line) => names.scrub(line)),
  }
}

/** Everything that has a name, before any text is looked at: a name may stand in a text far above its own entry. */
function namesOf(report: Report): Pseudonyms {
  const { case: facts, review: found, blastRadius: radius, redeployment: rebuilt } = report
  const names = new Pseudonyms([
    facts.id,
    facts.server.name,
    facts.server.package,
    facts.journal.head,
    ...(facts.registry === undefined ? [] : [facts.registry.hash]),
    ...report.evidence.map(({ sha256 }) => sha256),
    ...report.decisions.flatMap(({ planHash }) => planHash ?? []),
    ...(rebuilt?.verification?.sha256 === undefined ? [] : [rebuilt.verification.sha256]),
    ...(rebuilt?.deployments.map(({ toolsDigest }) => toolsDigest) ?? []),
  ])
  for (const words of saidByPeople(report)) names.leaveOut(words)
  names.of('host', facts.host)
  for (const one of facts.people) {
    const pseudonym = names.of('person', one)
    const [user = '', host] = one.split('@')
    names.alias(user, pseudonym)
    if (host !== undefined) names.of('host', host)
  }
  for (const { server } of facts.clocks) names.of('host', server)
  for (const owner of [facts.server.owner, ...(radius?.owners ?? [])]) names.of('team', owner)
  for (const reach of radius?.couldReach ?? []) {
    names.of('system', reach.system)
    if (reach.owner !== undefined) names.of('team', reach.owner)
  }
  for (const { system } of radius?.didReach ?? []) names.of('system', system)
  for (const { id, sharedWith } of report.credentials) {
    names.of('credential', id)
    for (const server of sharedWith) names.of('server', server)
  }
  for (const { resource, system } of found?.resources ?? []) {
    names.of('resource', resource)
    names.of('system', system)
  }
  for (const deployment of facts.server.deployments) names.of('deployment', deployment.replace(/ \([^)]*\)$/, ''))
  for (const { caller } of [...(found?.callers ?? []), ...(radius?.exposed ?? []), ...(radius?.left ?? [])])
    names.of('caller', caller)
  for (const { context, before } of radius?.exposed ?? []) {
    named(names, context)
    for (const { server } of before) names.of('server', server)
  }
  for (const { server, context, record } of radius?.suspect ?? []) {
    names.of('server', server)
    if (context !== undefined) named(names, context)
    names.of('record', record)
  }
  for (const { operation, target } of report.changes) {
    names.of('target', operation)
    names.of('target', target)
  }
  return names
}

/** `session 5644…` and `5644…` are the same context. */
function named(names: Pseudonyms, context: string): void {
  const pseudonym = names.of('context', context)
  names.alias(context.replace(/^(?:session|trace|user) /, ''), pseudonym)
}

function saidByPeople(report: Report): string[] {
  const { rootCause, redeployment: rebuilt } = report
  return [
    report.case.closedWhy ?? '',
    rootCause.text ?? '',
    rebuilt?.rootCause ?? '',
    ...report.changes.flatMap(({ error, command }) => [error ?? '', command ?? '']),
    ...report.decisions
      .filter(({ kind }) => kind !== 'approved' && kind !== 'declined')
      // Of what was asked and answered: both, and each.
      .flatMap(({ text }) => [text, ...text.split('\n').map((line) => line.replace(/^Reason: /, ''))]),
  ].filter((text) => text.trim() !== '')
}
