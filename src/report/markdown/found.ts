import type { Review } from '../../invocations/port.ts'
import { code, md } from '../escape.ts'
import type { Report } from '../model.ts'
import { mostUnusualFirst } from '../rate-chart.ts'
import { bytes, count, plural } from '../words.ts'
import { items, table, time } from './parts.ts'

const coverage = {
  accessed: '**accessed**',
  'not-seen': 'not seen in the logs',
  'no-visibility': '**no visibility**: no log covers it, which does not mean that nothing happened',
} as const

export function blastRadius({ blastRadius: radius }: Report): string[] {
  if (radius === undefined) return ['## Blast radius', 'It was not computed in this case.']
  const powers = radius.couldReach.flatMap(({ system, permissions = [] }) =>
    permissions.map(({ group, actions, more, resources, except = [], condition }) => [
      md(system),
      group,
      `${actions.map(md).join(', ')}${more === undefined ? '' : ` and ${count(more)} more`}`,
      `${resources.map(md).join(', ')}${except.length === 0 ? '' : `, but not ${except.map(md).join(', ')}`}`,
      condition === undefined ? '–' : md(condition),
    ]),
  )
  return [
    '## Blast radius',
    '### Could reach',
    table(
      ['System', 'Kind', 'By way of', 'Access', 'Data', 'Owner'],
      radius.couldReach.map(({ system, kind, via, access, data, classification, owner }) => [
        md(system),
        md(kind),
        md(via),
        md(access),
        [...data, ...(classification === undefined ? [] : [classification])].map(md).join(', ') || '–',
        owner === undefined ? '–' : md(owner),
      ]),
      'The registry names no system that it reaches.',
    ),
    ...(powers.length === 0
      ? []
      : [
          '### What it may do there, by the policies',
          table(['System', 'What for', 'Actions', 'On', 'Only if'], powers, ''),
        ]),
    '### Did reach',
    table(
      ['System', 'Seen', 'Calls', 'Rows', 'Bytes'],
      radius.didReach.map((reach) => {
        const known = reach.coverage !== 'no-visibility'
        return [
          md(reach.system),
          coverage[reach.coverage],
          known ? count(reach.calls) : 'unknown',
          known ? count(reach.rows) : 'unknown',
          known ? bytes(reach.bytes) : 'unknown',
        ]
      }),
      'No system was looked at.',
    ),
    '### What left: its answers, and who got them',
    table(
      ['Caller', 'Calls', 'Rows', 'Bytes'],
      radius.left.map(({ caller, calls, rows, bytes: size }) => [
        md(caller),
        count(calls),
        rows === undefined ? 'not logged' : count(rows),
        size === undefined ? 'not logged' : bytes(size),
      ]),
      'No answer is in the logs that were read.',
    ),
    '### Exposed: what it was told',
    items(
      radius.exposed.map(({ caller, calls }) => `${md(caller)}: ${plural(calls, 'call')}`),
      'No caller is known.',
    ),
    '### Suspect calls on other servers',
    table(
      ['Time', 'Server', 'Tool', 'Hop', 'Linked by', 'Chain'],
      radius.suspect.map(({ at, server, tool, hop, by, chain }) => [
        time(at),
        md(server),
        md(tool),
        String(hop),
        by,
        chain.map(md).join(' → ') || '–',
      ]),
      'None was found in the logs that were read.',
    ),
    `Data classes: ${radius.dataClasses.map(md).join(', ') || 'none known'}`,
    `Owners to tell: ${radius.owners.map(md).join(', ') || 'none known'}`,
  ]
}

export function review({ review: found }: Report): string[] {
  if (found === undefined) return ['## What it did', 'The invocation log was not read in this case.']
  const rows = (uses: readonly (readonly [string, (typeof found.tools)[number] | (typeof found.callers)[number]])[]) =>
    uses.map(([name, use]) => [
      md(name),
      count(use.calls),
      count(use.failed),
      use.rows === undefined ? 'not logged' : count(use.rows),
      use.bytes === undefined ? 'not logged' : bytes(use.bytes),
      time(use.first),
      time(use.last),
    ])
  const columns = ['Calls', 'Failed', 'Rows', 'Bytes', 'First', 'Last']
  return [
    '## What it did',
    `${plural(found.records, 'call')} between ${time(found.window.since)} and ${time(found.window.until)}, from ${md(found.source.kind)} ${code(found.source.name)}, format ${md(found.source.format)}.`,
    '### What was out of the ordinary',
    table(
      ['What', 'Kind', 'Expected', 'Seen', 'Records'],
      found.findings.map(({ summary, kind, expected, seen, records, more = 0 }) => [
        md(summary),
        md(kind),
        md(expected),
        md(seen),
        count(records.length + more),
      ]),
      found.baseline === undefined
        ? 'Nothing from before the window was there to compare with.'
        : 'Nothing stood out against the four weeks before.',
    ),
    ...rate(found),
    '### Tools, callers, resources',
    table(['Tool', ...columns], rows(found.tools.map((use) => [use.tool, use])), 'No call is in the log.'),
    table(['Caller', ...columns], rows(found.callers.map((use) => [use.caller, use])), 'No caller is known.'),
    table(
      ['Resource', 'System', 'Was', 'Calls', 'By tools'],
      found.resources.map(({ resource, system, access, calls, tools }) => [
        md(resource),
        md(system),
        access === 'write' ? 'changed' : 'read',
        count(calls),
        tools.map(md).join(', '),
      ]),
      'The registry names no resource that was touched.',
    ),
    found.evidence === undefined ? '' : `The raw records are evidence ${code(found.evidence.sha256)}.`,
  ]
}

function rate({ hours }: Review): string[] {
  const unusual = mostUnusualFirst(hours)
  if (unusual.length === 0) return []
  return [
    '### Hours with more calls than is ordinary',
    table(
      ['Hour from', 'Calls', 'Ordinary', 'At most'],
      unusual.map(({ from, calls, expected, upper }) => [
        time(from),
        count(calls),
        expected === undefined ? 'unknown' : count(expected),
        upper === undefined ? 'unknown' : count(upper),
      ]),
    ),
  ]
}

export function redeployment({ redeployment: rebuilt }: Report): string[] {
  if (rebuilt === undefined) return ['## Redeployment', 'Nothing was redeployed in this case.']
  const { verification } = rebuilt
  return [
    '## Redeployment',
    verification === undefined
      ? 'The step recorded no verification of the build.'
      : `Provenance: **${md(verification.state)}**${verification.sha256 === undefined ? '' : `, SHA-256 ${code(verification.sha256)}`}`,
    verification === undefined
      ? ''
      : items([
          ...verification.reasons.map(md),
          ...verification.observed.map(
            ({ claim, seen, holds }) => `${md(claim)}: ${md(seen)}: ${holds ? 'holds' : '**does not hold**'}`,
          ),
        ]),
    table(
      ['Deployment', 'Version', 'Address', 'Tools served', 'Digest of the tools'],
      rebuilt.deployments.map(({ deployment, version, url, tools, toolsDigest }) => [
        md(deployment),
        md(version),
        url === undefined ? '–' : code(url),
        tools.map(md).join(', ') || '–',
        code(toolsDigest),
      ]),
      'Nothing was started.',
    ),
    ...(rebuilt.exceptions.length === 0 ? [] : ['### Exceptions that were made', items(rebuilt.exceptions.map(md))]),
    '### How the compromised deployment differs from the verified build',
    items(rebuilt.tampered.map(md), 'The step recorded no comparison.'),
  ]
}
