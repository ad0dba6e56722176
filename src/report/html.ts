import { createHash } from 'node:crypto'
import { type Html, html, trusted } from './escape.ts'
import { blastRadius } from './html/blast-radius.ts'
import { changes } from './html/changes.ts'
import { concerned } from './html/concerned.ts'
import { credentials } from './html/credentials.ts'
import { custody } from './html/custody.ts'
import { decisions } from './html/decisions.ts'
import { duties } from './html/duties.ts'
import { evidence } from './html/evidence.ts'
import { mappings } from './html/mappings.ts'
import { proof } from './html/proof.ts'
import { redeployment } from './html/redeployment.ts'
import { review } from './html/review.ts'
import { risks } from './html/risks.ts'
import { rootCause } from './html/root-cause.ts'
import { banner, label, standing } from './html/standing.ts'
import { steps } from './html/steps.ts'
import { timeline, timelineLead } from './html/timeline.ts'
import { times } from './html/times.ts'
import { unseen } from './html/unseen.ts'
import type { Report } from './model.ts'
import { styleOf } from './style.ts'

/** One file that fetches nothing, runs nothing, and reads the same on screen and paper. */
export function renderHtml(report: Report): string {
  const style = styleOf(report)
  const hash = createHash('sha256').update(style).digest('base64')
  const policy = `default-src 'none'; style-src 'sha256-${hash}'; img-src data:; base-uri 'none'; form-action 'none'`
  const sections = sectionsOf(report).filter(({ body }) => body !== undefined)
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${trusted(policy)}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Incident report ${report.case.id}: ${report.case.server.name}</title>
<style>${trusted(style)}</style>
</head>
<body>
<a class="skip" href="#standing">Skip to the report</a>
${banner(report)}
<div class="page">
<nav aria-label="Contents"><ol>
${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>\n`)}</ol></nav>
<main>
${sections.map(
  ({ id, title, lead, body }) => html`<section id="${id}" aria-labelledby="${id}-title">
<h2 id="${id}-title">${title}</h2>
${lead === undefined ? undefined : html`<p class="lead">${lead}</p>`}
${body}
</section>
`,
)}</main>
</div>
<footer><p>Made by ${report.case.tool} from journal line 1 to ${report.case.journal.lines} of case ${report.case.id}; chain head <span class="mono">${report.case.journal.head}</span>. The same case gives the same bytes. All times are UTC.</p>${label(report.tlp)}</footer>
</body>
</html>
`
  return page.markup
}

interface Section {
  readonly id: string
  readonly title: string
  readonly lead?: string
  readonly body: Html | undefined
}

/** Most needed first: where it stands, when, what is left; then how it came to be, with the proof; then the record. */
function sectionsOf(report: Report): Section[] {
  return [
    { id: 'standing', title: 'Where it stands', body: standing(report) },
    {
      id: 'times',
      title: 'Key times',
      lead: 'Each moment stands for itself; none is taken for another.',
      body: times(report),
    },
    {
      id: 'duties',
      title: 'Duties to notify',
      lead: 'When each notice has to be out, and what is known already of what it has to say.',
      body: duties(report),
    },
    {
      id: 'open',
      title: 'What remains',
      lead: 'The residual risk, the worst first, and what to do next. What was seen to be done is not listed.',
      body: risks(report),
    },
    { id: 'cause', title: 'Root cause', body: rootCause(report) },
    {
      id: 'concerned',
      title: 'Data concerned',
      lead: 'By the classes of data that the registry names. A log counts rows and not people, so these are ranges.',
      body: concerned(report),
    },
    {
      id: 'unseen',
      title: 'What could not be seen',
      lead: 'What is listed here is unknown, which does not mean that nothing happened.',
      body: unseen(report),
    },
    {
      id: 'credentials',
      title: 'Credentials',
      lead: 'What the compromised server held, and what replaced it. No secret is in this report.',
      body: credentials(report),
    },
    {
      id: 'blast-radius',
      title: 'Blast radius',
      lead: 'What it could reach and what it did reach are two different things and are never added up.',
      body: blastRadius(report),
    },
    { id: 'review', title: 'What it did', lead: 'From the invocation log.', body: review(report) },
    { id: 'rebuild', title: 'Redeployment', body: redeployment(report) },
    {
      id: 'decisions',
      title: 'Decisions',
      lead: 'Who decided what, and what was known and shown at that moment.',
      body: decisions(report),
    },
    {
      id: 'changes',
      title: 'Changes',
      lead: 'Every change that was planned, and what came of it.',
      body: changes(report),
    },
    {
      id: 'proof',
      title: 'Proof',
      lead: 'What was read from the real systems after the changes. An answer of “success” is no proof and is not listed.',
      body: proof(report),
    },
    { id: 'timeline', title: 'Timeline', lead: timelineLead(report), body: timeline(report.timeline) },
    { id: 'steps', title: 'Steps', body: steps(report) },
    {
      id: 'evidence',
      title: 'Evidence and custody',
      lead: 'Kept in the case folder under its SHA-256; “mcp-ir case check” reads every byte of it again.',
      body: evidence(report),
    },
    { id: 'case', title: 'The case itself', body: custody(report) },
    {
      id: 'mappings',
      title: 'In the terms of others',
      lead: 'Where this case belongs, by what it shows itself.',
      body: mappings(report),
    },
  ]
}
