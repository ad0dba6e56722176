import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { BlastRadius } from '../../src/blast-radius/port.ts'
import { html, trusted } from '../../src/report/escape.ts'
import { reachGraph, spreadGraph } from '../../src/report/graph.ts'
import { style } from '../../src/report/style.ts'
import { findChromium, withChromium } from '../testbed/chromium.ts'
import { poison } from './hostile.ts'
import { radiusOf } from './radius.ts'

const chromium = findChromium()
if (chromium === undefined && process.env.CI === 'true')
  throw new Error('Chromium is missing: apt-get install chromium')

/** Run in the browser: what sticks out of its box or lies upon other text, and what cannot be told from its ground. */
const looks = `(() => {
  const boxOf = (element) => element.getBoundingClientRect()
  const out = []
  for (const svg of document.querySelectorAll('svg.graph')) {
    const whole = boxOf(svg)
    const texts = [...svg.querySelectorAll('text')]
    for (const group of svg.querySelectorAll('g')) {
      const frame = boxOf(group.querySelector('rect'))
      for (const text of group.querySelectorAll('text'))
        if (boxOf(text).right > frame.right || boxOf(text).left < frame.left || boxOf(text).bottom > frame.bottom)
          out.push('sticks out: ' + text.textContent)
    }
    for (const [index, text] of texts.entries()) {
      const one = boxOf(text)
      if (one.left < whole.left - 1 || one.right > whole.right + 1) out.push('outside: ' + text.textContent)
      for (const other of texts.slice(index + 1).map(boxOf))
        if (one.left < other.right && other.left < one.right && one.top + 2 < other.bottom && other.top + 2 < one.bottom)
          out.push('overlaps: ' + text.textContent)
    }
  }
  const ink = getComputedStyle(document.querySelector('svg.graph g text')).fill
  const paper = getComputedStyle(document.querySelector('svg.graph g rect')).fill
  return { out, ink, paper, texts: document.querySelectorAll('svg.graph text').length }
})()`

interface Looks {
  readonly out: readonly string[]
  readonly ink: string
  readonly paper: string
  readonly texts: number
}

describe.skipIf(chromium === undefined)('the drawings of a blast radius in a real browser', () => {
  let folder: string
  const pages = { five: radiusOf(5), many: radiusOf(500), hostile: radiusOf(40, poison) }
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mcp-ir-graph-'))
    for (const [name, radius] of Object.entries(pages)) await writeFile(join(folder, `${name}.html`), pageOf(radius))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  const pageOf = (radius: BlastRadius) =>
    html`<!doctype html><meta charset="utf-8"><style>${trusted(style)}</style><main><section><figure>${reachGraph('io.acme/crm', radius)}</figure><figure>${spreadGraph('io.acme/crm', radius)}</figure></section></main>`
      .markup

  const inColour = { light: ['rgb(29, 39, 51)', 'rgb(255, 255, 255)'], dark: ['rgb(230, 235, 241)', 'rgb(18, 24, 31)'] }

  it.each(['light', 'dark'] as const)('keep every text in its own box, in the %s and on paper', async (colorScheme) => {
    await withChromium(chromium ?? '', { colorScheme }, async (browser) => {
      for (const name of Object.keys(pages)) {
        const page = await browser.newPage()
        await page.goto(pathToFileURL(join(folder, `${name}.html`)).href)
        const screen = await page.evaluate<Looks>(looks)
        expect({ name, out: screen.out }).toEqual({ name, out: [] })
        expect([screen.ink, screen.paper]).toEqual(inColour[colorScheme])
        expect(screen.texts).toBeGreaterThan(10)
        await page.emulateMedia({ media: 'print' })
        const print = await page.evaluate<Looks>(looks)
        expect({ name, out: print.out }).toEqual({ name, out: [] })
        expect([print.ink, print.paper]).toEqual(inColour.light)
      }
    })
  })
})
