import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { mcpIr, workplace } from '../testbed/cli.ts'

const server = (name: string, more = '') => `
  - name: ${name}
    version: 1.0.0
    status: approved
    owner: ${name}-team
    package: {registryType: npm, identifier: x, version: 1.0.0}
    deployments: []${more}`

const notes = (tool: string, access: string) =>
  `\n      - {tool: ${tool}, access: ${access}, resource: "note:\${params.id}", system: notes-db}`

const registry = `servers:${server(
  'crm',
  `
    knownGood: 2026-11-20T00:00:00Z
    consumers: [copilot]
    reaches: [{system: crm-db, kind: database, access: read, data: [customer-pii]}]`,
)}${server(
  'notes',
  `
    reaches: [{system: notes-db, kind: database, access: write}]
    resources:${notes('save_note', 'write')}`,
)}${server(
  'wiki',
  `
    reaches: [{system: notes-db, kind: database, access: read, data: [internal]}]
    resources:${notes('get_note', 'read')}`,
)}
`

const canary = 'CANARY-in-a-parameter'
const call = (id: string, at: string, name: string, tool: string, session: string, more: object = {}) => ({
  timestamp: `2026-11-20T${at}Z`,
  'mcp.method.name': 'tools/call',
  'mcp.server.name': name,
  'gen_ai.tool.name': tool,
  'mcp.session.id': session,
  'user.name': session.split('-')[0],
  span_id: id,
  ...more,
})
const note = { 'gen_ai.tool.call.arguments': { id: 7, text: canary } }

const lines = [
  { ...call('r0', '09:00:00', 'crm', '', 'ann-1'), 'mcp.method.name': 'tools/list', 'gen_ai.tool.name': undefined },
  call('r1', '08:00:00', 'wiki', 'get_page', 'ann-1'),
  call('r2', '10:01:00', 'crm', 'search', 'ann-2', {
    duration_ms: 60_000,
    'gen_ai.tool.call.arguments': { query: canary },
  }),
  call('r2b', '10:01:30', 'mail', 'send', 'ann-2'),
  call('r3', '10:05:00', 'notes', 'save_note', 'ann-2', note),
  call('r4', '11:30:00', 'wiki', 'get_note', 'bob-4', note),
  call('r5', '11:31:00', 'mail', 'send', 'bob-4'),
  call('r6', '11:32:00', 'mail', 'send', 'eve-2', { 'gen_ai.agent.name': 'copilot' }),
  ...Array.from({ length: 60 }, (_, index) => [
    call(`p${index}`, `12:00:${String(index).padStart(2, '0')}`, 'crm', 'search', `svc-${index}`),
    call(`c${index}`, `12:01:${String(index).padStart(2, '0')}`, 'mail', 'send', `svc-${index}`),
  ]).flat(),
]

test('what a server said is followed from context to context, through the real command', async () => {
  const folder = workplace(
    registry,
    'invocations: {kind: files, path: "./logs/*.ndjson", format: otel, writer: gateway}\n',
  )
  mkdirSync(join(folder, 'logs'))
  writeFileSync(join(folder, 'logs', 'a.ndjson'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''))

  const { code, json, stdout } = await mcpIr(['blast-radius', 'crm', '--json'], { cwd: folder })
  expect(code).toBe(0)
  const { suspect, hubs, worst, exposed, dataClasses, owners, gaps } = json.result.output
  expect(suspect).toEqual(
    [
      ['r3', 'notes', 'save_note', '2026-11-20T10:05:00.000Z', 1, ['r2', 'r3'], { context: 'session ann-2' }],
      [
        'r4',
        'wiki',
        'get_note',
        '2026-11-20T11:30:00.000Z',
        2,
        ['r2', 'r3', 'r4'],
        { context: 'session bob-4', resource: 'note:7 in notes-db' },
      ],
      ['r5', 'mail', 'send', '2026-11-20T11:31:00.000Z', 2, ['r2', 'r3', 'r4', 'r5'], { context: 'session bob-4' }],
    ].map(([record, server, tool, at, hop, chain, of]) => ({
      record,
      server,
      tool,
      at,
      hop,
      by: 'session',
      chain,
      ...Object(of),
    })),
  )
  expect(hubs).toEqual([{ context: 'account svc', kind: 'account', contexts: 60, calls: 60 }])
  expect(worst.map(({ record }: { record: string }) => record)).toEqual(['r3', 'r5', 'r4'])
  expect(exposed[0]).toMatchObject({ context: 'session ann-2', parameters: [{ name: 'query', bytes: canary.length }] })
  expect(dataClasses).toEqual(['customer-pii'])
  expect(owners).toEqual(['crm-team', 'notes-team', 'wiki-team'])
  expect(gaps.join('\n')).toMatch(/60 suspect calls at hubs are not listed/)
  expect(stdout).not.toContain(canary)

  const text = await mcpIr(['blast-radius', 'crm'], { cwd: folder })
  expect(text.stdout).toMatch(/Suspect \(3 calls to other servers by those who had listened to it\), the worst first:/)
  expect(text.stdout).toMatch(/account svc +60 +60/)
  expect(text.stdout).not.toContain(canary)

  const through = await mcpIr(['blast-radius', 'crm', '--json', '--through-hubs'], { cwd: folder })
  expect(through.json.result.output.suspect).toHaveLength(63)
  expect(through.json.result.output.hubs).toMatchObject([{ contexts: 60, calls: 0 }])
})
