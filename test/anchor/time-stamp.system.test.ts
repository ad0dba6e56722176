import { execFileSync } from 'node:child_process'
import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readTimeStamp, timeStampRequest } from '../../src/anchor/time-stamp.ts'
import { timeStampAuthority } from '../testbed/time-stamp-authority.ts'

const hash = createHash('sha256').update('a journal line').digest('hex')
const certificate = (file: string) => new X509Certificate(readFileSync(file))

describe.each(['rsa', 'ec'] as const)('a time-stamp by openssl (%s)', async (key) => {
  const authority = await timeStampAuthority(key)
  await authority.close()
  const { der, nonce } = timeStampRequest(hash, randomBytes(8))
  const answer = authority.stamp(der)

  test('is read, by the certificate that signed it or the one above', () => {
    for (const file of [authority.root, authority.leaf]) {
      const stamp = readTimeStamp(answer, [certificate(file)])
      expect(stamp).toMatchObject({ hash, nonce })
      expect(Math.abs(stamp.at.getTime() - Date.now())).toBeLessThan(3_600_000)
    }
  })

  test('is one that openssl accepts for the hash alone', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'mcp-ir-ts-')), 'answer.tsr')
    writeFileSync(file, answer)
    const said = execFileSync('openssl', ['ts', '-verify', '-digest', hash, '-in', file, '-CAfile', authority.root], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    expect(said.toString()).toContain('Verification: OK')
  })

  test('of another authority of the same name is none', async () => {
    const other = await timeStampAuthority(key)
    await other.close()
    expect(() => readTimeStamp(answer, [certificate(other.root)])).toThrow()
    expect(() => readTimeStamp(answer, [])).toThrow()
  })

  test('a changed bit is found, or changes nothing that counts', () => {
    fc.assert(
      fc.property(fc.nat(answer.length - 1), fc.nat(7), (position, bit) => {
        const changed = Buffer.from(answer)
        changed[position] = (changed[position] ?? 0) ^ (1 << bit)
        let stamp: ReturnType<typeof readTimeStamp>
        try {
          stamp = readTimeStamp(changed, [certificate(authority.root)])
        } catch {
          return
        }
        // Outside of what is signed: the status text, a certificate that was not needed.
        expect(stamp).toEqual(readTimeStamp(answer, [certificate(authority.root)]))
      }),
      { numRuns: 600 },
    )
  })
})

test('a request is what openssl makes of the same hash, but for the nonce', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-ir-ts-'))
  execFileSync('openssl', ['ts', '-query', '-digest', hash, '-sha256', '-cert', '-out', 'query.tsq'], {
    cwd: folder,
    stdio: 'pipe',
  })
  const theirs = readFileSync(join(folder, 'query.tsq'))
  const ours = timeStampRequest(hash, randomBytes(8)).der
  const at = theirs.indexOf(Buffer.from(hash, 'hex'))
  expect(ours.subarray(2, 24 + 32)).toEqual(theirs.subarray(2, at + 32))
  expect(ours.length).toBe((ours[1] ?? 0) + 2)
})
