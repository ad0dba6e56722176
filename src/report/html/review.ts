import type { Review } from '../../invocations/port.ts'
import { maximumTools, toolsChart } from '../charts.ts'
import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { bytes, count, plural } from '../words.ts'
import { type Cell, type Column, table, time } from './parts.ts'
import { rate } from './rate.ts'

export function review(report: Report): Html {
  const { review: found } = report
  if (found === undefined) {
    return html`<p>The invocation log was not read in this case. <code>mcp-ir review SERVER</code> does it.</p>`
  }
  const chart = toolsChart(report)
  const does = ({ changes }: (typeof found.tools)[number]) =>
    changes === undefined ? '' : changes ? ' (changes)' : ' (reads)'
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
${found.gaps.length > 0 && html`<p class="notice">${plural(found.gaps.length, 'gap')} in what could be read: ${found.gaps.map((gap) => gap.replace(/\.$/, '')).join('; ')}.</p>`}
<h3>What was out of the ordinary</h3>
${findings(found)}
${
  chart === undefined
    ? undefined
    : html`<figure><div role="img" aria-label="Bar chart of calls per tool; the table “Tools” holds the same numbers.">${chart}</div>
<figcaption>Calls per tool, failed ones in the second colour at the end of the bar.${
        found.tools.length > maximumTools && ` Only the ${maximumTools} most called are drawn.`
      }</figcaption></figure>`
}
${rate(found)}
<h3>Tools</h3>
${
  found.tools.length === 0
    ? html`<p>No call is in the log.</p>`
    : table(
        '',
        columns('Tool'),
        found.tools.map((row) => use(row, `${row.tool}${does(row)}`)),
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
${found.resources.length > 0 && resources(found)}
${found.evidence !== undefined && html`<p>The raw records are evidence <span class="mono">${found.evidence.sha256}</span> (${found.evidence.name}).</p>`}`
}

function findings({ findings: all, baseline }: Review): Html {
  const before =
    baseline === undefined
      ? html`<p>Nothing from before the window was there to compare with.</p>`
      : html`<p>Compared with ${plural(baseline.calls, 'call')} of ${time(baseline.since)} to ${time(baseline.until)} UTC, hour by hour: working days (${baseline.days}, ${baseline.zone}${baseline.assumed && ', the default'}) and days off apart.</p>`
  if (all.length === 0) return html`${before}${baseline !== undefined && html`<p>Nothing stood out.</p>`}`
  return html`${before}${table(
    '',
    [
      { label: 'What', kind: 'text' },
      { label: 'Kind', kind: 'word' },
      { label: 'Expected', kind: 'text' },
      { label: 'Seen', kind: 'text' },
      { label: 'Records', kind: 'num' },
    ],
    all.map(({ kind, summary, expected, seen, records, more = 0 }) => [
      summary,
      kind,
      expected,
      seen,
      count(records.length + more),
    ]),
  )}`
}

function resources({ resources: all }: Review): Html {
  return html`<h3>Resources</h3>
${table(
  '',
  [
    { label: 'Resource' },
    { label: 'System' },
    { label: 'Was', kind: 'word' },
    { label: 'Calls', kind: 'num' },
    { label: 'By tools', kind: 'text' },
  ],
  all.map(({ resource, system, access, calls, tools }) => [
    resource,
    system,
    access === 'write' ? 'changed' : 'read',
    count(calls),
    tools.join(', '),
  ]),
)}`
}
