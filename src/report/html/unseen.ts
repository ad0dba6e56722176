import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { capital, duration } from '../words.ts'
import { bullets } from './parts.ts'

export function unseen({ unseen: { residue, limits, gaps }, case: { clocks } }: Report): Html {
  const off = clocks.filter(({ offsetMs }) => Math.abs(offsetMs) >= 1000)
  return html`<h3>Residue: what may still live</h3>
${bullets(residue.map(capital), 'None was found that could not be excluded.')}
<h3>Gaps: what no log or source shows</h3>
${bullets(gaps.map(capital), 'None is known.')}
<h3>Limits of how it was done</h3>
${bullets(limits.map(capital), 'None was told.')}
${off.length === 0 ? undefined : html`<p class="notice">Clocks differ: times that ${off.length === 1 ? 'this system' : 'these systems'} wrote are shown as written. ${off.map(({ server, offsetMs }) => `${server}: ${duration(offsetMs)} ${offsetMs < 0 ? 'behind' : 'ahead'}`).join('; ')}.</p>`}`
}
