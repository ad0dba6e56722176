import { count } from '../../ui/format.ts'
import type { Hours } from '../../working-hours.ts'
import { type Calendar, localHour, slotOf, timeOf } from '../clock.ts'
import type { Baseline, Finding, HourUse } from '../port.ts'
import { descriptions } from './descriptions.ts'
import { newcomers } from './newcomers.ts'
import { oddHours } from './odd-hours.ts'
import type { Selected, Selection, Usage } from './port.ts'
import { rates } from './rate.ts'
import { refusals } from './refusals.ts'
import type { Suspicion } from './suspicion.ts'
import { type Covered, coveredBy, fewest, usualHours } from './usual-hours.ts'
import { volumes } from './volume.ts'
import { minute } from './words.ts'

/** More are not told one by one. */
const mostFindings = 100
/** Hours that are told one by one. */
const mostHours = 92 * 24
const hourLong = 3_600_000_000
/** Findings that begin so soon after the window does say that it may begin too late. */
const crowded = 24 * hourLong

/** The worst kind first: what the server says to models, what left, who is at work. */
const order: readonly Finding['kind'][] = [
  'description',
  'volume',
  'rate',
  'auth',
  'caller',
  'address',
  'tool',
  'hours',
]

export interface Circumstances {
  readonly calendar: Calendar
  /** From the configuration. */
  readonly hours: Hours | undefined
  /** Microseconds. */
  readonly since: number
  readonly until: number
  /** The registry's `tools.digest`. */
  readonly approvedTools: string | undefined
  /** Whether the log's format tells that somebody was refused. */
  readonly tellsRefusals: boolean
}

export interface Judgement {
  readonly findings: readonly Finding[]
  readonly baseline: Baseline | undefined
  readonly hours: readonly HourUse[]
  readonly gaps: readonly string[]
}

/** What was out of the ordinary, by the counts of a log. `select` fetches the records behind a finding. */
export async function judge(
  usage: Usage,
  circumstances: Circumstances,
  select: (which: Selection) => Promise<Selected>,
): Promise<Judgement> {
  const { calendar, since, until, hours, approvedTools, tellsRefusals } = circumstances
  const covered = coveredBy(usage, calendar, since)
  const parts = [
    rates(usage, covered),
    volumes(usage),
    refusals(usage, covered),
    newcomers(usage, covered, (until - since) / hourLong),
    oddHours(usage, covered, hours),
    descriptions(usage, approvedTools),
  ]
  const suspicions = parts.flatMap((part) => part.suspicions)
  const ranked = suspicions.toSorted((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || a.from - b.from)
  const findings: Finding[] = []
  for (const suspicion of ranked.slice(0, mostFindings)) findings.push(await finding(suspicion, select))
  return {
    findings,
    baseline: baselineOf(usage, circumstances),
    hours: hourUses(usage, covered, circumstances),
    gaps: [
      ...baselineGaps(usage, covered),
      ...(tellsRefusals
        ? []
        : [
            'The format of the log does not tell refusals from other failures: failed authentications were not looked for.',
          ]),
      ...parts.flatMap((part) => part.gaps),
      ...(ranked.length > findings.length
        ? [
            `${count(ranked.length - findings.length, 'more finding')} ${ranked.length - findings.length === 1 ? 'is' : 'are'} not listed.`,
          ]
        : []),
      ...crowding(findings, since, until),
    ],
  }
}

async function finding(
  { kind, from, records, tell }: Suspicion,
  select: (which: Selection) => Promise<Selected>,
): Promise<Finding> {
  if (isIds(records)) return { kind, ...tell(undefined), records, first: instant(from), last: instant(from) }
  const selected = await select(records)
  const more = selected.calls - selected.ids.length
  return {
    kind,
    ...tell(selected),
    records: selected.ids,
    ...(more > 0 ? { more } : {}),
    first: instant(selected.first),
    last: instant(selected.last),
  }
}

function isIds(records: Suspicion['records']): records is readonly string[] {
  return Array.isArray(records)
}

function baselineOf({ since, calls }: Usage, { calendar, since: until }: Circumstances): Baseline | undefined {
  if (since === undefined) return undefined
  const { zone, days, assumed } = calendar
  return { since: instant(since), until: instant(until), calls, zone, days, assumed }
}

function hourUses({ before, now }: Usage, covered: Covered, { calendar, since, until }: Circumstances): HourUse[] {
  const usual = usualHours(
    before.filter(({ tool }) => tool === undefined),
    covered,
  )
  const calls = new Map(now.filter(({ tool }) => tool === undefined).map((hour) => [hour.hour, hour.calls]))
  const last = localHour(calendar, until - 1)
  const first = Math.max(localHour(calendar, since), last - mostHours + 1)
  const uses: HourUse[] = []
  for (let hour = first; hour <= last; hour += 1) {
    const known = usual[slotOf(calendar, hour)]
    uses.push({
      from: instant(timeOf(calendar, hour)),
      calls: calls.get(hour) ?? 0,
      ...(known === undefined ? {} : { expected: known.median, upper: known.upper }),
    })
  }
  return uses
}

function baselineGaps({ since }: Usage, { samples, calendar, from, until }: Covered): string[] {
  if (since === undefined)
    return [
      'The log holds no call of this server from before the window: what is usual cannot be told, and nothing was compared.',
    ]
  const short = samples.filter((hours) => hours < fewest).length
  if (short === 0) return []
  const days = `${calendar.days} in ${calendar.zone}${calendar.assumed ? ', the default' : ''}`
  if (short === samples.length)
    return [
      `The log holds calls of this server from ${minute(since)} on, which is too little before the window to tell what is usual: ${fewest} days of a kind are needed (working days are ${days}). Rates and hours were not judged.`,
    ]
  return [
    `For ${short} of the 48 hours of working days and days off (working days are ${days}) fewer than ${fewest} came in the ${count(Math.floor((until - from) / 24), 'day')} before the window: rates and hours were not judged in them.`,
  ]
}

/** The window may begin too late: then what is taken for usual is the attacker's already. */
function crowding(findings: readonly Finding[], since: number, until: number): string[] {
  if (until - since <= 2 * crowded) return []
  const early = findings.filter(({ first }) => first !== undefined && Date.parse(first) * 1000 < since + crowded)
  if (early.length === 0) return []
  return [
    `${count(early.length, 'finding')} ${early.length === 1 ? 'begins' : 'begin'} within a day of the start of the window: the server may have been bad before. Look further back with --since.`,
  ]
}

function instant(time: number): string {
  return new Date(Math.floor(time / 1000)).toISOString()
}
