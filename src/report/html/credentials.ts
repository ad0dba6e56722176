import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { proven } from '../words.ts'
import { table, tag, time } from './parts.ts'

const credentialStates = {
  dead: ['good', 'dead'],
  expires: ['partly', 'expires by itself'],
  alive: ['bad', 'ALIVE'],
  unknown: ['unknown', 'unknown'],
} as const

export function credentials(report: Report): Html {
  if (report.credentials.length === 0)
    return html`<p>The registry names no credential of this server, and none was found.</p>`
  return table(
    '',
    [
      { label: 'Credential' },
      { label: 'Kind', kind: 'word' },
      { label: 'The old one', kind: 'text' },
      { label: 'The new one', kind: 'text' },
      { label: 'Also used by' },
    ],
    report.credentials.map((row) => [
      row.id,
      row.kind,
      row.old === undefined
        ? html`${tag(['unknown', 'not proven'])} <span class="small">No step looked at it.</span>`
        : html`<div class="cell"><span>${tag(credentialStates[row.old.state])}${
            row.old.until === undefined ? undefined : html` at ${time(row.old.until)} UTC`
          }${row.reinstated && html` ${tag(['bad', 'reinstated since'])}`}</span><span>${proven(row.old.proof)}</span></div>`,
      row.delivered === undefined
        ? html`<span class="small">${row.rotated === undefined ? 'None was issued.' : `None was delivered. ${row.rotated}`}</span>`
        : html`<div class="cell"><span>delivered to ${row.delivered.kind} <code>${row.delivered.path}</code>${
            row.delivered.version === undefined ? undefined : `, version ${row.delivered.version}`
          }</span>${row.rotated === undefined ? undefined : html`<span>${proven(row.rotated)}</span>`}</div>`,
      row.sharedWith.length === 0 ? '–' : row.sharedWith.join(', '),
    ]),
  )
}
