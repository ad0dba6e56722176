import { count, number } from '../../ui/format.ts'
import type { Usage } from './port.ts'
import { around, groups, type Judged, selected } from './suspicion.ts'
import { type Covered, fewest, quantile } from './usual-hours.ts'
import { between, whoAndWhence } from './words.ts'

/** So many a day are told of nobody: a token that ran out, somebody who tries twice. */
const least = 9

/** Days on which far more requests than usual were refused for want of rights or of a valid identity. */
export function refusals(usage: Usage, { from, until }: Covered): Judged {
  const days = Math.floor((until - from) / 24)
  const firstDay = Math.floor(from / 24)
  const counts = usage.refusedBefore.filter(({ day }) => day >= firstDay).map(({ calls }) => calls)
  const before = [...counts, ...Array.from({ length: Math.max(0, days - counts.length) }, () => 0)].sort(
    (a, b) => a - b,
  )
  const known = before.length >= fewest
  const median = quantile(before, 0.5)
  const limit = known ? Math.max(least, 3 * quantile(before, 0.95)) : least
  const high = usage.refusedNow.filter(({ calls }) => calls > limit)
  return {
    suspicions: groups(high).map((group) => {
      const span = around(group)
      const calls = group.reduce((sum, day) => sum + day.calls, 0)
      return {
        kind: 'auth',
        from: span.first,
        records: { refused: true, spans: selected(group) },
        tell: (found) => ({
          summary: `${count(calls, 'request')} ${calls === 1 ? 'was' : 'were'} refused for want of rights or of a valid identity`,
          expected: known
            ? `${number(median)} a day: the median of ${count(before.length, 'day')}; up to ${limit} would not be unusual`
            : `hardly any; too little came before the window to tell what is usual, so that more than ${limit} a day are told`,
          seen: `${count(calls, 'refusal')} ${between(span)}${found === undefined ? '' : whoAndWhence(found)}`,
        }),
      }
    }),
    gaps: [],
  }
}
