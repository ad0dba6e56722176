import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual, parseEnv } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import * as deliver from '../../src/credentials/deliver.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-deliver-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

const dotenv = (name = 'next.env', changeId = 'c1'): deliver.Destination => ({
  path: join(folder, name),
  key: 'API_KEY',
  changeId,
})
const put = async (destination: deliver.Destination, secret: string): Promise<void> => {
  await deliver.prepare(destination)
  await deliver.stage(destination, secret)
  await deliver.finish(destination)
}
const nobody = { folders: [], file: undefined }

describe('the key of a credential', () => {
  it.each([
    ['api-key', 'API_KEY'],
    ['ledger', 'LEDGER'],
    ['a.b/c d', 'A_B_C_D'],
    ['2fa', '_2FA'],
    ['ключ', '____'],
  ])('%s is %s', (id, key) => {
    expect(deliver.keyOf(id)).toBe(key)
  })
})

describe('a dotenv file', () => {
  it('is made with mode 0600 and leaves nothing else behind', async () => {
    await put(dotenv(), 's3cret')
    expect(await readFile(join(folder, 'next.env'), 'utf8')).toBe('API_KEY="s3cret"\n')
    expect((await stat(join(folder, 'next.env'))).mode & 0o777).toBe(0o600)
    expect(await readdir(folder)).toEqual(['next.env'])
  })

  it('keeps every other line as it is, replaces its own, and tightens the mode', async () => {
    const before = '# a comment\r\nOTHER=\'x y\'\n\nexport API_KEY=old # gone\nAPI_KEY="older"\nAPI_KEY_2=stays'
    await writeFile(join(folder, 'next.env'), before, { mode: 0o644 })
    await put(dotenv(), 'new')
    expect(await readFile(join(folder, 'next.env'), 'utf8')).toBe(
      '# a comment\r\nOTHER=\'x y\'\n\nAPI_KEY="new"\nAPI_KEY_2=stays\n',
    )
    expect((await stat(join(folder, 'next.env'))).mode & 0o777).toBe(0o600)
  })

  it('takes many deliveries at once, none lost', async () => {
    const ids = Array.from({ length: 20 }, (_, n) => `KEY_${n}`)
    await Promise.all(ids.map((key) => put({ path: join(folder, 'next.env'), key, changeId: key }, `value of ${key}`)))
    const read = parseEnv(await readFile(join(folder, 'next.env'), 'utf8'))
    expect(read).toEqual(Object.fromEntries(ids.map((key) => [key, `value of ${key}`])))
    expect(await readdir(folder)).toEqual(['next.env'])
  })

  it('reads back whatever it carries, beside whatever was there', () => {
    const secret = fc.string({ unit: 'binary', maxLength: 40 })
    const others = fc.array(fc.tuple(fc.stringMatching(/^[B-Z]{1,4}$/), fc.stringMatching(/^[ -!#-[\]-~]{0,12}$/)), {
      maxLength: 3,
    })
    const carries = (value: string, lines: readonly (readonly [string, string])[]): boolean => {
      const before = lines.map(([key, other]) => `${key}="${other}"\n`).join('')
      if (deliver.cannotCarry(value) !== undefined) return true
      return isDeepStrictEqual(parseEnv(deliver.mergeDotenv(before, 'API_KEY', value)), {
        ...parseEnv(before),
        API_KEY: value,
      })
    }
    fc.assert(fc.property(secret, others, carries), { numRuns: 50 })
    fc.assert(fc.property(fc.stringMatching(/^[ -~]{1,40}$/), others, carries), { numRuns: 50 })
  })

  it.each([
    ['line\nbreak', /line break/],
    ['carriage\rreturn', /line break/],
    ['nul\0', /NUL/],
    ['escape\u001b[31m', /control character/],
    ['double"quote', /double quote/],
    ['back\\slash', /backslash/],
    ['$(id)', /dollar/],
    ['`id`', /backtick/],
    ['lone \ud800', /Unicode/],
    ['', /empty/],
    ['x'.repeat(64 * 1024 + 1), /longer than/],
  ])('refuses what it cannot carry, without telling it (%#)', async (secret, why) => {
    await deliver.prepare(dotenv())
    const refused = await deliver.stage(dotenv(), secret).then(
      () => undefined,
      (error: Error) => error,
    )
    expect(refused?.message).toMatch(why)
    if (secret !== '') expect(refused?.message).not.toContain(secret)
  })

  it('carries 64 KB, spaces, hashes and single quotes', async () => {
    for (const secret of ['x'.repeat(64 * 1024), ' a # b ', "it's", 'ключ=значение']) {
      await put(dotenv(), secret)
      expect(parseEnv(await readFile(join(folder, 'next.env'), 'utf8')).API_KEY).toBe(secret)
      expect(await deliver.delivered(dotenv())).toBe(secret)
    }
  })

  it.each([
    'PEM="-----BEGIN\nAPI_KEY=not ours\n-----END"\n',
    'API_KEY=ours\nPEM="-----BEGIN\nAPI_KEY=not ours\n-----END"\n',
    'OPEN="never closed\nAPI_KEY=x\n',
  ])('is not touched when a value over several lines would be altered (%#)', async (before) => {
    await writeFile(join(folder, 'next.env'), before)
    const [problem] = await deliver.checkDestination(dotenv(), nobody)
    if (problem !== undefined) expect(problem.message).toMatch(/without altering/)
    const error = await put(dotenv(), 'new').catch((thrown: Error) => thrown)
    if (error instanceof Error) expect(await readFile(join(folder, 'next.env'), 'utf8')).toBe(before)
    const { API_KEY: _, ...others } = parseEnv(before)
    expect(parseEnv(await readFile(join(folder, 'next.env'), 'utf8'))).toMatchObject(others)
  })
})

describe('an interrupted delivery', () => {
  it('goes on with what was staged, merged with what came meanwhile', async () => {
    await deliver.prepare(dotenv())
    await deliver.stage(dotenv(), 'first')
    await writeFile(join(folder, 'next.env'), 'OTHER=meanwhile\n')
    expect(await deliver.staged(dotenv())).toBe('first')
    await deliver.finish(dotenv())
    expect(await readFile(join(folder, 'next.env'), 'utf8')).toBe('OTHER=meanwhile\nAPI_KEY="first"\n')
    expect(await deliver.staged(dotenv())).toBeUndefined()
  })

  it('takes a staged secret that was not written to its end for none', async () => {
    await deliver.prepare(dotenv())
    await deliver.stage(dotenv(), 'whole')
    const [name] = await readdir(folder)
    await writeFile(join(folder, name ?? ''), 'API_KEY="who')
    expect(await deliver.staged(dotenv())).toBeUndefined()
  })
})

describe('the place to deliver to', () => {
  it('may be a new file in a private folder', async () => {
    expect(await deliver.checkDestination(dotenv(), nobody)).toEqual([])
  })

  it('must not be a link, then or later', async () => {
    await writeFile(join(folder, 'elsewhere'), 'KEEP=1\n')
    await symlink(join(folder, 'elsewhere'), join(folder, 'next.env'))
    expect(await deliver.checkDestination(dotenv(), nobody)).toMatchObject([{ kind: 'refused' }])
    await expect(put(dotenv(), 'x')).rejects.toThrow(/symbolic link/)
    await expect(put({ ...dotenv(), key: undefined }, 'x')).rejects.toThrow(/symbolic link/)
    expect(await readFile(join(folder, 'elsewhere'), 'utf8')).toBe('KEEP=1\n')
  })

  it('must not be where the suspect reads, through a link neither', async () => {
    await mkdir(join(folder, 'crm'))
    await symlink(join(folder, 'crm'), join(folder, 'innocent'))
    const avoid = { folders: [join(folder, 'crm')], file: join(folder, 'token') }
    for (const name of ['crm/next.env', 'innocent/next.env', 'token']) {
      expect(await deliver.checkDestination(dotenv(name), avoid)).toMatchObject([{ kind: 'refused' }])
    }
    expect(await deliver.checkDestination(dotenv('crm.env'), avoid)).toEqual([])
  })

  it('needs a folder that is there and that not everybody writes', async () => {
    expect(await deliver.checkDestination(dotenv('none/next.env'), nobody)).toMatchObject([{ kind: 'input' }])
    await mkdir(join(folder, 'open'))
    await chmod(join(folder, 'open'), 0o777)
    expect(await deliver.checkDestination(dotenv('open/next.env'), nobody)).toMatchObject([{ kind: 'refused' }])
  })
})
