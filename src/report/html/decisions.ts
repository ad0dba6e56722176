import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { bullets, table, tag, time } from './parts.ts'

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

export function decisions({ decisions: rows }: Report): Html {
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
