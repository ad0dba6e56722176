import { count } from '../../ui/format.ts'
import type { HourCount, Peak, Usage, Volume } from './port.ts'
import { around, groups, type Judged, type Suspicion, selected } from './suspicion.ts'
import { fewest } from './usual-hours.ts'
import { between, shown, usualWords, whoAndWhence } from './words.ts'

/** Smaller answers are never out of the ordinary: rows, and bytes of a call whose rows are not known. */
const least = { rows: 100, bytes: 64 * 1024 }
/** From so many calls on their largest answers are taken to be known. */
const many = 30

/**
 * Calls that gave far more than calls of this tool usually give: more than the median and six spreads (MAD), and more than three
 * times the largest answer of the baseline, of which the thousandth part, one call at least, is left out as an exception. Of fewer
 * than thirty calls the largest answer may not have been among them: then ten times.
 */
export function volumes(usage: Usage): Judged {
  const tools = new Set(usage.now.map(({ tool }) => tool).filter((tool) => tool !== undefined))
  const suspicions = (['rows', 'bytes'] as const).flatMap((of) =>
    [...tools].flatMap((tool) => {
      const own = usual(usage, of, tool)
      const known = own ?? usual(usage, of, undefined)
      if (known === undefined) return []
      const limit = limitOf(known)
      const hours = usage.now.filter((hour) => hour.tool === tool && (hour[of] ?? 0) > limit)
      return groups(hours).map((group) => suspicion(group, tool, known, own !== undefined, limit))
    }),
  )
  const untold = (['rows', 'bytes'] as const).filter(
    (of) => usual(usage, of, undefined) === undefined && usage.now.some((hour) => hour[of] !== undefined),
  )
  return {
    suspicions,
    gaps: untold.map(
      (of) =>
        `How many ${of} a call usually gives cannot be told, as fewer than ${fewest} calls of the baseline say it: unusually large answers were not looked for.`,
    ),
  }
}

function usual({ volumes }: Usage, of: Volume['of'], tool: string | undefined): Volume | undefined {
  return volumes.find((one) => one.of === of && one.tool === tool && one.calls >= fewest)
}

function limitOf({ of, calls, median, mad, high }: Volume): number {
  return Math.ceil(Math.max(least[of], median + 6 * 1.4826 * mad, (calls < many ? 10 : 3) * high))
}

function suspicion(
  hours: readonly (HourCount & Peak)[],
  tool: string,
  { of, median, calls }: Volume,
  known: boolean,
  limit: number,
): Suspicion {
  const amount = (n: number) => count(n, of === 'rows' ? 'row' : 'byte')
  const most = Math.max(...hours.map((hour) => hour[of] ?? 0))
  const span = around(hours)
  const whose = known ? 'of this tool' : 'of any tool, as too few of this one came before'
  return {
    kind: 'volume',
    from: span.first,
    records: { spans: selected(hours), tool, ...(of === 'rows' ? { rowsOver: limit } : { bytesOver: limit }) },
    tell: (found) => ({
      summary: `${shown(tool)} gave ${amount(most)} in one call, where ${usualWords(median)}`,
      expected: `${amount(median)}: the median of ${count(calls, 'call')} ${whose}; up to ${amount(limit)} would not be unusual`,
      seen:
        found === undefined
          ? ''
          : `${count(found.calls, 'call')} with ${amount(found[of] ?? 0)} in all, ${between(found)}${whoAndWhence(found)}`,
    }),
  }
}
