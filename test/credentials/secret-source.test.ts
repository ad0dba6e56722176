import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fingerprint, heldSecrets, secretFromFile } from '../../src/credentials/secret-source.ts'
import type { DeploymentOf } from '../../src/registry/port.ts'

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

describe('the places of a secret', () => {
  it('are all looked at, and each secret is told once, under the first of them', async () => {
    const path = (name: string) => join(folder, name)
    await writeFile(path('token'), 'one\n')
    await writeFile(path('next.env'), 'OTHER="three"\nLEDGER="two"\n')
    await writeFile(path('token.new'), 'one\n')
    const delivered = [
      { path: path('next.env'), key: 'LEDGER' },
      { path: path('token.new'), key: undefined },
      { path: path('not-yet'), key: undefined },
    ]
    expect(await heldSecrets({ file: path('token'), key: 'LEDGER', delivered, deployments: [] })).toEqual({
      found: [
        { secret: 'one', where: path('token') },
        { secret: 'two', where: path('next.env') },
      ],
      missing: [],
      cut: false,
    })
  })

  it('that hold none are told', async () => {
    const told = await heldSecrets({ file: join(folder, 'none'), key: 'K', delivered: [], deployments: [] })
    expect(told).toMatchObject({ found: [], missing: [expect.stringContaining('does not exist')] })
  })
})

describe.runIf(process.platform === 'linux')('the environment of a process', () => {
  /** What is found of a process in `cwd` with such an environment. */
  async function held(env: Record<string, string>, cwd = folder, other: Partial<DeploymentOf<'local-process'>> = {}) {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000); console.log("up")'], {
      cwd,
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    try {
      await once(child.stdout, 'data')
      const pidFile = join(folder, 'pid')
      await writeFile(pidFile, `${child.pid}\n`)
      const deployment = { id: 'dev', kind: 'local-process', pidFile, cwd: folder, ...other } as const
      return await heldSecrets({ file: undefined, key: 'LEDGER', delivered: [], deployments: [deployment] })
    } finally {
      child.kill('SIGKILL')
    }
  }

  it('is used, and only of a process in the registered folder', async () => {
    const found = [{ secret: 'from-environment', where: 'the environment of dev (LEDGER)' }]
    expect(await held({ LEDGER: 'from-environment' })).toMatchObject({ found })
    expect(await held({ LEDGER: 'from-environment' }, tmpdir())).toMatchObject({
      found: [],
      missing: [expect.anything(), expect.stringMatching(/does not run in/)],
    })
    expect(await held({})).toMatchObject({
      found: [],
      missing: [expect.anything(), expect.stringMatching(/no LEDGER/)],
    })
    const nowhere = { id: 'dev', kind: 'local-process', pidFile: join(folder, 'pid') } as const
    const own = async () => {
      await writeFile(nowhere.pidFile, String(process.pid))
      return await heldSecrets({ file: undefined, key: 'HOME', delivered: [], deployments: [nowhere] })
    }
    expect((await own()).missing.join()).toMatch(/own/)
    await writeFile(nowhere.pidFile, '4194300')
    const unsure = await heldSecrets({ file: undefined, key: 'HOME', delivered: [], deployments: [nowhere] })
    expect(unsure.missing.join()).toMatch(/without a registered cwd/)
  })

  it('of a folder that a redeploy made beside the registered one counts, of any other neighbour not', async () => {
    for (const [name, counts] of [
      ['-1.4.0-0123456789ab-20261123-crm-0a1b/package', true],
      ['-1.4.0-0123456789ab-20261123-crm-0a1b', true],
      ['-backup', false],
      ['2', false],
      ['-x/1.4.0-0123456789ab-20261123-crm-0a1b', false],
    ] as const) {
      const cwd = `${join(folder, 'crm')}${name}`
      await mkdir(cwd, { recursive: true })
      const { found } = await held({ LEDGER: 'x' }, cwd, { cwd: join(folder, 'crm') })
      expect([name, found.length === 1]).toEqual([name, counts])
    }
  })

  it('names files: bare ones and the key of a dotenv file are read, nothing else is', async () => {
    const path = (name: string) => join(folder, name)
    await writeFile(path('bare'), 'bare-token\n')
    await writeFile(path('mine.env'), 'OTHER="theirs"\nLEDGER="mine"\n')
    await writeFile(path('theirs.env'), 'OTHER="theirs"\n')
    await symlink(path('bare'), path('link'))
    const { found, missing } = await held({
      TOKEN_FILE: './bare',
      CREDENTIALS_FILE: path('mine.env'),
      A_TOKEN_FILE: path('theirs.env'),
      B_TOKEN_FILE: path('link'),
      C_TOKEN_FILE: '/proc/self/comm',
      D_TOKEN_FILE: folder,
      SOME_FILE: path('bare'),
    })
    expect(found).toEqual([
      { secret: 'mine', where: 'the file that CREDENTIALS_FILE of dev names' },
      { secret: 'bare-token', where: 'the file that TOKEN_FILE of dev names' },
    ])
    expect(missing.filter((why) => why.includes('names holds no token'))).toHaveLength(4)
  })

  it.runIf(process.getuid?.() === 0)("does not make us read a file of another user's", async () => {
    await writeFile(join(folder, 'theirs'), 'theirs')
    await chown(join(folder, 'theirs'), 12345, 12345)
    expect((await held({ TOKEN_FILE: join(folder, 'theirs') })).found).toEqual([])
  })

  it('is bounded: many files are cut, and it is said', async () => {
    const names = Array.from({ length: 12 }, (_, index) => `T${index}_TOKEN_FILE`)
    await Promise.all(names.map((name) => writeFile(join(folder, name), name)))
    const { found, cut } = await held(Object.fromEntries(names.map((name) => [name, join(folder, name)])))
    expect(found.length).toBeLessThan(12)
    expect(cut).toBe(true)
  })
})

it('names a secret the same within a case and differently in another', () => {
  expect(fingerprint('case-1', 'x')).toMatch(/^[0-9a-f]{12}$/)
  expect(fingerprint('case-1', 'x')).toBe(fingerprint('case-1', 'x'))
  expect(fingerprint('case-2', 'x')).not.toBe(fingerprint('case-1', 'x'))
})
