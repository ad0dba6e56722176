import { timelineChart } from '../charts.ts'
import { type Html, html } from '../escape.ts'
import type { Lane, Mark, Report } from '../model.ts'
import { plural } from '../words.ts'
import { type Cell, mark, markWords, table, time } from './parts.ts'

export function times(report: Report): Html {
  const chart = timelineChart(report)
  const rows = report.times.map((moment, index): Cell[] => [
    html`<span class="no${moment.at === undefined ? ' none' : ''}">${index + 1}</span>${moment.label}`,
    moment.at === undefined ? html`<span class="small">not recorded</span>` : time(moment.at),
    moment.mark === undefined ? '–' : mark(moment.mark),
    html`<div class="cell"><span class="pre">${moment.note}</span>${
      moment.record === undefined
        ? undefined
        : html`<span class="small">To record it: <code>${moment.record}</code></span>`
    }</div>`,
  ])
  const names = { attacker: 'attacker', system: 'system', responder: 'responder' }
  const perLane = (Object.keys(names) as Lane[])
    .map((lane) => `${report.timeline.filter((entry) => entry.lane === lane).length} in the ${names[lane]} lane`)
    .join(', ')
  return html`${table(
    '',
    [
      { label: 'Moment', kind: 'word' },
      { label: 'Time (UTC)', kind: 'time' },
      { label: 'Known by', kind: 'word' },
      { label: 'How it is known', kind: 'text' },
    ],
    rows,
  )}
${
  chart === undefined
    ? undefined
    : html`<figure><div role="img" aria-label="Timeline drawing: ${plural(report.timeline.length, 'entry', 'entries')}, ${perLane}. The tables “Key times” and “Timeline” hold the same in words.">${chart}</div>
<figcaption>Time runs to the right, UTC. Numbers are the moments of the table above; a larger symbol stands for several entries; bars are calls of one tool from first to last. Where two strokes cut the axis, the scale changes: left the time before the case, right the response.</figcaption>
<ul class="legend">${(Object.keys(markWords) as Mark[]).map((one) => html`<li>${mark(one)}</li>`)}</ul></figure>`
}
${
  report.durations.length === 0
    ? undefined
    : html`<h3>Durations</h3><dl class="durations">${report.durations.map(
        ({ label, text }) => html`<div><dt>${label}</dt><dd>${text}</dd></div>\n`,
      )}</dl>`
}`
}
