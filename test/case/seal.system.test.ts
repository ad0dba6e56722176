import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { checkCase } from '../../src/case/check.ts'
import { readSealersKey } from '../../src/case/seal-key.ts'
import { mcpIr, workplace } from '../testbed/cli.ts'
import { rewriteJournal } from '../testbed/rewrite-journal.ts'

const registry =
  'servers: [{name: io.example/a, version: "1", status: approved, owner: o, knownGood: 2026-11-20T00:00:00Z, package: {registryType: npm, identifier: a, version: "1"}, deployments: []}]\n'
const keys = mkdtempSync(join(tmpdir(), 'mcp-ir-keys-'))
const key = (name: string) => join(keys, name)

beforeAll(() => {
  for (const name of ['own', 'other']) {
    execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', key(`${name}.key`)])
    execFileSync('openssl', ['pkey', '-in', key(`${name}.key`), '-pubout', '-out', key(`${name}.pub`)])
  }
})

/** A case with evidence, closed unless it is to stay open. */
async function incident(closed = true) {
  const cwd = workplace(registry, 'invocations: {kind: files, path: "./none/*.ndjson", format: otel}\n')
  const run = (...args: string[]) => mcpIr([...args, '--json'], { cwd })
  expect((await run('blast-radius', 'io.example/a')).code).toBe(3)
  const [id = ''] = readdirSync(join(cwd, 'cases'))
  const folder = join(cwd, 'cases', id)
  if (closed) expect((await run('case', 'close', '--reason', 'a test')).code).toBe(0)
  const seal = (name = 'own', ...args: string[]) => run('case', 'seal', '--key', key(`${name}.key`), ...args)
  return { cwd, run, folder, id, seal, at: (...parts: string[]) => join(folder, ...parts) }
}

test('a sealed case is whole, by the key that is known or by the one that it names, which is said', async () => {
  const { run, seal, at, cwd } = await incident()
  const sealed = await seal()
  expect([sealed.code, sealed.json.status]).toEqual([0, 'done'])
  expect(statSync(at('seal.json')).mode & 0o777).toBe(0o600)
  const known = await run('case', 'check', '--key', key('own.pub'))
  expect([known.code, known.json.result.sealed.keyFrom]).toEqual([0, 'flag'])
  expect(known.json.result.sealed.key).toBe(sealed.json.result.key)
  const unknown = await mcpIr(['case', 'check'], { cwd })
  expect([unknown.code, unknown.stdout]).toEqual([0, expect.stringContaining('the one that the seal itself names')])
  const other = await run('case', 'check', '--key', key('other.pub'))
  expect([other.code, other.json.result.damage[0].what]).toEqual([4, expect.stringContaining('another key')])
})

test('nothing is added to a sealed case: every command that would refuses with code 4 and says so', async () => {
  const { run, seal, id, at } = await incident()
  await seal()
  const before = readFileSync(at('journal.ndjson'))
  for (const args of [
    ['case', 'note', 'one more thing'],
    ['case', 'close', '--reason', 'again'],
    ['case', 'seal', '--key', key('own.key')],
    ['blast-radius', 'io.example/a', '--case', id],
    ['isolate', 'io.example/a', '--case', id, '--yes'],
    ['respond', 'io.example/a', '--case', id, '--yes'],
    ['release', 'io.example/a', '--yes'],
    ['report', id, '--redact'],
  ]) {
    const ran = await run(...args)
    expect([args[0], ran.code, ran.json.error.message]).toEqual([args[0], 4, expect.stringContaining('sealed')])
  }
  expect(readFileSync(at('journal.ndjson'))).toEqual(before)
  expect((await run('case', 'show', id)).json.result.sealedAt).toMatch(/Z$/)
  // Made again it is the same bytes, so that it is there to be asked for.
  const html = statSync(at('report', 'report.html'), { bigint: true }).mtimeNs
  expect((await run('report', id)).code).toBe(0)
  expect(statSync(at('report', 'report.html'), { bigint: true }).mtimeNs).toBe(html)
  expect((await run('report', id, '--tlp', 'clear')).code).toBe(4)
  // Looking at it goes on, also where nothing can be written.
  chmodSync(at(), 0o500)
  expect((await run('case', 'check')).code).toBe(0)
  const note = await run('case', 'note', 'x')
  chmodSync(at(), 0o700)
  expect([note.code, note.json.error.message]).toEqual([4, expect.stringContaining('sealed')])
  // A new incident on the same server is a new case.
  expect((await run('blast-radius', 'io.example/a')).json.case).not.toBe(id)
})

describe('after it was sealed', () => {
  test('any flipped bit of journal, evidence, reports or seal is found', async () => {
    const { seal, folder, at } = await incident()
    await seal()
    const own = await readSealersKey(key('own.pub'))
    const evidence = readdirSync(at('evidence')).map((name) => at('evidence', name))
    const files = [at('journal.ndjson'), at('seal.json'), ...evidence, at('report', 'report.json')]
    expect((await checkCase(folder, { key: own })).damage).toEqual([])
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files), fc.nat(1_000_000), fc.nat(7), async (file, position, bit) => {
        const original = readFileSync(file)
        const changed = Buffer.from(original)
        const place = position % changed.length
        changed[place] = (changed[place] ?? 0) ^ (1 << bit)
        writeFileSync(file, changed)
        const [withKey, without] = await Promise.all([checkCase(folder, { key: own }), checkCase(folder)])
        writeFileSync(file, original)
        expect(withKey.damage).not.toEqual([])
        expect(without.damage).not.toEqual([])
      }),
      { numRuns: 300 },
    )
    expect((await checkCase(folder, { key: own })).damage).toEqual([])
  })

  test('a journal that was rewritten with a right chain, a line more, a seal less, another seal: all are found', async () => {
    const { seal, run, at, folder } = await incident()
    await seal()
    const original = { journal: readFileSync(at('journal.ndjson')), seal: readFileSync(at('seal.json')) }
    const mend = () => {
      writeFileSync(at('journal.ndjson'), original.journal)
      writeFileSync(at('seal.json'), original.seal)
    }
    const found = async () => (await run('case', 'check')).code

    rewriteJournal(at('journal.ndjson'), 2, (line) => ({ ...line, by: 'somebody else' }))
    expect(await found()).toBe(4)
    mend()
    rmSync(at('seal.json'))
    expect(await found()).toBe(4)
    // Not even then is anything added.
    expect((await run('case', 'note', 'x')).code).toBe(4)
    mend()
    writeFileSync(at('report', 'report.md'), 'another report')
    expect(await found()).toBe(4)
    rmSync(at('report', 'report.md'))
    expect(await found()).toBe(4)

    // Somebody who seals a changed case anew is found by who knows the key.
    const second = await incident()
    await second.seal('other')
    expect((await checkCase(second.folder)).damage).toEqual([])
    expect((await second.run('case', 'check', '--key', key('own.pub'))).code).toBe(4)
    expect(folder).not.toBe(second.folder)
  })

  test('each file can be verified alone, without the case', async () => {
    const { seal, at } = await incident()
    await seal()
    const [name = ''] = readdirSync(at('evidence')).filter((one) => /^[0-9a-f]{64}$/.test(one))
    const by = ['--bundle', at('seal.json'), '--insecure-ignore-tlog', '--key']
    for (const file of [at('journal.ndjson'), at('evidence', name), at('report', 'report.html')]) {
      expect((await mcpIr(['verify', file, ...by, key('own.pub'), '--json'])).code).toBe(0)
      expect((await mcpIr(['verify', file, ...by, key('other.pub'), '--json'])).code).toBe(4)
    }
    expect((await mcpIr(['verify', at('seal.json'), ...by, key('own.pub'), '--json'])).code).toBe(4)
  })
})

describe('is not sealed', () => {
  test('a case with open points that nobody agreed to leave, a damaged one', async () => {
    const open = await incident(false)
    const refused = await open.seal()
    expect([refused.code, refused.json.error.hints.join()]).toEqual([4, expect.stringContaining('--reason')])
    expect(refused.json.error.message).toContain('open points')
    expect(readFileSync(open.at('journal.ndjson'), 'utf8')).not.toContain('case.closed')
    const agreed = await open.seal('own', '--yes')
    expect([agreed.code, agreed.json.result.open]).toEqual([0, [expect.stringContaining('blast-radius')]])
    const kinds = readFileSync(open.at('journal.ndjson'), 'utf8').matchAll(/"kind":"(case\.\w+)"/g)
    expect([...kinds].map(([, kind]) => kind).slice(-2)).toEqual(['case.closed', 'case.sealed'])
    expect((await open.run('case', 'check', '--key', key('own.pub'))).code).toBe(0)
    const damaged = await incident()
    const [name = ''] = readdirSync(damaged.at('evidence'))
    writeFileSync(damaged.at('evidence', name), 'changed')
    const spoiled = await damaged.seal()
    expect([spoiled.code, spoiled.json.error.message]).toEqual([4, expect.stringContaining(name)])
    expect(readdirSync(damaged.folder)).not.toContain('seal.json')
  })

  test('with a key that others can read or write, or that is none', async () => {
    const { run, at } = await incident()
    const journal = readFileSync(at('journal.ndjson'))
    const by = async (file: string) => (await run('case', 'seal', '--key', file)).code
    writeFileSync(key('open.key'), readFileSync(key('own.key')), { mode: 0o600 })
    chmodSync(key('open.key'), 0o640)
    expect(await by(key('open.key'))).toBe(4)
    chmodSync(key('open.key'), 0o602)
    expect(await by(key('open.key'))).toBe(4)
    expect(await by(key('own.pub'))).toBe(4)
    chmodSync(key('own.pub'), 0o600)
    expect(await by(key('own.pub'))).toBe(2)
    expect(await by(key('none.key'))).toBe(2)
    execFileSync(
      'openssl',
      ['genpkey', '-algorithm', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', key('ec.key')],
      {
        stdio: 'pipe',
      },
    )
    expect(await by(key('ec.key'))).toBe(2)
    expect(readFileSync(at('journal.ndjson'))).toEqual(journal)
  })

  test('in a dry run', async () => {
    const { seal, folder, at } = await incident()
    const journal = readFileSync(at('journal.ndjson'))
    expect((await seal('own', '--dry-run')).json.status).toBe('planned')
    expect(readFileSync(at('journal.ndjson'))).toEqual(journal)
    expect(readdirSync(folder)).not.toContain('seal.json')
  })
})

test('an encrypted key takes its passphrase from the environment, and neither is told', async () => {
  const { cwd, at } = await incident()
  const passphrase = 'canary-pass-phrase'
  execFileSync('openssl', [
    'pkey',
    '-in',
    key('own.key'),
    '-aes256',
    '-passout',
    `pass:${passphrase}`,
    '-out',
    key('locked.key'),
  ])
  chmodSync(key('locked.key'), 0o600)
  const seal = (env: Record<string, string>) =>
    mcpIr(['case', 'seal', '--key', key('locked.key'), '--json'], { cwd, env })
  expect((await seal({})).code).toBe(2)
  expect((await seal({ MCP_IR_SEAL_PASSPHRASE: 'wrong' })).code).toBe(2)
  const sealed = await seal({ MCP_IR_SEAL_PASSPHRASE: passphrase })
  expect(sealed.code).toBe(0)
  const told = [
    sealed.stdout,
    sealed.stderr,
    ...['seal.json', 'journal.ndjson'].map((name) => readFileSync(at(name), 'utf8')),
  ]
  expect(told.join()).not.toContain(passphrase)
  expect(told.join()).not.toContain('PRIVATE KEY')
})

describe('killed in the middle, the case is consistent and the same command finishes it', () => {
  const preload = fileURLToPath(new URL('../testbed/programs/die-at-append.mjs', import.meta.url))

  test.each(['before', 'torn', 'after'])('%s its journal line is written', async (when) => {
    const { cwd, run, seal, at } = await incident()
    const died = join(cwd, 'died')
    writeFileSync(died, '')
    const env = { DIE_AT: died, DIE_WHEN: when, DIE_BY: 'kind' }
    const sealing = ['case', 'seal', '--key', key('own.key')]
    const killed = await mcpIr(sealing, { cwd, env, node: ['--import', preload] })
    expect([killed.signal, readFileSync(died, 'utf8')]).toEqual(['SIGKILL', 'case.sealed\n'])
    expect((await run('case', 'check')).code).toBe(when === 'before' ? 0 : 4)
    expect((await seal()).code).toBe(0)
    expect((await run('case', 'check', '--key', key('own.pub'))).code).toBe(0)
    expect(JSON.parse(readFileSync(at('journal.ndjson'), 'utf8').trimEnd().split('\n').at(-1) ?? '').kind).toBe(
      'case.sealed',
    )
  })

  test('after all but the seal itself was written: it comes out the same', async () => {
    const { run, seal, at } = await incident()
    await seal()
    const text = readFileSync(at('seal.json'))
    rmSync(at('seal.json'))
    rmSync(at('report', 'report.html'))
    expect((await run('case', 'check')).json.result.damage[0].what).toContain('cut short')
    expect((await seal('other')).code).toBe(4)
    expect((await seal()).code).toBe(0)
    expect(readFileSync(at('seal.json'))).toEqual(text)
    expect((await run('case', 'check', '--key', key('own.pub'))).code).toBe(0)
  })
})
