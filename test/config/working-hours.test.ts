import { expect, it } from 'vitest'
import { isOutside } from '../../src/working-hours.ts'

const office = { zone: 'Europe/Berlin', days: 'mon-fri', from: '08:00', to: '19:00' }
const night = { zone: 'UTC', days: 'sun-thu', from: '22:00', to: '06:00' }

it.each([
  // 2026-11-23 is a Monday; Berlin is one hour ahead of UTC in winter, two in summer.
  ['before they begin', office, '2026-11-23T06:59:59Z', true],
  ['as they begin', office, '2026-11-23T07:00:00Z', false],
  ['as they end', office, '2026-11-23T18:00:00Z', true],
  ['in summer', office, '2026-07-06T06:00:00Z', false],
  ['on a Saturday', office, '2026-11-28T12:00:00Z', true],
  ['single days', { ...office, days: 'mon,wed,sat' }, '2026-11-28T12:00:00Z', false],
  ['a range over the end of the week', { ...office, days: 'sat-tue' }, '2026-11-23T12:00:00Z', false],
  ['outside of such a range', { ...office, days: 'sat-tue' }, '2026-11-25T12:00:00Z', true],
  ['until the end of the day', { ...office, zone: 'UTC', to: '24:00' }, '2026-11-23T23:59:00Z', false],
  ['over midnight, the evening', night, '2026-11-23T22:30:00Z', false],
  ['over midnight, the morning after', night, '2026-11-27T05:59:00Z', false],
  ['over midnight, the morning after a day off', night, '2026-11-28T05:59:00Z', true],
  ['over midnight, at noon', night, '2026-11-23T12:00:00Z', true],
])('%s', (_, hours, at, expected) => {
  expect(isOutside(hours, new Date(at))).toBe(expected)
})
