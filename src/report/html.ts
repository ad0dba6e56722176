import { createHash } from 'node:crypto'
import type { Observation } from '../change.ts'
import { maximumTools, timelineChart, toolsChart } from './charts.ts'
import { type Html, html, trusted } from './escape.ts'
import type { CaseFacts, Entry, Lane, Mark, Report } from './model.ts'
import { style } from './style.ts'
import { bytes, capital, count, duration, plural } from './words.ts'

type Cell = Html | string | number | undefined
interface Column {
  readonly label: string
  readonly kind?: 'num' | 'time' | 'text' | 'word' | 'hash'
}

/** Rows shown openly; what is beyond is folded, so that a report of many thousand entries still opens. */
const openRows = 250

/** One file that fetches nothing, runs nothing, and reads the same on screen and paper. */
export function renderHtml(report: Report): string {
  const hash = createHash('sha256').update(style).digest('base64')
  const policy = `default-src 'none'; style-src 'sha256-${hash}'; img-src data:; base-uri 'none'; form-action 'none'`
  const sections = sectionsOf(report).filter(({ body }) => body !== undefined)
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${trusted(policy)}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Incident report ${report.case.id}: ${report.case.server.name}</title>
<style>${trusted(style)}</style>
</head>
<body>
<a class="skip" href="#standing">Skip to the report</a>
${banner(report.case)}
<div class="page">
<nav aria-label="Contents"><ol>
${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>\n`)}</ol></nav>
<main>
${sections.map(
  ({ id, title, lead, body }) => html`<section id="${id}" aria-labelledby="${id}-title">
<h2 id="${id}-title">${title}</h2>
${lead === undefined ? undefined : html`<p class="lead">${lead}</p>`}
${body}
</section>
`,
)}</main>
</div>
<footer><p>Made by ${report.case.tool} from journal line 1 to ${report.case.journal.lines} of case ${report.case.id}; chain head <span class="mono">${report.case.journal.head}</span>. The same case gives the same bytes. All times are UTC.</p></footer>
</body>
</html>
`
  return page.markup
}

interface Section {
  readonly id: string
  readonly title: string
  readonly lead?: string
  readonly body: Html | undefined
}

/** Most needed first: where it stands, when, what is left; then how it came to be, with the proof; then the record. */
function sectionsOf(report: Report): Section[] {
  return [
    { id: 'standing', title: 'Where it stands', body: standing(report) },
    {
      id: 'times',
      title: 'Key times',
      lead: 'Each moment stands for itself; none is taken for another.',
      body: times(report),
    },
    {
      id: 'open',
      title: 'What is left open',
      lead: 'What failed, is alive or waits for a person.',
      body: bullets(report.open, 'No step left anything open that it knows of.'),
    },
    {
      id: 'unseen',
      title: 'What could not be seen',
      lead: 'What is listed here is unknown, which does not mean that nothing happened.',
      body: unseen(report),
    },
    {
      id: 'credentials',
      title: 'Credentials',
      lead: 'What the compromised server held, and what replaced it. No secret is in this report.',
      body: credentials(report),
    },
    {
      id: 'blast-radius',
      title: 'Blast radius',
      lead: 'What it could reach and what it did reach are two different things and are never added up.',
      body: blastRadius(report),
    },
    { id: 'review', title: 'What it did', lead: 'From the invocation log.', body: review(report) },
    { id: 'rebuild', title: 'Redeployment', body: redeployment(report) },
    {
      id: 'decisions',
      title: 'Decisions',
      lead: 'Who decided what, and what was known and shown at that moment.',
      body: decisions(report),
    },
    {
      id: 'changes',
      title: 'Changes',
      lead: 'Every change that was planned, and what came of it.',
      body: changes(report),
    },
    {
      id: 'proof',
      title: 'Proof',
      lead: 'What was read from the real systems after the changes. An answer of “success” is no proof and is not listed.',
      body: proof(report),
    },
    { id: 'timeline', title: 'Timeline', lead: timelineLead(report), body: timeline(report.timeline) },
    { id: 'steps', title: 'Steps', body: steps(report) },
    {
      id: 'evidence',
      title: 'Evidence',
      lead: 'Kept in the case folder under its SHA-256; “mcp-ir case check” reads every byte of it again.',
      body: evidence(report),
    },
    { id: 'case', title: 'The case itself', body: custody(report) },
  ]
}

function banner({ server, ...facts }: CaseFacts): Html {
  const pairs: readonly (readonly [string, Cell])[] = [
    ['Case', html`<span class="mono">${facts.id}</span>`],
    ['Status', facts.status],
    ['Opened', html`${time(facts.openedAt)} UTC by ${facts.openedBy}`],
    ...(facts.closedAt === undefined ? [] : [['Closed', html`${time(facts.closedAt)} UTC`] as const]),
    ['Version', server.version],
    ['Owner', server.owner],
    ['Criticality', server.criticality],
    ['Playbook', facts.playbooks.length === 0 ? 'none, single commands' : facts.playbooks.join(', ')],
  ]
  return html`<header class="top"><div>
<p class="kicker">Incident report · compromised MCP server</p>
<h1>${server.name}</h1>
<dl class="facts">${pairs.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>\n`)}</dl>
</div></header>`
}

function standing(report: Report): Html {
  return html`<ul class="cards">${report.standing.map(
    ({ label, state, value, detail }) => html`<li class="card ${state}"><div class="label">${label}</div>
<div class="value">${value}</div><div class="detail">${detail}</div></li>\n`,
  )}</ul>`
}

function times(report: Report): Html {
  const chart = timelineChart(report)
  const rows = report.times.map((moment, index): Cell[] => [
    html`<span class="no${moment.at === undefined ? ' none' : ''}">${index + 1}</span>${moment.label}`,
    moment.at === undefined ? html`<span class="small">not recorded</span>` : time(moment.at),
    moment.mark === undefined ? '–' : mark(moment.mark),
    html`<div class="cell"><span class="pre">${moment.note}</span>${
      moment.record === undefined
        ? undefined
        : html`<span class="small">To record it: <code>${moment.record}</code></span>`
    }</div>`,
  ])
  const names = { attacker: 'attacker', system: 'system', responder: 'responder' }
  const perLane = (Object.keys(names) as Lane[])
    .map((lane) => `${report.timeline.filter((entry) => entry.lane === lane).length} in the ${names[lane]} lane`)
    .join(', ')
  return html`${table(
    '',
    [
      { label: 'Moment', kind: 'word' },
      { label: 'Time (UTC)', kind: 'time' },
      { label: 'Known by', kind: 'word' },
      { label: 'How it is known', kind: 'text' },
    ],
    rows,
  )}
${
  chart === undefined
    ? undefined
    : html`<figure><div role="img" aria-label="Timeline drawing: ${plural(report.timeline.length, 'entry', 'entries')}, ${perLane}. The tables “Key times” and “Timeline” hold the same in words.">${chart}</div>
<figcaption>Time runs to the right, UTC. Numbers are the moments of the table above; a larger symbol stands for several entries; bars are calls of one tool from first to last. Where two strokes cut the axis, the scale changes: left the time before the case, right the response.</figcaption>
<ul class="legend">${(Object.keys(markWords) as Mark[]).map((one) => html`<li>${mark(one)}</li>`)}</ul></figure>`
}
${
  report.durations.length === 0
    ? undefined
    : html`<h3>Durations</h3><dl class="durations">${report.durations.map(
        ({ label, text }) => html`<div><dt>${label}</dt><dd>${text}</dd></div>\n`,
      )}</dl>`
}`
}

function unseen({ unseen: { residue, limits, gaps }, case: { clocks } }: Report): Html {
  const off = clocks.filter(({ offsetMs }) => Math.abs(offsetMs) >= 1000)
  return html`<h3>Residue: what may still live</h3>
${bullets(residue, 'None was found that could not be excluded.')}
<h3>Gaps: what no log or source shows</h3>
${bullets(gaps, 'None is known.')}
<h3>Limits of how it was done</h3>
${bullets(limits, 'None was told.')}
${off.length === 0 ? undefined : html`<p class="notice">Clocks differ: times that ${off.length === 1 ? 'this system' : 'these systems'} wrote are shown as written. ${off.map(({ server, offsetMs }) => `${server}: ${duration(offsetMs)} ${offsetMs < 0 ? 'behind' : 'ahead'}`).join('; ')}.</p>`}`
}

const credentialStates = {
  dead: ['good', 'dead'],
  expires: ['partly', 'expires by itself'],
  alive: ['bad', 'ALIVE'],
  unknown: ['unknown', 'unknown'],
} as const

function credentials(report: Report): Html {
  if (report.credentials.length === 0)
    return html`<p>The registry names no credential of this server, and none was found.</p>`
  return table(
    '',
    [
      { label: 'Credential' },
      { label: 'Kind', kind: 'word' },
      { label: 'The old one', kind: 'text' },
      { label: 'The new one', kind: 'text' },
      { label: 'Also used by' },
    ],
    report.credentials.map((row) => [
      row.id,
      row.kind,
      row.old === undefined
        ? html`${tag(['unknown', 'not proven'])} <span class="small">No step looked at it.</span>`
        : html`<div class="cell"><span>${tag(credentialStates[row.old.state])}${
            row.old.until === undefined ? undefined : html` at ${time(row.old.until)} UTC`
          }${row.reinstated && html` ${tag(['bad', 'reinstated since'])}`}</span><span>${row.old.proof}</span></div>`,
      row.delivered === undefined
        ? html`<span class="small">${row.rotated === undefined ? 'None was issued.' : `None was delivered. ${row.rotated}`}</span>`
        : html`<div class="cell"><span>delivered to ${row.delivered.kind} <code>${row.delivered.path}</code>${
            row.delivered.version === undefined ? undefined : `, version ${row.delivered.version}`
          }</span>${row.rotated === undefined ? undefined : html`<span>${row.rotated}</span>`}</div>`,
      row.sharedWith.length === 0 ? '–' : row.sharedWith.join(', '),
    ]),
  )
}

const coverageWords = {
  accessed: ['bad', 'accessed'],
  'not-seen': ['unknown', 'not seen in the logs'],
  'no-visibility': ['partly', 'no visibility'],
} as const

/** Rows of the suspect list that are shown; the others are in report.json. */
const shownSuspects = 200

function blastRadius({ blastRadius: radius }: Report): Html {
  if (radius === undefined) {
    return html`<p>It was not computed in this case. <code>mcp-ir blast-radius SERVER</code> does it.</p>`
  }
  const blind = radius.didReach.filter(({ coverage }) => coverage === 'no-visibility')
  const could = table(
    'By the registry: what its credentials open.',
    [
      { label: 'System' },
      { label: 'Kind' },
      { label: 'By way of' },
      { label: 'Access' },
      { label: 'Data', kind: 'text' },
      { label: 'Owner' },
    ],
    radius.couldReach.map((reach) => [
      reach.system,
      reach.kind,
      reach.via === '' ? '–' : reach.via,
      reach.access,
      [reach.data.join(', '), reach.classification].filter((part) => part !== undefined && part !== '').join(' · ') ||
        '–',
      reach.owner ?? '–',
    ]),
  )
  const did = table(
    'By the logs: what it did, as far as they show.',
    [
      { label: 'System' },
      { label: 'Seen', kind: 'text' },
      { label: 'Calls', kind: 'num' },
      { label: 'Rows', kind: 'num' },
      { label: 'Bytes', kind: 'num' },
      { label: 'Data', kind: 'text' },
    ],
    radius.didReach.map((reach) => {
      const known = reach.coverage !== 'no-visibility'
      return [
        reach.system,
        html`${tag(coverageWords[reach.coverage])}${
          known
            ? undefined
            : html` <span class="small">No log covers it: what happened there is unknown, which does not mean nothing.</span>`
        }`,
        known ? count(reach.calls) : 'unknown',
        known ? count(reach.rows) : 'unknown',
        known ? bytes(reach.bytes) : 'unknown',
        reach.data.length === 0 ? '–' : reach.data.join(', '),
      ]
    }),
  )
  return html`<p>Window: ${time(radius.window.since)} to ${time(radius.window.until)} UTC.</p>
${blind.length > 0 && html`<p class="notice">No log covers ${blind.map(({ system }) => system).join(', ')}. This report cannot say what happened there.</p>`}
<h3>Could reach</h3>
${radius.couldReach.length === 0 ? html`<p>The registry names no system that it reaches.</p>` : could}
<h3>Did reach</h3>
${radius.didReach.length === 0 ? html`<p>No system was looked at.</p>` : did}
<h3>Exposed: what it was told</h3>
${
  radius.exposed.length === 0
    ? html`<p>No caller is known.</p>`
    : html`${table(
        '',
        [
          { label: 'Caller' },
          { label: 'Context' },
          { label: 'Calls', kind: 'num' },
          { label: 'Bytes sent', kind: 'num' },
          { label: 'Called before', kind: 'text' },
        ],
        radius.exposed
          .slice(0, shownSuspects)
          .map(({ caller, context, calls, bytes: size, before }) => [
            caller,
            context || '–',
            count(calls),
            size === undefined ? 'not logged' : bytes(size),
            [...new Set(before.map(({ server }) => server))].join(', ') || '–',
          ]),
      )}${radius.exposed.length > shownSuspects && html`<p>${count(radius.exposed.length - shownSuspects)} more are in report.json.</p>`}`
}
<h3>Suspect calls on other servers</h3>
${
  radius.suspect.length === 0
    ? html`<p>None was found in the logs that were read.</p>`
    : html`<p>Made after output of the compromised server had been taken in: inferred, not proven.</p>${table(
        '',
        [
          { label: 'Time (UTC)', kind: 'time' },
          { label: 'Server' },
          { label: 'Tool' },
          { label: 'Hop', kind: 'num' },
          { label: 'Linked by', kind: 'word' },
          { label: 'Record and chain', kind: 'text' },
        ],
        radius.suspect
          .slice(0, shownSuspects)
          .map(({ at, server, tool, hop, by, chain, record }) => [
            time(at),
            server,
            tool,
            hop,
            by,
            chain.length === 0 ? record : chain.join(' → '),
          ]),
      )}${radius.suspect.length > shownSuspects && html`<p>${count(radius.suspect.length - shownSuspects)} more are in report.json.</p>`}`
}
${
  radius.hubs.length > 0 &&
  html`<h3>Contexts that touch many others</h3>${bullets(
    radius.hubs.map(({ context, contexts }) => `${context}: ${plural(contexts, 'context')}`),
    '',
  )}`
}
<h3>Who and what is concerned</h3>
<p>Data classes: ${list(radius.dataClasses)}. Owners to tell: ${list(radius.owners)}.</p>`
}

function review(report: Report): Html {
  const { review: found } = report
  if (found === undefined) {
    return html`<p>The invocation log was not read in this case. <code>mcp-ir review SERVER</code> does it.</p>`
  }
  const chart = toolsChart(report)
  const use = (row: (typeof found.tools)[number] | (typeof found.callers)[number], name: string): Cell[] => [
    name,
    count(row.calls),
    count(row.failed),
    row.rows === undefined ? 'not logged' : count(row.rows),
    row.bytes === undefined ? 'not logged' : bytes(row.bytes),
    time(row.first),
    time(row.last),
  ]
  const columns = (name: string): Column[] => [
    { label: name },
    { label: 'Calls', kind: 'num' },
    { label: 'Failed', kind: 'num' },
    { label: 'Rows', kind: 'num' },
    { label: 'Bytes', kind: 'num' },
    { label: 'First (UTC)', kind: 'time' },
    { label: 'Last (UTC)', kind: 'time' },
  ]
  const since = { flag: 'given by the responder', knownGood: 'last known good', default: 'assumed: seven days back' }[
    found.sinceFrom
  ]
  return html`<p>${plural(found.records, 'call')} between ${time(found.window.since)} (${since}) and ${time(found.window.until)} UTC${
    found.duplicates > 0 && html`; ${plural(found.duplicates, 'duplicate')} counted once`
  }. Source: ${found.source.kind} <code>${found.source.name}</code>, format ${found.source.format}.</p>
${found.gaps.length > 0 && html`<p class="notice">${plural(found.gaps.length, 'gap')} in what could be read: ${found.gaps.join('; ')}.</p>`}
${
  chart === undefined
    ? undefined
    : html`<figure><div role="img" aria-label="Bar chart of calls per tool; the table “Tools” holds the same numbers.">${chart}</div>
<figcaption>Calls per tool, failed ones in the second colour at the end of the bar.${
        found.tools.length > maximumTools && ` Only the ${maximumTools} most called are drawn.`
      }</figcaption></figure>`
}
<h3>Tools</h3>
${
  found.tools.length === 0
    ? html`<p>No call is in the log.</p>`
    : table(
        '',
        columns('Tool'),
        found.tools.map((row) => use(row, row.tool)),
      )
}
<h3>Callers</h3>
${
  found.callers.length === 0
    ? html`<p>No caller is known.</p>`
    : table(
        '',
        columns('Caller'),
        found.callers.map((row) => use(row, row.caller)),
      )
}
<h3>Findings</h3>
${
  found.findings.length === 0
    ? html`<p>Nothing stood out against what is expected.</p>`
    : table(
        '',
        [
          { label: 'What', kind: 'text' },
          { label: 'Kind', kind: 'word' },
          { label: 'Expected', kind: 'text' },
          { label: 'Seen', kind: 'text' },
          { label: 'Records', kind: 'num' },
        ],
        found.findings.map(({ kind, summary, expected, seen, records }) => [
          summary,
          kind,
          expected,
          seen,
          count(records.length),
        ]),
      )
}
${found.evidence !== undefined && html`<p>The raw records are evidence <span class="mono">${found.evidence.sha256}</span> (${found.evidence.name}).</p>`}`
}

function redeployment({ redeployment: rebuilt }: Report): Html {
  if (rebuilt === undefined) return html`<p>Nothing was redeployed in this case.</p>`
  const { verification } = rebuilt
  return html`<h3>Where the build comes from</h3>
${
  verification === undefined
    ? html`<p>The step recorded no verification of the build.</p>`
    : html`<p>${tag([verification.state === 'verified' ? 'good' : 'bad', verification.state])}${
        verification.sha256 !== undefined && html` SHA-256 <span class="mono">${verification.sha256}</span>`
      }</p>${verification.reasons.length > 0 && bullets(verification.reasons, '')}${
        verification.observed.length > 0 && observations('', verification.observed)
      }`
}
<h3>What runs now</h3>
${
  rebuilt.deployments.length === 0
    ? html`<p>Nothing was started.</p>`
    : table(
        '',
        [
          { label: 'Deployment' },
          { label: 'Version' },
          { label: 'Address' },
          { label: 'Tools served', kind: 'text' },
          { label: 'Digest of the tools', kind: 'hash' },
        ],
        rebuilt.deployments.map(({ deployment, version, url, tools, toolsDigest, state }) => [
          html`${deployment}${isVerdict(state) && html` ${tag(proofStates[state])}`}`,
          version,
          url ?? '–',
          tools.length === 0 ? '–' : tools.join(', '),
          html`<span class="mono">${toolsDigest}</span>`,
        ]),
      )
}
${rebuilt.exceptions.length > 0 && html`<h3>Exceptions that were made</h3>${bullets(rebuilt.exceptions, '')}`}
<h3>How the compromised deployment differs from the verified build</h3>
${bullets(rebuilt.tampered, 'The step recorded no comparison.')}`
}

const decisionStates = {
  approved: 'good',
  declined: 'partly',
  answered: 'unknown',
  skipped: 'partly',
  'left open': 'bad',
  noted: 'unknown',
  accepted: 'partly',
  closed: 'unknown',
} as const

function decisions({ decisions: rows }: Report): Html {
  if (rows.length === 0) return html`<p>None is recorded.</p>`
  return table(
    '',
    [
      { label: 'Time (UTC)', kind: 'time' },
      { label: 'Decision', kind: 'word' },
      { label: 'What', kind: 'text' },
      { label: 'Who', kind: 'text' },
      { label: 'Known and shown then', kind: 'text' },
    ],
    rows.map((row) => [
      time(row.at),
      tag([decisionStates[row.kind], row.kind]),
      html`<div class="cell">${row.step !== undefined && html`<b>${row.step}</b>`}<span class="pre">${row.text}</span>${
        row.planHash !== undefined && html`<span class="small">plan <span class="mono">${row.planHash}</span></span>`
      }</div>`,
      html`<div class="cell"><span>${row.by}</span>${row.how !== undefined && html`<span class="small">${row.how}</span>`}${
        row.approver !== undefined && html`<span>approved by ${row.approver}</span>`
      }</div>`,
      row.known.length === 0 ? '–' : bullets(row.known, ''),
    ]),
  )
}

const changeStates = {
  applied: ['good', 'applied'],
  settled: ['good', 'found in place'],
  failed: ['bad', 'failed'],
  'put back': ['unknown', 'put back'],
  'not done': ['partly', 'not done'],
} as const

function changes({ changes: rows }: Report): Html {
  if (rows.length === 0) return html`<p>None was planned.</p>`
  return table(
    '',
    [
      { label: 'Change', kind: 'text' },
      { label: 'Step', kind: 'word' },
      { label: 'State', kind: 'word' },
      { label: 'Time (UTC)', kind: 'time' },
      { label: 'Kind', kind: 'word' },
      { label: 'Also hurts' },
    ],
    rows.map((row) => [
      html`<div class="cell"><span>${row.summary}</span><span class="small">${row.action} · ${row.target} · ${row.adapter}</span>${
        row.error !== undefined && html`<span>${row.error}</span>`
      }${row.command !== undefined && html`<span class="small">By hand: <code>${row.command}</code></span>`}</div>`,
      row.run > 1 ? `${row.step}, run ${row.run}` : row.step,
      html`<div class="cell">${tag(changeStates[row.state])}${
        row.attempts > 1 && html`<span class="small">${row.attempts} attempts</span>`
      }</div>`,
      row.at === undefined ? '–' : time(row.at),
      html`<div class="cell"><span>${row.effect}</span>${row.priority === 'best-effort' && html`<span class="small">best effort</span>`}</div>`,
      row.breaks.length === 0 ? '–' : row.breaks.join(', '),
    ]),
  )
}

const proofStates = {
  verified: ['good', 'verified'],
  residual: ['partly', 'residue'],
  failed: ['bad', 'failed'],
} as const

function isVerdict(state: string): state is keyof typeof proofStates {
  return Object.hasOwn(proofStates, state)
}

function proof({ proof: rows }: Report): Html {
  if (rows.length === 0) return html`<p>No step that changes the world has been observed yet.</p>`
  return html`${rows.map(
    (
      row,
    ) => html`<h3>${row.step}${row.run > 1 && html`, run ${row.run}`}: ${row.operation} ${tag(proofStates[row.state])}</h3>
<p class="small">${row.adapter}, read at ${time(row.at)} UTC</p>
${row.observed.length === 0 ? html`<p>No observation was recorded.</p>` : observations('', row.observed)}`,
  )}`
}

function observations(caption: string, observed: readonly Observation[]): Html {
  return table(
    caption,
    [
      { label: 'Claim', kind: 'text' },
      { label: 'Seen', kind: 'text' },
      { label: 'Holds', kind: 'word' },
    ],
    observed.map(({ claim, seen, holds }) => [
      claim,
      seen,
      tag(holds ? ['good', '✓ holds'] : ['bad', '✗ does not hold']),
    ]),
    'thirds',
  )
}

function timelineLead({ timeline: entries }: Report): string {
  return `${plural(entries.length, 'entry', 'entries')}, oldest first. Observed: read from a real system or its log. Inferred: concluded. Told: said by a person. Done: by us, as journalled.`
}

function timeline(entries: readonly Entry[]): Html {
  return table(
    '',
    [
      { label: 'Time (UTC)', kind: 'time' },
      { label: 'Lane', kind: 'word' },
      { label: 'Known by', kind: 'word' },
      { label: 'What', kind: 'text' },
    ],
    entries.map((entry) => [
      html`<div class="cell">${time(entry.at)}${entry.until !== undefined && html`<span class="small">to ${time(entry.until)}</span>`}</div>`,
      html`<span class="lane ${entry.lane}">${capital(entry.lane)}</span>`,
      mark(entry.mark),
      html`<span class="pre">${entry.text}</span>${source(entry)}`,
    ]),
  )
}

function source({ step, by, seq }: Entry): Html | undefined {
  const parts = [step, by, seq === undefined ? undefined : `line ${seq}`].filter((part) => part !== undefined)
  return parts.length === 0 ? undefined : html` <span class="small">${parts.join(' · ')}</span>`
}

const stepStates: Readonly<Record<string, 'good' | 'partly' | 'bad' | 'unknown'>> = {
  done: 'good',
  'nothing-to-do': 'good',
  residual: 'partly',
  partial: 'partly',
  failed: 'bad',
  refused: 'bad',
  unfinished: 'bad',
}

function steps({ steps: rows }: Report): Html {
  if (rows.length === 0) return html`<p>None was started.</p>`
  return table(
    '',
    [
      { label: 'Step', kind: 'word' },
      { label: 'Does' },
      { label: 'State', kind: 'word' },
      { label: 'Started (UTC)', kind: 'time' },
      { label: 'Ended (UTC)', kind: 'time' },
      { label: 'Took', kind: 'num' },
    ],
    rows.map((row) => [
      row.run > 1 ? `${row.id}, run ${row.run}` : row.id,
      row.use,
      html`<div class="cell">${tag([stepStates[row.state] ?? 'unknown', row.state])}${row.undone && html`<span class="small">put back since</span>`}${
        row.resumed > 0 && html`<span class="small">resumed ${plural(row.resumed, 'time')}</span>`
      }</div>`,
      time(row.startedAt),
      row.endedAt === undefined ? '–' : time(row.endedAt),
      row.tookMs === undefined ? '–' : duration(row.tookMs),
    ]),
  )
}

function evidence({ evidence: rows }: Report): Html {
  if (rows.length === 0) return html`<p>None was kept.</p>`
  return table(
    '',
    [
      { label: 'Name' },
      { label: 'Size', kind: 'num' },
      { label: 'Kept (UTC)', kind: 'time' },
      { label: 'By', kind: 'word' },
      { label: 'SHA-256', kind: 'hash' },
    ],
    rows.map(({ name, bytes: size, at, by, sha256 }) => [
      name,
      html`<span title="${count(size)} bytes">${bytes(size)}</span>`,
      time(at),
      by,
      html`<span class="mono">${sha256}</span>`,
    ]),
  )
}

function custody({ case: facts, irregularities }: Report): Html {
  const { server, journal, registry, window } = facts
  const rows: (readonly [string, Cell])[] = [
    ['Server', `${server.name} ${server.version}, ${server.status}, owner ${server.owner}`],
    ['Package', html`<span class="mono">${server.package}</span>`],
    ['Deployments', server.deployments.length === 0 ? 'none registered' : server.deployments.join(', ')],
    [
      'Registry',
      registry === undefined
        ? server.local
          ? 'none: the entry was made from what was found'
          : 'none'
        : html`<span class="mono">${registry.file}</span>, SHA-256 <span class="mono">${registry.hash}</span>`,
    ],
    [
      'Window',
      html`${time(window.since)} UTC to ${window.until === undefined ? 'now' : html`${time(window.until)} UTC`}`,
    ],
    ['People', facts.people.join(', ')],
    ['Identities that systems confirmed', facts.identities.length === 0 ? 'none' : facts.identities.join(', ')],
    ['Tool and host', `${facts.tool} on ${facts.host}`],
    [
      'Clocks against this host',
      facts.clocks.length === 0
        ? 'not measured'
        : facts.clocks.map(({ server: name, offsetMs }) => `${name}: ${offsetMs} ms`).join(', '),
    ],
    [
      'Journal',
      html`${plural(journal.lines, 'line')}, last at ${time(journal.lastAt)} UTC, chain head <span class="mono">${journal.head}</span>`,
    ],
    ...(facts.closedAt === undefined
      ? []
      : [
          [
            'Closed',
            html`${time(facts.closedAt)} UTC${facts.closedWhy !== undefined && `: ${facts.closedWhy}`}`,
          ] as const,
        ]),
  ]
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Facts of the case"><table class="pairs"><tbody>${rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${value}</td></tr>\n`)}</tbody></table></div>
<h3>Irregularities</h3>
${
  irregularities.length === 0
    ? html`<p>None: the registry did not change, nobody took the case over, nothing was interrupted.</p>`
    : table(
        '',
        [
          { label: 'Time (UTC)', kind: 'time' },
          { label: 'Kind', kind: 'word' },
          { label: 'What', kind: 'text' },
          { label: 'By' },
        ],
        irregularities.map(({ at, kind, text, details, by }) => [
          time(at),
          kind,
          html`${text}${details.length > 0 && bullets(details, '')}`,
          by === '' ? '–' : by,
        ]),
      )
}`
}

/** The first cell of a row names it. */
function table(caption: string, columns: readonly Column[], rows: readonly (readonly Cell[])[], look = ''): Html {
  const part = (
    some: readonly (readonly Cell[])[],
  ) => html`<div class="scroll" tabindex="0" role="group" aria-label="${caption === '' ? 'Table' : caption}"><table class="${look}">${caption !== '' && html`<caption>${caption}</caption>`}
<thead><tr>${columns.map(({ label, kind }) => html`<th scope="col" class="${kind ?? ''}">${label}</th>`)}</tr></thead>
<tbody>${some.map(
    (row) =>
      html`<tr>${row.map((cell, index) =>
        index === 0
          ? html`<th scope="row" class="${columns[index]?.kind ?? ''}">${cell}</th>`
          : html`<td class="${columns[index]?.kind ?? ''}">${cell}</td>`,
      )}</tr>\n`,
  )}</tbody></table></div>`
  const folded: Html[] = []
  for (let from = openRows; from < rows.length; from += openRows) {
    const some = rows.slice(from, from + openRows)
    folded.push(
      html`<details><summary>Rows ${count(from + 1)} to ${count(from + some.length)} of ${count(rows.length)}</summary>${part(some)}</details>\n`,
    )
  }
  return html`${part(rows.slice(0, openRows))}${folded}`
}

function bullets(items: readonly string[], none: string): Html {
  if (items.length === 0) return html`<p>${none}</p>`
  return html`<ul class="plain">${items.map((item) => html`<li class="pre">${item}</li>`)}</ul>`
}

function list(items: readonly string[]): string {
  return items.length === 0 ? 'none known' : items.join(', ')
}

function tag([state, text]: readonly ['good' | 'partly' | 'bad' | 'unknown', string]): Html {
  return html`<span class="tag ${state}">${text}</span>`
}

const markWords = {
  observed: '● observed',
  inferred: '○ inferred',
  done: '◆ done by us',
  told: '▲ told by a person',
} as const

function mark(known: Mark): Html {
  return html`<span class="mark">${markWords[known]}</span>`
}

/** UTC; the column or the sentence says so. What is no time is shown as it is. */
function time(at: string): Html {
  const date = new Date(at)
  if (Number.isNaN(date.getTime())) return html`${at === '' ? '–' : at}`
  const iso = date.toISOString()
  return html`<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')}</time>`
}
