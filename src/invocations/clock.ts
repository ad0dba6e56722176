import { type Hours, workdays } from '../working-hours.ts'
import type { Clock } from './findings/port.ts'

const hour = 3_600_000_000
const day = 24 * hour

/** What tells working days from others. */
export interface Calendar extends Clock {
  readonly zone: string
  /** `mon-fri` */
  readonly days: string
  /** Nobody configured it. */
  readonly assumed: boolean
  readonly workdays: ReadonlySet<number>
}

const usual = { zone: 'UTC', days: 'mon-fri' }

/** The calendar for a span of time, from the configured `hours`, else Monday to Friday in UTC. Times are microseconds. */
export function calendarOf(hours: Hours | undefined, from: number, until: number): Calendar {
  const { zone, days } = hours ?? usual
  return {
    zone,
    days,
    assumed: hours === undefined,
    workdays: workdays(days),
    offsets: offsetsOf(zone, from, until),
  }
}

/** In the calendar's zone, from 1970 on. */
export function localHour({ offsets }: Clock, time: number): number {
  return Math.floor(
    (time + (offsets.findLast(({ from }) => from <= time) ?? offsets[0] ?? { offset: 0 }).offset) / hour,
  )
}

/** When an hour began; of two that have the same number, as the clocks were set back, the first one. */
export function timeOf(clock: Clock, local: number): number {
  const times = clock.offsets.map(({ offset }) => local * hour - offset)
  return times.find((time) => localHour(clock, time) === local) ?? times[0] ?? local * hour
}

/** The same hour of the same kind of day has the same number, below 48. */
export function slotOf({ workdays }: Pick<Calendar, 'workdays'>, local: number): number {
  // 1970 began on a Thursday.
  const weekday = (((Math.floor(local / 24) + 4) % 7) + 7) % 7
  return (workdays.has(weekday) ? 0 : 24) + (((local % 24) + 24) % 24)
}

/** How many hours the zone is ahead, from when on; the first one holds from the beginning. Found by halving, to the minute. */
function offsetsOf(zone: string, from: number, until: number): Clock['offsets'] {
  const format = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })
  const offsetAt = (time: number): number => {
    const at = Math.floor(time / 1_000_000) * 1000
    const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]))
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts
    return (Date.UTC(year, month - 1, day, hour, minute, second) - at) * 1000
  }
  const found = [{ from, offset: offsetAt(from) }]
  for (let at = from; at < until; at += day) {
    const before = offsetAt(at)
    const after = offsetAt(at + day)
    if (before === after) continue
    let [low, high] = [at, at + day]
    while (high - low > 60_000_000) {
      const middle = Math.floor((low + high) / 2)
      if (offsetAt(middle) === before) low = middle
      else high = middle
    }
    found.push({ from: Math.floor(high / 60_000_000) * 60_000_000, offset: after })
  }
  return found
}
