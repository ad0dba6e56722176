import { expect, test } from 'vitest'
import { company } from '../testbed/incident.ts'
import { killSweep, whens } from '../testbed/sweep.ts'

test.each(whens)('killed %s every single append of a whole respond, the real command goes on', async (when) => {
  const own = await company()
  try {
    const points = await killSweep(own, 'point', () => when)
    expect(points.length).toBeGreaterThan(30)
  } finally {
    await own.end()
  }
})
