import { describe, expect, it } from 'vitest'
import { reviewTraffic } from '../testbed/review-traffic.ts'
import { type Incident, type Profile, trafficOf } from '../testbed/traffic.ts'

const guide: readonly Incident[] = ['rate', 'volume', 'auth', 'description']

/** Servers that differ as much as servers do; all else is by the seed. */
const servers: readonly (readonly [string, number, Partial<Profile>])[] = [
  ['three calls a day', 101, { rhythm: 'office', callsADay: 3, burst: 3 }],
  ['a thousand calls a day that grow by a fifth a month', 102, { rhythm: 'office', callsADay: 1000, growth: 0.2 }],
  ['work at weekends only', 103, { rhythm: 'weekends', callsADay: 60 }],
  ['work around the clock', 104, { rhythm: 'around-the-clock', callsADay: 200 }],
  ['a job at night and a zone that changes its clocks', 105, { zone: 'Europe/Berlin', job: { atHour: 2, calls: 150 } }],
]

describe.each(servers)('findings of a server with %s', (_, seed, profile) => {
  it("tells the guide's four examples, by the records behind them", async () => {
    const traffic = trafficOf({ seed, days: 7, incidents: guide, profile })
    const { findings } = await reviewTraffic(traffic)
    for (const kind of guide) {
      const found = findings.filter((finding) => finding.kind === kind)
      expect(found, kind).not.toEqual([])
      expect(
        found.some(({ records }) => records.filter((id) => id.startsWith(`evil-${kind}`)).length * 2 >= records.length),
        JSON.stringify(found),
      ).toBe(true)
    }
    expect(findings.filter(({ records }) => !records.some((id) => id.startsWith('evil'))).length).toBeLessThanOrEqual(1)
  })

  it('is quiet in a quiet month: no more than one finding a week', async () => {
    const { findings } = await reviewTraffic(trafficOf({ seed: seed + 50, days: 28, profile }))
    expect(findings.length, JSON.stringify(findings, undefined, 1)).toBeLessThanOrEqual(4)
  })
})
