import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { renderHtml } from '../../src/report/html.ts'
import { findChromium, openFile, withChromium } from '../testbed/chromium.ts'
import { JournalBuilder } from '../testbed/journal-builder.ts'
import { accessibilityFindings } from './accessible.ts'
import { poison } from './hostile.ts'
import { type Inventory, inventory, type Legibility, legibility, paper } from './in-page.ts'
import { incident, opened, reportOn } from './incident.ts'

const chromium = findChromium()
if (chromium === undefined && process.env.CI === 'true')
  throw new Error('Chromium is missing: apt-get install chromium')

describe.skipIf(chromium === undefined)('the HTML report in a real browser', () => {
  let folder: string
  let file: string
  /** Everything that reaches the address that the hostile strings point at. */
  const reached: string[] = []
  const sink = createServer((request, response) => {
    reached.push(request.url ?? '')
    response.end()
  })

  beforeAll(async () => {
    await new Promise<void>((resolve) => sink.listen(0, '127.0.0.1', resolve))
    const { port } = sink.address() as AddressInfo
    folder = await mkdtemp(join(tmpdir(), 'mcp-ir-report-'))
    file = join(folder, 'report.html')
    const aimed = (text: string) => poison(text).replaceAll('127.0.0.1:9', `127.0.0.1:${port}`)
    await writeFile(file, renderHtml(await reportOn(incident(aimed).record)))
  })
  afterAll(async () => {
    sink.close()
    await rm(folder, { recursive: true, force: true })
  })

  it('fetches nothing, runs nothing, complains of nothing, whatever is in it', async () => {
    const { requests, trouble, seen } = await withChromium(chromium ?? '', {}, (browser) =>
      openFile(browser, file, async (page) => {
        await page.mouse.move(400, 400)
        for (const summary of await page.locator('summary').all()) await summary.click()
        return page.evaluate<Inventory>(inventory)
      }),
    )
    expect(requests).toEqual([pathToFileURL(file).href])
    expect(trouble).toEqual([])
    expect(reached).toEqual([])
    expect(seen.scripts).toBe(0)
    expect(seen.handlers).toEqual([])
    expect(new Set(seen.links)).toEqual(new Set(['#']))
    expect(seen.policy).toMatch(/^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]+='; img-src data:/)
    expect(seen.styled).toBe('5px')
  })

  it('notices a page that does what it must not', async () => {
    const bad = join(folder, 'bad.html')
    const { port } = sink.address() as AddressInfo
    await writeFile(bad, `<script>alert(1)</script><img src="http://127.0.0.1:${port}/pixel">`)
    const { requests, trouble, seen } = await withChromium(chromium ?? '', {}, (browser) =>
      openFile(browser, bad, accessibilityFindings),
    )
    expect(seen).toContainEqual(expect.stringMatching(/^critical: image-alt: 1 times/))
    expect(requests.length).toBeGreaterThan(1)
    expect(trouble).toEqual(['dialog: 1'])
    expect(reached.splice(0)).toEqual(['/pixel'])
  })

  it.each(['light', 'dark'] as const)(
    'reads well in the %s: charts in their colours, nothing sticking out',
    async (colorScheme) => {
      const { seen } = await withChromium(chromium ?? '', { colorScheme }, (browser) =>
        openFile(browser, file, async (page) => {
          const wide = await page.evaluate<Legibility>(legibility)
          await page.setViewportSize({ width: 390, height: 800 })
          const narrow = await page.evaluate<Legibility>(legibility)
          return { wide, narrow }
        }),
      )
      expect(seen.wide.tooWide).toBe(0)
      expect(seen.narrow.tooWide).toBe(0)
      expect(seen.wide.faint).toEqual([])
      expect(seen.wide.lanes).toEqual(
        colorScheme === 'light'
          ? ['rgb(179, 38, 30)', 'rgb(47, 93, 158)', 'rgb(10, 107, 94)']
          : ['rgb(255, 143, 133)', 'rgb(138, 180, 248)', 'rgb(95, 208, 189)'],
      )
      seen.wide.headings.reduce((before, level) => {
        expect(level - before).toBeLessThanOrEqual(1)
        return level
      }, 0)
      expect(seen.wide).toMatchObject({ headless: 0, dangling: 0, duplicates: 0 })
    },
  )

  const looks = [
    ['light', 'screen'],
    ['dark', 'screen'],
    ['light', 'print'],
    ['dark', 'print'],
  ] as const

  it.each(looks)('has nothing that an accessibility check objects to, %s on %s', async (colorScheme, media) => {
    const { seen } = await withChromium(chromium ?? '', { colorScheme }, (browser) =>
      openFile(browser, file, async (page) => {
        await page.emulateMedia({ media, colorScheme })
        return accessibilityFindings(page)
      }),
    )
    expect(seen).toEqual([])
  })

  describe('of 5,000 entries', () => {
    let long: string
    beforeAll(async () => {
      long = join(folder, 'long.html')
      await writeFile(long, renderHtml(await reportOn(longCase(5000).record)))
    })

    it.each(looks)('has nothing that an accessibility check objects to, %s on %s', async (colorScheme, media) => {
      const { requests, trouble, seen } = await withChromium(chromium ?? '', { colorScheme }, (browser) =>
        openFile(browser, long, async (page) => {
          await page.emulateMedia({ media, colorScheme })
          return accessibilityFindings(page)
        }),
      )
      expect({ requests, trouble, seen }).toEqual({ requests: [pathToFileURL(long).href], trouble: [], seen: [] })
    })
  })

  it('of 100,000 entries is folded, opens, and shows what is unfolded', async () => {
    const long = join(folder, 'longest.html')
    await writeFile(long, renderHtml(await reportOn(longCase(100_000).record)))
    const { requests, trouble, seen } = await withChromium(chromium ?? '', {}, (browser) =>
      openFile(browser, long, async (page) => {
        const last = page.locator('#timeline details').last()
        const before = await last.locator('tr').last().isVisible()
        await last.locator('summary').click()
        return { before, after: await last.locator('tr').last().textContent() }
      }),
    )
    expect({ requests, trouble }).toEqual({ requests: [pathToFileURL(long).href], trouble: [] })
    expect(seen).toEqual({ before: false, after: expect.stringContaining('note 99999') })
  })

  it('prints on white, with everything unfolded and nothing cut', async () => {
    const { seen } = await withChromium(chromium ?? '', { colorScheme: 'dark', width: 720 }, (browser) =>
      openFile(browser, file, async (page) => {
        await page.emulateMedia({ media: 'print', colorScheme: 'dark' })
        return page.evaluate<unknown>(paper)
      }),
    )
    expect(seen).toEqual({ ink: 'rgb(29, 39, 51)', nav: 'none', cut: 0 })
  })
})

/** A case with this many notes; without its steps the chart and the rest are as ever. */
function longCase(entries: number): JournalBuilder {
  const journal = new JournalBuilder('2026-11-23T02:11:08.114Z').add('case.opened', opened())
  for (let i = 0; i < entries; i += 1) {
    journal.after(977).add('note', { kind: 'note', text: `note ${i}`, at: journal.now })
  }
  return journal
}
