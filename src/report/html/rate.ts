import type { Review } from '../../invocations/port.ts'
import { type Html, html } from '../escape.ts'
import { mostUnusualFirst, rateChart } from '../rate-chart.ts'
import { count } from '../words.ts'
import { type Cell, table, time } from './parts.ts'

/** Calls over time against the baseline, drawn and in words. */
export function rate({ hours }: Review): Html | undefined {
  const chart = rateChart(hours)
  if (chart === undefined) return undefined
  const unusual = mostUnusualFirst(hours)
  return html`<h3>Rate against the baseline</h3>
<figure><div role="img" aria-label="Bar chart of calls per ${chart.per}; ${unusual.length === 0 ? 'no hour had more than is ordinary' : 'the table below it names the hours with more than is ordinary'}.">${chart.drawing}</div>
<figcaption>Calls of the server in each ${chart.per}, UTC.${
    chart.compared &&
    ` Line: the median of the same hours before.${chart.per === 'hour' ? ' Dashed: the most that is not out of the ordinary.' : ''} Red, with a mark: ${chart.per === 'hour' ? 'more than that' : 'a day with an hour above what is ordinary'}.`
  }</figcaption></figure>
${
  unusual.length > 0 &&
  table(
    'Hours with more calls than is ordinary, those with the most above it first.',
    [
      { label: 'Hour from (UTC)', kind: 'time' },
      { label: 'Calls', kind: 'num' },
      { label: 'Ordinary', kind: 'num' },
      { label: 'At most', kind: 'num' },
    ],
    unusual.map(({ from, calls, expected, upper }): Cell[] => [
      time(from),
      count(calls),
      expected === undefined ? 'unknown' : count(expected),
      upper === undefined ? 'unknown' : count(upper),
    ]),
    'narrow',
    8,
  )
}`
}
