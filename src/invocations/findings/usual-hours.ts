import { type Calendar, localHour, slotOf } from '../clock.ts'
import type { HourCount, Usage } from './port.ts'

/** So many samples are the least that anything is compared with. */
export const fewest = 4
/**
 * No number of calls an hour that is smaller is out of the ordinary: one every two minutes, and up to a hundred where one hour had half as
 * many already.
 */
const least = { from: 30, to: 100 }

/** What is usual in one hour of the day, on working days or on the others. */
export interface Usual {
  /** How many such hours the baseline has. */
  readonly samples: number
  readonly median: number
  /** More calls than this are out of the ordinary. */
  readonly upper: number
}

/** The hours of the baseline: which there were, and what is known of each slot (the same hour on the same kind of day). */
export interface Covered {
  readonly calendar: Calendar
  /** The first hour, and the one that follows the last. */
  readonly from: number
  readonly until: number
  /** Hours in each slot. */
  readonly samples: readonly number[]
}

/** The baseline begins with its first call: before it the server, or the log, may not have been there. */
export function coveredBy({ since }: Pick<Usage, 'since'>, calendar: Calendar, windowSince: number): Covered {
  const until = localHour(calendar, windowSince)
  const from = since === undefined ? until : localHour(calendar, since)
  const samples = Array.from({ length: 48 }, () => 0)
  for (let hour = from; hour < until; hour += 1)
    samples[slotOf(calendar, hour)] = (samples[slotOf(calendar, hour)] ?? 0) + 1
  return { calendar, from, until, samples }
}

/**
 * What is usual in each slot, by the hours of a tool or of the whole server. A slot with fewer than four samples has nothing.
 *
 * The upper bound is the largest of these, as each of them fails where another holds: the median and six spreads (the MAD; at least
 * what chance alone gives counts of this size); three times what the busy ones of this hour and its neighbours had, which follows
 * bursts, growth and jobs that an hour's shift of the clocks moves; thirty calls; and twice what the busiest hours had at any
 * time: up to a hundred calls, as one visitor's burst may come at any time, and without that bound where nothing is usual, since
 * there nobody can tell one visitor at a new time from another.
 */
export function usualHours(hours: readonly HourCount[], covered: Covered): readonly (Usual | undefined)[] {
  const { calendar, from, until, samples } = covered
  const inside = hours.filter(({ hour }) => hour >= from && hour < until)
  const bySlot = Array.from({ length: 48 }, (): number[] => [])
  for (const { hour, calls } of inside) bySlot[slotOf(calendar, hour)]?.push(calls)
  const counts = bySlot.map((calls, slot) =>
    sorted([...calls, ...Array.from({ length: (samples[slot] ?? 0) - calls.length }, () => 0)]),
  )
  const busiest = quantile(sorted(inside.map(({ calls }) => calls)), 0.99)
  return counts.map((these, slot): Usual | undefined => {
    if (these.length < fewest) return undefined
    const median = quantile(these, 0.5)
    const mad = quantile(sorted(these.map((calls) => Math.abs(calls - median))), 0.5)
    const busy = quantile(sorted(near(slot).flatMap((one) => counts[one] ?? [])), 0.95)
    const spread = Math.max(1.4826 * mad, Math.sqrt(median), 1)
    const burst = median === 0 ? 2 * busiest : Math.min(2 * busiest, least.to)
    const upper = Math.max(least.from, median + 6 * spread, 3 * busy, burst)
    return { samples: these.length, median, upper: Math.ceil(upper) }
  })
}

/** The slot of the same hour, and of the ones before and after it, on the same kind of day. */
export function near(slot: number): readonly number[] {
  const kind = slot < 24 ? 0 : 24
  return [23, 0, 1].map((shift) => kind + ((slot + shift) % 24))
}

/** Of sorted numbers, the one that so much of them does not reach beyond; 0 of none. */
export function quantile(numbers: readonly number[], part: number): number {
  return numbers[Math.floor(part * (numbers.length - 1))] ?? 0
}

function sorted(numbers: number[]): number[] {
  return numbers.sort((a, b) => a - b)
}
