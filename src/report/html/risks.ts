import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { table, tag } from './parts.ts'

const states = { bad: 'stands open', partly: 'to finish', unknown: 'to settle' } as const

export function risks({ risks: rows }: Report): Html {
  if (rows.length === 0) return html`<p>Nothing is known to remain.</p>`
  return table(
    '',
    [
      { label: 'What remains', kind: 'text' },
      { label: 'State', kind: 'word' },
      { label: 'Next step', kind: 'text' },
    ],
    rows.map(({ state, what, next, command }) => [
      html`<span class="plain-th">${what}</span>`,
      tag([state, states[state]]),
      html`<div class="cell"><span>${next}</span>${command !== undefined && html`<code>${command}</code>`}</div>`,
    ]),
  )
}
