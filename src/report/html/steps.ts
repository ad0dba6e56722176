import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { duration, plural } from '../words.ts'
import { table, tag, time } from './parts.ts'

const stepStates: Readonly<Record<string, 'good' | 'partly' | 'bad' | 'unknown'>> = {
  done: 'good',
  'nothing-to-do': 'good',
  residual: 'partly',
  partial: 'partly',
  failed: 'bad',
  refused: 'bad',
  unfinished: 'bad',
}

export function steps({ steps: rows }: Report): Html {
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
