import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fingerprint, heldSecret, secretFromFile } from '../../src/credentials/secret-source.ts'

let folder: string
beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'mcp-ir-secret-')))
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

describe('a token file', () => {
  it.each(['tok.en-1\n', 'tok.en-1', 'tok.en-1\r\n', 'OTHER=1\nLEDGER="tok.en-1"\n', 'LEDGER=tok.en-1'])(
    'is read as the bare secret or by its key (%j)',
    async (text) => {
      await writeFile(join(folder, 'token'), text)
      expect(await secretFromFile(join(folder, 'token'), 'LEDGER')).toBe('tok.en-1')
    },
  )

  it.each(['', '\n', 'two words', 'a\nb', 'esc\u001b', 'nul\0', `${'x'.repeat(70_000)}`, '{"token": "x"}'])(
    'that holds anything else is not taken, and not told (%#)',
    async (text) => {
      await writeFile(join(folder, 'token'), text)
      const error = await secretFromFile(join(folder, 'token'), 'LEDGER').then(
        () => undefined,
        (thrown: Error) => thrown,
      )
      expect(error?.name).toBe('IrError')
      if (text.trim() !== '') expect(error?.message).not.toContain(text)
    },
  )

  it('is not read through a link, and a pipe is not waited for', async () => {
    await writeFile(join(folder, 'of-somebody-else'), 'theirs')
    await symlink(join(folder, 'of-somebody-else'), join(folder, 'link'))
    await expect(secretFromFile(join(folder, 'link'))).rejects.toThrow(/symbolic link/)
    execFileSync('sh', ['-c', 'mkfifo "$0"', join(folder, 'pipe')])
    await expect(secretFromFile(join(folder, 'pipe'))).rejects.toThrow(/not a regular file/)
    await expect(secretFromFile(folder)).rejects.toThrow(/not a regular file/)
    await expect(secretFromFile(join(folder, 'none'))).rejects.toThrow(/does not exist/)
  })
})

describe.runIf(process.platform === 'linux')('the environment of a process', () => {
  it('is used when there is no file, and only of a process in the registered folder', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000); console.log("up")'], {
      cwd: folder,
      env: { LEDGER: 'from-environment' },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    try {
      await once(child.stdout, 'data')
      const pidFile = join(folder, 'pid')
      await writeFile(pidFile, `${child.pid}\n`)
      const deployment = { id: 'dev', kind: 'local-process', pidFile, cwd: folder } as const
      expect(await heldSecret(undefined, 'LEDGER', [deployment])).toEqual({
        secret: 'from-environment',
        where: `environment of process ${child.pid}`,
      })
      for (const [what, other] of [
        [/does not run in/, { ...deployment, cwd: tmpdir() }],
        [/without a registered cwd/, { id: 'dev', kind: 'local-process', pidFile } as const],
      ] as const) {
        expect(await heldSecret(undefined, 'LEDGER', [other])).toEqual({ missing: expect.stringMatching(what) })
      }
      expect(await heldSecret(undefined, 'NONE', [deployment])).toEqual({
        missing: expect.stringMatching(/has no NONE/),
      })
      await writeFile(pidFile, String(process.pid))
      expect(await heldSecret(undefined, 'HOME', [deployment])).toEqual({ missing: expect.stringMatching(/own/) })
    } finally {
      child.kill('SIGKILL')
    }
  })
})

it('names a secret the same within a case and differently in another', () => {
  expect(fingerprint('case-1', 'x')).toMatch(/^[0-9a-f]{12}$/)
  expect(fingerprint('case-1', 'x')).toBe(fingerprint('case-1', 'x'))
  expect(fingerprint('case-2', 'x')).not.toBe(fingerprint('case-1', 'x'))
})
