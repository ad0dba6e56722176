import { code, md } from './escape.ts'
import type { Mark, Report } from './model.ts'
import { bytes, capital, count, duration, plural, utc } from './words.ts'

/**
 * The report as Markdown for tickets and mail. Literal text here is ours; every value goes through `md` or `code`, so
 * nothing that a suspect wrote is a link, an image, markup or a table of its own.
 */
export function renderMarkdown(report: Report): string {
  const { case: facts } = report
  const parts = [
    `# Incident report: ${md(facts.server.name)}`,
    items([
      `Case: ${code(facts.id)}, ${facts.status}`,
      `Opened: ${time(facts.openedAt)} by ${md(facts.openedBy)}`,
      `Server: version ${md(facts.server.version)}, owner ${md(facts.server.owner)}, criticality ${md(facts.server.criticality)}`,
      `Made by ${md(facts.tool)} from ${plural(facts.journal.lines, 'journal line')}, chain head ${code(facts.journal.head)}`,
    ]),
    'All times are UTC.',

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

    '## What is left open',
    items(report.open.map(md), 'No step left anything open that it knows of.'),

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
          : `**${old.state}**${old.until === undefined ? '' : ` until ${time(old.until)}`}: ${md(old.proof)}${reinstated ? ' (reinstated since)' : ''}`,
        delivered === undefined
          ? `none was ${rotated === undefined ? 'issued' : `delivered: ${md(rotated)}`}`
          : `delivered to ${md(delivered.kind)} ${code(delivered.path)}${delivered.version === undefined ? '' : `, version ${md(`${delivered.version}`)}`}${rotated === undefined ? '' : `: ${md(rotated)}`}`,
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

    '## Evidence',
    table(
      ['Name', 'Size', 'Kept', 'SHA-256'],
      report.evidence.map(({ name, bytes: size, at, sha256 }) => [md(name), bytes(size), time(at), code(sha256)]),
      'None was kept.',
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
  ]
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`
}

const coverage = {
  accessed: '**accessed**',
  'not-seen': 'not seen in the logs',
  'no-visibility': '**no visibility**: no log covers it, which does not mean that nothing happened',
} as const

function blastRadius({ blastRadius: radius }: Report): string[] {
  if (radius === undefined) return ['## Blast radius', 'It was not computed in this case.']
  return [
    '## Blast radius',
    '### Could reach',
    table(
      ['System', 'Kind', 'By way of', 'Access', 'Data', 'Owner'],
      radius.couldReach.map(({ system, kind, via, access, data, classification, owner }) => [
        md(system),
        md(kind),
        md(via),
        md(access),
        [...data, ...(classification === undefined ? [] : [classification])].map(md).join(', ') || '–',
        owner === undefined ? '–' : md(owner),
      ]),
      'The registry names no system that it reaches.',
    ),
    '### Did reach',
    table(
      ['System', 'Seen', 'Calls', 'Rows', 'Bytes'],
      radius.didReach.map((reach) => {
        const known = reach.coverage !== 'no-visibility'
        return [
          md(reach.system),
          coverage[reach.coverage],
          known ? count(reach.calls) : 'unknown',
          known ? count(reach.rows) : 'unknown',
          known ? bytes(reach.bytes) : 'unknown',
        ]
      }),
      'No system was looked at.',
    ),
    '### Exposed: what it was told',
    items(
      radius.exposed.map(({ caller, calls }) => `${md(caller)}: ${plural(calls, 'call')}`),
      'No caller is known.',
    ),
    '### Suspect calls on other servers',
    table(
      ['Time', 'Server', 'Tool', 'Hop', 'Linked by', 'Chain'],
      radius.suspect.map(({ at, server, tool, hop, by, chain }) => [
        time(at),
        md(server),
        md(tool),
        String(hop),
        by,
        chain.map(md).join(' → ') || '–',
      ]),
      'None was found in the logs that were read.',
    ),
    `Data classes: ${radius.dataClasses.map(md).join(', ') || 'none known'}`,
    `Owners to tell: ${radius.owners.map(md).join(', ') || 'none known'}`,
  ]
}

function review({ review: found }: Report): string[] {
  if (found === undefined) return ['## What it did', 'The invocation log was not read in this case.']
  const rows = (uses: readonly (readonly [string, (typeof found.tools)[number] | (typeof found.callers)[number]])[]) =>
    uses.map(([name, use]) => [
      md(name),
      count(use.calls),
      count(use.failed),
      use.rows === undefined ? 'not logged' : count(use.rows),
      use.bytes === undefined ? 'not logged' : bytes(use.bytes),
      time(use.first),
      time(use.last),
    ])
  const columns = ['Calls', 'Failed', 'Rows', 'Bytes', 'First', 'Last']
  return [
    '## What it did',
    `${plural(found.records, 'call')} between ${time(found.window.since)} and ${time(found.window.until)}, from ${md(found.source.kind)} ${code(found.source.name)}, format ${md(found.source.format)}.`,
    table(['Tool', ...columns], rows(found.tools.map((use) => [use.tool, use])), 'No call is in the log.'),
    table(['Caller', ...columns], rows(found.callers.map((use) => [use.caller, use])), 'No caller is known.'),
    '### Findings',
    table(
      ['What', 'Kind', 'Expected', 'Seen'],
      found.findings.map(({ summary, kind, expected, seen }) => [md(summary), md(kind), md(expected), md(seen)]),
      'Nothing stood out against what is expected.',
    ),
    found.evidence === undefined ? '' : `The raw records are evidence ${code(found.evidence.sha256)}.`,
  ]
}

function redeployment({ redeployment: rebuilt }: Report): string[] {
  if (rebuilt === undefined) return ['## Redeployment', 'Nothing was redeployed in this case.']
  const { verification } = rebuilt
  return [
    '## Redeployment',
    verification === undefined
      ? 'The step recorded no verification of the build.'
      : `Provenance: **${md(verification.state)}**${verification.sha256 === undefined ? '' : `, SHA-256 ${code(verification.sha256)}`}`,
    verification === undefined
      ? ''
      : items([
          ...verification.reasons.map(md),
          ...verification.observed.map(
            ({ claim, seen, holds }) => `${md(claim)}: ${md(seen)}: ${holds ? 'holds' : '**does not hold**'}`,
          ),
        ]),
    table(
      ['Deployment', 'Version', 'Address', 'Tools served', 'Digest of the tools'],
      rebuilt.deployments.map(({ deployment, version, url, tools, toolsDigest }) => [
        md(deployment),
        md(version),
        url === undefined ? '–' : code(url),
        tools.map(md).join(', ') || '–',
        code(toolsDigest),
      ]),
      'Nothing was started.',
    ),
    ...(rebuilt.exceptions.length === 0 ? [] : ['### Exceptions that were made', items(rebuilt.exceptions.map(md))]),
    '### How the compromised deployment differs from the verified build',
    items(rebuilt.tampered.map(md), 'The step recorded no comparison.'),
  ]
}

const markWords: Readonly<Record<Mark, string>> = {
  observed: 'observed',
  inferred: 'inferred',
  told: 'told by a person',
  done: 'done by us',
}

/** What is no time is outside text. */
function time(at: string): string {
  return Number.isNaN(Date.parse(at)) ? md(at) : utc(at)
}

/** Cells are Markdown already. */
function table(head: readonly string[], rows: readonly (readonly string[])[], none = ''): string {
  if (rows.length === 0) return none
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => (cell === '' ? '–' : cell)).join(' | ')} |`
  return [`| ${head.join(' | ')} |`, `|${' --- |'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}

function items(lines: readonly string[], none = ''): string {
  return lines.length === 0 ? none : lines.map((line) => `- ${line}`).join('\n')
}
