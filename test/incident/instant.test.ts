import { expect, test } from 'vitest'
import { parseInstant } from '../../src/instant.ts'

const now = new Date('2026-11-23T02:00:00.000Z')

test.each([
  ['2026-11-22T23:30:00+01:00', '2026-11-22T22:30:00.000Z'],
  ['2026-11-22T22:30Z', '2026-11-22T22:30:00.000Z'],
  ['2026-11-22', '2026-11-22T00:00:00.000Z'],
  ['90m', '2026-11-23T00:30:00.000Z'],
  ['2h', '2026-11-23T00:00:00.000Z'],
  ['7d', '2026-11-16T02:00:00.000Z'],
])('%s is %s', (text, instant) => {
  expect(parseInstant(text, '--since', now)).toBe(instant)
})

test.each(['2026-11-22T23:30:00', 'yesterday', '2026-13-01', '', '-2h', '2w', '2026-11-22T25:00:00Z'])(
  '%s is an error that says what to type',
  (text) => {
    expect(() => parseInstant(text, '--since', now)).toThrow(
      expect.objectContaining({
        code: 'input',
        message: expect.stringContaining('--since'),
        hints: [expect.stringContaining('90m')],
      }),
    )
  },
)
