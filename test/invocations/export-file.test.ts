import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { exportTo } from '../../src/invocations/export-file.ts'
import type { ExportPiece } from '../../src/invocations/port.ts'

// A source of the test's own: which piece a cluster changes its mind before, and where it dies, is no server's to say.
const folder = mkdtempSync(join(tmpdir(), 'mcp-ir-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

const question = {
  file: join(folder, 'out.ndjson'),
  source: 'log',
  names: ['crm'],
  window: { since: '2026-11-01T00:00:00Z', until: '2026-12-01T00:00:00Z' },
}
/** Large enough to be noted by itself. */
const piece = (letter: string): ExportPiece => ({
  bytes: Buffer.from(`${letter.repeat(5 << 20)}\n`),
  records: 1,
  mark: letter,
})
const anew: ExportPiece = { bytes: Buffer.alloc(0), records: 0, mark: undefined, anew: true }

async function run(pieces: readonly ExportPiece[], dies: boolean) {
  const from: (string | undefined)[] = []
  const done = exportTo(question, join(folder, 'notes'), async function* (_, after) {
    from.push(after)
    yield* pieces
    if (dies) throw new Error('died')
  })
  return { from, sha256: await done.then(({ sha256 }) => sha256).catch((error: Error) => error.message) }
}

it('goes on after a death just behind the beginning anew, and after one just behind the first piece of that', async () => {
  expect(await run([piece('a')], true)).toEqual({ from: [undefined], sha256: 'died' })
  expect(await run([anew], true)).toEqual({ from: ['a'], sha256: 'died' })
  expect(await run([piece('b')], true)).toEqual({ from: [undefined], sha256: 'died' })
  const { from, sha256 } = await run([piece('c')], false)
  expect(from).toEqual(['b'])
  const bytes = readFileSync(question.file)
  expect(bytes.toString()).toBe(`${'b'.repeat(5 << 20)}\n${'c'.repeat(5 << 20)}\n`)
  expect(sha256).toBe(createHash('sha256').update(bytes).digest('hex'))
})
