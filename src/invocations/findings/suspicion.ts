import type { Finding } from '../port.ts'
import type { Selected, Selection } from './port.ts'

/** Something out of the ordinary, before the records behind it are fetched. */
export interface Suspicion {
  readonly kind: Finding['kind']
  /** Microseconds. */
  readonly from: number
  /** The records behind it: what they have in common, or the very ones. */
  readonly records: Selection | readonly string[]
  /** What there is to say of them, in plain words; names are inert. Without a selection there is nothing selected. */
  readonly tell: (selected: Selected | undefined) => Pick<Finding, 'summary' | 'expected' | 'seen'>
}

export interface Judged {
  readonly suspicions: readonly Suspicion[]
  /** What could not be judged, in plain words. */
  readonly gaps: readonly string[]
}

export interface Span {
  readonly first: number
  readonly last: number
}

/** What lies no further apart than this is one thing that happened. */
const apart = 6 * 3_600_000_000

/** Puts together what follows each other closely; by time. */
export function groups<T extends Span>(spans: readonly T[]): readonly (readonly T[])[] {
  const found: T[][] = []
  for (const span of spans.toSorted((a, b) => a.first - b.first)) {
    const last = found.at(-1)
    const before = last?.at(-1)
    if (last === undefined || before === undefined || span.first - before.last > apart) found.push([span])
    else last.push(span)
  }
  return found
}

/** Spans for a selection; those that adjoin become one. */
export function selected(spans: readonly Span[]): readonly (readonly [number, number])[] {
  return spans.map(({ first, last }) => [first, last + 1] as const)
}

/** First and last of all. */
export function around(spans: readonly Span[]): Span {
  return { first: Math.min(...spans.map(({ first }) => first)), last: Math.max(...spans.map(({ last }) => last)) }
}
