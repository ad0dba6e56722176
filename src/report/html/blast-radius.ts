import type { BlastRadius } from '../../blast-radius/port.ts'
import { type Html, html } from '../escape.ts'
import { reachGraph, spreadGraph } from '../graph.ts'
import type { Report } from '../model.ts'
import { bytes, count, plural } from '../words.ts'
import { bullets, list, table, tag, time } from './parts.ts'

const coverageWords = {
  accessed: ['bad', 'accessed'],
  'not-seen': ['unknown', 'not seen in the logs'],
  'no-visibility': ['partly', 'no visibility'],
} as const

/** Contexts that are shown openly: those to which most was told. */
const openContexts = 12

/** Rows of the suspect list that are shown; the others are in report.json. */
const shownSuspects = 200

export function blastRadius({ blastRadius: radius, case: { server } }: Report): Html {
  if (radius === undefined) {
    return html`<p>It was not computed in this case. <code>mcp-ir blast-radius SERVER</code> does it.</p>`
  }
  const blind = radius.didReach.filter(({ coverage }) => coverage === 'no-visibility')
  const could = table(
    'By the registry, and by the word of those who issued them: what its credentials open.',
    [
      { label: 'System' },
      { label: 'Kind' },
      { label: 'By way of' },
      { label: 'Access' },
      { label: 'Data', kind: 'text' },
      { label: 'Owner' },
    ],
    radius.couldReach.map((reach) => [
      reach.system,
      reach.kind,
      reach.via === '' ? '–' : reach.via,
      reach.access,
      [reach.data.join(', '), reach.classification].filter((part) => part !== undefined && part !== '').join(' · ') ||
        '–',
      reach.owner ?? '–',
    ]),
  )
  const did = table(
    'By the logs: what it did, as far as they show.',
    [
      { label: 'System' },
      { label: 'Seen', kind: 'text' },
      { label: 'Calls', kind: 'num' },
      { label: 'Rows', kind: 'num' },
      { label: 'Bytes', kind: 'num' },
      { label: 'Data', kind: 'text' },
    ],
    radius.didReach.map((reach) => {
      const known = reach.coverage !== 'no-visibility'
      return [
        reach.system,
        html`${tag(coverageWords[reach.coverage])}${
          known
            ? undefined
            : html` <span class="small">No log covers it: what happened there is unknown, which does not mean nothing.</span>`
        }`,
        known ? count(reach.calls) : 'unknown',
        known ? count(reach.rows) : 'unknown',
        known ? bytes(reach.bytes) : 'unknown',
        reach.data.length === 0 ? '–' : reach.data.join(', '),
      ]
    }),
  )
  return html`<p>Window: ${time(radius.window.since)} to ${time(radius.window.until)} UTC.</p>
${blind.length > 0 && html`<p class="notice">No log covers ${blind.map(({ system }) => system).join(', ')}. This report cannot say what happened there.</p>`}
<h3>Could reach</h3>
${figure(
  reachGraph(server.name, radius),
  'Red bar: the log shows calls. Dashed: no log covers it, which does not mean that nothing happened. Plain: a log covers it and shows no call.',
)}
${radius.couldReach.length === 0 ? html`<p>The registry names no system that it reaches.</p>` : could}
${radius.couldReach.flatMap(permissions)}
<h3>Did reach</h3>
${radius.didReach.length === 0 ? html`<p>No system was looked at.</p>` : did}
<h3>What left: its answers, and who got them</h3>
${
  radius.left.length === 0
    ? html`<p>No answer is in the logs that were read.</p>`
    : table(
        '',
        [
          { label: 'Caller' },
          { label: 'Calls', kind: 'num' },
          { label: 'Rows', kind: 'num' },
          { label: 'Bytes', kind: 'num' },
        ],
        radius.left
          .slice(0, shownSuspects)
          .map(({ caller, calls, rows, bytes: size }) => [
            caller,
            count(calls),
            rows === undefined ? 'not logged' : count(rows),
            size === undefined ? 'not logged' : bytes(size),
          ]),
      )
}
<h3>Exposed: what it was told</h3>
${
  radius.exposed.length === 0
    ? html`<p>No caller is known.</p>`
    : html`${table(
        '',
        [
          { label: 'Caller' },
          { label: 'Context' },
          { label: 'Calls', kind: 'num' },
          { label: 'Bytes sent', kind: 'num' },
          { label: 'Called before', kind: 'text' },
        ],
        radius.exposed
          .slice(0, shownSuspects)
          .map(({ caller, context, calls, bytes: size, before }) => [
            caller,
            context || '–',
            count(calls),
            size === undefined ? 'not logged' : bytes(size),
            [...new Set(before.map(({ server }) => server))].join(', ') || '–',
          ]),
        '',
        openContexts,
      )}${radius.exposed.length > shownSuspects && html`<p>${count(radius.exposed.length - shownSuspects)} more are in report.json.</p>`}`
}
<h3>Suspect calls on other servers</h3>
${figure(
  spreadGraph(server.name, radius),
  'Left to right: who took in what the server said, and what they called afterwards; then who read what these calls had written. Dashed lines are concluded, not seen. Beyond the second hop is drawn with it.',
)}
${
  radius.suspect.length === 0
    ? html`<p>None was found in the logs that were read.</p>`
    : html`<p>Made after output of the compromised server had been taken in: inferred, not proven.</p>${table(
        '',
        [
          { label: 'Time (UTC)', kind: 'time' },
          { label: 'Server' },
          { label: 'Tool' },
          { label: 'Hop', kind: 'num' },
          { label: 'Linked by', kind: 'word' },
          { label: 'Record and chain', kind: 'text' },
        ],
        radius.suspect
          .slice(0, shownSuspects)
          .map(({ at, server, tool, hop, by, chain, record }) => [
            time(at),
            server,
            tool,
            hop,
            by,
            chain.length === 0 ? record : chain.join(' → '),
          ]),
      )}${radius.suspect.length > shownSuspects && html`<p>${count(radius.suspect.length - shownSuspects)} more are in report.json.</p>`}`
}
${
  radius.hubs.length > 0 &&
  html`<h3>Contexts that touch many others</h3>${bullets(
    radius.hubs.map(({ context, contexts }) => `${context}: ${plural(contexts, 'context')}`),
    '',
  )}`
}
<h3>Who and what is concerned</h3>
<p>Data classes: ${list(radius.dataClasses)}. Owners to tell: ${list(radius.owners)}.</p>`
}

/** What may be done in one system, the worst first, where the system itself said so. */
function permissions({ system, via, permissions: grants = [] }: BlastRadius['couldReach'][number]): Html | [] {
  if (grants.length === 0) return []
  return table(
    `In ${system}, by way of ${via}: what it may do, by the policies.`,
    [
      { label: 'What for', kind: 'word' },
      { label: 'Actions', kind: 'text' },
      { label: 'On', kind: 'text' },
      { label: 'Only if', kind: 'text' },
    ],
    grants.map(({ group, actions, more = 0, resources, except = [], condition }) => [
      tag([group === 'escalate' || group === 'persist' ? 'bad' : group === 'change' ? 'partly' : 'unknown', group]),
      some(actions, 12, more),
      `${some(resources, 6)}${except.length === 0 ? '' : `, but not ${some(except, 6)}`}`,
      condition ?? '–',
    ]),
  )
}

function some(names: readonly string[], shown: number, more = 0): string {
  const left = Math.max(0, names.length - shown) + more
  return `${names.slice(0, shown).join(', ')}${left > 0 ? ` and ${count(left)} more` : ''}`
}

/** A drawing; the tables beside it hold the same in words. */
function figure(drawing: Html | undefined, caption: string): Html {
  if (drawing === undefined) return html``
  return html`<figure>${drawing}<figcaption>${caption}</figcaption></figure>`
}
