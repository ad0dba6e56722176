import { type Html, html } from '../escape.ts'
import type { Duty, Notice, Report } from '../model.ts'
import { capital, plural } from '../words.ts'
import { bullets, table, tag, time } from './parts.ts'

const noticeStates = {
  sent: ['good', 'sent'],
  'sent late': ['bad', 'sent late'],
  'not sent': ['partly', 'not recorded as sent'],
} as const

export function duties({ duties: laws }: Report): Html {
  if (laws.length === 0) {
    return html`<p>No law is named whose clocks are to be shown: <code>duties: [gdpr]</code> in mcp-ir.yaml, or <code>--duties</code>.</p>`
  }
  return html`${laws.map(law)}
<p class="small">Counted by the hour from the moment that is named, which is never later than the law's own way of counting. Weekends and holidays, which some laws let pass, are not taken into account. Whether a duty applies is for people to say.</p>`
}

function law({ label, applies, notices }: Duty): Html {
  return html`<h3>${label}</h3>
<p class="small">${applies}</p>
${table(
  '',
  [
    { label: 'Notice', kind: 'text' },
    { label: 'Due (UTC)', kind: 'time' },
    { label: 'Counted from', kind: 'text' },
    { label: 'State', kind: 'text' },
  ],
  notices.map((notice) => [
    html`<div class="cell"><span>${notice.label}</span><span class="small">${capital(notice.rule)}</span></div>`,
    notice.due === undefined
      ? html`<span class="small">no moment to count from</span>`
      : html`<div class="cell">${time(notice.due)}${notice.assumed && html`<span>${tag(['partly', 'assumed'])}</span>`}</div>`,
    capital(notice.counted),
    html`<div class="cell"><span>${tag(noticeStates[notice.state])}</span>${
      notice.sent === undefined
        ? html`<span class="small">To record it: <code>mcp-ir case note TEXT --kind notified --about ${notice.name}</code></span>`
        : html`<span>${time(notice.sent.at)} UTC, by ${notice.sent.by}</span><span class="pre">${notice.sent.text}</span>`
    }</div>`,
  ]),
)}
${notices.filter(({ content: parts }) => parts.length > 0).map(content)}`
}

function content({ label, content: parts }: Notice): Html {
  const missing = parts.filter(({ known, ifAny }) => known.length === 0 && !ifAny).length
  return html`<details><summary>${label}: what it has to say, ${missing === 0 ? 'nothing is missing' : `${missing} of ${plural(parts.length, 'part')} missing`}</summary>${table(
    '',
    [
      { label: 'Part', kind: 'text' },
      { label: 'Article', kind: 'word' },
      { label: 'Known so far', kind: 'text' },
    ],
    parts.map(({ article, label: part, ifAny, known, record }) => [
      html`${part}${ifAny && html` <span class="small">(if any)</span>`}`,
      article,
      known.length > 0
        ? facts(known)
        : html`<div class="cell"><span>${tag(ifAny ? ['unknown', 'nothing known'] : ['partly', 'missing'])}</span>${
            record !== undefined && html`<span class="small">To say it: <code>${record}</code></span>`
          }</div>`,
    ]),
    'parts',
  )}</details>\n`
}

function facts(known: readonly string[]): Html {
  return known.length === 1 ? html`<span class="pre">${known[0]}</span>` : bullets(known, '')
}
