import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { duration } from '../../src/ui/format.ts'
import { safe } from '../../src/ui/safe-text.ts'
import { table } from '../../src/ui/table.ts'
import { wrap } from '../../src/ui/wrap.ts'

describe('text that somebody else wrote', () => {
  test('holds no character that a terminal or a reader could act on', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
        expect(safe(text)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/)
      }),
    )
    expect(safe('\u001b[31mred\u202egnp.exe')).toBe('\\u{1b}[31mred\\u{202e}gnp.exe')
    expect(safe('x'.repeat(400))).toMatch(/^x{300}… \(400 characters\)$/)
  })
})

describe('a table', () => {
  test('is as wide as it may be: the widest columns wrap, nothing is lost, hostile cells are inert', () => {
    const long = Array.from({ length: 30 }, (_, index) => `word${index}`).join(' ')
    const text = table(
      ['A', 'B', 'C'],
      [
        ['one', long, long],
        ['two', '\u001b[2Jx', 'short'],
      ],
      80,
    )
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
    expect(text).not.toContain('\u001b')
    for (let index = 0; index < 30; index++) expect(text.split(`word${index}`).length - 1).toBeGreaterThanOrEqual(2)
  })

  test('lines its columns up', () => {
    expect(
      table(
        ['A', 'BB'],
        [
          ['aaa', 'b'],
          ['a', 'bbb'],
        ],
        80,
      ),
    ).toBe('A    BB\naaa  b\na    bbb')
  })
})

test('prose is broken between words, colours do not count, nothing is lost', () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z]{1,12}$/), { minLength: 1 }), fc.nat(30), (words, more) => {
      const text = `  - ${words.map((word, index) => (index % 3 === 0 ? `\u001b[31m${word}\u001b[39m` : word)).join(' ')}`
      const lines = wrap(text, 20 + more, '    ').split('\n')
      expect(lines.map((line) => line.trim()).join(' ')).toBe(text.trim())
      for (const line of lines) expect(stripVTControlCharacters(line).length).toBeLessThanOrEqual(20 + more)
    }),
  )
})

test.each([
  [0, '0.0 s'],
  [949, '0.9 s'],
  [12_300, '12 s'],
  [75_000, '1 min 15 s'],
  [3_600_000, '1 h'],
  [7_440_000, '2 h 4 min'],
  [3 * 86_400_000, '3 days'],
])('%i ms is %s', (milliseconds, words) => {
  expect(duration(milliseconds)).toBe(words)
})
