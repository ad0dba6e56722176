import { code, md } from './escape.ts'
import { blastRadius, redeployment, review } from './markdown/found.ts'
import { concerned, duties, mappings, risks, rootCause } from './markdown/judged.ts'
import { items, table, time } from './markdown/parts.ts'
import type { Mark, Report } from './model.ts'
import { tlpLabel } from './tlp.ts'
import { bytes, capital, duration, plural, proven } from './words.ts'

/**
 * The report as Markdown for tickets and mail. Literal text here is ours; every value goes through `md` or `code`, so
 * nothing that a suspect wrote is a link, an image, markup or a table of its own.
 */
export function renderMarkdown(report: Report): string {
  const { case: facts } = report
  const parts = [
    `**${tlpLabel(report.tlp)}**`,
    `# Incident report: ${md(facts.server.name)}`,
    items([
      `Case: ${code(facts.id)}, ${facts.status}`,
      `Opened: ${time(facts.openedAt)} by ${md(facts.openedBy)}`,
      `Server: version ${md(facts.server.version)}, owner ${md(facts.server.owner)}, criticality ${md(facts.server.criticality)}`,
      `Made by ${md(facts.tool)} from ${plural(facts.journal.lines, 'journal line')}, chain head ${code(facts.journal.head)}`,
    ]),
    'All times are UTC.',
    report.redacted
      ? 'Redacted for handing outside: people, hosts, addresses, systems and records have pseudonyms, the same throughout this report; what people wrote is left out.'
      : '',

    '## Where it stands',
    table(
      ['What', 'State', 'Detail'],
      report.standing.map(({ label, value, detail }) => [md(label), `**${md(value)}**`, md(detail)]),
    ),

    '## Key times',
    table(
      ['', 'Moment', 'Time', 'Known by', 'How it is known'],
      report.times.map(({ label, at, mark, note, record }, index) => [
        String(index + 1),
        md(label),
        at === undefined ? 'not recorded' : time(at),
        mark === undefined ? '–' : markWords[mark],
        `${md(note)}${record === undefined ? '' : ` To record it: ${code(record)}`}`,
      ]),
    ),
    report.durations.length === 0
      ? ''
      : table(
          ['Between', 'Duration'],
          report.durations.map(({ label, text }) => [md(label), md(text)]),
        ),

    ...duties(report),
    ...risks(report),
    ...rootCause(report),
    ...concerned(report),

    '## What could not be seen',
    'What is listed here is unknown, which does not mean that nothing happened.',
    '### Residue: what may still live',
    items(report.unseen.residue.map(md), 'None was found that could not be excluded.'),
    '### Gaps: what no log or source shows',
    items(report.unseen.gaps.map(md), 'None is known.'),
    '### Limits of how it was done',
    items(report.unseen.limits.map(md), 'None was told.'),

    '## Credentials',
    table(
      ['Credential', 'Kind', 'The old one', 'The new one', 'Also used by'],
      report.credentials.map(({ id, kind, old, delivered, rotated, sharedWith, reinstated }) => [
        md(id),
        md(kind),
        old === undefined
          ? 'not proven: no step looked at it'
          : `**${old.state}**${old.until === undefined ? '' : ` until ${time(old.until)}`}: ${md(proven(old.proof))}${reinstated ? ' (reinstated since)' : ''}`,
        delivered === undefined
          ? `none was ${rotated === undefined ? 'issued' : `delivered: ${md(rotated)}`}`
          : `delivered to ${md(delivered.kind)} ${code(delivered.path)}${delivered.version === undefined ? '' : `, version ${md(`${delivered.version}`)}`}${rotated === undefined ? '' : `: ${md(proven(rotated))}`}`,
        sharedWith.length === 0 ? '–' : sharedWith.map(md).join(', '),
      ]),
      'None is known.',
    ),

    ...blastRadius(report),
    ...review(report),
    ...redeployment(report),

    '## Decisions',
    table(
      ['Time', 'Decision', 'What', 'Who', 'Known and shown then'],
      report.decisions.map(({ at, kind, step, text, by, how, approver, planHash, known }) => [
        time(at),
        kind,
        `${step === undefined ? '' : `${md(step)}: `}${md(text)}${planHash === undefined ? '' : `, plan ${code(planHash)}`}`,
        `${md(by)}${how === undefined ? '' : `, ${md(how)}`}${approver === undefined ? '' : `, approved by ${md(approver)}`}`,
        known.length === 0 ? '–' : known.map(md).join('; '),
      ]),
      'None is recorded.',
    ),

    '## Changes',
    table(
      ['Change', 'Step', 'State', 'Time', 'Effect', 'Also hurts'],
      report.changes.map((row) => [
        `${md(row.summary)} (${md(row.action)}, ${md(row.target)})${row.error === undefined ? '' : `: ${md(row.error)}`}${row.command === undefined ? '' : `. By hand: ${code(row.command)}`}`,
        md(row.run > 1 ? `${row.step}, run ${row.run}` : row.step),
        `**${row.state === 'settled' ? 'found in place' : row.state}**${row.attempts > 1 ? ` (${row.attempts} attempts)` : ''}`,
        row.at === undefined ? '–' : time(row.at),
        `${row.effect}${row.priority === 'best-effort' ? ', best effort' : ''}`,
        row.breaks.length === 0 ? '–' : row.breaks.map(md).join(', '),
      ]),
      'None was planned.',
    ),

    '## Proof',
    table(
      ['Step', 'Target', 'Read at', 'Claim', 'Seen', 'Holds'],
      report.proof.flatMap(({ step, run, operation, at, observed }) =>
        observed.map(({ claim, seen, holds }) => [
          md(run > 1 ? `${step}, run ${run}` : step),
          md(operation),
          time(at),
          md(claim),
          md(seen),
          holds ? '✓ holds' : '**✗ does not hold**',
        ]),
      ),
      'No step that changes the world has been observed yet.',
    ),

    '## Timeline',
    table(
      ['Time', 'Lane', 'Known by', 'What', 'By'],
      report.timeline.map(({ at, until, lane, mark, text, by, step }) => [
        `${time(at)}${until === undefined ? '' : ` to ${time(until)}`}`,
        capital(lane),
        markWords[mark],
        `${step === undefined ? '' : `${md(step)}: `}${md(text)}`,
        by === undefined ? '–' : md(by),
      ]),
    ),

    '## Steps',
    table(
      ['Step', 'Does', 'State', 'Started', 'Ended', 'Took'],
      report.steps.map((row) => [
        md(row.run > 1 ? `${row.id}, run ${row.run}` : row.id),
        md(row.use),
        `${md(row.state)}${row.undone ? ', put back since' : ''}${row.resumed > 0 ? `, resumed ${plural(row.resumed, 'time')}` : ''}`,
        time(row.startedAt),
        row.endedAt === undefined ? '–' : time(row.endedAt),
        row.tookMs === undefined ? '–' : duration(row.tookMs),
      ]),
      'None was started.',
    ),

    '## Evidence and custody',
    table(
      ['Name', 'Size', 'Taken', 'By', 'Step', 'Line', 'SHA-256'],
      report.evidence.map(({ name, bytes: size, at, by, step, seq, sha256 }) => [
        md(name),
        bytes(size),
        time(at),
        md(by),
        md(step ?? ''),
        seq === undefined ? '' : String(seq),
        code(sha256),
      ]),
      'None was kept.',
    ),
    '### Who held the case',
    table(
      ['Who', 'First act', 'Last act', 'Journal lines', 'Evidence taken'],
      report.custody.map(({ by, first, last, lines, evidence }) => [
        md(by),
        time(first),
        time(last),
        String(lines),
        String(evidence),
      ]),
    ),

    '## The case itself',
    items([
      `Package: ${code(facts.server.package)}`,
      `Deployments: ${facts.server.deployments.map(md).join(', ') || 'none registered'}`,
      `Registry: ${facts.registry === undefined ? 'none' : `${code(facts.registry.file)}, SHA-256 ${code(facts.registry.hash)}`}`,
      `Window: ${time(facts.window.since)} to ${facts.window.until === undefined ? 'now' : time(facts.window.until)}`,
      `People: ${facts.people.map(md).join(', ')}`,
      `Identities that systems confirmed: ${facts.identities.map(md).join(', ') || 'none'}`,
      `Host: ${md(facts.host)}`,
      `Clocks against this host: ${facts.clocks.map(({ server, offsetMs }) => `${md(server)} ${offsetMs} ms`).join(', ') || 'not measured'}`,
    ]),
    '### Irregularities',
    items(
      report.irregularities.map(
        ({ at, text, details }) =>
          `${time(at)}: ${md(text)}${details.length === 0 ? '' : `: ${details.map(md).join('; ')}`}`,
      ),
      'None: the registry did not change, nobody took the case over, nothing was interrupted.',
    ),
    ...mappings(report),
    `**${tlpLabel(report.tlp)}**`,
  ]
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`
}

const markWords: Readonly<Record<Mark, string>> = {
  observed: 'observed',
  inferred: 'inferred',
  told: 'told by a person',
  done: 'done by us',
}
