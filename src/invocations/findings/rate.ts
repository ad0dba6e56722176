import { count, number } from '../../ui/format.ts'
import { slotOf } from '../clock.ts'
import type { HourCount, Peak, Usage } from './port.ts'
import { around, groups, type Judged, type Suspicion, selected } from './suspicion.ts'
import { type Covered, type Usual, usualHours } from './usual-hours.ts'
import { between, shown, slotWords, usualWords, whoAndWhence } from './words.ts'

type Hour = HourCount & Peak & { readonly usual: Usual; readonly slot: number }

/** Hours with far more calls than the same hour usually has: of a tool, else of the whole server. */
export function rates(usage: Usage, covered: Covered): Judged {
  const whole = usualHours(of(usage.before, undefined), covered)
  const tools = new Set(usage.now.map(({ tool }) => tool).filter((tool) => tool !== undefined))
  const told = new Set<number>()
  const suspicions = [...tools].flatMap((tool) => {
    const before = of(usage.before, tool)
    // A tool that was never called has nothing to compare with but the server that it belongs to.
    const high = tooHigh(of(usage.now, tool), before.length === 0 ? whole : usualHours(before, covered), covered)
    for (const { hour } of high) told.add(hour)
    return groups(high).map((hours) => suspicion(hours, tool, before.length > 0, covered))
  })
  // What one of its tools explains is not told of the server again.
  const rest = tooHigh(of(usage.now, undefined), whole, covered).filter(({ hour }) => !told.has(hour))
  return {
    suspicions: [...suspicions, ...groups(rest).map((hours) => suspicion(hours, undefined, true, covered))],
    gaps: [],
  }
}

function of<T extends HourCount>(hours: readonly T[], tool: string | undefined): readonly T[] {
  return hours.filter((hour) => hour.tool === tool)
}

function tooHigh(
  hours: readonly (HourCount & Peak)[],
  usual: readonly (Usual | undefined)[],
  { calendar }: Covered,
): Hour[] {
  return hours.flatMap((hour) => {
    const slot = slotOf(calendar, hour.hour)
    const known = usual[slot]
    // Refusals are told as such.
    const calls = hour.calls - hour.refused
    return known !== undefined && calls > known.upper ? [{ ...hour, calls, usual: known, slot }] : []
  })
}

function suspicion(hours: readonly Hour[], tool: string | undefined, known: boolean, { calendar }: Covered): Suspicion {
  const worst = hours.reduce((a, b) => (b.calls > a.calls ? b : a))
  const { median, samples, upper } = worst.usual
  const span = around(hours)
  const spans = selected(hours)
  const what = tool === undefined ? 'The server' : shown(tool)
  const whose = known ? '' : ' of any of its tools, as this one was never called before'
  return {
    kind: 'rate',
    from: span.first,
    records: tool === undefined ? { spans } : { spans, tool },
    tell: (found) => ({
      summary: `${what} was called ${count(worst.calls, 'time')} in an hour, where ${usualWords(median)}`,
      expected: `${median === 0 ? 'none' : count(median, 'call')}${whose} ${slotWords(worst.slot, calendar.zone)}: the median of ${count(samples, 'such hour')}; up to ${number(upper)} would not be unusual`,
      seen: `${count(found?.calls ?? 0, 'call')} ${between(span)}, up to ${number(worst.calls)} an hour${found === undefined ? '' : whoAndWhence(found)}`,
    }),
  }
}
