import { type Html, html } from '../escape.ts'
import type { CaseFacts, Report } from '../model.ts'
import { type Cell, time } from './parts.ts'

export function banner({ server, ...facts }: CaseFacts): Html {
  const pairs: readonly (readonly [string, Cell])[] = [
    ['Case', html`<span class="mono">${facts.id}</span>`],
    ['Status', facts.status],
    ['Opened', html`${time(facts.openedAt)} UTC by ${facts.openedBy}`],
    ...(facts.closedAt === undefined ? [] : [['Closed', html`${time(facts.closedAt)} UTC`] as const]),
    ['Version', server.version],
    ['Owner', server.owner],
    ['Criticality', server.criticality],
    ['Playbook', facts.playbooks.length === 0 ? 'none, single commands' : facts.playbooks.join(', ')],
  ]
  return html`<header class="top"><div>
<p class="kicker">Incident report · compromised MCP server</p>
<h1>${server.name}</h1>
<dl class="facts">${pairs.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>\n`)}</dl>
</div></header>`
}

export function standing(report: Report): Html {
  return html`<ul class="cards">${report.standing.map(
    ({ label, state, value, detail }) => html`<li class="card ${state}"><div class="label">${label}</div>
<div class="value">${value}</div><div class="detail">${detail}</div></li>\n`,
  )}</ul>`
}
