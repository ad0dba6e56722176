import { expect, it } from 'vitest'
import { tellUse } from '../../src/credentials/aws/user.ts'

const hours = { zone: 'Europe/Berlin', days: 'mon-fri', from: '08:00', to: '19:00' }

it.each([
  // A Saturday, and a Monday before eight in Berlin.
  ['2026-11-28T11:00:00.000Z, s3 in us-east-1', '2026-11-28T11:00:00.000Z, s3 in us-east-1, outside of working hours'],
  [
    '2026-11-30T06:30:00.000Z, iam in us-east-1',
    '2026-11-30T06:30:00.000Z, iam in us-east-1, outside of working hours',
  ],
  ['2026-11-30T07:30:00.000Z, iam in us-east-1', '2026-11-30T07:30:00.000Z, iam in us-east-1'],
  ['never', 'never'],
  [undefined, 'unknown'],
])('of the last use of a key it is told when it was outside of working hours: %s', (last, told) => {
  expect(tellUse(last, hours)).toBe(told)
  expect(tellUse(last, undefined)).toBe(last ?? 'unknown')
})
