import { count } from '../../ui/format.ts'
import { type Hours, isOutside } from '../../working-hours.ts'
import { type Calendar, slotOf, timeOf } from '../clock.ts'
import type { HourCount, Peak, Usage } from './port.ts'
import { around, groups, type Judged, type Span, type Suspicion, selected } from './suspicion.ts'
import { type Covered, fewest, near } from './usual-hours.ts'
import { between, slotWords, whoAndWhence } from './words.ts'

/** On so many days of the baseline there were calls at this hour, or one before or after it: then it is no odd hour. */
const habit = 3
/** Where odd hours came on more than so many of 28 days, they are usual, and only many more calls than then are told. */
const seldom = 2
const manyCalls = 30
const halfHour = 1_800_000_000

/**
 * Calls at hours at which nobody works, by the configured hours and by the baseline: what the server does every night is not odd
 * though nobody works then. Without configured hours the baseline alone decides.
 */
export function oddHours(usage: Usage, covered: Covered, hours: Hours | undefined): Judged {
  const { calendar, samples } = covered
  const inside = usage.before.filter(
    ({ tool, hour }) => tool === undefined && hour >= covered.from && hour < covered.until,
  )
  const days = daysWithCalls(inside, calendar)
  const isOdd = (slot: number) => (days[slot]?.size ?? 0) < habit
  const outside = (first: number, last: number) =>
    hours === undefined || [first, last].every((time) => isOutside(hours, new Date(Math.floor(time / 1000))))

  const before = inside.filter(({ hour }) => {
    const middle = timeOf(calendar, hour) + halfHour
    return isOdd(slotOf(calendar, hour)) && outside(middle, middle)
  })
  const oddDays = new Map<number, number>()
  for (const { hour, calls } of before)
    oddDays.set(Math.floor(hour / 24), (oddDays.get(Math.floor(hour / 24)) ?? 0) + calls)
  const often = oddDays.size * 28 * 24 > seldom * (covered.until - covered.from)
  const most = Math.max(0, ...oddDays.values())

  const now = usage.now.filter(
    ({ tool, hour, first, last }) => tool === undefined && isOdd(slotOf(calendar, hour)) && outside(first, last),
  )
  const known = now.filter(({ hour }) => (samples[slotOf(calendar, hour)] ?? 0) >= fewest)
  const unknown = now.filter(({ hour }) => (samples[slotOf(calendar, hour)] ?? 0) < fewest)
  const told = groups(known).filter((group) => !often || callsIn(group) > Math.max(manyCalls, 3 * most))
  const suspicions = byHour(told).map((group) => suspicion(group, expectation(group)))
  if (unknown.length > 0 && hours !== undefined)
    suspicions.push(
      suspicion(
        unknown,
        `${hoursWords(hours)}; too little came before the window to tell whether it is used at other times`,
      ),
    )
  return { suspicions, gaps: [] }

  function expectation(group: readonly HourCount[]): string {
    const work = hours === undefined ? '' : `${hoursWords(hours)}, and `
    const [one] = group
    const slot = one === undefined ? 0 : slotOf(calendar, one.hour)
    const times = days[slot]?.size ?? 0
    const usual = `${work}calls at about this hour (${slotWords(slot, calendar.zone)}) on ${times} of ${count(samples[slot] ?? 0, 'such day')} before`
    return often ? `${usual}; at odd hours at all up to ${count(most, 'call')} a day` : usual
  }
}

/** What comes again at the same hour of another day is one thing. */
function byHour<T extends HourCount>(stretches: readonly (readonly T[])[]): readonly (readonly T[])[] {
  const found: T[][] = []
  for (const stretch of stretches) {
    const hours = new Set(stretch.flatMap(({ hour }) => near(hour % 24)))
    const [first, ...others] = found.filter((other) => other.some(({ hour }) => hours.has(hour % 24)))
    if (first === undefined) found.push([...stretch])
    else first.push(...others.flat(), ...stretch)
    for (const other of others) found.splice(found.indexOf(other), 1)
  }
  return found
}

/** For each slot, the days on which there were calls in it, or in the one before or after it. */
function daysWithCalls(hours: readonly HourCount[], calendar: Calendar): readonly ReadonlySet<number>[] {
  const days = Array.from({ length: 48 }, () => new Set<number>())
  for (const { hour } of hours) {
    for (const slot of near(slotOf(calendar, hour))) days[slot]?.add(Math.floor(hour / 24))
  }
  return days
}

function suspicion(hours: readonly (HourCount & Peak)[], expected: string): Suspicion {
  const span: Span = around(hours)
  const days = new Set(hours.map(({ hour }) => Math.floor(hour / 24))).size
  return {
    kind: 'hours',
    from: span.first,
    records: { spans: selected(hours) },
    tell: (found) => ({
      summary: `${count(callsIn(hours), 'call')} at unusual hours${days > 2 ? ` on ${days} days` : ''}`,
      expected,
      seen: `${count(callsIn(hours), 'call')} ${between(span)}${found === undefined ? '' : whoAndWhence(found)}`,
    }),
  }
}

function callsIn(hours: readonly HourCount[]): number {
  return hours.reduce((sum, { calls }) => sum + calls, 0)
}

function hoursWords({ days, from, to, zone }: Hours): string {
  return `working hours are ${days} ${from} to ${to} (${zone})`
}
