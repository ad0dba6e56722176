import type { HourUse } from '../invocations/port.ts'
import { colours } from './charts.ts'
import { type Html, html, trusted } from './escape.ts'
import { count } from './words.ts'

const width = 1040
const left = 56
const right = 12
const top = 16
const plot = 132
const bottom = top + plot

/** More hours than these are drawn as days. */
const mostHours = 24 * 14
const hourMs = 3_600_000

interface Bin {
  readonly from: number
  readonly calls: number
  readonly expected: number | undefined
  readonly upper: number | undefined
  /** More than is ordinary, in this hour or in one of this day. */
  readonly unusual: boolean
}

export interface RateChart {
  readonly drawing: Html
  readonly per: 'hour' | 'day'
  /** Whether there was anything to compare with. */
  readonly compared: boolean
}

/** Calls over time against what was ordinary before. Unusual bars have a mark, since colour alone says nothing on paper. */
export function rateChart(hours: readonly HourUse[]): RateChart | undefined {
  const all = hours.filter(({ from }) => !Number.isNaN(Date.parse(from)))
  if (all.length === 0) return undefined
  const per = all.length > mostHours ? 'day' : 'hour'
  const bins = per === 'hour' ? all.map(hourBin) : dayBins(all)
  const highest = niceAbove(
    Math.max(1, ...bins.flatMap(({ calls, expected = 0, upper = 0 }) => [calls, expected, upper])),
  )
  const first = bins[0]?.from ?? 0
  const step = per === 'hour' ? hourMs : 24 * hourMs
  const slots = Math.max(1, ...bins.map(({ from }) => Math.round((from - first) / step) + 1))
  const wide = (width - left - right) / slots
  const x = (from: number) => left + Math.round((from - first) / step) * wide
  const y = (value: number) => bottom - (value / highest) * plot
  const bars = bins.flatMap((bin): Html[] => {
    if (bin.calls === 0) return []
    const at = y(bin.calls)
    const gap = Math.min(1.5, wide * 0.15)
    const bar = html`<rect x="${round(x(bin.from) + gap)}" y="${round(at)}" width="${round(Math.max(0.4, wide - 2 * gap))}" height="${round(bottom - at)}" fill="${bin.unusual ? colours.attacker : colours.system}"/>`
    if (!bin.unusual) return [bar]
    const middle = x(bin.from) + wide / 2
    return [bar, html`<path d="M${round(middle - 4)} ${round(at - 10)}h8l-4 6z" fill="${colours.attacker}"/>`]
  })
  const drawing = html`<svg class="chart" viewBox="0 0 ${width} ${bottom + 36}" aria-hidden="true" focusable="false" xmlns="http://www.w3.org/2000/svg">
${[0, highest / 2, highest].filter(Number.isInteger).map((value) => html`<path d="M${left} ${round(y(value))}H${width - right}" stroke="${value === 0 ? colours.muted : colours.line}"/>${label(left - 8, y(value) + 4, count(value), 'end')}`)}
${bars}
${line(bins, ({ expected }) => expected, x, y, wide, html`stroke="${colours.ink}" stroke-width="1.5"`)}
${line(bins, ({ upper }) => upper, x, y, wide, html`stroke="${colours.muted}" stroke-width="1.25" stroke-dasharray="4 3"`)}
${ticks(bins, per, x)}
</svg>`
  return { drawing, per, compared: bins.some(({ expected }) => expected !== undefined) }
}

function hourBin({ from, calls, expected, upper }: HourUse): Bin {
  return { from: Date.parse(from), calls, expected, upper, unusual: isUnusual({ calls, upper }) }
}

/** Hours with more calls than is ordinary, those with the most above it first. */
export function mostUnusualFirst(hours: readonly HourUse[]): readonly HourUse[] {
  const above = ({ calls, upper = 0 }: HourUse) => calls - upper
  return hours.filter(isUnusual).sort((a, b) => above(b) - above(a))
}

function isUnusual({ calls, upper }: { readonly calls: number; readonly upper?: number | undefined }): boolean {
  return upper !== undefined && calls > upper
}

function dayBins(hours: readonly HourUse[]): Bin[] {
  const days = new Map<number, HourUse[]>()
  for (const hour of hours) {
    const day = Math.floor(Date.parse(hour.from) / (24 * hourMs)) * 24 * hourMs
    const found = days.get(day)
    if (found === undefined) days.set(day, [hour])
    else found.push(hour)
  }
  return [...days].map(([from, list]) => ({
    from,
    calls: sum(list.map(({ calls }) => calls)),
    expected: list.every(({ expected }) => expected !== undefined)
      ? sum(list.map(({ expected = 0 }) => expected))
      : undefined,
    // What is the most of an hour says nothing of a day.
    upper: undefined,
    unusual: list.some(isUnusual),
  }))
}

/** Steps over the bins, broken where nothing is known. */
function line(
  bins: readonly Bin[],
  value: (bin: Bin) => number | undefined,
  x: (from: number) => number,
  y: (value: number) => number,
  wide: number,
  look: Html,
): Html | undefined {
  let path = ''
  let before: number | undefined
  for (const bin of bins) {
    const height = value(bin)
    if (height !== undefined) {
      const start = round(x(bin.from))
      path += before === undefined ? `M${start} ${round(y(height))}` : `L${start} ${round(y(height))}`
      path += `H${round(x(bin.from) + wide)}`
    }
    before = height
  }
  // Numbers of ours alone; as a value it would be cut where text is.
  return path === '' ? undefined : html`<path d="${trusted(path)}" fill="none" ${look}/>`
}

/** Days under the axis, about 90 pixels apart. */
function ticks(bins: readonly Bin[], per: RateChart['per'], x: (from: number) => number): Html[] {
  const starts = bins.filter(({ from }) => per === 'day' || from % (24 * hourMs) === 0)
  const shown = starts.length === 0 ? bins.slice(0, 1) : starts
  let last = Number.NEGATIVE_INFINITY
  return shown.flatMap(({ from }) => {
    const at = x(from)
    if (at - last < 90 || at > width - 60) return []
    last = at
    const text = new Date(from).toISOString().slice(0, 10)
    return [
      html`<path d="M${round(at)} ${bottom}v6" stroke="${colours.muted}"/>${label(at, bottom + 20, text, at < left + 30 ? 'start' : 'middle')}`,
    ]
  })
}

function label(x: number, y: number, text: string, anchor: 'start' | 'middle' | 'end'): Html {
  return html`<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" fill="${colours.muted}" font-size="11" font-family="system-ui, sans-serif">${text}</text>`
}

function niceAbove(value: number): number {
  const unit = 10 ** Math.floor(Math.log10(value))
  return ([1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((factor) => factor * unit >= value) ?? 10) * unit
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
