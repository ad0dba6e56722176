import { describe, expect, it } from 'vitest'
import { renderHtml } from '../../src/report/html.ts'
import { renderJson } from '../../src/report/json.ts'
import { renderMarkdown } from '../../src/report/markdown.ts'
import type { Report } from '../../src/report/model.ts'
import { Pseudonyms } from '../../src/report/pseudonyms.ts'
import { redact } from '../../src/report/redact.ts'
import { renderTimesketch } from '../../src/report/timesketch.ts'
import { incident, reportOn } from './incident.ts'

const redacted = async () => redact(await reportOn(told().record))

/** An incident in which people also wrote what nobody must read outside. */
function told() {
  return incident()
    .add('note', {
      kind: 'notified',
      text: 'Frau Zettel sent it, case Zebra',
      at: '2026-11-24T10:00:00.000Z',
      about: 'nis2-notification',
    })
    .add('note', { kind: 'note', text: 'ring Dana on 555 0199', at: '2026-11-24T10:00:00.000Z', about: 'contact' })
    .add('note', { kind: 'decision', text: 'Dana decides: pay nothing', at: '2026-11-24T10:00:00.000Z' })
    .add('note', {
      kind: 'note',
      text: '1,204 customers of Zebra',
      at: '2026-11-24T10:00:00.000Z',
      about: 'data-subjects',
    })
}

describe('a redacted report', () => {
  it('names nobody and nothing of the company, in any format', async () => {
    const report = await redacted()
    const gone =
      /alice|bob@|dana|zettel|zebra|0199|laptop|support-copilot|sales-agent|crm-db|mail-relay|billing|io\.acme\/(?!crm)|ledger|legacy-key|data-team|crm-team|platform-team|\/srv|127\.0\.0\.1|s-77|shared-session|rec-\d|police|forensics|by phone|pm2 answers|sudo/i
    for (const render of [renderHtml, renderMarkdown, renderJson, renderTimesketch]) {
      expect(render(report).match(new RegExp(`.{0,80}${gone.source}.{0,40}`, 'i'))?.[0]).toBeUndefined()
    }
  })

  it('keeps what others need: times, digests, the package, the tools, the classes of data, the numbers', async () => {
    const whole = await reportOn(told().record)
    const report = redact(whole)
    expect(report.times.map(({ key, at }) => [key, at])).toEqual(whole.times.map(({ key, at }) => [key, at]))
    expect(report.case.journal).toEqual(whole.case.journal)
    expect(report.evidence.map(({ sha256 }) => sha256)).toEqual(whole.evidence.map(({ sha256 }) => sha256))
    expect(report.case.server).toMatchObject({ name: 'io.acme/crm', package: 'npm:@acme/crm-mcp@2.4.1' })
    expect(report.review?.tools).toEqual(whole.review?.tools)
    expect(report.concerned.classes[0]).toMatchObject({ data: 'customer-pii', records: { atLeast: 152 } })
    expect(report.redeployment?.verification?.sha256).toBe('12'.repeat(32))
    expect(report.redeployment?.tampered).toContain('deployment-1: changed: server.js')
    expect(report.duties.flatMap(({ notices }) => notices.map(({ due }) => due))).toEqual(
      whole.duties.flatMap(({ notices }) => notices.map(({ due }) => due)),
    )
    expect(report.credentials.map(({ old }) => old?.state)).toEqual(whole.credentials.map(({ old }) => old?.state))
  })

  it('calls the same the same, so that it can still be followed', async () => {
    const report = await redacted()
    const [alice] = report.custody.map(({ by }) => by)
    expect(report.case.openedBy).toBe(alice)
    expect(report.evidence.every(({ by }) => by === alice)).toBe(true)
    expect(report.timeline.find(({ seq }) => seq === 1)?.by).toBe(alice)
    const [system] = report.blastRadius?.didReach ?? []
    expect(report.concerned.classes[0]?.systems).toEqual([system?.system])
    expect(report.blastRadius?.suspect[1]?.chain[1]).toBe(report.blastRadius?.suspect[0]?.record)
  })

  it('is the same bytes each time, and says that it is redacted', async () => {
    const all = async () => [renderHtml, renderMarkdown, renderJson].map((render) => redacted().then(render))
    expect(await Promise.all(await all())).toEqual(await Promise.all(await all()))
    expect(renderHtml(await redacted())).toContain('Redacted for handing outside')
    expect(renderMarkdown(await redacted())).toContain('Redacted for handing outside')
    expect((await redacted()).redacted).toBe(true)
  })

  it('lets out as they are only texts that are ours, or are meant to go out', async () => {
    expect(await survivors()).toEqual(goesOut)
  })

  /** Of which texts of the model something goes out that nobody knows by name: every text is made one of its own. */
  async function survivors() {
    const whole = await reportOn(told().record)
    const paths = new Map<string, string>()
    const marked = (value: unknown, path: string): unknown => {
      if (typeof value === 'string') {
        const canary = `zq${String.fromCharCode(97 + (paths.size % 26))}${'x'.repeat(Math.floor(paths.size / 26))}q`
        paths.set(canary, path)
        return `${value} ${canary}`
      }
      if (Array.isArray(value)) return value.map((one) => marked(one, `${path}[]`))
      if (typeof value !== 'object' || value === null) return value
      return Object.fromEntries(
        Object.entries(value).map(([key, one]) => [key, fixed.has(key) ? one : marked(one, `${path}.${key}`)]),
      )
    }
    const json = JSON.stringify(redact(marked(whole, '') as Report))
    return [...new Set([...paths].filter(([canary]) => json.includes(canary)).map(([, path]) => path))].sort()
  }

  /** Of a fixed set of words, numbers, times or digests. */
  const fixed = new Set(
    'schema tlp status key mark law state at until since due kind label rule applies article framework effect priority head sha256 hash lane topic first last openedAt closedAt lastAt startedAt endedAt coverage sinceFrom planHash toolsDigest mediaType'.split(
      ' ',
    ),
  )
  const goesOut = [
    '.blastRadius.couldReach[].access',
    '.blastRadius.couldReach[].classification',
    '.blastRadius.couldReach[].data[]',
    '.blastRadius.couldReach[].via',
    '.blastRadius.couldReach[].way[]',
    '.blastRadius.dataClasses[]',
    '.blastRadius.didReach[].data[]',
    '.blastRadius.exposed[].before[].data[]',
    '.blastRadius.exposed[].before[].tool',
    '.blastRadius.exposed[].parameters[].name',
    '.blastRadius.gaps[]',
    '.blastRadius.suspect[].by',
    '.blastRadius.suspect[].tool',
    '.case.id',
    '.case.playbooks[]',
    '.case.server.criticality',
    '.case.server.name',
    '.case.server.package',
    '.case.server.version',
    '.case.tool',
    '.changes[].action',
    '.changes[].adapter',
    '.changes[].breaks[]',
    '.changes[].id',
    '.changes[].step',
    '.changes[].summary',
    '.concerned.classes[].data',
    '.concerned.method[]',
    '.credentials[].old.proof',
    '.credentials[].rotated',
    '.decisions[].how',
    '.decisions[].known[]',
    '.decisions[].step',
    '.decisions[].text',
    '.durations[].from',
    '.durations[].text',
    '.durations[].to',
    '.duties[].notices[].counted',
    '.duties[].notices[].name',
    '.evidence[].step',
    '.irregularities[].text',
    '.mappings[].id',
    '.mappings[].name',
    '.mappings[].shown[]',
    '.open[]',
    '.proof[].adapter',
    '.proof[].observed[].claim',
    '.proof[].observed[].seen',
    '.proof[].step',
    '.redeployment.deployments[].tools[]',
    '.redeployment.deployments[].version',
    '.redeployment.exceptions[]',
    '.redeployment.tampered[]',
    '.redeployment.verification.observed[].claim',
    '.redeployment.verification.observed[].seen',
    '.review.baseline.days',
    '.review.baseline.zone',
    '.review.findings[].expected',
    '.review.findings[].seen',
    '.review.findings[].summary',
    '.review.gaps[]',
    '.review.hours[].from',
    '.review.resources[].access',
    '.review.resources[].tools[]',
    '.review.source.format',
    '.review.tools[].tool',
    '.risks[].next',
    '.risks[].what',
    '.rootCause.observed[]',
    '.standing[].detail',
    '.standing[].value',
    '.steps[].id',
    '.steps[].use',
    '.timeline[].step',
    '.timeline[].text',
    '.times[].note',
    '.unseen.gaps[]',
    '.unseen.limits[]',
    '.unseen.residue[]',
  ]
})

describe('names in a text', () => {
  const scrub = (text: string) => {
    const names = new Pseudonyms(['io.acme/crm', 'ab'.repeat(32)])
    names.of('system', 'crm-db')
    names.of('person', 'alice')
    names.of('context', 'session s-1')
    return names.scrub(text)
  }

  it.each([
    ['crm-db answers', 'system-1 answers'],
    ['crm-dbx and xcrm-db are others', 'crm-dbx and xcrm-db are others'],
    ['told by alice, twice (alice)', 'told by person-1, twice (person-1)'],
    ['session s-1 of io.acme/crm', 'context-1 of io.acme/crm'],
    ['at 02:11:38 UTC on 2026-11-23', 'at 02:11:38 UTC on 2026-11-23'],
    [`digest ${'ab'.repeat(6)}, whole ${'ab'.repeat(32)}`, `digest ${'ab'.repeat(6)}, whole ${'ab'.repeat(32)}`],
    ['changed: server.js, lib/telemetry.js', 'changed: server.js, lib/telemetry.js'],
  ])('%s', (text, expected) => {
    expect(scrub(text)).toBe(expected)
  })

  it.each([
    '--token=5',
    '10.0.0.7',
    '10.0.0.7:8080',
    'fe80::1ff:fe23:4567:890a',
    'db.internal.acme.example',
    'http://vault.acme:8200/v1/x?y',
    'carol@acme.example',
    '/home/carol/.ssh/id',
    '~/notes',
    'C:\\Users\\carol',
    'arn:aws:iam::123456789012:role/crm',
    'i-0abc12345678def90',
    'AKIAIOSFODNN7EXAMPLE',
    '123456789012',
    '5644eb69-7820-4bc5-8f75-babb4c414228',
    '4bf92f3577b34da6a3ce929d0e0e4736',
  ])('are found by their look: %s', (name) => {
    expect(scrub(`it is ${name}, they say`)).toMatch(/^it is (?:address|path|host|id|argument)-\d+, they say$/)
  })
})
