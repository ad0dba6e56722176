import { createHash } from 'node:crypto'
import { appendFile, copyFile, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { IrError } from '../../src/errors.ts'
import type { Expectations, Provenance } from '../../src/provenance/port.ts'

export interface ProvenanceCase {
  /** A file that holds against `expected`, and one that the same expectations must not accept. */
  readonly file: string
  readonly other: string
  readonly expected: Expectations
}

/** What every way of proving where a file comes from has to do, whatever it is proven with. */
export function provenanceContract(
  name: string,
  subject: Provenance,
  make: (folder: string) => Promise<ProvenanceCase>,
): void {
  describe(`provenance contract: ${name}`, () => {
    const signal = AbortSignal.timeout(30_000)
    let folder: string
    let given: ProvenanceCase
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'mcp-ir-provenance-'))
      given = await make(folder)
    })
    afterAll(async () => await rm(folder, { recursive: true, force: true }))

    test('the right file is verified, and the verdict carries its own digests and what was seen', async () => {
      const verdict = await subject.verify(given.file, given.expected, signal)
      expect(verdict).toMatchObject({ state: 'verified', reasons: [] })
      const bytes = await readFile(given.file)
      expect(verdict.sha256).toBe(createHash('sha256').update(bytes).digest('hex'))
      expect(verdict.sha512).toBe(createHash('sha512').update(bytes).digest('hex'))
      expect(verdict.observed.length).toBeGreaterThan(0)
      expect(verdict.observed.every(({ holds }) => holds)).toBe(true)
    })

    test('another file is invalid and the verdict says why', async () => {
      const verdict = await subject.verify(given.other, given.expected, signal)
      expect(verdict.state).toBe('invalid')
      expect(verdict.reasons.length).toBeGreaterThan(0)
    })

    test('one more byte at the end makes it invalid', async () => {
      const longer = join(folder, 'longer.tgz')
      await copyFile(given.file, longer)
      await appendFile(longer, '\0')
      expect((await subject.verify(longer, given.expected, signal)).state).toBe('invalid')
    })

    test('without an expectation about its bytes it is unverifiable, never verified', async () => {
      const verdict = await subject.verify(given.file, { package: given.expected.package }, signal)
      expect(verdict.state).toBe('unverifiable')
      expect(verdict.reasons).not.toEqual([])
    })

    test('a missing file is an input error', async () => {
      const missing = subject.verify(join(folder, 'missing'), given.expected, signal)
      await expect(missing).rejects.toThrow(IrError)
      await expect(missing).rejects.toMatchObject({ code: 'input' })
    })

    test('a folder is an input error', async () => {
      await expect(subject.verify(folder, given.expected, signal)).rejects.toMatchObject({ code: 'input' })
    })
  })
}
