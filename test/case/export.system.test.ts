import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { pack } from 'tar-stream'
import { describe, expect, test } from 'vitest'
import { createCase } from '../../src/case/case.ts'
import { clock, opened } from '../testbed/cases.ts'
import { mcpIr } from '../testbed/cli.ts'

const secret = 'canary-customer@example.com'

/** A closed case with a raw log, console output, and notes of ours, and a folder elsewhere. */
async function incident() {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-ir-export-'))
  const made = createCase(join(folder, 'cases'), opened(), { ...clock(), takeOver: false })
  await made.evidence.put('invocations.ndjson', 'application/x-ndjson', `{"arguments":"${secret}"}\n`.repeat(1000))
  await made.evidence.put('console-i-1.txt', 'text/plain', `login: ${secret}`)
  await made.evidence.put('isolate-output.json', 'application/json', '{"whole":true}\n')
  writeFileSync(join(made.folder, 'private', 'undo.json'), secret)
  made.journal.append('case.closed', { open: [] })
  made.close()
  const run = (...args: string[]) =>
    mcpIr([...args, '--json'], { cwd: folder, env: { MCP_IR_CASES: join(folder, 'cases') } })
  expect((await run('report')).code).toBe(0)
  const to = (name: string) => join(folder, name)
  return { id: made.id, folder: made.folder, run, to, at: (...parts: string[]) => join(made.folder, ...parts) }
}

const listed = (archive: string) => execFileSync('tar', ['-tzf', archive]).toString().trimEnd().split('\n').toSorted()

/** A tarball of any names and contents. */
async function tarball(entries: readonly { name: string; content?: string; type?: 'symlink'; linkname?: string }[]) {
  const archive = pack()
  for (const { name, content = '', type, linkname } of entries)
    archive.entry(type === undefined ? { name } : { name, type, linkname: linkname ?? '' }, content)
  archive.finalize()
  const chunks: Uint8Array[] = []
  for await (const chunk of archive) chunks.push(chunk as Uint8Array)
  return gzipSync(Buffer.concat(chunks))
}

describe('an export', () => {
  test('holds the case but for private/, checks elsewhere, and is the same bytes each time', async () => {
    const { run, to, id, at } = await incident()
    const made = await run('case', 'export', '--to', to('a.tar.gz'))
    expect([made.code, made.json.case, made.json.result.leftOut]).toEqual([0, id, []])
    expect(statSync(to('a.tar.gz')).mode & 0o777).toBe(0o600)
    const names = readdirSync(at('evidence')).map((name) => `${id}/evidence/${name}`)
    const reports = ['html', 'json', 'md'].map((format) => `${id}/report/report.${format}`)
    const folders = ['', 'evidence/', 'report/'].map((name) => `${id}/${name}`)
    expect(listed(to('a.tar.gz'))).toEqual(
      [...folders, ...names, ...reports, `${id}/journal.ndjson`, `${id}/SHA256SUMS`].toSorted(),
    )
    const sum = execFileSync('sha256sum', [to('a.tar.gz')])
      .toString()
      .slice(0, 64)
    expect(made.json.result.sha256).toBe(sum)

    await run('case', 'export', id, '--to', to('b.tar.gz'))
    expect(readFileSync(to('b.tar.gz'))).toEqual(readFileSync(to('a.tar.gz')))
    expect((await run('case', 'export', '--to', to('a.tar.gz'))).code).toBe(2)
    expect((await run('case', 'export')).json.result.file).toBe(to(`${id}.tar.gz`))

    // Elsewhere: another home, no cases, no configuration.
    const check = await mcpIr(['case', 'check', to('a.tar.gz'), '--json'])
    expect([check.code, check.json.result.evidence, check.json.result.damage]).toEqual([0, 3, []])
  })

  test('unpacked elsewhere it is checked by path, by id, and by sha256sum; nobody works on it', async () => {
    const { run, to, id } = await incident()
    await run('case', 'export', '--to', to('a.tar.gz'))
    mkdirSync(to('elsewhere'))
    execFileSync('tar', ['-xzf', to('a.tar.gz'), '-C', to('elsewhere')])
    execFileSync('sha256sum', ['--strict', '--quiet', '-c', 'SHA256SUMS'], { cwd: join(to('elsewhere'), id) })
    expect((await mcpIr(['case', 'check', join(to('elsewhere'), id)])).code).toBe(0)
    const env = { MCP_IR_CASES: to('elsewhere') }
    expect((await mcpIr(['case', 'check'], { env })).code).toBe(0)
    expect((await mcpIr(['case', 'show'], { env })).code).toBe(0)
    expect((await mcpIr(['case', 'note', 'x'], { env })).code).toBe(4)
    rmSync(join(to('elsewhere'), id, 'report', 'report.md'))
    const less = await mcpIr(['case', 'check', '--json'], { env })
    expect([less.code, less.json.result.damage]).toEqual([
      4,
      [{ place: 'report/report.md', what: 'is missing from the export' }],
    ])
  })

  test('of a sealed case carries the seal', async () => {
    const { run, to } = await incident()
    execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', to('seal.key')])
    execFileSync('openssl', ['pkey', '-in', to('seal.key'), '-pubout', '-out', to('seal.pub')])
    expect((await run('case', 'check', '--key', to('seal.pub'))).code).toBe(4)
    await run('case', 'seal', '--key', to('seal.key'))
    for (const args of [[], ['--redact']]) {
      const file = to(`sealed${args.length}.tar.gz`)
      await run('case', 'export', '--to', file, ...args)
      const check = await mcpIr(['case', 'check', file, '--key', to('seal.pub'), '--json'])
      expect([check.code, check.json.result.sealed?.keyFrom]).toEqual([0, 'flag'])
    }
  })

  test('redacted: no raw record is in it, it says what is missing, and what is there still checks', async () => {
    const { run, to } = await incident()
    const made = await run('case', 'export', '--to', to('r.tar.gz'), '--redact')
    expect(gunzipSync(readFileSync(to('r.tar.gz'))).includes(secret)).toBe(false)
    const names = made.json.result.leftOut.map(({ name }: { name: string }) => name).toSorted()
    expect(names).toEqual([
      'console-i-1.txt',
      'invocations.ndjson',
      'report/report.html',
      'report/report.json',
      'report/report.md',
    ])
    const check = await mcpIr(['case', 'check', to('r.tar.gz')])
    expect([check.code, check.stdout]).toEqual([0, expect.stringContaining('left out of this export')])
    expect(check.stdout).toContain('1 piece of evidence')
  })

  test('a damaged case is not exported, nor one in which a link leads elsewhere', async () => {
    const { run, to, at } = await incident()
    const [name = ''] = readdirSync(at('evidence')).filter((one) => /^[0-9a-f]{64}$/.test(one))
    const content = readFileSync(at('evidence', name))
    rmSync(at('evidence', name))
    writeFileSync(to('outside'), content)
    symlinkSync(to('outside'), at('evidence', name))
    expect((await run('case', 'export', '--to', to('a.tar.gz'))).code).toBe(4)
    rmSync(at('evidence', name))
    expect((await run('case', 'export', '--to', to('a.tar.gz'))).code).toBe(4)
    renameSync(to('outside'), at('evidence', name))
    expect((await run('case', 'export', '--to', join(to('none'), 'a.tar.gz'))).code).toBe(2)
    expect((await run('case', 'export', '--to', to('a.tar.gz'))).code).toBe(0)
  })

  test('killed in the middle, it leaves the case as it was and no archive of that name', async () => {
    const { run, to, at } = await incident()
    const journal = readFileSync(at('journal.ndjson'))
    const env = { MCP_IR_CASES: at('..') }
    const hook = `import fs from 'node:fs/promises'; import { syncBuiltinESMExports } from 'node:module'; fs.rename = () => process.kill(process.pid, 'SIGKILL'); syncBuiltinESMExports()`
    const killed = await mcpIr(['case', 'export', '--to', to('a.tar.gz')], {
      env,
      node: ['--import', `data:text/javascript,${encodeURIComponent(hook)}`],
    })
    expect(killed.signal).toBe('SIGKILL')
    expect(readdirSync(to('.'))).not.toContain('a.tar.gz')
    expect(readFileSync(at('journal.ndjson'))).toEqual(journal)
    expect((await run('case', 'check')).code).toBe(0)
    expect((await run('case', 'export', '--to', to('a.tar.gz'))).code).toBe(0)
  })
})

describe('an archive from elsewhere', () => {
  test('any flipped byte of what was packed is found', async () => {
    const { run, to } = await incident()
    await run('case', 'export', '--to', to('a.tar.gz'))
    const { archiveFiles } = await import('../../src/case/archive.ts')
    const { checkFiles } = await import('../../src/case/check.ts')
    const good = gunzipSync(readFileSync(to('a.tar.gz')))
    const damageOf = async (tar: Buffer) => {
      writeFileSync(to('b.tar.gz'), gzipSync(tar))
      try {
        return (await checkFiles(await archiveFiles(to('b.tar.gz'), AbortSignal.timeout(60_000)))).damage
      } catch (error) {
        return [error]
      }
    }
    expect(await damageOf(good)).toEqual([])
    // Padding between the files belongs to none; a header's times and owners say nothing of the case.
    const content = [...good.entries()].filter(([, byte]) => byte !== 0).map(([place]) => place)
    const inHeader = (place: number) =>
      good.subarray(place - (place % 512) + 257, place - (place % 512) + 262).toString() === 'ustar'
    const places = content.filter((place) => !inHeader(place))
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...places), fc.nat(7), async (place, bit) => {
        const changed = Buffer.from(good)
        changed[place] = (changed[place] ?? 0) ^ (1 << bit)
        expect(await damageOf(changed)).not.toEqual([])
      }),
      { numRuns: 150 },
    )
  })

  test.each<[string, Parameters<typeof tarball>[0]]>([
    ['a name that leaves the folder', [{ name: 'x/../../evil', content: 'x' }]],
    ['an absolute name', [{ name: '/etc/evil', content: 'x' }]],
    ['a link', [{ name: 'x/journal.ndjson', type: 'symlink', linkname: '/etc/passwd' }]],
    ['a file that no case has', [{ name: 'x/evil.sh', content: 'x' }]],
    ['private files', [{ name: 'x/private/undo.json', content: 'x' }]],
    ['a name twice', [{ name: 'x/journal.ndjson' }, { name: 'x/journal.ndjson' }]],
    ['two cases', [{ name: 'x/journal.ndjson' }, { name: 'y/journal.ndjson' }]],
    ['no journal', [{ name: 'x/SHA256SUMS', content: '' }]],
    ['an empty journal', [{ name: 'x/journal.ndjson' }]],
  ])('with %s: code 4', async (_, entries) => {
    const file = join(mkdtempSync(join(tmpdir(), 'mcp-ir-archive-')), 'a.tar.gz')
    writeFileSync(file, await tarball(entries))
    expect((await mcpIr(['case', 'check', file])).code).toBe(4)
  })

  test('that is none, cut short, or a bomb: code 4; that is not there: code 2', async () => {
    const { run, to } = await incident()
    await run('case', 'export', '--to', to('a.tar.gz'))
    writeFileSync(to('cut.tar.gz'), readFileSync(to('a.tar.gz')).subarray(0, 900))
    writeFileSync(to('none.tar.gz'), 'not an archive')
    const zeros = 600 * 1024 ** 2
    execFileSync(
      'sh',
      ['-c', `mkdir x && head -c ${zeros} /dev/zero > x/journal.ndjson && tar -czf bomb.tar.gz x && rm -r x`],
      {
        cwd: to('.'),
      },
    )
    for (const name of ['cut.tar.gz', 'none.tar.gz', 'bomb.tar.gz'])
      expect([name, (await mcpIr(['case', 'check', to(name)])).code]).toEqual([name, 4])
    expect((await mcpIr(['case', 'check', to('missing.tar.gz')])).code).toBe(2)
  })
})
