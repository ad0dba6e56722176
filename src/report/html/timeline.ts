import { type Html, html } from '../escape.ts'
import type { Entry, Report } from '../model.ts'
import { capital, plural } from '../words.ts'
import { mark, table, time } from './parts.ts'

export function timelineLead({ timeline: entries }: Report): string {
  return `${plural(entries.length, 'entry', 'entries')}, oldest first. Observed: read from a real system or its log. Inferred: concluded. Told: said by a person. Done: by us, as journalled.`
}

export function timeline(entries: readonly Entry[]): Html {
  return table(
    '',
    [
      { label: 'Time (UTC)', kind: 'time' },
      { label: 'Lane', kind: 'word' },
      { label: 'Known by', kind: 'word' },
      { label: 'What', kind: 'text' },
    ],
    entries.map((entry) => [
      entry.until === undefined
        ? time(entry.at)
        : html`<div class="cell">${time(entry.at)}<span class="small">to ${time(entry.until)}</span></div>`,
      html`<span class="lane ${entry.lane}">${capital(entry.lane)}</span>`,
      mark(entry.mark),
      html`<span class="pre">${entry.text}</span>${source(entry)}`,
    ]),
  )
}

function source({ step, by, seq }: Entry): Html | undefined {
  const parts = [step, by, seq === undefined ? undefined : `line ${seq}`].filter((part) => part !== undefined)
  return parts.length === 0 ? undefined : html` <span class="small">${parts.join(' · ')}</span>`
}
