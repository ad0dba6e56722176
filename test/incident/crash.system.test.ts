import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { afterEach, expect, test } from 'vitest'
import { FileJournal } from '../../src/case/journal.ts'
import type { Company } from '../../src/drill/company.ts'
import { StorageError } from '../../src/errors.ts'
import { company, liveTokens, respondTo } from '../testbed/incident.ts'
import { killSweep, neverUnisolated, wellEnded, whens } from '../testbed/sweep.ts'

/**
 * One company for a whole sweep: every run dies at the first point where none died before, and the next run goes on. So a
 * crash at every append is tried, each on a case that crashed at all the earlier ones.
 */

const { append } = FileJournal.prototype
const { writeSync: realWriteSync } = fs
let standing: Company | undefined

afterEach(async () => {
  FileJournal.prototype.append = append
  fs.writeSync = realWriteSync
  syncBuiltinESMExports()
  await standing?.end()
  standing = undefined
})

const start = async (): Promise<Company> => {
  standing = await company()
  return standing
}

/** What identifies a point: the same line in another run is the same point. */
const pointOf = (kind: string, data: object, step: string | undefined): string =>
  [kind, step, ...['id', 'use', 'name'].map((key) => (data as Record<string, unknown>)[key])].filter(Boolean).join(' ')

test.each(['before', 'after'] as const)(
  'aborted %s every append of a whole respond, the next run goes on',
  async (when) => {
    const own = await start()
    const points = new Set<string>()
    FileJournal.prototype.append = function (kind, data, step) {
      const point = pointOf(kind, data, step)
      if (points.has(point)) return append.call(this, kind, data, step) as never
      points.add(point)
      if (when === 'after') append.call(this, kind, data, step)
      throw new StorageError(`abort ${when} ${point}`)
    }
    let runs = 0
    for (; ; runs++) {
      try {
        const result = await respondTo(own)
        expect([0, 6], JSON.stringify(result.problems)).toContain(result.exitCode)
        break
      } catch (error) {
        expect(error).toBeInstanceOf(StorageError)
      }
      await neverUnisolated(own)
      expect(runs).toBeLessThan(200)
    }
    expect(runs).toBeGreaterThan(30)
    await wellEnded(own)
    expect(await liveTokens(own)).toBe(1)
  },
  600_000,
)

test('a full disk at any append: nothing is lost, and with room the next run goes on', async () => {
  const own = await start()
  const points = new Set<string>()
  // A mock, as no disk can be filled at a given line: the write puts half of the line on disk and then fails.
  fs.writeSync = ((file: number, bytes: Buffer, ...rest: never[]) => {
    const line =
      Buffer.isBuffer(bytes) && bytes.toString().startsWith('{"seq":') ? JSON.parse(bytes.toString()) : undefined
    const point = line === undefined ? undefined : pointOf(line.kind, line.data, line.step)
    if (point === undefined || points.has(point)) return realWriteSync(file, bytes, ...rest)
    points.add(point)
    realWriteSync(file, bytes, 0, bytes.length >> 1)
    throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
  }) as never
  syncBuiltinESMExports()
  for (let runs = 0; ; runs++) {
    try {
      expect([0, 6]).toContain((await respondTo(own)).exitCode)
      break
    } catch (error) {
      expect(error).toMatchObject({ code: 'partial', message: expect.stringContaining('ENOSPC') })
    }
    await neverUnisolated(own)
    expect(runs).toBeLessThan(200)
  }
  expect(points.size).toBeGreaterThan(30)
  await wellEnded(own)
  expect(await liveTokens(own)).toBe(1)
}, 600_000)

test('killed at an append of each kind, the real command goes on', async () => {
  const kinds = await killSweep(await start(), 'kind', (run) => whens[run % 3] ?? 'after')
  expect(kinds).toEqual(
    expect.arrayContaining([
      'case.opened',
      'step.planned',
      'step.approved',
      'change.started',
      'change.recorded',
      'change.applied',
      'step.verdict',
      'step.finished',
      'evidence.stored',
    ]),
  )
}, 600_000)
