import { BarChart, CustomChart, ScatterChart } from 'echarts/charts'
import { GraphicComponent, GridComponent } from 'echarts/components'
import { type EChartsCoreOption, init, use } from 'echarts/core'
import { SVGRenderer } from 'echarts/renderers'
import { safe } from '../ui/safe-text.ts'
import { type Html, trusted } from './escape.ts'
import type { Entry, Lane, Mark, Report } from './model.ts'
import { count } from './words.ts'

use([BarChart, CustomChart, ScatterChart, GraphicComponent, GridComponent, SVGRenderer])

/**
 * Colours as drawn, on paper and by day; the style sheet gives each its counterpart for the dark (selectors on these very
 * values), so a chart is drawn once and holds no style of its own.
 */
export const colours = {
  attacker: '#b3261e',
  system: '#2f5d9e',
  responder: '#0a6b5e',
  failed: '#c7772e',
  ink: '#1d2733',
  muted: '#586574',
  line: '#ccd4dc',
  band: '#f3f5f8',
  /** Spelled as echarts spells the inside of hollow symbols. */
  paper: '#fff',
} as const

const font = 'system-ui, sans-serif'
const lanes: readonly { readonly lane: Lane; readonly label: string }[] = [
  { lane: 'attacker', label: 'Attacker' },
  { lane: 'system', label: 'System' },
  { lane: 'responder', label: 'Responder' },
]

/** How each mark is drawn, and where in its lane, so that equal times stay apart. Shapes, since colour alone says nothing on paper. */
const marks: Readonly<Record<Mark, { symbol: string; offset: number }>> = {
  observed: { symbol: 'circle', offset: 0.2 },
  inferred: { symbol: 'emptyCircle', offset: 0.2 },
  done: { symbol: 'diamond', offset: -0.08 },
  told: { symbol: 'triangle', offset: -0.3 },
}

const width = 1040
const gutter = 92
const right = 24
const laneHeight = 52
const breakWidth = 28

interface Panel {
  readonly from: number
  readonly to: number
  /** Pixels. */
  readonly left: number
  readonly width: number
}

/**
 * Three lanes over time with the key moments as numbered flags. When the response is a small part of the whole, the time
 * before it and the response get a scale of their own.
 */
export function timelineChart(report: Report): Html | undefined {
  const panels = panelsOf(report)
  if (panels.length === 0) return undefined
  const flags = flagsOf(report, panels)
  const flagsHeight = 22 * (1 + Math.max(0, ...flags.map(({ level }) => level))) + 8
  const top = flagsHeight
  const height = top + lanes.length * laneHeight + 46
  const bottom = top + lanes.length * laneHeight

  const option: EChartsCoreOption = {
    ...common,
    grid: panels.map((panel) => ({
      left: panel.left,
      width: panel.width,
      top,
      height: lanes.length * laneHeight,
    })),
    xAxis: panels.map((panel, gridIndex) => {
      const ticks = ticksOf(panel)
      return {
        gridIndex,
        type: 'value',
        min: panel.from,
        max: panel.to,
        axisLine: { show: true, onZero: false, lineStyle: { color: colours.muted } },
        axisTick: { show: true, customValues: ticks.values, lineStyle: { color: colours.muted } },
        splitLine: { show: false },
        axisLabel: {
          color: colours.muted,
          fontFamily: font,
          fontSize: 11,
          lineHeight: 14,
          customValues: ticks.values,
          formatter: ticks.format,
        },
      }
    }),
    yAxis: panels.map((_, gridIndex) => ({ gridIndex, type: 'value', min: 0, max: lanes.length, show: false })),
    graphic: { elements: [...bands(panels, top), ...flagElements(flags, bottom), ...breakMark(panels, bottom)] },
    series: panels.flatMap((panel, index) => [
      rangeSeries(report.timeline, panel, index),
      ...pointSeries(report.timeline, panels, index),
    ]),
  }
  return draw(option, height)
}

/** Calls per tool, the failed ones apart; the most called first. */
export function toolsChart(report: Report): Html | undefined {
  const shown = [...(report.review?.tools ?? [])].sort((a, b) => b.calls - a.calls).slice(0, maximumTools)
  if (shown.length === 0) return undefined
  const series = (name: string, color: string, value: (use: (typeof shown)[number]) => number, total: boolean) => ({
    type: 'bar',
    name,
    stack: 'calls',
    silent: true,
    emphasis: { disabled: true },
    barWidth: 14,
    itemStyle: { color },
    data: shown.map(value),
    label: {
      show: total,
      position: 'right',
      color: colours.ink,
      textBorderWidth: 0,
      fontFamily: font,
      fontSize: 12,
      formatter: ({ dataIndex }: { dataIndex: number }) => {
        const use = shown[dataIndex]
        if (use === undefined) return ''
        return use.failed === 0 ? count(use.calls) : `${count(use.calls)} (${count(use.failed)} failed)`
      },
    },
  })
  const names = shown.map(({ tool }) => safe(tool, 40))
  const left = Math.min(300, 24 + 7 * Math.max(...names.map((name) => name.length)))
  const height = shown.length * 26 + 12
  return draw(
    {
      ...common,
      grid: { left, right: 130, top: 4, height: shown.length * 26 },
      xAxis: { type: 'value', show: false },
      yAxis: {
        type: 'category',
        inverse: true,
        data: names,
        axisTick: { show: false },
        axisLine: { lineStyle: { color: colours.muted } },
        axisLabel: {
          color: colours.ink,
          fontFamily: font,
          fontSize: 12,
          interval: 0,
          width: 280,
          overflow: 'truncate',
        },
      },
      series: [
        series('succeeded', colours.system, ({ calls, failed }) => Math.max(0, calls - failed), false),
        series('failed', colours.failed, ({ failed }) => failed, true),
      ],
    },
    height,
  )
}

export const maximumTools = 15

const common: EChartsCoreOption = {
  animation: false,
  useUTC: true,
  silent: true,
  backgroundColor: 'transparent',
  textStyle: { fontFamily: font },
}

/** A log can claim any time. What lies outside is in the table and not drawn, so that it does not squash all else. */
const earliest = Date.UTC(1990)
const latest = Date.UTC(2200)

function panelsOf(report: Report): Panel[] {
  const ends = report.timeline.flatMap((entry) => [
    Date.parse(entry.at),
    ...(entry.until === undefined || entry.until === '' ? [] : [Date.parse(entry.until)]),
  ])
  const moments = report.times.flatMap(({ at }) => (at === undefined ? [] : [Date.parse(at)]))
  const all = [...ends, ...moments].filter((time) => time >= earliest && time <= latest)
  if (all.length === 0) return []
  const first = all.reduce((a, b) => Math.min(a, b))
  const last = all.reduce((a, b) => Math.max(a, b))
  const split = Date.parse(report.case.openedAt)
  const plot = width - gutter - right
  const before = split - first
  const response = Math.max(last - split, 1)
  if (before > 4 * response) {
    const left = Math.round(plot * 0.34)
    return [
      { ...padded(first, split, gutter, left), to: split },
      padded(split, last, gutter + left + breakWidth, plot - left - breakWidth),
    ]
  }
  return [padded(first, last, gutter, plot)]
}

/** Room at both ends, so that no symbol is cut. */
function padded(from: number, to: number, left: number, panelWidth: number): Panel {
  const room = Math.max((to - from) * 0.02, 500)
  return { from: from - room, to: to + room, left, width: panelWidth }
}

function pixel(panel: Panel, time: number): number {
  return panel.left + ((time - panel.from) / (panel.to - panel.from)) * panel.width
}

/** The panel that shows a time: the later one where both could. */
function panelAt(panels: readonly Panel[], time: number): Panel | undefined {
  return panels.findLast((panel) => time >= panel.from && time <= panel.to)
}

interface Flag {
  readonly number: number
  readonly x: number
  readonly level: number
}

function flagsOf(report: Report, panels: readonly Panel[]): Flag[] {
  const placed: Flag[] = []
  report.times.forEach((moment, index) => {
    if (moment.at === undefined) return
    const time = Date.parse(moment.at)
    const panel = panelAt(panels, time)
    if (panel === undefined) return
    const x = Math.round(pixel(panel, time))
    let level = 0
    while (placed.some((other) => other.level === level && Math.abs(other.x - x) < 22)) level += 1
    placed.push({ number: index + 1, x, level })
  })
  return placed
}

function flagElements(flags: readonly Flag[], bottom: number): object[] {
  const highest = Math.max(0, ...flags.map(({ level }) => level))
  return flags.flatMap(({ number, x, level }) => {
    const y = 14 + (highest - level) * 22
    return [
      {
        type: 'line',
        silent: true,
        z: 1,
        shape: { x1: x, y1: y + 9, x2: x, y2: bottom },
        style: { stroke: colours.muted, lineWidth: 1, lineDash: [3, 3] },
      },
      { type: 'circle', silent: true, z: 5, shape: { cx: x, cy: y, r: 9.5 }, style: { fill: colours.ink } },
      {
        type: 'text',
        silent: true,
        z: 6,
        style: {
          text: String(number),
          x,
          y,
          align: 'center',
          verticalAlign: 'middle',
          fill: colours.paper,
          fontWeight: 'bold',
          fontSize: 11,
          fontFamily: font,
        },
      },
    ]
  })
}

function bands(panels: readonly Panel[], top: number): object[] {
  return lanes.flatMap(({ lane, label }, index) => {
    const y = top + index * laneHeight
    return [
      ...panels.map((panel) => ({
        type: 'rect',
        silent: true,
        z: -1,
        shape: { x: panel.left, y: y + 1, width: panel.width, height: laneHeight - 2 },
        style: { fill: colours.band },
      })),
      {
        type: 'text',
        silent: true,
        style: {
          text: label,
          x: gutter - 12,
          y: y + laneHeight / 2,
          align: 'right',
          verticalAlign: 'middle',
          fill: colours[lane],
          fontWeight: 'bold',
          fontSize: 12,
          fontFamily: font,
        },
      },
    ]
  })
}

/** Says in the drawing that the scale changes between the panels. */
function breakMark(panels: readonly Panel[], bottom: number): object[] {
  const second = panels[1]
  if (second === undefined) return []
  const x = second.left - breakWidth / 2
  return [-3, 3].map((shift) => ({
    type: 'line',
    silent: true,
    shape: { x1: x + shift - 3, y1: bottom + 7, x2: x + shift + 3, y2: bottom - 7 },
    style: { stroke: colours.muted, lineWidth: 1.5 },
  }))
}

/** What lasted, as bars behind the points. */
function rangeSeries(timeline: readonly Entry[], panel: Panel, index: number): object {
  const data = timeline.flatMap((entry) => {
    if (entry.until === undefined) return []
    const from = Math.max(Date.parse(entry.at), panel.from)
    const to = Math.min(Date.parse(entry.until), panel.to)
    return from < to ? [[from, to, laneBase(entry.lane) + marks[entry.mark].offset]] : []
  })
  return {
    type: 'custom',
    xAxisIndex: index,
    yAxisIndex: index,
    silent: true,
    // Clamped to the panel above; clip paths would be numbered over the whole process.
    clip: false,
    emphasis: { disabled: true },
    data,
    renderItem: (_: unknown, api: { value: (at: number) => number; coord: (point: number[]) => number[] }) => {
      const [x1 = 0, y = 0] = api.coord([api.value(0), api.value(2)])
      const [x2 = 0] = api.coord([api.value(1), api.value(2)])
      return {
        type: 'rect',
        shape: { x: Math.round(x1), y: Math.round(y) - 4, width: Math.max(2, Math.round(x2 - x1)), height: 8, r: 4 },
        style: { fill: colours.attacker, opacity: 0.22 },
      }
    },
  }
}

/** One series per lane and mark. Points that would cover each other become one, the larger the more there are. */
function pointSeries(timeline: readonly Entry[], panels: readonly Panel[], index: number): object[] {
  const cell = 9
  const bins = new Map<string, { lane: Lane; mark: Mark; x: number; n: number }>()
  for (const entry of timeline) {
    const time = Date.parse(entry.at)
    const panel = panelAt(panels, time)
    if (panel === undefined || panel !== panels[index]) continue
    const bin = Math.floor(pixel(panel, time) / cell)
    const key = `${entry.lane} ${entry.mark} ${bin}`
    const found = bins.get(key)
    if (found === undefined) bins.set(key, { lane: entry.lane, mark: entry.mark, x: time, n: 1 })
    else found.n += 1
  }
  return lanes.flatMap(({ lane }) =>
    (Object.keys(marks) as Mark[]).flatMap((mark) => {
      const points = [...bins.values()].filter((bin) => bin.lane === lane && bin.mark === mark)
      if (points.length === 0) return []
      const { symbol, offset } = marks[mark]
      return [
        {
          type: 'scatter',
          xAxisIndex: index,
          yAxisIndex: index,
          silent: true,
          emphasis: { disabled: true },
          symbol,
          itemStyle: { color: colours[lane], opacity: 1, borderColor: colours[lane], borderWidth: 1.5 },
          data: points.map(({ x, n }) => ({
            value: [x, laneBase(lane) + offset],
            symbolSize: Math.min(14, 7 + Math.round(2 * Math.log2(n))),
          })),
        },
      ]
    }),
  )
}

function laneBase(lane: Lane): number {
  return lanes.length - 0.5 - lanes.findIndex((other) => other.lane === lane)
}

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour
const steps = [
  ...[1, 2, 5, 10, 15, 30].map((n) => n * second),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * minute),
  ...[1, 2, 3, 6, 12].map((n) => n * hour),
  ...[1, 2, 7, 14, 30, 90, 365, 3650, 36_500].map((n) => n * day),
]

/** Round times, about 100 pixels apart; the date under the first and wherever it changes. */
function ticksOf(panel: Panel): { values: number[]; format: (value: number) => string } {
  const span = panel.to - panel.from
  const wanted = Math.max(2, Math.floor(panel.width / 100))
  const step = steps.find((candidate) => span / candidate <= wanted) ?? span
  const values: number[] = []
  for (let at = Math.ceil(panel.from / step) * step; at <= panel.to; at += step) values.push(at)
  const date = (at: number) => new Date(at).toISOString().slice(0, 10)
  return {
    values,
    format: (value) => {
      const iso = new Date(value).toISOString()
      if (step >= day) return iso.slice(0, 10)
      const time = step < minute ? iso.slice(11, 19) : iso.slice(11, 16)
      const before = values[values.indexOf(value) - 1]
      return before === undefined || date(before) !== date(value) ? `${time}\n${date(value)}` : time
    },
  }
}

/** Draws without a document. The result is cleaned of what differs from run to run and of what the policy forbids: style and script. */
function draw(option: EChartsCoreOption, height: number): Html {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height })
  try {
    chart.setOption(option)
    return trusted(clean(chart.renderToSVGString({ useViewBox: true })))
  } finally {
    chart.dispose()
  }
}

/**
 * Labels cannot be hit by these expressions: in them, `<`, `>` and `"` are written as entities.
 * Numbering of classes counts up over the process, and inline styles would need `unsafe-inline`.
 */
function clean(svg: string): string {
  return svg
    .replace(/<style[^>]*>[\s\S]*?<\/style>/g, '')
    .replace(/ (?:ecmeta_\w+|class|pointer-events|xmlns:xlink|version|baseProfile)="[^"]*"/g, '')
    .replace(/^<svg width="\d+" height="\d+"/, '<svg class="chart" aria-hidden="true" focusable="false"')
    .replace(/ style="([^"]*)"/g, (_, style: string) => styleToAttributes(style))
    .replace(/\n+/g, '\n')
    .trim()
}

function styleToAttributes(style: string): string {
  return style
    .split(';')
    .map((part) => part.split(':'))
    .filter(([name, value]) => name !== undefined && value !== undefined && /^[a-z-]+$/.test(name.trim()))
    .map(([name = '', value = '']) => ` ${name.trim()}="${value.trim()}"`)
    .join('')
}
