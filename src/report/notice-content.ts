import type { BlastRadius } from '../blast-radius/port.ts'
import type { Line } from '../case/events.ts'
import type { NoticeItem, NoticeName } from '../case/notes.ts'
import type { Review } from '../invocations/port.ts'
import type { CaseFacts, Concerned, Moment, NoticePart, Range, Redeployment, RootCause, Standing } from './model.ts'
import { count, plural, utc } from './words.ts'

/** What the report knows by itself. */
export interface NoticeFacts {
  readonly case: CaseFacts
  readonly times: readonly Moment[]
  readonly standing: readonly Standing[]
  readonly concerned: Concerned
  readonly rootCause: RootCause
  readonly review: Review | undefined
  readonly blastRadius: BlastRadius | undefined
  readonly redeployment: Redeployment | undefined
}

interface Part {
  readonly article: string
  readonly label: string
  readonly ifAny?: true
  /** What a person says of it: `case note --about`. */
  readonly item?: NoticeItem
  /** What the case says of it. */
  readonly facts?: (facts: NoticeFacts, lines: readonly Line[]) => readonly string[]
  /** How else to say it than by `--about`. */
  readonly record?: string
}

/** What a notice has to say, with what is known of each. */
export function contentOf(name: NoticeName, lines: readonly Line[], facts: NoticeFacts): readonly NoticePart[] {
  return contents[name].map((part) => {
    const known = [...(part.facts?.(facts, lines) ?? []), ...(part.item === undefined ? [] : told(lines, part.item))]
    const { record = part.item === undefined ? undefined : `mcp-ir case note TEXT --about ${part.item}` } = part
    return {
      article: part.article,
      label: part.label,
      ifAny: part.ifAny ?? false,
      known,
      record: known.length === 0 ? record : undefined,
    }
  })
}

/** The last word of a person on it. */
function told(lines: readonly Line[], item: NoticeItem): string[] {
  const last = lines.findLast((line) => line.kind === 'note' && line.data.about === item)
  return last?.kind === 'note' ? [`${last.data.text} (told by ${last.by}, ${utc(last.data.at)})`] : []
}

const contents: Readonly<Record<NoticeName, readonly Part[]>> = {
  'gdpr-notification': [
    { article: '33(3)(a)', label: 'Nature of the breach', facts: nature },
    { article: '33(3)(a)', label: 'Categories and number of people', item: 'data-subjects', facts: ranges('people') },
    {
      article: '33(3)(a)',
      label: 'Categories and number of records',
      facts: ranges('records'),
      record: 'mcp-ir blast-radius SERVER',
    },
    { article: '33(3)(b)', label: 'Data protection officer or other contact', item: 'contact' },
    { article: '33(3)(c)', label: 'Likely consequences', item: 'consequences' },
    { article: '33(3)(d)', label: 'Measures taken or proposed', item: 'measures', facts: measures },
  ],
  'nis2-early-warning': [
    { article: '23(4)(a)', label: 'Is it suspected to be unlawful or malicious?', item: 'malicious', facts: suspicion },
    {
      article: '23(4)(a)',
      label: 'Could it have an impact across borders?',
      item: 'cross-border',
      facts: asked(/\bborders?\b/i),
    },
  ],
  'nis2-notification': [
    { article: '23(4)(b)', label: 'Is it suspected to be unlawful or malicious?', item: 'malicious', facts: suspicion },
    {
      article: '23(4)(b)',
      label: 'Could it have an impact across borders?',
      item: 'cross-border',
      facts: asked(/\bborders?\b/i),
    },
    { article: '23(4)(b)', label: 'First assessment of severity and impact', item: 'severity' },
    { article: '23(4)(b)', label: 'Indicators of compromise', ifAny: true, item: 'indicators', facts: indicators },
  ],
  'nis2-final': [
    { article: '23(4)(d)(i)', label: 'Description', facts: nature },
    { article: '23(4)(d)(i)', label: 'Severity and impact', item: 'severity' },
    { article: '23(4)(d)(ii)', label: 'Threat or root cause', item: 'root-cause', facts: cause },
    { article: '23(4)(d)(iii)', label: 'Measures applied and under way', item: 'measures', facts: measures },
    { article: '23(4)(d)(iv)', label: 'Impact across borders', ifAny: true, item: 'cross-border' },
  ],
  'dora-initial': [
    { article: '1(e)', label: 'Whom the authority can ask', item: 'contact' },
    { article: '2(a)', label: 'Reference code', facts: ({ case: facts }) => [facts.id] },
    {
      article: '2(b)',
      label: 'Detection',
      facts: moments('detected'),
      record: 'mcp-ir case note TEXT --kind detected --at TIME',
    },
    {
      article: '2(b)',
      label: 'Classification',
      facts: moments('classified'),
      record: 'mcp-ir case note TEXT --kind classified --at TIME',
    },
    { article: '2(c)', label: 'Description', facts: nature },
    { article: '2(d)', label: 'Criteria by which it is major', item: 'criteria' },
    { article: '2(e)', label: 'Member States that it touches', item: 'cross-border' },
    {
      article: '2(f)',
      label: 'How it was discovered',
      facts: ({ times }) =>
        times.flatMap(({ key, at, note }) => (key === 'detected' && at !== undefined ? [note] : [])),
      record: 'mcp-ir case note TEXT --kind detected --at TIME',
    },
    { article: '2(g)', label: 'Origin', ifAny: true, item: 'origin', facts: cause },
    { article: '2(h)', label: 'Was a business continuity plan activated?', item: 'continuity' },
  ],
  'dora-intermediate': [
    { article: '3(b)', label: 'Occurrence', facts: moments('occurred') },
    {
      article: '3(c)',
      label: 'Recovery of regular activities',
      ifAny: true,
      facts: moments('recovered'),
      record: 'mcp-ir redeploy SERVER',
    },
    { article: '3(d)', label: 'How the criteria are met', item: 'criteria' },
    { article: '3(e)', label: 'Type of incident', facts: nature },
    { article: '3(f)', label: 'Threats and techniques', ifAny: true, item: 'origin', facts: cause },
    { article: '3(g)', label: 'Functional areas and business processes', item: 'functions' },
    {
      article: '3(h)',
      label: 'Infrastructure behind them',
      facts: infrastructure,
      record: 'mcp-ir blast-radius SERVER',
    },
    { article: '3(i)', label: 'Impact on the financial interest of clients', item: 'clients' },
    {
      article: '3(j)',
      label: 'Reports to other authorities',
      facts: otherNotices,
      record: 'mcp-ir case note TEXT --kind notified --about NOTICE',
    },
    { article: '3(k)', label: 'Measures to recover', item: 'measures', facts: measures },
    { article: '3(l)', label: 'Indicators of compromise', ifAny: true, item: 'indicators', facts: indicators },
  ],
  'dora-final': [
    { article: '4(a)', label: 'Root causes', item: 'root-cause', facts: cause },
    { article: '4(b)', label: 'When it was resolved', facts: moments('recovered'), record: 'mcp-ir redeploy SERVER' },
    { article: '4(c)', label: 'How it was resolved', item: 'measures', facts: measures },
    { article: '4(e)', label: 'Costs, losses and recoveries', item: 'costs' },
  ],
}

/** Longest list of single facts in one part; the whole of it is elsewhere in the report. */
const most = 8

function capped(lines: readonly string[], rest: string): readonly string[] {
  return lines.length <= most ? lines : [...lines.slice(0, most), `${count(lines.length - most)} more: ${rest}`]
}

function nature({ case: { server, openedAt }, blastRadius }: NoticeFacts): readonly string[] {
  const reached = (blastRadius?.didReach ?? []).filter(({ coverage }) => coverage === 'accessed')
  return [
    `The MCP server ${server.name} was compromised, by the judgement of those who opened the case (${utc(openedAt)}).`,
    ...capped(
      reached.map(
        ({ system, calls, rows }) =>
          `By the log it reached ${system}: ${plural(calls, 'call')}, ${plural(rows, 'row')}.`,
      ),
      'see “Blast radius”',
    ),
  ]
}

function ranges(of: 'records' | 'people') {
  return ({ concerned }: NoticeFacts): readonly string[] =>
    capped(
      concerned.classes.map((one) => `${one.data}: ${range(one[of])}`),
      'see “Data concerned”',
    )
}

/** `between 51 and 168,213`, `at least 51` */
export function range({ atLeast, atMost }: Range): string {
  if (atMost === undefined) return atLeast === 0 ? 'unknown' : `at least ${count(atLeast)}`
  return atLeast === atMost ? count(atLeast) : `between ${count(atLeast)} and ${count(atMost)}`
}

function measures({ standing }: NoticeFacts): readonly string[] {
  return standing.flatMap(({ topic, label, value, detail }) =>
    topic === 'open' ? [] : [`${label}: ${value}. ${detail}`],
  )
}

/** What was answered to a question of the playbook that is about it. */
function asked(about: RegExp) {
  return (_: NoticeFacts, lines: readonly Line[]): readonly string[] =>
    lines.flatMap((line) =>
      line.kind === 'manual.answered' && about.test(line.data.question)
        ? [`${line.data.question} ${line.data.answer} (${line.by}, ${utc(line.at)})`]
        : [],
    )
}

function suspicion({ case: { openedAt } }: NoticeFacts): readonly string[] {
  return [`Suspected: the server is treated as compromised since ${utc(openedAt)}.`]
}

function cause({ rootCause }: NoticeFacts): readonly string[] {
  return rootCause.text === undefined ? [] : [rootCause.text]
}

function indicators({ review, redeployment }: NoticeFacts): readonly string[] {
  return capped(
    [...(redeployment?.tampered ?? []), ...(review?.findings ?? []).map(({ summary, seen }) => `${summary}: ${seen}`)],
    'see “What it did” and “Redeployment”',
  )
}

function infrastructure({ blastRadius }: NoticeFacts): readonly string[] {
  return capped(
    (blastRadius?.couldReach ?? []).map(({ system, kind }) => `${system} (${kind})`),
    'see “Blast radius”',
  )
}

function otherNotices(_: NoticeFacts, lines: readonly Line[]): readonly string[] {
  return lines.flatMap((line) =>
    line.kind === 'note' && line.data.kind === 'notified' && line.data.about?.startsWith('dora-') === false
      ? [`${line.data.about}, sent ${utc(line.data.at)}: ${line.data.text}`]
      : [],
  )
}

function moments(key: Moment['key']) {
  return ({ times }: NoticeFacts): readonly string[] =>
    times.flatMap((moment) =>
      moment.key === key && moment.at !== undefined ? [`${utc(moment.at)}. ${moment.note}`] : [],
    )
}
