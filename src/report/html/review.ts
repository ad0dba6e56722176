import { maximumTools, toolsChart } from '../charts.ts'
import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { bytes, count, plural } from '../words.ts'
import { type Cell, type Column, table, time } from './parts.ts'

export function review(report: Report): Html {
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
${found.gaps.length > 0 && html`<p class="notice">${plural(found.gaps.length, 'gap')} in what could be read: ${found.gaps.map((gap) => gap.replace(/\.$/, '')).join('; ')}.</p>`}
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
