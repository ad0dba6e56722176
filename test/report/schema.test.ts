import { readFileSync } from 'node:fs'
import { Ajv } from 'ajv'
import { describe, expect, it } from 'vitest'
import { renderJson } from '../../src/report/json.ts'
import { JournalBuilder } from '../testbed/journal-builder.ts'
import { poison } from './hostile.ts'
import { incident, opened, reportOn } from './incident.ts'

const published = readFileSync('schemas/report.json', 'utf8')
const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(JSON.parse(published))
type Mutable = { case: { journal: object }; timeline: object[] }
const reportOf = async (journal: JournalBuilder): Promise<Mutable> =>
  JSON.parse(renderJson(await reportOn(journal.record)))
const begun = () => new JournalBuilder('2026-11-23T02:11:08.114Z').add('case.opened', opened())

/** What the validator, which is not ours, says against it. */
function faults(report: unknown): string[] {
  validate(report)
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`)
}

describe('the published schema of report.json', () => {
  it.each([
    ['a whole incident', () => incident()],
    ['one that is full of hostile text', () => incident(poison)],
    ['a case that has only begun', begun],
    ['a case that was interrupted', () => begun().add('interrupted', { during: 'isolate' })],
  ])('holds for %s', async (_, journal) => {
    expect(faults(await reportOf(journal()))).toEqual([])
  })

  const broken: readonly [string, (report: Mutable) => void, string][] = [
    ['a field that nobody knows', (report) => Object.assign(report, { surprise: 1 }), 'must NOT have additional'],
    ['another version', (report) => Object.assign(report, { schema: 'mcp-ir/report/2' }), 'must be equal to constant'],
    [
      'no timeline',
      (report) => Object.assign(report, { timeline: undefined }),
      "must have required property 'timeline'",
    ],
    [
      'a chain head that is none',
      ({ case: { journal } }) => Object.assign(journal, { head: 'none' }),
      'must match pattern',
    ],
    [
      'a lane that there is not',
      ({ timeline }) => Object.assign(timeline[0] ?? {}, { lane: 'bystander' }),
      'must be equal to one of the allowed values',
    ],
  ]
  it.each(broken)('does not hold for %s', async (_, damage, why) => {
    const report = await reportOf(incident())
    expect(faults(report)).toEqual([])
    damage(report)
    expect(faults(report).join('\n')).toContain(why)
  })
})
