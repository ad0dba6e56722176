import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Line, linesOf, repaired } from '../../src/invocations/engine/lines.ts'
import { spellings } from '../../src/invocations/formats/format.ts'
import { formatOf } from '../../src/invocations/formats/index.ts'

async function cut(bytes: Buffer, sizes: readonly number[], longest: number): Promise<Line[]> {
  const pieces: Buffer[] = []
  let at = 0
  for (let turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  const lines: Line[] = []
  for await (const batch of linesOf(asyncOf(pieces), longest)) lines.push(...batch)
  return lines
}

async function* asyncOf<T>(values: readonly T[]): AsyncGenerator<T> {
  yield* values
}

describe('linesOf', () => {
  it('cuts the same lines wherever the pieces end, without blank ones, and drops what is beyond the bound', async () => {
    const line = fc.oneof(
      fc.constantFrom('', ' ', '\t\r', 'a', 'ä😀'),
      fc.string({ maxLength: 12 }).map((text) => text.replaceAll('\n', '')),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(line),
        fc.boolean(),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
        async (texts, ended, sizes) => {
          const bytes = Buffer.from(texts.join('\n') + (ended ? '\n' : ''))
          const expected = bytes
            .toString()
            .split('\n')
            .filter((text) => /[^ \t\v\f\r]/.test(text))
            .map((text) => (Buffer.byteLength(text) > 10 ? undefined : text))
          const found = await cut(bytes, sizes, 10)
          expect(found.map(({ bytes }) => bytes?.toString())).toEqual(expected)
        },
      ),
    )
  })

  it('says whether the last line is ended', async () => {
    expect((await cut(Buffer.from('a\nb'), [1], 10)).map(({ ended }) => ended)).toEqual([true, false])
    expect((await cut(Buffer.from('a\nb\n'), [9], 10)).map(({ ended }) => ended)).toEqual([true, true])
  })
})

describe('repaired', () => {
  it('leaves what is in order alone', () => {
    for (const line of ['{"a":"\\ud83d\\ude00"}', '{"a":"\\\\ud83d"}', '{"a":"ä😀"}', '{"a":"\\u00e4\\n"}']) {
      expect(repaired(Buffer.from(line))).toBeUndefined()
    }
  })

  it('replaces what is not Unicode and nothing else', () => {
    expect(repaired(Buffer.from('{"a":"x\\uD83Dy\\ud83d\\ude00"}'))).toBe('{"a":"x\\ufffdy\\ud83d\\ude00"}')
    expect(repaired(Buffer.from('{"a":"\\ude00\\\\\\ud83d"}'))).toBe('{"a":"\\ufffd\\\\\\ufffd"}')
    expect(repaired(Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xff]), Buffer.from('"}')]))).toBe(
      '{"a":"\ufffd"}',
    )
    expect(repaired(Buffer.from('\ufeff{"a":1}'))).toBe('{"a":1}')
  })

  it('gives up on what is no JSON even so', () => {
    expect(repaired(Buffer.from([0xff, 0xfe]))).toBeUndefined()
    expect(repaired(Buffer.from('{"a":"\\ud83d'))).toBeUndefined()
  })
})

describe('formats', () => {
  it('finds a dotted path flat, nested and mixed', () => {
    expect(spellings('a')).toEqual([['a']])
    expect(spellings('a.b.c')).toEqual(expect.arrayContaining([['a.b.c'], ['a', 'b', 'c'], ['a', 'b.c'], ['a.b', 'c']]))
    expect(spellings('a.b.c')).toHaveLength(4)
    expect(spellings('a.b.c.d.e.f.g.h').length).toBeLessThan(20)
  })

  it('refuses what is no format, and says what is', () => {
    expect(() => formatOf('csv')).toThrow(/no invocation log format "csv"/)
    expect(() => formatOf({ map: { time: 't', tool: 'x', sevrer: 's' } })).toThrow(/unknown key: "sevrer"/)
    expect(() => formatOf({ map: { time: 't' } })).toThrow(/where the tool of a call is/)
    for (const path of ['a..b', '.', 'a\0', 'x'.repeat(501)])
      expect(() => formatOf({ map: { time: path, tool: 'x' } })).toThrow(/no usable field path/)
  })
})
