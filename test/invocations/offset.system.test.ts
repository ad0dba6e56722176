import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { mcpIr, workplace } from '../testbed/cli.ts'

const server = (name: string) =>
  `  - {name: ${name}, version: "1", status: approved, owner: ${name}-team, package: {registryType: npm, identifier: x, version: "1"}, deployments: []}\n`
const config = 'invocations: {kind: files, path: "./log.ndjson", format: otel, offset: 90s}\n'
const window = ['--since', '2026-11-20T10:00:00Z', '--until', '2026-11-20T11:00:00Z']
const call = (id: string, time: string, name: string) => ({
  timestamp: `2026-11-20T${time}Z`,
  'mcp.method.name': 'tools/call',
  'mcp.server.name': name,
  'gen_ai.tool.name': 'lookup',
  'mcp.session.id': 's1',
  span_id: id,
})

describe('a log whose clock is ahead', () => {
  const folder = workplace(`servers:\n${server('crm')}${server('wiki')}`, config)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  // By its own clock: 10:01:29 is 09:59:59, and 11:01:29 is 10:59:59.
  const lines = [
    call('before', '10:01:29', 'crm'),
    call('first', '10:01:30', 'crm'),
    call('carried', '10:01:40', 'wiki'),
    call('last', '11:01:29', 'crm'),
    call('after', '11:01:30', 'crm'),
  ].map((record) => `${JSON.stringify(record)}\n`)
  writeFileSync(join(folder, 'log.ndjson'), lines.join(''))
  const stated = expect.stringContaining('The clock of this log is taken to be 90s ahead (offset in mcp-ir.yaml)')

  it('is set back before anything is counted, followed or exported, and that is said', async () => {
    const reviewed = await mcpIr(['review', 'crm', ...window, '--export', 'out.ndjson', '--json'], { cwd: folder })
    expect(reviewed.json.result.output).toMatchObject({
      records: 2,
      first: '2026-11-20T10:00:00.000Z',
      last: '2026-11-20T10:59:59.000Z',
      gaps: expect.arrayContaining([stated]),
    })
    expect(readFileSync(join(folder, 'out.ndjson'), 'utf8')).toBe(`${lines[1]}${lines[3]}`)
    const radius = await mcpIr(['blast-radius', 'crm', ...window, '--json'], { cwd: folder })
    expect(radius.json.result.output.suspect).toMatchObject([{ record: 'carried', at: '2026-11-20T10:00:10.000Z' }])
    expect(radius.json.result.output.gaps).toContainEqual(stated)
  })

  it('an export is not gone on with by another clock, and an offset that is none is refused', async () => {
    const file = join(folder, 'mcp-ir.yaml')
    const written = readFileSync(file, 'utf8')
    writeFileSync(file, written.replace('90s', '-2m'))
    const other = await mcpIr(['review', 'crm', ...window, '--export', 'out.ndjson', '--json'], { cwd: folder })
    expect(other.code).toBe(2)
    expect(other.stdout + other.stderr).toMatch(/out\.ndjson/)
    writeFileSync(file, written.replace('90s', 'soon'))
    const none = await mcpIr(['review', 'crm', ...window, '--json'], { cwd: folder })
    expect(none.code).toBe(2)
    expect(none.stdout + none.stderr).toContain(
      'must be how far its clock is ahead, such as 90s, or behind, such as -2m',
    )
  })
})
