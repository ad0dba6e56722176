import { reviewTraffic } from '../test/testbed/review-traffic.ts'
import { type Incident, keepsHours, type Traffic, trafficOf } from '../test/testbed/traffic.ts'

export const name = 'findings'

const seeds = Array.from({ length: 20 }, (_, index) => index + 1)
const guide: readonly Incident[] = ['rate', 'volume', 'auth', 'description']

/**
 * Findings in made-up traffic (test/testbed/traffic.ts) of 20 servers, from three calls a day to over a thousand: incidents planted
 * in a week, how weak they may be, and what a quiet month raises. A finding is right when most of its records are planted ones.
 */
export async function run(print: (line: string) => void): Promise<void> {
  await planted(print)
  await weaker(print)
  await quiet(print)
}

async function planted(print: (line: string) => void): Promise<void> {
  let right = 0
  let all = 0
  const found = new Map<Incident, number>()
  const there = new Map<Incident, number>()
  const look = async (seed: number, incidents: readonly Incident[]) => {
    const { findings } = await reviewTraffic(trafficOf({ seed, days: 7, incidents }))
    all += findings.length
    right += findings.filter(({ records }) => evilIn(records).length * 2 >= records.length).length
    for (const incident of incidents) {
      add(there, incident, 1)
      if (findings.some(({ records }) => isMostly(incident, records))) add(found, incident, 1)
    }
  }
  for (const seed of seeds) {
    await look(seed, [...guide, 'caller'])
    // By itself, as the others lie at odd hours too, more often than not, and would be told with it.
    if (keepsHours(trafficOf({ seed, days: 7 }).profile)) await look(seed, ['hours'])
  }
  const total = (counts: ReadonlyMap<Incident, number>) => [...counts.values()].reduce((sum, n) => sum + n, 0)
  print(`findings, ${seeds.length} seeds, each a week with incidents after four weeks without`)
  print(`  precision           ${part(right, all)}`)
  print(`  recall              ${part(total(found), total(there))}`)
  for (const [incident, n] of there) print(`    ${incident.padEnd(18)}${part(found.get(incident) ?? 0, n)}`)
}

/** How often the guide's rate and volume are still found when they are less. */
async function weaker(print: (line: string) => void): Promise<void> {
  for (const [incident, strengths] of [
    ['rate', [5, 10, 20, 50]],
    ['volume', [5, 20, 100]],
  ] as const) {
    const shares: string[] = []
    for (const strength of strengths) {
      let found = 0
      for (const seed of seeds) {
        const times = { rate: strength, volume: strength }
        const { findings } = await reviewTraffic(trafficOf({ seed, days: 7, incidents: [incident], times }))
        if (findings.some(({ records }) => isMostly(incident, records))) found += 1
      }
      shares.push(`${strength} times ${part(found, seeds.length)}`)
    }
    print(`  recall of a ${incident} that is only ${shares.join(', ')}`)
  }
}

async function quiet(print: (line: string) => void): Promise<void> {
  const counts: number[] = []
  for (const seed of seeds) counts.push((await reviewTraffic(quietMonth(seed))).findings.length)
  const sum = counts.reduce((all, n) => all + n, 0)
  print(
    `  a quiet month       ${(sum / counts.length / 4).toFixed(2)} findings a week; months with more than four: ${counts.filter((n) => n > 4).length} of ${counts.length}, the worst ${Math.max(...counts)}`,
  )
}

function quietMonth(seed: number): Traffic {
  return trafficOf({ seed: 1000 + seed, days: 28 })
}

function evilIn(records: readonly string[]): readonly string[] {
  return records.filter((id) => id.startsWith('evil-'))
}

function isMostly(incident: Incident, records: readonly string[]): boolean {
  return records.filter((id) => id.startsWith(`evil-${incident}-`)).length * 2 >= records.length
}

function add<K>(counts: Map<K, number>, key: K, n: number): void {
  counts.set(key, (counts.get(key) ?? 0) + n)
}

function part(n: number, of: number): string {
  return `${((100 * n) / of).toFixed(0)}% (${n} of ${of})`
}
