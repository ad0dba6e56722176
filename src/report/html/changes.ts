import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { table, tag, time } from './parts.ts'

const changeStates = {
  applied: ['good', 'applied'],
  settled: ['good', 'found in place'],
  failed: ['bad', 'failed'],
  'put back': ['unknown', 'put back'],
  'not done': ['partly', 'not done'],
} as const

export function changes({ changes: rows }: Report): Html {
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
