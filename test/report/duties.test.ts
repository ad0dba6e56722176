import { describe, expect, it } from 'vitest'
import type { NoteAbout, NoteKind } from '../../src/case/notes.ts'
import { renderHtml } from '../../src/report/html.ts'
import { renderMarkdown } from '../../src/report/markdown.ts'
import type { Law, NoticePart } from '../../src/report/model.ts'
import { JournalBuilder } from '../testbed/journal-builder.ts'
import { incident, opened, reportOn } from './incident.ts'

type Told = readonly [kind: NoteKind, at: string, about?: NoteAbout]

/** The notices of a case that was opened at 02:11:08 on 23 November, in which this was noted. */
async function noticesOf(law: Law, ...notes: readonly Told[]) {
  const journal = new JournalBuilder('2026-11-23T02:11:08.000Z').add('case.opened', opened())
  for (const [kind, at, about] of notes) {
    journal.add('note', { kind, text: `${kind} it was`, at, ...(about === undefined ? {} : { about }) })
  }
  const { duties } = await reportOn(journal.record, { duties: [law] })
  return duties.flatMap(({ notices }) => notices)
}

const due = async (law: Law, ...notes: readonly Told[]) =>
  (await noticesOf(law, ...notes)).map(({ due: at, assumed }) => `${at}${assumed ? ' assumed' : ''}`)

describe('the clocks of duties to notify', () => {
  it('are not shown for a law that nobody named', async () => {
    const { duties } = await reportOn(incident().record, { duties: [] })
    expect(duties).toEqual([])
  })

  it.each<[string, Law, readonly Told[], readonly string[]]>([
    ['GDPR: 72 hours', 'gdpr', [['aware', '2026-11-23T01:58:00.000Z']], ['2026-11-26T01:58:00.000Z']],
    [
      'NIS2: 24 hours, 72 hours, a month after the notification is due',
      'nis2',
      [['aware', '2026-11-23T01:58:00.000Z']],
      ['2026-11-24T01:58:00.000Z', '2026-11-26T01:58:00.000Z', '2026-12-26T01:58:00.000Z assumed'],
    ],
    [
      'NIS2: a month after the notification went out',
      'nis2',
      [
        ['aware', '2026-11-23T01:58:00.000Z'],
        ['notified', '2026-11-24T10:00:00.000Z', 'nis2-notification'],
      ],
      ['2026-11-24T01:58:00.000Z', '2026-11-26T01:58:00.000Z', '2026-12-24T10:00:00.000Z'],
    ],
    [
      'DORA: 4 hours from the classification, where that is sooner',
      'dora',
      [
        ['aware', '2026-11-23T01:58:00.000Z'],
        ['classified', '2026-11-23T06:00:00.000Z'],
      ],
      ['2026-11-23T10:00:00.000Z', '2026-11-26T10:00:00.000Z assumed', '2026-12-26T10:00:00.000Z assumed'],
    ],
    [
      'DORA: 24 hours from awareness, where the classification came in its last hours',
      'dora',
      [
        ['aware', '2026-11-23T01:58:00.000Z'],
        ['classified', '2026-11-24T00:30:00.000Z'],
      ],
      ['2026-11-24T01:58:00.000Z', '2026-11-27T01:58:00.000Z assumed', '2026-12-27T01:58:00.000Z assumed'],
    ],
    [
      'DORA: 4 hours from a classification after the first day',
      'dora',
      [
        ['aware', '2026-11-23T01:58:00.000Z'],
        ['classified', '2026-11-25T12:00:00.000Z'],
      ],
      ['2026-11-25T16:00:00.000Z', '2026-11-28T16:00:00.000Z assumed', '2026-12-28T16:00:00.000Z assumed'],
    ],
    [
      'DORA: without a classification the first day is the bound',
      'dora',
      [['aware', '2026-11-23T01:58:00.000Z']],
      ['2026-11-24T01:58:00.000Z assumed', '2026-11-27T01:58:00.000Z assumed', '2026-12-27T01:58:00.000Z assumed'],
    ],
    [
      'DORA: from the notices as they went out, the final one from the last intermediate',
      'dora',
      [
        ['aware', '2026-11-23T01:58:00.000Z'],
        ['classified', '2026-11-23T02:30:00.000Z'],
        ['notified', '2026-11-23T05:00:00.000Z', 'dora-initial'],
        ['notified', '2026-11-25T05:00:00.000Z', 'dora-intermediate'],
        ['notified', '2027-01-31T05:00:00.000Z', 'dora-intermediate'],
      ],
      ['2026-11-23T06:30:00.000Z', '2026-11-26T05:00:00.000Z', '2027-02-28T05:00:00.000Z'],
    ],
  ])('%s', async (_, law, notes, expected) => {
    expect(await due(law, ...notes)).toEqual(expected)
  })

  it('count from the earliest recorded moment where nobody said since when one was aware, and say so', async () => {
    expect(await due('gdpr')).toEqual(['2026-11-26T02:11:08.000Z assumed'])
    expect(await due('gdpr', ['detected', '2026-11-23T01:31:00.000Z'])).toEqual(['2026-11-26T01:31:00.000Z assumed'])
    expect(await due('gdpr', ['detected', '2026-11-23T09:00:00.000Z'])).toEqual(['2026-11-26T02:11:08.000Z assumed'])
    const [notice] = await noticesOf('gdpr')
    expect(notice?.counted).toBe(
      'awareness, which nobody recorded: assumed to be when the case was opened, 2026-11-23 02:11:08 UTC',
    )
  })

  it('tell what went out in time from what did not', async () => {
    const aware = ['aware', '2026-11-23T01:58:00.000Z'] as const
    const states = async (...sent: readonly Told[]) =>
      (await noticesOf('nis2', aware, ...sent)).map(({ state }) => state)
    expect(await states()).toEqual(['not sent', 'not sent', 'not sent'])
    expect(
      await states(
        ['notified', '2026-11-24T01:57:00.000Z', 'nis2-early-warning'],
        ['notified', '2026-11-26T01:59:00.000Z', 'nis2-notification'],
      ),
    ).toEqual(['sent', 'sent late', 'not sent'])
  })
})

describe('what a notice has to say', () => {
  const parts = async (law: Law, ...notes: readonly Told[]) =>
    new Map<string, NoticePart>(
      (await noticesOf(law, ...notes)).flatMap(({ name, content }) =>
        content.map((part) => [`${name} ${part.label}`, part]),
      ),
    )

  it('is taken from the case, and the rest from people', async () => {
    const before = await parts('gdpr')
    expect(before.get('gdpr-notification Nature of the breach')?.known[0]).toContain('io.acme/crm was compromised')
    expect(before.get('gdpr-notification Likely consequences')).toMatchObject({
      known: [],
      record: 'mcp-ir case note TEXT --about consequences',
    })
    const after = await parts('gdpr', ['note', '2026-11-23T03:00:00.000Z', 'consequences'])
    expect(after.get('gdpr-notification Likely consequences')).toMatchObject({
      known: ['note it was (told by alice@laptop, 2026-11-23 03:00:00 UTC)'],
      record: undefined,
    })
  })

  it.each(['gdpr', 'nis2', 'dora'] as const)('says for every missing part of %s how to tell it', async (law) => {
    for (const { known, record } of (await parts(law)).values())
      expect(known.length > 0 || record !== undefined).toBe(true)
  })

  it('is in HTML and Markdown, with the ranges of what is concerned', async () => {
    const report = await reportOn(incident().record)
    expect(report.concerned.classes).toEqual([
      {
        data: 'customer-pii',
        systems: ['crm-db'],
        records: { atLeast: 152, atMost: 168_213 },
        people: { atLeast: 1, atMost: 168_213 },
        note: undefined,
      },
    ])
    for (const text of [renderHtml(report), renderMarkdown(report)]) {
      expect(text).toContain('2026-11-26 01:58:00')
      expect(text).toContain('between 152 and 168,213')
      expect(text).toContain('mcp-ir case note TEXT --about contact')
      expect(text).toContain('TLP:AMBER+STRICT')
    }
  })
})
