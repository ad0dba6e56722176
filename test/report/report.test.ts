import { describe, expect, it } from 'vitest'
import { rate } from '../../src/report/html/rate.ts'
import { renderHtml } from '../../src/report/html.ts'
import { renderJson } from '../../src/report/json.ts'
import { renderMarkdown } from '../../src/report/markdown.ts'
import type { Report } from '../../src/report/model.ts'
import { renderTimesketch } from '../../src/report/timesketch.ts'
import { JournalBuilder } from '../testbed/journal-builder.ts'
import { incident, opened, reportOn, review } from './incident.ts'

const moment = (report: Report, key: string) => report.times.find((time) => time.key === key)
const card = (report: Report, topic: string) => report.standing.find((standing) => standing.topic === topic)

describe('a report of a whole incident', () => {
  it('keeps each moment apart and says how it is known', async () => {
    const report = await reportOn(incident().record)
    expect(report.times.map(({ key, at, mark }) => [key, at, mark])).toEqual([
      ['occurred', '2026-11-20T07:02:11.000Z', 'inferred'],
      ['detected', '2026-11-23T01:31:00.000Z', 'told'],
      ['aware', '2026-11-23T01:58:00.000Z', 'told'],
      ['declared', '2026-11-23T02:11:08.114Z', 'done'],
      ['classified', undefined, undefined],
      ['contained', '2026-11-23T02:11:38.424Z', 'observed'],
      ['revoked', '2026-11-23T02:11:51.034Z', 'observed'],
      ['rotated', '2026-11-23T02:12:02.644Z', 'observed'],
      ['recovered', expect.stringMatching(/^2026-11-23T02:13:/), 'observed'],
    ])
    expect(report.durations).toContainEqual({
      from: 'detected',
      to: 'aware',
      label: 'Detected → aware',
      ms: 27 * 60_000,
      text: '27 min',
    })
  })

  it('says no more than was observed', async () => {
    const report = await reportOn(incident().record)
    expect(card(report, 'containment')).toMatchObject({ state: 'partly', value: 'Contained in part' })
    expect(card(report, 'credentials')).toMatchObject({ state: 'bad', value: '1 of 4 dead' })
    expect(card(report, 'recovery')).toMatchObject({ state: 'good', value: 'Recovered' })
    expect(moment(report, 'revoked')?.note).toContain('legacy-key is still alive')
    expect(report.open).toEqual([
      'isolate: hold-supervisor pm2 crm: pm2 answers to user deploy only',
      'tell-dpo: not answered: Tell the data protection officer',
    ])
    expect(report.unseen.residue).toContain('connections that were open before stay open until their peers time out')
    expect(report.unseen.gaps).toContain('no log covers mail-relay')
  })

  it('tells old credentials from new ones', async () => {
    const { credentials } = await reportOn(incident().record)
    expect(credentials.map(({ id, old, delivered }) => [id, old?.state, delivered?.path])).toEqual([
      ['ledger', 'dead', '/srv/mcp/run/next.env'],
      ['legacy-key', 'alive', undefined],
      ['role', 'expires', undefined],
      ['badge', undefined, undefined],
    ])
  })

  it('shows what came of every change, and what can be run by hand', async () => {
    const { changes } = await reportOn(incident().record)
    expect(changes.map(({ id, state, attempts }) => [id, state, attempts])).toEqual([
      ['c-stop', 'applied', 1],
      ['c-sup', 'failed', 1],
      ['c-rev', 'settled', 2],
      ['c-rot', 'applied', 1],
      ['c-kill', 'applied', 1],
      ['c-start', 'applied', 1],
    ])
    expect(changes[1]).toMatchObject({
      error: 'pm2 answers to user deploy only',
      command: 'sudo -u deploy pm2 stop crm',
    })
  })

  it('tells who decided what, and what was known then', async () => {
    const { decisions } = await reportOn(incident().record)
    expect(decisions.find(({ kind, step }) => kind === 'approved' && step === 'isolate')).toMatchObject({
      by: 'alice@laptop',
      approver: 'bob@soc',
      how: 'at the prompt',
      planHash: expect.stringMatching(/^isolate-plan/),
      known: ['criticality is high: somebody else must approve', 'hurts support-copilot', 'hurts sales-agent'],
    })
    expect(decisions.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(['answered', 'skipped', 'accepted', 'noted', 'left open']),
    )
  })

  it('has a timeline in order, with every lane and mark', async () => {
    const { timeline } = await reportOn(incident().record)
    const times = timeline.map(({ at }) => Date.parse(at))
    expect(times).toEqual([...times].sort((a, b) => a - b))
    expect(new Set(timeline.map(({ lane }) => lane))).toEqual(new Set(['attacker', 'system', 'responder']))
    expect(new Set(timeline.map(({ mark }) => mark))).toEqual(new Set(['observed', 'inferred', 'told', 'done']))
  })

  it('reports what happened to the case itself', async () => {
    const { irregularities } = await reportOn(incident().record)
    expect(irregularities.map(({ kind }) => kind)).toEqual(['interrupted', 'lock', 'journal', 'registry'])
  })

  it('shows the same facts in all three formats', async () => {
    const report = await reportOn(incident().record)
    const html = renderHtml(report)
    const markdown = renderMarkdown(report)
    const json = JSON.parse(renderJson(report))
    expect(json).toEqual(JSON.parse(JSON.stringify(report)))
    expect(json.schema).toBe('mcp-ir/report/1')
    for (const text of [html, markdown]) {
      expect(text).toContain('2026-11-23 02:11:38')
      expect(text).toContain('2 d 18 h')
      expect(text).toContain('no visibility')
      expect(text).toContain('does not hold')
      expect(text).toContain('12'.repeat(32))
      for (const { sha256 } of report.evidence) expect(text).toContain(sha256)
    }
  })

  it('is the same bytes each time, whatever was drawn between', async () => {
    const all = async () => {
      const report = await reportOn(incident().record)
      return [renderHtml(report), renderMarkdown(report), renderJson(report)]
    }
    const first = await all()
    const other = new JournalBuilder('2026-01-01T00:00:00.000Z').add('case.opened', opened())
    renderHtml(await reportOn(other.record))
    expect(await all()).toEqual(first)
  })
})

describe('a report of a case that has only begun', () => {
  it('says what is not recorded, and how to record it', async () => {
    const report = await reportOn(new JournalBuilder('2026-11-23T02:11:08.114Z').add('case.opened', opened()).record)
    expect(moment(report, 'aware')).toMatchObject({
      at: undefined,
      record: 'mcp-ir case note TEXT --kind aware --at TIME',
    })
    expect(moment(report, 'contained')).toMatchObject({ at: undefined, record: 'mcp-ir isolate SERVER' })
    expect(moment(report, 'occurred')).toMatchObject({ at: '2026-11-20T00:00:00.000Z', mark: 'inferred' })
    expect(report.durations).toEqual([])
    const html = renderHtml(report)
    expect(html).toContain('not recorded')
    expect(html).toContain('<code>mcp-ir case note TEXT --kind aware --at TIME</code>')
    expect(renderMarkdown(report)).toContain('not recorded')
  })

  it('calls nothing contained that was released again', async () => {
    const journal = incident()
    finish(journal, 'release', 'network.release', 'verified')
    const report = await reportOn(journal.record)
    expect(card(report, 'containment')).toMatchObject({ state: 'bad', value: 'Released again' })
    expect(moment(report, 'contained')?.note).toMatch(/No longer: released at 2026/)
  })

  it('calls nothing contained that was not observed to be', async () => {
    const journal = new JournalBuilder('2026-11-23T02:11:08.114Z').add('case.opened', opened())
    finish(journal, 'isolate', 'network.isolate', 'failed')
    const report = await reportOn(journal.record)
    expect(moment(report, 'contained')?.at).toBeUndefined()
    expect(card(report, 'containment')).toMatchObject({ state: 'bad', value: 'Not contained' })
  })

  it('takes the last word of a person on when it was', async () => {
    const journal = new JournalBuilder('2026-11-23T02:11:08.114Z')
      .add('case.opened', opened())
      .add('note', { kind: 'aware', text: 'wrong day', at: '2026-11-22T01:58:00.000Z' })
      .add('note', { kind: 'aware', text: 'right day', at: '2026-11-23T01:58:00.000Z' })
    const report = await reportOn(journal.record)
    expect(moment(report, 'aware')).toMatchObject({ at: '2026-11-23T01:58:00.000Z' })
    expect(moment(report, 'aware')?.note).toContain('told before: 2026-11-22 01:58:00 UTC')
  })
})

describe('outputs that are not as they should be', () => {
  const withOutput = (content: string, damage = false) => {
    const journal = new JournalBuilder('2026-11-23T02:11:08.114Z').add('case.opened', opened())
    journal.add('step.started', { use: 'invocations.review', run: 1, resumed: false }, 'review')
    const output = journal.evidence('review-output.json', content)
    if (damage) journal.damage(output)
    return journal.add(
      'step.finished',
      { use: 'invocations.review', state: 'done', output, open: [], residue: [], limits: [], tookMs: 1 },
      'review',
    )
  }

  it('shows nothing of an output that was changed, and says so', async () => {
    const good = await reportOn(withOutput(JSON.stringify(review((text) => text))).record)
    expect(good.review?.records).toBe(1284)
    const report = await reportOn(withOutput(JSON.stringify(review((text) => text)), true).record)
    expect(report.review).toBeUndefined()
    expect(report.unseen.gaps).toEqual([expect.stringContaining('was changed after it was written')])
    expect(report.irregularities).toEqual([expect.objectContaining({ kind: 'evidence' })])
  })

  it.each([
    'not json',
    'null',
    '[]',
    '42',
    '{}',
    '{"tools":[null,1,{"tool":7,"calls":"many"}],"window":[],"findings":{}}',
  ])('still makes a report of %s', async (content) => {
    const report = await reportOn(withOutput(content).record)
    expect(renderHtml(report)).toContain('</html>')
    expect(renderMarkdown(report)).toContain('# Incident report')
  })
})

it.each(['+275760-09-13T00:00:00.000Z', '-271821-04-20T00:00:00.000Z', 'yesterday', ''])(
  'draws the rest when a log claims the time %j',
  async (at) => {
    const found = review((text) => text)
    const journal = new JournalBuilder('2026-11-23T02:11:08.114Z').add('case.opened', opened())
    journal.add('step.started', { use: 'invocations.review', run: 1, resumed: false }, 'review')
    const tools = found.tools.map((use) => ({ ...use, first: at, last: at }))
    const output = journal.evidence('review-output.json', JSON.stringify({ ...found, first: at, tools }))
    journal.add(
      'step.finished',
      { use: 'invocations.review', state: 'done', output, open: [], residue: [], limits: [], tookMs: 1 },
      'review',
    )
    const report = await reportOn(journal.record)
    expect(renderHtml(report)).toContain('>2026-11-23</text>')
    expect(renderMarkdown(report)).toContain('search\\_customers')
  },
)

it('folds what is long and still draws it', async () => {
  const journal = new JournalBuilder('2026-11-23T02:11:08.114Z').add('case.opened', opened())
  for (let i = 0; i < 5000; i += 1) {
    journal.after(977).add('note', { kind: 'note', text: `note ${i}`, at: journal.now })
  }
  const html = renderHtml(await reportOn(journal.record, { duties: [] }))
  expect(html.match(/<details>/g)?.length).toBe(20)
  expect(html).toContain('Rows 4,751 to 5,000 of 5,002')
  expect(html).toContain('note 4999')
})

it('says of a case in which nothing was done that nothing was begun, not that nothing is open', async () => {
  const journal = new JournalBuilder('2026-11-23T02:11:08.114Z').add('case.opened', opened())
  expect(card(await reportOn(journal.record), 'open')).toMatchObject({ state: 'unknown', value: 'Not begun' })
})

function finish(journal: JournalBuilder, step: string, use: string, state: 'verified' | 'failed'): void {
  journal
    .after(1000)
    .add('step.started', { use, run: 1, resumed: false }, step)
    .add(
      'step.verdict',
      {
        operations: [
          {
            key: 'dev',
            adapter: 'containment/local-process',
            state,
            observed: [{ claim: 'it is silent', seen: 'something', holds: state === 'verified' }],
            residue: [],
            limits: [],
          },
        ],
      },
      step,
    )
    .add(
      'step.finished',
      { use, state: state === 'verified' ? 'done' : 'failed', open: [], residue: [], limits: [], tookMs: 5 },
      step,
    )
}

describe('the timeline for Timesketch', () => {
  it('is one JSON object a line, each with the mandatory fields, in the order of time', async () => {
    const report = await reportOn(incident().record)
    const text = renderTimesketch(report)
    const rows = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    const lasting = report.timeline.filter(({ until }) => until !== undefined)
    expect(rows).toHaveLength(report.timeline.length + lasting.length)
    for (const row of rows) {
      expect(row).toMatchObject({ message: expect.stringMatching(/\S/), timestamp_desc: expect.stringMatching(/, /) })
      expect(new Date(row.datetime).toISOString()).toBe(row.datetime)
    }
    expect(new Set(rows.map(({ lane }) => lane))).toEqual(new Set(['attacker', 'system', 'responder']))
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the very thing that must not be in it
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f\u202e]/)
  })
})

describe('the rate of calls', () => {
  it('is drawn against what was ordinary, and said in words', async () => {
    const report = await reportOn(incident().record)
    const html = renderHtml(report)
    expect(html).toContain('Rate against the baseline')
    const rows = (text: string, from: string, to: string) => text.slice(text.indexOf(from), text.indexOf(to))
    expect(rows(html, 'Hours with more calls', '<h3>Tools')).toContain('2026-11-22 23:00:00')
    expect(rows(renderMarkdown(report), '### Hours with', '### Tools, callers')).toContain('2026-11-22 23:00:00')
    expect(rows(html, 'Hours with more calls', '<h3>Tools')).not.toContain('2026-11-20 05:00:00')
  })

  it('is drawn by days when there are many hours, and without a baseline says that there is none', async () => {
    const { review: found } = await reportOn(incident().record)
    if (found === undefined) throw new TypeError('no review')
    const hours = Array.from({ length: 24 * 92 }, (_unused, hour) => ({
      from: new Date(Date.UTC(2026, 7, 1) + hour * 3_600_000).toISOString(),
      calls: hour % 7,
    }))
    const text = rate({ ...found, hours })?.markup ?? ''
    expect(text).toContain('Calls of the server in each day')
    expect(text.match(/<rect/g)?.length).toBe(92)
  })

  it('is passed over where no output tells it', async () => {
    const { review: found } = await reportOn(incident().record)
    if (found === undefined) throw new TypeError('no review')
    expect(rate({ ...found, hours: [] })).toBeUndefined()
    expect(rate({ ...found, hours: [{ from: 'yesterday', calls: 1 }] })).toBeUndefined()
  })
})
