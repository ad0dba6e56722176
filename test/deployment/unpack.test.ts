import { createHash } from 'node:crypto'
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { type Header, pack } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { TarballLimits } from '../../src/archive/npm-tarball.ts'
import { packNpm } from '../../src/archive/pack.ts'
import { compareFolder, manifestOf } from '../../src/deployment/compare.ts'
import { unpackTarball } from '../../src/deployment/unpack.ts'

type Entry = Partial<Header> & { name: string; content?: string | Buffer }

const good: Entry = { name: 'package/package.json', content: '{"name":"x","version":"1.0.0"}' }

async function archive(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack()
  for (const { content = '', ...header } of entries) tar.entry(header, content)
  tar.finalize()
  const chunks: Uint8Array[] = []
  for await (const chunk of tar) chunks.push(chunk as Uint8Array)
  return gzipSync(Buffer.concat(chunks))
}

let folder: string
let place: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-unpack-'))
  await mkdir(join(folder, 'work'))
  place = join(folder, 'work', 'new')
})
afterEach(async () => await rm(folder, { recursive: true, force: true }))

async function unpacking(bytes: Uint8Array, options: { sha256?: string; limits?: Partial<TarballLimits> } = {}) {
  const file = join(folder, 'build.tgz')
  await writeFile(file, bytes)
  const sha256 = options.sha256 ?? createHash('sha256').update(bytes).digest('hex')
  return await unpackTarball(file, place, { signal: AbortSignal.timeout(20_000), ...options, sha256 })
}

/** Nothing was written: neither where it should nor anywhere beside it. */
async function nothingLeft(): Promise<void> {
  expect(await readdir(join(folder, 'work'))).toEqual([])
  expect((await readdir(folder)).sort()).toEqual(['build.tgz', 'work'])
}

describe('an honest tarball', () => {
  test('is unpacked as a whole, with plain modes, whatever its top folder is called', async () => {
    const bytes = await archive([
      { name: 'crm-1.4.0/', type: 'directory', mode: 0o777 },
      { name: 'crm-1.4.0/package.json', content: '{}', mode: 0o666 },
      { name: 'crm-1.4.0/bin/run', content: '#!', mode: 0o6755 },
      { name: 'crm-1.4.0/lib/deep/', type: 'directory' },
      { name: `crm-1.4.0/lib/deep/${'long'.repeat(40)}.js`, content: 'x' },
    ])
    expect(await unpacking(bytes)).toEqual({ files: 3, bytes: 5 })
    const modeOf = async (path: string) => (await lstat(join(place, 'package', path))).mode & 0o7777
    expect(await modeOf('package.json')).toBe(0o644)
    expect(await modeOf('bin/run')).toBe(0o755)
    expect(await modeOf('lib/deep')).toBe(0o755)
    expect((await lstat(place)).mode & 0o777).toBe(0o700)
    expect(await readFile(join(place, 'package/bin/run'), 'utf8')).toBe('#!')
    expect(await readdir(join(folder, 'work'))).toEqual(['new'])
  })

  test('its modes do not depend on the umask', async () => {
    const before = process.umask(0o077)
    try {
      await unpacking(await archive([good]))
    } finally {
      process.umask(before)
    }
    expect((await lstat(join(place, 'package/package.json'))).mode & 0o777).toBe(0o644)
  })

  test('padding behind the end is no harm, and is hashed', async () => {
    const bytes = Buffer.concat([await archive([good]), Buffer.alloc(300_000)])
    expect(await unpacking(bytes)).toMatchObject({ files: 1 })
  })

  test('what a killed attempt left is removed', async () => {
    await mkdir(join(folder, 'work', '.new.partial-killed', 'package'), { recursive: true })
    await unpacking(await archive([good]))
    expect(await readdir(join(folder, 'work'))).toEqual(['new'])
  })

  test('nothing that exists is overwritten', async () => {
    await mkdir(place)
    await expect(unpacking(await archive([good]))).rejects.toMatchObject({ code: 'refused' })
    expect(await readdir(place)).toEqual([])
  })

  test('another file than the one that was verified is refused at the last byte', async () => {
    await expect(unpacking(await archive([good]), { sha256: '0'.repeat(64) })).rejects.toMatchObject({
      code: 'refused',
    })
    await nothingLeft()
  })

  test('bytes behind the end of the archive are part of what is verified', async () => {
    const bytes = Buffer.concat([await archive([good]), Buffer.alloc(70_000, 1)])
    const sha256 = createHash('sha256')
      .update(await archive([good]))
      .digest('hex')
    await expect(unpacking(bytes, { sha256 })).rejects.toMatchObject({ code: 'refused' })
    await nothingLeft()
  })
})

describe('an attack leaves nothing behind', () => {
  const evil = { content: 'evil' }
  test.each<[string, readonly Entry[]]>([
    ['a parent path', [good, { name: 'package/../../evil', ...evil }]],
    ['a parent path at the front', [{ name: '../evil', ...evil }]],
    ['a parent path in a long name', [good, { name: `package/${'a/'.repeat(90)}../../evil`, ...evil }]],
    [
      'a parent path in an extended header',
      [good, { name: 'package/x', pax: { path: 'package/../../../evil' }, ...evil } as Entry],
    ],
    ['an absolute path', [{ name: '/tmp/evil', ...evil }]],
    ['a path with empty parts', [good, { name: 'package//evil', ...evil }]],
    ['a dot part', [good, { name: 'package/./evil', ...evil }]],
    ['a symbolic link', [good, { name: 'package/link', type: 'symlink', linkname: '/etc' }]],
    [
      'a symbolic link and a file through it',
      [
        { name: 'package/a', type: 'symlink', linkname: '..' },
        { name: 'package/a/evil', ...evil },
      ],
    ],
    ['a hard link', [good, { name: 'package/link', type: 'link', linkname: '/etc/passwd' }]],
    ['a character device', [good, { name: 'package/dev', type: 'character-device', devmajor: 1, devminor: 3 }]],
    ['a block device', [good, { name: 'package/dev', type: 'block-device' }]],
    ['a FIFO', [good, { name: 'package/fifo', type: 'fifo' }]],
    ['a contiguous file', [good, { name: 'package/c', type: 'contiguous-file' }]],
    ['two top folders', [good, { name: 'other/evil', ...evil }]],
    ['a file without a folder', [good, { name: 'evil', ...evil }]],
    ['a name twice', [good, { name: 'package/a', ...evil }, { name: 'package/a', ...evil }]],
    [
      'names that differ in case',
      [
        { name: 'package/a', ...evil },
        { name: 'package/A', ...evil },
      ],
    ],
    [
      'folders that differ in case',
      [
        { name: 'package/lib/a', ...evil },
        { name: 'package/LIB/b', ...evil },
      ],
    ],
    [
      'names that differ in normalisation',
      [
        { name: 'package/\u00e9', ...evil },
        { name: 'package/e\u0301', ...evil },
      ],
    ],
    [
      'a file that is a folder too',
      [
        { name: 'package/a', ...evil },
        { name: 'package/a/b', ...evil },
      ],
    ],
    [
      'a folder that is a file too',
      [
        { name: 'package/a/b', ...evil },
        { name: 'package/a', ...evil },
      ],
    ],
    ['an escape sequence in a name', [good, { name: 'package/\u001b[2J', ...evil }]],
    ['a newline in a name', [good, { name: 'package/a\nb', ...evil }]],
    ['a backslash in a name', [good, { name: 'package\\..\\evil', ...evil }]],
    ['a name that is too long', [good, { name: `package/${'x'.repeat(300)}`, ...evil }]],
    ['folders without end', [good, { name: `package/${'a/'.repeat(60)}evil`, ...evil }]],
  ])('%s', async (_, entries) => {
    await expect(unpacking(await archive(entries))).rejects.toMatchObject({ code: 'refused' })
    await nothingLeft()
  })

  test.each<[string, () => Promise<Uint8Array>]>([
    ['no archive', async () => Buffer.from('not an archive')],
    ['an empty file', async () => Buffer.alloc(0)],
    ['an empty archive', async () => await archive([])],
    [
      'a truncated one',
      async () => (await archive([good, { name: 'package/a', content: 'x'.repeat(9000) }])).subarray(0, -30),
    ],
    ['a tar cut in the middle', async () => gzipSync(Buffer.from('x'.repeat(700)))],
  ])('%s', async (_, make) => {
    await expect(unpacking(await make())).rejects.toMatchObject({ code: 'refused' })
    await nothingLeft()
  })

  test('a bomb is stopped long before it is unpacked', async () => {
    const bomb = await archive([good, { name: 'package/zeros', content: Buffer.alloc(64 * 1024 ** 2) }])
    expect(bomb.length).toBeLessThan(100_000)
    await expect(unpacking(bomb)).rejects.toMatchObject({ message: expect.stringContaining('times its size') })
    await nothingLeft()
  })

  test.each<[string, Partial<TarballLimits>]>([
    ['files', { entries: 10 }],
    ['bytes in one file', { fileBytes: 50 }],
    ['bytes in all', { totalBytes: 10_000 }],
  ])('too many %s', async (_, limits) => {
    const entries = Array.from({ length: 20 }, (_, index) => ({ name: `package/${index}`, content: 'x'.repeat(100) }))
    expect(await unpacking(await archive(entries), { limits: {} })).toMatchObject({ files: 20 })
    await rm(place, { recursive: true })
    await expect(unpacking(await archive(entries), { limits })).rejects.toMatchObject({ code: 'refused' })
    await nothingLeft()
  })
})

describe('comparing a folder with a build', () => {
  const signal = AbortSignal.timeout(20_000)

  async function manifest() {
    const bytes = await packNpm({ 'server.js': 'good', 'lib/a.js': 'a', 'lib/b.js': 'b' })
    const file = join(folder, 'build.tgz')
    await writeFile(file, bytes)
    return await manifestOf(file, createHash('sha256').update(bytes).digest('hex'), signal)
  }

  test('a folder that is not there differs in everything', async () => {
    const difference = await compareFolder(await manifest(), join(folder, 'none'), signal)
    expect(difference).toEqual({
      changed: [],
      removed: ['lib/a.js', 'lib/b.js', 'server.js'],
      added: [],
      same: 0,
      cut: false,
    })
  })

  test('same size and other content is changed; a link to the right content too', async () => {
    const deployed = join(folder, 'work')
    await mkdir(join(deployed, 'lib'))
    await writeFile(join(deployed, 'server.js'), 'evil')
    await writeFile(join(deployed, 'right'), 'a')
    await symlink('../right', join(deployed, 'lib/a.js'))
    await writeFile(join(deployed, 'lib/b.js'), 'b')
    expect(await compareFolder(await manifest(), deployed, signal)).toEqual({
      changed: ['lib/a.js', 'server.js'],
      removed: [],
      added: ['right'],
      same: 1,
      cut: false,
    })
  })

  test('a long list is cut and says so', async () => {
    for (let index = 0; index < 250; index += 1) await writeFile(join(folder, 'work', `${index}`), '')
    const { added, cut } = await compareFolder(await manifest(), join(folder, 'work'), signal)
    expect([added.length, cut]).toEqual([200, true])
  })
})
