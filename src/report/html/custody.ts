import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { plural } from '../words.ts'
import { bullets, type Cell, table, time } from './parts.ts'

export function custody({ case: facts, irregularities }: Report): Html {
  const { server, journal, registry, window } = facts
  const rows: (readonly [string, Cell])[] = [
    ['Server', `${server.name} ${server.version}, ${server.status}, owner ${server.owner}`],
    ['Package', html`<span class="mono">${server.package}</span>`],
    ['Deployments', server.deployments.length === 0 ? 'none registered' : server.deployments.join(', ')],
    [
      'Registry',
      registry === undefined
        ? server.local
          ? 'none: the entry was made from what was found'
          : 'none'
        : html`<span class="mono">${registry.file}</span>, SHA-256 <span class="mono">${registry.hash}</span>`,
    ],
    [
      'Window',
      html`${time(window.since)} UTC to ${window.until === undefined ? 'now' : html`${time(window.until)} UTC`}`,
    ],
    ['People', facts.people.join(', ')],
    ['Identities that systems confirmed', facts.identities.length === 0 ? 'none' : facts.identities.join(', ')],
    ['Tool and host', `${facts.tool} on ${facts.host}`],
    [
      'Clocks against this host',
      facts.clocks.length === 0
        ? 'not measured'
        : facts.clocks.map(({ server: name, offsetMs }) => `${name}: ${offsetMs} ms`).join(', '),
    ],
    [
      'Journal',
      html`${plural(journal.lines, 'line')}, last at ${time(journal.lastAt)} UTC, chain head <span class="mono">${journal.head}</span>`,
    ],
    ...(facts.closedAt === undefined
      ? []
      : [
          [
            'Closed',
            html`${time(facts.closedAt)} UTC${facts.closedWhy !== undefined && `: ${facts.closedWhy}`}`,
          ] as const,
        ]),
  ]
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Facts of the case"><table class="pairs"><tbody>${rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${value}</td></tr>\n`)}</tbody></table></div>
<h3>Irregularities</h3>
${
  irregularities.length === 0
    ? html`<p>None: the registry did not change, nobody took the case over, nothing was interrupted.</p>`
    : table(
        '',
        [
          { label: 'Time (UTC)', kind: 'time' },
          { label: 'Kind', kind: 'word' },
          { label: 'What', kind: 'text' },
          { label: 'By' },
        ],
        irregularities.map(({ at, kind, text, details, by }) => [
          time(at),
          kind,
          html`${text}${details.length > 0 && bullets(details, '')}`,
          by === '' ? '–' : by,
        ]),
      )
}`
}
