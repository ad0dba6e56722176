import type { Observation } from '../../change.ts'
import { type Html, html } from '../escape.ts'
import type { Mark } from '../model.ts'
import { capital, count } from '../words.ts'

export type Cell = Html | string | number | undefined

export interface Column {
  readonly label: string
  readonly kind?: 'num' | 'time' | 'text' | 'word' | 'hash'
}

/** Rows shown openly; what is beyond is folded, so that a report of many thousand entries still opens. */
const openRows = 250

/** The first cell of a row names it. */
export function table(
  caption: string,
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  look = '',
  open = openRows,
): Html {
  const part = (
    some: readonly (readonly Cell[])[],
  ) => html`<div class="scroll" tabindex="0" role="group" aria-label="${caption === '' ? columns.map(({ label }) => label).join(', ') : caption}"><table class="${look}">${caption !== '' && html`<caption>${caption}</caption>`}
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
  for (let from = open; from < rows.length; from += openRows) {
    const some = rows.slice(from, from + openRows)
    folded.push(
      html`<details><summary>Rows ${count(from + 1)} to ${count(from + some.length)} of ${count(rows.length)}</summary>${part(some)}</details>\n`,
    )
  }
  return html`${part(rows.slice(0, open))}${folded}`
}

export function bullets(items: readonly string[], none: string): Html {
  if (items.length === 0) return html`<p>${none}</p>`
  return html`<ul class="plain">${items.map((item) => html`<li class="pre">${item}</li>`)}</ul>`
}

export function list(items: readonly string[]): string {
  return items.length === 0 ? 'none known' : items.join(', ')
}

export function tag([state, text]: readonly ['good' | 'partly' | 'bad' | 'unknown', string]): Html {
  return html`<span class="tag ${state}">${text}</span>`
}

export const markWords = {
  observed: '● observed',
  inferred: '○ inferred',
  done: '◆ done by us',
  told: '▲ told by a person',
} as const

export function mark(known: Mark): Html {
  return html`<span class="mark">${markWords[known]}</span>`
}

/** UTC; the column or the sentence says so. What is no time is shown as it is. */
export function time(at: string): Html {
  const date = new Date(at)
  if (Number.isNaN(date.getTime())) return html`${at === '' ? '–' : at}`
  const iso = date.toISOString()
  return html`<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')}</time>`
}

export const proofStates = {
  verified: ['good', 'verified'],
  residual: ['partly', 'residue'],
  failed: ['bad', 'failed'],
} as const

export function observations(caption: string, observed: readonly Observation[]): Html {
  return table(
    caption,
    [
      { label: 'Claim', kind: 'text' },
      { label: 'Seen', kind: 'text' },
      { label: 'Holds', kind: 'word' },
    ],
    observed.map(({ claim, seen, holds }) => [
      capital(claim),
      seen,
      tag(holds ? ['good', '✓ holds'] : ['bad', '✗ does not hold']),
    ]),
    'thirds',
  )
}
