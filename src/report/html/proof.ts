import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { observations, proofStates, tag, time } from './parts.ts'

export function proof({ proof: rows }: Report): Html {
  if (rows.length === 0) return html`<p>No step that changes the world has been observed yet.</p>`
  return html`${rows.map(
    (
      row,
    ) => html`<h3>${row.step}${row.run > 1 && html`, run ${row.run}`}: ${row.operation} ${tag(proofStates[row.state])}</h3>
<p class="small">${row.adapter}, read at ${time(row.at)} UTC</p>
${row.observed.length === 0 ? html`<p>No observation was recorded.</p>` : observations('', row.observed)}`,
  )}`
}
