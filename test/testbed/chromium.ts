import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { BrowserContext, Page } from 'playwright-core'

/** The system's Chromium, if there is one. */
export function findChromium(): string | undefined {
  const names = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome']
  const places = (process.env.PATH ?? '').split(delimiter).flatMap((folder) => names.map((name) => join(folder, name)))
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** Chromium with an empty profile of its own, which is removed at the end. It may talk to nobody on its own account. */
export async function withChromium<T>(
  executable: string,
  options: { colorScheme?: 'light' | 'dark'; width?: number; height?: number },
  work: (browser: BrowserContext) => Promise<T>,
): Promise<T> {
  const { chromium } = await import('playwright-core')
  const profile = await mkdtemp(join(tmpdir(), 'mcp-ir-chromium-'))
  try {
    const browser = await chromium.launchPersistentContext(profile, {
      executablePath: executable,
      headless: true,
      viewport: { width: options.width ?? 1280, height: options.height ?? 900 },
      colorScheme: options.colorScheme ?? 'light',
      args: [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    })
    try {
      return await work(browser)
    } finally {
      await browser.close()
    }
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Opens a file, looks at it, and lists everything that a file that is only read should not do. */
export async function openFile<T>(browser: BrowserContext, path: string, look: (page: Page) => Promise<T>) {
  const page = await browser.newPage()
  const requests: string[] = []
  const trouble: string[] = []
  browser.on('request', (request) => requests.push(request.url()))
  page.on('console', (message) => trouble.push(`console: ${message.text()}`))
  page.on('pageerror', (error) => trouble.push(`error: ${error.message}`))
  page.on('dialog', async (dialog) => {
    trouble.push(`dialog: ${dialog.message()}`)
    await dialog.dismiss()
  })
  await page.goto(pathToFileURL(path).href, { waitUntil: 'load' })
  const seen = await look(page)
  return { requests, trouble, seen }
}
