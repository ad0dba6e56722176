import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { basename, isAbsolute, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { accessibilityFindings } from '../report/accessible.ts'
import { findChromium, openFile, withChromium } from '../testbed/chromium.ts'
import { mcpIr, type Ran } from '../testbed/cli.ts'

const chromium = findChromium()
if (chromium === undefined && process.env.CI === 'true')
  throw new Error('Chromium is missing: apt-get install chromium')

/** Argument lists of everything that runs on this machine, looked at all the while. */
function watchArguments(): { seen: Set<string>; stop: () => void } {
  const seen = new Set<string>()
  const timer = setInterval(() => {
    for (const pid of readdirSync('/proc')) {
      if (!/^\d+$/.test(pid)) continue
      try {
        seen.add(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
      } catch {
        // It has ended meanwhile.
      }
    }
  }, 50)
  return { seen, stop: () => clearInterval(timer) }
}

describe('mcp-ir drill --yes --json', () => {
  let ran: Ran
  let folder: string
  const watched = watchArguments()
  beforeAll(async () => {
    ran = await mcpIr(['drill', '--yes', '--json', '--scenario', 'data-exfiltration'])
    watched.stop()
    folder = ran.json.result.folder
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test('prints one object and ends with code 0', () => {
    expect(ran.code, ran.stderr).toBe(0)
    expect(ran.stdout.trimEnd().split('\n')).toHaveLength(1)
    expect(ran.json).toMatchObject({
      schema: 'mcp-ir/drill/1',
      status: 'done',
      case: expect.stringMatching(/^\d{8}-io-example-crm-[0-9a-f]{4}$/),
      problems: [],
    })
    for (const step of ran.json.result.steps) {
      expect(step).toMatchObject({ id: expect.any(String), state: 'done' })
      expect(Date.parse(step.endedAt)).toBeGreaterThanOrEqual(Date.parse(step.startedAt))
    }
    expect(ran.json.result.proof.length).toBeGreaterThanOrEqual(6)
    for (const { claim, before, after, holds } of ran.json.result.proof) {
      expect(holds, claim).toBe(true)
      expect(before).not.toEqual(after)
    }
  })

  test('the report lies where it says, in the case that outlives the drill', async () => {
    for (const [format, file] of Object.entries<string>(ran.json.result.report)) {
      expect(isAbsolute(file) && file.endsWith(`report/report.${format}`)).toBe(true)
      expect(existsSync(file)).toBe(true)
    }
    const config = join(folder, 'mcp-ir.yaml')
    expect((await mcpIr(['case', 'check', '--config', config])).code).toBe(0)
    // Made again it tells of its own step too; made once more it is the same bytes.
    const once = await mcpIr(['report', '--format', 'html', '--config', config])
    const twice = await mcpIr(['report', '--format', 'html', '--config', config])
    expect(once.code).toBe(0)
    expect(twice.stdout).toBe(once.stdout)
  })

  test('report.json holds against the published schema', async () => {
    const { Ajv } = await import('ajv')
    const schema = JSON.parse(readFileSync('schemas/report.json', 'utf8'))
    const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(schema)
    validate(JSON.parse(readFileSync(ran.json.result.report.json, 'utf8')))
    expect(validate.errors).toBeNull()
  })

  test.skipIf(chromium === undefined).each(['light', 'dark'] as const)(
    'the report opens without a request or a complaint, and is accessible, in the %s and on paper',
    async (colorScheme) => {
      const file = ran.json.result.report.html
      const { requests, trouble, seen } = await withChromium(chromium ?? '', { colorScheme }, (browser) =>
        openFile(browser, file, async (page) => {
          const screen = await accessibilityFindings(page)
          await page.emulateMedia({ media: 'print', colorScheme })
          return { screen, print: await accessibilityFindings(page) }
        }),
      )
      expect(requests).toEqual([pathToFileURL(file).href])
      expect(trouble).toEqual([])
      expect(seen).toEqual({ screen: [], print: [] })
    },
  )

  test('a redacted report names nothing of this company', async () => {
    const config = join(folder, 'mcp-ir.yaml')
    const redacted = await mcpIr(['report', '--redact', '--tlp', 'green', '--format', 'md', '--config', config])
    expect(redacted.code).toBe(0)
    expect(redacted.stdout).toContain('**TLP:GREEN**')
    for (const name of [
      basename(folder),
      tmpdir(),
      hostname(),
      '127.0.0.1',
      'support-copilot',
      'customers-api',
      'mail-relay',
    ]) {
      expect(redacted.stdout, name).not.toContain(name)
    }
  })

  test('no secret is in its output or in any argument list', () => {
    const canaries: Record<string, string> = JSON.parse(readFileSync(join(folder, 'canaries.json'), 'utf8'))
    // The watch did see the drill's processes.
    expect([...watched.seen].some((line) => line.includes(basename(folder)))).toBe(true)
    for (const [name, secret] of Object.entries(canaries)) {
      expect(ran.stdout + ran.stderr, name).not.toContain(secret)
      expect(
        [...watched.seen].filter((line) => line.includes(secret)),
        name,
      ).toEqual([])
    }
  })
})

test('without a terminal and without --yes the drill stops with code 2, and nothing is left', async () => {
  const ran = await mcpIr(['drill', '--json'])
  expect([ran.code, ran.json.status, ran.json.result.folder]).toEqual([2, 'consent-required', null])
})
