import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { code, html, json, md } from '../../src/report/escape.ts'
import { renderHtml } from '../../src/report/html.ts'
import { renderJson } from '../../src/report/json.ts'
import { renderMarkdown } from '../../src/report/markdown.ts'
import { hostile, poison } from './hostile.ts'
import { incident, reportOn } from './incident.ts'

/** Control, format, bidirectional, separator and private characters, but for the line feed. */
const unseen = /[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/u

/**
 * Markdown without its code spans and escaped characters: what is left is what a renderer may act upon. Written by the
 * rules of the specification (backslash escapes outside code only; a span ends at a run of backticks of the same length).
 */
function alive(markdown: string): { rest: string; spans: string[] } {
  const spans: string[] = []
  let rest = ''
  for (let at = 0; at < markdown.length; ) {
    if (markdown[at] === '\\' && /[!-/:-@[-`{-~]/.test(markdown[at + 1] ?? '')) {
      rest += '\u0001'
      at += 2
      continue
    }
    const run = /^`+/.exec(markdown.slice(at))?.[0]
    if (run === undefined) {
      rest += markdown[at]
      at += 1
      continue
    }
    const close = new RegExp(`(?<!\`)${run}(?!\`)`).exec(markdown.slice(at + run.length))
    if (close === null) {
      rest += run
      at += run.length
      continue
    }
    spans.push(markdown.slice(at + run.length, at + run.length + close.index))
    rest += '\u0002'
    at += run.length + close.index + run.length
  }
  return { rest, spans }
}

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom(...'`\\|*_[]()<>!:/.@#-+=~&$ \n\tahtpws1'.split('')) }),
  fc.array(fc.constantFrom(...hostile.slice(0, -1)), { maxLength: 4 }).map((parts) => parts.join('')),
)

describe('md', () => {
  it('leaves nothing alive of any text', () => {
    fc.assert(
      fc.property(text, (value) => {
        const { rest, spans } = alive(md(value))
        expect(rest).not.toMatch(/[\\`*_{}[\]<>#!|~$^=&@]/)
        expect(rest).not.toMatch(/https?:|www|[\p{L}\p{N}]\.\p{L}|[\p{L}\p{N}]:\S/u)
        expect(rest).not.toMatch(/^\s*([-+>]|\d+[.)])/)
        expect(md(value)).not.toMatch(/\n/)
        expect(md(value)).not.toMatch(unseen)
        for (const span of spans) expect(span).not.toContain('|')
      }),
      { numRuns: 2000 },
    )
  })

  it('leaves plain words readable', () => {
    expect(md('3 of 4 observations hold, with residue (told by alice@laptop).')).toBe(
      '3 of 4 observations hold, with residue (told by `alice@laptop`).',
    )
    expect(md('a|b')).toBe('a\\|b')
    expect(code('a`b')).toBe('``a`b``')
  })
})

describe('html', () => {
  it('escapes every value, in text and in attributes', () => {
    fc.assert(
      fc.property(text, (value) => {
        const { markup } = html`<p title="${value}">${value}</p>`
        expect(markup.match(/[<>"]/g)?.join('')).toBe('<"">' + '<>')
        expect(markup).not.toMatch(unseen)
      }),
    )
  })

  it('puts in again what it made', () => {
    expect(html`<ul>${['<', '&'].map((item) => html`<li>${item}</li>`)}${undefined}${false}</ul>`.markup).toBe(
      '<ul><li>&#60;</li><li>&#38;</li></ul>',
    )
  })
})

it('json keeps every value and shows no control character', () => {
  fc.assert(
    fc.property(text, (value) => {
      expect(JSON.parse(json({ value }))).toEqual({ value })
      expect(json({ value })).not.toMatch(unseen)
    }),
  )
})

describe('a report in which every outside string is hostile', () => {
  it('has the very elements and attributes of a harmless one', async () => {
    const elements = (markup: string) =>
      (markup.match(/<[^>]*>/g) ?? []).filter((tag) => !/^<(?:text|path|g|svg|\/)/.test(tag)).map(shape)
    const harmless = elements(renderHtml(await reportOn(incident().record)))
    const poisoned = renderHtml(await reportOn(incident(poison).record))
    expect(elements(poisoned).filter((tag) => tag !== '<b>')).toEqual(harmless.filter((tag) => tag !== '<b>'))
    expect(poisoned).not.toMatch(unseen)
    expect(poisoned).not.toMatch(/<script|<img|<iframe|<svg\/|onerror=[^&]*>|<a href="(?!#)/i)
  })

  it('has no style of its own in the charts, and no name that counts up', async () => {
    const markup = renderHtml(await reportOn(incident(poison).record))
    expect(markup.match(/<svg/g)?.length).toBe(5)
    expect(markup.match(/<style/g)?.length).toBe(1)
    expect(markup).not.toMatch(/ style="| class="zr| ecmeta_/)
  })

  it('has the tables and headings of a harmless one in Markdown', async () => {
    const outline = (markdown: string) =>
      markdown.split('\n').map((line) => {
        const { rest } = alive(line)
        return `${/^(#+|-|\|)?/.exec(rest)?.[0]} ${rest.split('|').length}`
      })
    const harmless = renderMarkdown(await reportOn(incident().record))
    const poisoned = renderMarkdown(await reportOn(incident(poison).record))
    expect(outline(poisoned)).toEqual(outline(harmless))
    const { rest } = alive(poisoned)
    expect(rest).not.toMatch(/[[\]<>!]|:\/\/|www|javascript/)
    expect(poisoned).not.toMatch(unseen)
  })

  it('is valid JSON with nothing lost', async () => {
    const report = await reportOn(incident(poison).record)
    expect(JSON.parse(renderJson(report))).toEqual(JSON.parse(JSON.stringify(report)))
    expect(renderJson(report)).not.toMatch(unseen)
  })

  it('cuts what is endless and says so', async () => {
    const report = await reportOn(incident((plain) => `${plain}${hostile[15]}`).record)
    expect(renderHtml(report)).toContain('characters, all of it in report.json')
    expect(renderMarkdown(report)).toContain('characters, all of it in')
  })
})

/** An element without the values of its attributes. */
function shape(tag: string): string {
  return tag.replace(/="[^"]*"/g, '')
}
