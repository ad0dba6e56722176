import fs, { mkdtempSync, readFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createCase, openCase } from '../../src/case/case.ts'
import { StorageError } from '../../src/errors.ts'
import { clock, opened } from '../testbed/cases.ts'

// The disk is the real one; only that a sync is slow, or fails, is made by the test.
const { fsync } = fs
const disk = {
  syncs: 0,
  /** What becomes of a sync; called once it is done. */
  after: (done: (error: Error | null) => void): void => done(null),
}
beforeEach(() => {
  disk.syncs = 0
  disk.after = (done) => done(null)
  const watched = (file: number, callback: fs.NoParamCallback): void => {
    disk.syncs++
    fsync(file, (error) => (error === null ? disk.after(callback) : callback(error)))
  }
  Object.assign(fs, { fsync: watched })
  syncBuiltinESMExports()
})
afterEach(() => {
  Object.assign(fs, { fsync })
  syncBuiltinESMExports()
})

const someCase = () =>
  createCase(mkdtempSync(join(tmpdir(), 'mcp-ir-commit-')), opened(), { ...clock(), takeOver: false })
const linesIn = (folder: string): string[] => readFileSync(join(folder, 'journal.ndjson'), 'utf8').trimEnd().split('\n')

describe('lines that are committed at the same moment', () => {
  test('share the syncs, and stand in the order of the calls', async () => {
    const { folder, journal, close } = someCase()
    const texts = Array.from({ length: 100 }, (_, index) => `note ${index}`)
    const at = '2026-11-23T02:00:00.000Z'
    await Promise.all(texts.map((text) => journal.commit('note', { kind: 'note', text, at })))
    expect(disk.syncs).toBeGreaterThan(0)
    expect(disk.syncs).toBeLessThan(5)
    const written = linesIn(folder).map((line) => JSON.parse(line))
    expect(written).toEqual(journal.lines)
    expect(written.slice(1).map(({ data }) => data.text)).toEqual(texts)
    close()
    openCase(folder, { ...clock(), takeOver: false }).close()
  })

  test('wait for a sync that began after they were written', async () => {
    const { journal } = someCase()
    const waiting: (() => void)[] = []
    disk.after = (done) => void waiting.push(() => done(null))
    const resolved: string[] = []
    const commit = (id: string) =>
      journal.commit('change.started', { id, attempt: 1 }).then(() => void resolved.push(id))
    const first = commit('a')
    await vi.waitFor(() => expect(waiting).toHaveLength(1))
    const second = commit('b')
    waiting.shift()?.()
    await first
    await vi.waitFor(() => expect(waiting).toHaveLength(1))
    expect(resolved).toEqual(['a'])
    waiting.shift()?.()
    await second
    expect(resolved).toEqual(['a', 'b'])
  })

  test('are taken back, all of them, when the sync fails; nothing is written after it', async () => {
    const { folder, journal, close } = someCase()
    const before = linesIn(folder)
    disk.after = (done) => done(Object.assign(new Error('EIO'), { code: 'EIO' }))
    const ended = await Promise.allSettled(
      ['a', 'b', 'c'].map((id) => journal.commit('change.started', { id, attempt: 1 })),
    )
    for (const one of ended) expect(one).toMatchObject({ status: 'rejected', reason: expect.any(StorageError) })
    expect([linesIn(folder), journal.lines.length]).toEqual([before, 1])
    const note = { kind: 'note', text: 'x', at: '2026-11-23T02:00:00.000Z' } as const
    expect(() => journal.append('note', note)).toThrow('EIO')
    await expect(journal.commit('note', note)).rejects.toThrow('EIO')
    close()
    const again = openCase(folder, { ...clock(), takeOver: false })
    again.journal.append('note', note)
    expect(again.journal.lines).toHaveLength(2)
    again.close()
  })
})
