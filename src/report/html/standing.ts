import { type Html, html } from '../escape.ts'
import type { Report, Tlp } from '../model.ts'
import { tlpLabel } from '../tlp.ts'
import { type Cell, time } from './parts.ts'

export function banner({ tlp, redacted, case: { server, ...facts } }: Report): Html {
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
${label(tlp)}<p class="kicker">Incident report · compromised MCP server</p>
<h1>${server.name}</h1>
<dl class="facts">${pairs.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>\n`)}</dl>
${redacted && html`<p class="notice">Redacted for handing outside: people, hosts, addresses, systems and records have pseudonyms, the same throughout this report; what people wrote is left out.</p>`}
</div></header>`
}

export function standing(report: Report): Html {
  return html`<ul class="cards">${report.standing.map(
    ({ label, state, value, detail }) => html`<li class="card ${state}"><div class="label">${label}</div>
<div class="value">${value}</div><div class="detail">${detail}</div></li>\n`,
  )}</ul>`
}

/** At the head and the foot of the page; on paper on every sheet. */
export function label(tlp: Tlp): Html {
  return html`<p class="tlp">${tlpLabel(tlp)}</p>`
}
