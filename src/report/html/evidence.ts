import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { bytes, count } from '../words.ts'
import { table, time } from './parts.ts'

export function evidence({ evidence: rows }: Report): Html {
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
