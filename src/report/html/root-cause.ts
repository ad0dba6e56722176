import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { bullets, time } from './parts.ts'

export function rootCause({ rootCause: cause }: Report): Html {
  return html`${
    cause.text === undefined
      ? html`<p>Not established. To record it: <code>mcp-ir case note TEXT --about root-cause</code></p>`
      : html`<p class="pre">${cause.text}</p>
<p class="small">Told by a person${cause.by !== undefined && html` (${cause.by}${cause.at !== undefined && html`, ${time(cause.at)} UTC`})`}.</p>`
  }
${cause.observed.length > 0 && html`<h3>What was seen that bears on it</h3>${bullets(cause.observed, '')}`}`
}
