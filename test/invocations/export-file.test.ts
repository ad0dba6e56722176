import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
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

it('is not whole on a disk that takes a part of its last piece', () => {
  const file = join(folder, 'full.ndjson')
  const program = `
    const { exportTo } = await import(${JSON.stringify(new URL('../../src/invocations/export-file.ts', import.meta.url))})
    const question = { ...${JSON.stringify(question)}, file: ${JSON.stringify(file)} }
    const piece = { bytes: Buffer.alloc(3 << 20, 'x'), records: 1, mark: 'a' }
    await exportTo(question, ${JSON.stringify(join(folder, 'full'))}, async function* () { yield piece }).then(
      () => process.stdout.write('whole'),
      ({ code }) => process.stdout.write(code),
    )`
  // The limit of a file's size stands for the end of a disk: both take what fits and refuse the next byte.
  const limited = ['-c', 'ulimit -f 2048; exec "$0" --input-type=module -e "$1"', process.execPath, program]
  expect(execFileSync('bash', limited, { encoding: 'utf8' })).toBe('EFBIG')
  expect(existsSync(file)).toBe(false)
})
