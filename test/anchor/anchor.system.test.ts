import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mcpIr } from '../testbed/cli.ts'
import { rewriteJournal } from '../testbed/rewrite-journal.ts'
import { type TimeStampAuthority, timeStampAuthority } from '../testbed/time-stamp-authority.ts'
import { type Incident, incident } from './incident.ts'

const inJournal = ({ folder }: Incident) => join(folder, 'journal.ndjson')
const headOf = ({ id, journal }: Incident) => {
  const { seq, hash, at } = journal().at(-1)
  return { case: id, seq, hash, at }
}
const reword = (line: Record<string, unknown>) => ({ ...line, by: 'somebody else' })

/** A company's own program that keeps heads in a file. */
const program = `#!${process.execPath}
const { appendFileSync, readFileSync, existsSync } = require('node:fs')
const store = __dirname + '/store.ndjson'
const request = JSON.parse(readFileSync(0, 'utf8'))
appendFileSync(__dirname + '/asked.ndjson', JSON.stringify({ request, env: Object.keys(process.env) }) + '\\n')
if (request.operation === 'put') {
  appendFileSync(store, JSON.stringify(request.head) + '\\n')
  console.log(JSON.stringify({ receipt: { entry: 'ledger-' + request.head.seq } }))
} else {
  const lines = existsSync(store) ? readFileSync(store, 'utf8').trimEnd().split('\\n') : []
  console.log(JSON.stringify({ heads: lines.map((line) => JSON.parse(line)) }))
}
`
const withProgram = (cwd: string) => {
  writeFileSync(join(cwd, 'anchor.cjs'), program)
  chmodSync(join(cwd, 'anchor.cjs'), 0o700)
}

let authority: TimeStampAuthority
beforeAll(async () => {
  authority = await timeStampAuthority()
})
afterAll(() => authority.close())

describe.each(['file', 'exec', 'rfc3161'] as const)('an anchor: %s', (kind) => {
  const start = () =>
    kind === 'file'
      ? incident('{kind: file, path: ./off-host.ndjson}')
      : kind === 'exec'
        ? incident('{kind: exec, command: [./anchor.cjs]}', withProgram)
        : incident(`{kind: rfc3161, url: "${authority.url}", certificate: "${authority.root}"}`)

  test('has the head after every step and command; a rewritten journal with a right chain is found', async () => {
    const at = await start()
    expect(at.attempts().at(-1).head).toEqual(headOf(at))
    await at.run('case', 'note', 'the first call')
    expect(at.attempts().at(-1).head).toEqual(headOf(at))
    await at.run('case', 'note', 'the second call')

    const whole = await at.run('case', 'check', '--anchor')
    expect([whole.code, whole.json.status]).toEqual([0, 'done'])
    expect(whole.json.result.anchor).toMatchObject({ heads: 3, upTo: { seq: at.journal().length }, notes: [] })

    rewriteJournal(inJournal(at), 2, reword)
    expect((await at.run('case', 'check')).code).toBe(0)
    const found = await at.run('case', 'check', '--anchor')
    expect([found.code, found.json.status]).toEqual([4, 'refused'])
    expect(found.json.result.damage[0].what).toContain('rewritten')
  })

  test('a journal that was cut short is found', async () => {
    const at = await start()
    await at.run('case', 'note', 'one')
    const text = readFileSync(inJournal(at), 'utf8')
    writeFileSync(inJournal(at), `${text.trimEnd().split('\n').slice(0, -1).join('\n')}\n`)
    expect((await at.run('case', 'check')).code).toBe(0)
    const found = await at.run('case', 'check', '--anchor')
    expect(found.code).toBe(4)
    expect(found.json.result.damage[0].what).toContain('cut short')
  })

  test('what was written after the last head is said to be unvouched for, and `case anchor` takes it in', async () => {
    const at = await start()
    const seq = at.journal().length
    await mcpIr(['case', 'note', 'unanchored'], { cwd: at.cwd })
    const check = await at.run('case', 'check', '--anchor')
    expect(check.code).toBe(0)
    expect(check.json.result.anchor.notes.join()).toContain(`nothing vouches for line ${seq + 1}`)
    const now = await at.run('case', 'anchor')
    expect([now.code, now.json.result.head.seq]).toEqual([0, seq + 1])
    expect((await at.run('case', 'check', '--anchor')).json.result.anchor.notes).toEqual([])
  })
})

describe('an anchor that is unreachable', () => {
  test('is said, blocks nothing, and is tried again by the next command', async () => {
    const at = await incident('{kind: file, path: ./share/off-host.ndjson}')
    expect(at.opened.stderr).toContain('Not anchored')
    expect(at.opened.json.problems).toContainEqual(expect.objectContaining({ code: 'unreachable' }))
    expect(at.attempts().at(-1).failed).toContain('ENOENT')
    const noted = await at.run('case', 'note', 'still down')
    expect([noted.code, noted.json.problems.length]).toEqual([0, 1])
    expect((await at.run('case', 'check', '--anchor')).code).toBe(5)
    expect((await at.run('case', 'anchor')).code).toBe(5)
    expect((await at.run('case', 'show')).json.result.anchored).toMatchObject({
      upTo: null,
      failed: expect.stringContaining('ENOENT'),
    })
    const row = async () =>
      (await at.run('doctor')).json.result.checks.find(({ check }: { check: string }) => check === 'anchor')?.state
    expect(await row()).toBe('failed')

    mkdirSync(join(at.cwd, 'share'))
    const up = await at.run('case', 'note', 'up again')
    expect(up.json.problems).toEqual([])
    expect(up.stderr).toContain('Anchored up to line')
    const check = await at.run('case', 'check', '--anchor')
    expect([check.code, check.json.result.anchor.upTo.seq]).toEqual([0, at.journal().length])
    expect((await at.run('case', 'show')).json.result.anchored).toMatchObject({
      upTo: at.journal().length,
      failed: null,
    })
    expect(await row()).toBe('ok')
  })

  test('also one that answers slowly, too much, nonsense, or with a time-stamp of something else', async () => {
    const at = await incident(`{kind: rfc3161, url: "${authority.url}", certificate: "${authority.leaf}"}`)
    const [first] = at.attempts()
    const earlier = Buffer.from(first.receipt.token, 'base64')
    for (const [answer, what] of [
      [Buffer.alloc(100_000), 'more than'],
      [Buffer.from('nonsense'), 'does not count'],
      [earlier, 'something else'],
    ] as const) {
      authority.answering = () => answer
      const ran = await at.run('case', 'note', 'x')
      expect([ran.code, ran.json.problems[0].message]).toEqual([0, expect.stringContaining(what)])
    }
    authority.answering = () => new Promise(() => {})
    const slow = await at.run('case', 'note', 'y')
    authority.answering = (answer) => answer
    expect([slow.code, slow.json.problems[0].message]).toEqual([0, expect.stringContaining('did not answer within')])
  })

  test('one whose heads were taken away is told apart from one that never had any', async () => {
    const at = await incident('{kind: file, path: ./off-host.ndjson}')
    writeFileSync(join(at.cwd, 'off-host.ndjson'), '')
    const gone = await at.run('case', 'check', '--anchor')
    expect([gone.code, gone.json.result.damage[0].what]).toEqual([4, expect.stringContaining('no longer has')])
    rmSync(join(at.folder, 'anchors.ndjson'))
    const never = await at.run('case', 'check', '--anchor')
    expect([never.code, never.json.status]).toEqual([3, 'partial'])
  })
})

test('an anchor of a configuration that was only found gets nothing, and the program is not started', async () => {
  const at = await incident('{kind: exec, command: [./anchor.cjs]}', withProgram)
  const asked = readFileSync(join(at.cwd, 'asked.ndjson'), 'utf8')
  const ran = await mcpIr(['case', 'note', 'x'], { cwd: at.cwd })
  expect([ran.code, ran.stderr]).toEqual([0, expect.stringContaining('mcp-ir trust')])
  expect(readFileSync(join(at.cwd, 'asked.ndjson'), 'utf8')).toBe(asked)
})

test('a program gets the head on its stdin, and nothing of the environment that could be secret', async () => {
  const at = await incident('{kind: exec, command: [./anchor.cjs]}', withProgram)
  const { request, env } = JSON.parse(readFileSync(join(at.cwd, 'asked.ndjson'), 'utf8').split('\n')[0] ?? '')
  expect(request).toEqual({ protocol: 'mcp-ir/anchor/1', operation: 'put', head: at.attempts()[0].head })
  expect(env.filter((name: string) => !['PATH', 'HOME', 'LANG', 'TZ'].includes(name))).toEqual([])
  expect(at.attempts()[0].receipt).toEqual({ entry: `ledger-${request.head.seq}` })
})

test('a line that a crash cut short in anchors.ndjson spoils nothing', async () => {
  const at = await incident('{kind: file, path: ./off-host.ndjson}')
  writeFileSync(join(at.folder, 'anchors.ndjson'), '{"anchor":"fi', { flag: 'a' })
  await at.run('case', 'note', 'x')
  const check = await at.run('case', 'check', '--anchor')
  expect([check.code, check.json.result.anchor.heads]).toEqual([0, 2])
})

test('`trust` shows where the heads go', async () => {
  const at = await incident('{kind: exec, command: [./anchor.cjs]}', withProgram)
  const shown = await mcpIr(['trust', 'mcp-ir.yaml', '--dry-run'], { cwd: at.cwd })
  expect(shown.stdout + shown.stderr).toContain('Anchor: starts')
})
