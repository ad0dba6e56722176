import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { bytes, count } from '../words.ts'
import { table, time } from './parts.ts'

export function evidence(report: Report): Html {
  return html`${pieces(report)}
<h3>Who held the case</h3>
${holders(report)}`
}

function pieces({ evidence: rows }: Report): Html {
  if (rows.length === 0) return html`<p>None was kept.</p>`
  return table(
    '',
    [
      { label: 'Name' },
      { label: 'Size', kind: 'num' },
      { label: 'Taken (UTC)', kind: 'time' },
      { label: 'By', kind: 'text' },
      { label: 'SHA-256', kind: 'hash' },
    ],
    rows.map(({ name, bytes: size, at, by, step, seq, sha256 }) => [
      name,
      html`<span title="${count(size)} bytes">${bytes(size)}</span>`,
      time(at),
      html`<div class="cell"><span>${by}</span><span class="small">${[step, seq === undefined ? undefined : `line ${seq}`].filter((part) => part !== undefined).join(' · ')}</span></div>`,
      html`<span class="mono">${sha256}</span>`,
    ]),
  )
}

function holders({ custody }: Report): Html {
  return table(
    '',
    [
      { label: 'Who' },
      { label: 'First act (UTC)', kind: 'time' },
      { label: 'Last act (UTC)', kind: 'time' },
      { label: 'Journal lines', kind: 'num' },
      { label: 'Evidence taken', kind: 'num' },
    ],
    custody.map(({ by, first, last, lines, evidence: taken }) => [
      by,
      time(first),
      time(last),
      count(lines),
      count(taken),
    ]),
  )
}
