import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findChromium, withChromium } from '../testbed/chromium.ts'
import { mcpIr, type Ran, workplace } from '../testbed/cli.ts'

/** What the log says was written by whoever called, and by the suspect. None of it may come alive anywhere. */
const beacon = createServer((_, response) => {
  requests++
  response.end()
})
let requests = 0
let origin: string
let folder: string
let review: Ran
let radius: Ran

const hostile = () => [
  '\u001b[2J\u001b]0;owned\u0007 clear',
  '\u202egnp.exe',
  `<script>fetch('${origin}/script')</script>`,
  `"><img src=${origin}/img onerror=fetch('${origin}/onerror')>`,
  `![x](${origin}/image)`,
  `[click](javascript:fetch('${origin}/js'))`,
  "'; DROP TABLE records; --",
  '*/x/**',
  '../../../etc/passwd',
  'a\r\nb\u0000c',
]
const canary = 'canary-in-the-arguments-7f3a'

beforeAll(async () => {
  await new Promise<void>((resolve) => beacon.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(beacon.address() as AddressInfo).port}`
  folder = workplace(
    `
servers:
  - name: io.example/loud
    version: 1.0.0
    status: approved
    owner: "<b>owner</b>"
    knownGood: 2026-11-20T00:00:00Z
    package: {registryType: npm, identifier: "@example/loud", version: 1.0.0}
    deployments: []
    reaches:
      - {system: "![sys](${origin}/sys)", kind: database, access: read-write, data: ["<i>pii</i>"]}
`,
    'invocations: {kind: files, path: "./logs/*.ndjson", format: otel, writer: gateway}\n',
  )
  mkdirSync(join(folder, 'logs'))
  const lines = hostile().map((text, index) =>
    JSON.stringify({
      timestamp: `2026-11-22T10:00:${String(index).padStart(2, '0')}.000Z`,
      'mcp.method.name': 'tools/call',
      'mcp.server.name': 'io.example/loud',
      'gen_ai.tool.name': text,
      'gen_ai.agent.name': text,
      'mcp.session.id': text,
      'user.name': text,
      'gen_ai.tool.call.arguments': { secret: canary, text },
      'gen_ai.tool.call.result': { records: [text] },
    }),
  )
  // A plain call a day before: whatever else is called for the first time, by whomever, is a finding.
  const usual = Array.from({ length: 20 }, (_, index) =>
    JSON.stringify({
      timestamp: new Date(Date.parse('2026-11-19T10:00:00Z') - index * 86_400_000).toISOString(),
      'mcp.method.name': 'tools/call',
      'mcp.server.name': 'io.example/loud',
      'gen_ai.tool.name': 'search',
      'gen_ai.agent.name': 'copilot',
      'user.name': 'ann',
      span_id: `usual-${index}`,
      'gen_ai.tool.call.result': { records: [] },
    }),
  )
  const listed = ['2026-11-19T09:00:00Z', '2026-11-22T09:00:00Z'].map((timestamp, index) =>
    JSON.stringify({
      timestamp,
      'mcp.method.name': 'tools/list',
      'mcp.server.name': 'io.example/loud',
      'gen_ai.tool.call.result': {
        tools: [{ name: `search${hostile()[0]}`, description: index === 0 ? 'Searches.' : hostile().join(' ') }],
      },
    }),
  )
  writeFileSync(join(folder, 'logs', 'a.ndjson'), `${[...lines, ...usual, ...listed].join('\n')}\n`)
  review = await mcpIr(['review', 'io.example/loud', '--yes'], { cwd: folder })
  radius = await mcpIr(['blast-radius', 'io.example/loud', '--yes'], { cwd: folder })
})
afterAll(() => beacon.close())

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
const alive = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/

test('all calls are counted, and nothing reaches the terminal alive; arguments are not shown at all', () => {
  for (const ran of [review, radius]) {
    expect(ran.code, ran.stderr).toBe(0)
    expect(ran.stdout + ran.stderr).not.toMatch(alive)
    expect(ran.stdout + ran.stderr).not.toContain(canary)
  }
  expect(review.stdout).toContain(`${hostile().length} calls`)
  for (const kind of [
    'agents that were never seen before',
    'tools that were never seen before',
    'The description of tool',
  ])
    expect(review.stdout).toContain(kind)
})

const chromium = findChromium()
if (chromium === undefined && process.env.CI === 'true')
  throw new Error('Chromium is missing: apt-get install chromium')

test.skipIf(chromium === undefined)(
  'the report opens in a browser without a request, a script or an error',
  async () => {
    const written = await mcpIr(['report', '--json'], { cwd: folder })
    expect(written.code, written.stderr).toBe(0)
    const { html, md, json } = written.json.result.output
    for (const file of [html, md, json]) expect(readFileSync(file, 'utf8')).not.toContain(canary)
    expect(readFileSync(md, 'utf8')).not.toMatch(alive)
    const seen: string[] = []
    await withChromium(chromium ?? '', {}, async (browser) => {
      const page = await browser.newPage()
      page.on('request', (request) => void seen.push(request.url()))
      page.on('dialog', (dialog) => void seen.push(dialog.message()))
      page.on('console', (message) => void seen.push(message.text()))
      await page.goto(`file://${html}`)
      expect(await page.locator('script, iframe, img, object, embed').count()).toBe(0)
    })
    expect(seen).toEqual([`file://${html}`])
    expect(requests).toBe(0)
  },
)

test('the journal holds no argument, and the raw records are kept only as evidence', () => {
  const [name] = readdirSync(join(folder, 'cases'))
  const at = (...parts: string[]) => join(folder, 'cases', name ?? '', ...parts)
  expect(readFileSync(at('journal.ndjson'), 'utf8')).not.toContain(canary)
  const holders = readdirSync(at('evidence')).filter((file) =>
    readFileSync(at('evidence', file), 'utf8').includes(canary),
  )
  expect(holders).toHaveLength(1)
  expect(existsSync(at('private'))).toBe(true)
})
