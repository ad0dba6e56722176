import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Found, find } from '../../src/processes/find.ts'

describe('finding the process that a registry entry means', () => {
  let folder: string
  let pidFile: string
  let sleeper: ChildProcess
  let listener: Server
  let url: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mcp-ir-find-'))
    pidFile = join(folder, 'server.pid')
    sleeper = spawn('sleep', ['61'], { stdio: 'ignore', cwd: folder })
    await once(sleeper, 'spawn')
    await writeFile(pidFile, `${sleeper.pid}\n`)
    listener = createServer().listen(0, '127.0.0.1')
    await once(listener, 'listening')
    url = `http://127.0.0.1:${(listener.address() as { port: number }).port}/mcp`
  })
  afterEach(async () => {
    sleeper.kill('SIGKILL')
    listener.close()
    await rm(folder, { recursive: true, force: true })
  })
  const look = (deployment: object): Promise<Found> => find({ id: 'dev', kind: 'local-process', ...deployment })
  const pids = ({ roots }: Found): number[] => roots.map(({ pid }) => pid)

  it('takes the pid file at its word when everything else agrees', async () => {
    const all = { pidFile, match: { command: '*sleep 61' }, command: ['/bin/sleep', '61'], cwd: folder }
    expect(await look(all)).toMatchObject({ roots: [{ pid: sleeper.pid }], problems: [] })
  })

  it('knows a verified build that runs beside the folder of the old one', async () => {
    expect(pids(await look({ pidFile, cwd: folder.slice(0, folder.lastIndexOf('-')) }))).toEqual([sleeper.pid])
  })

  it.each([
    ['pattern', { match: { command: '*crm*' } }, 'does not match'],
    ['command', { command: ['node', 'server.js'] }, "is not the registry's"],
    ['folder', { cwd: '/srv/elsewhere' }, 'working folder'],
  ])('refuses a process that the %s contradicts', async (_, more, why) => {
    const found = await look({ pidFile, ...more })
    expect(found.roots).toEqual([])
    expect(found.problems).toMatchObject([{ kind: 'refused', message: expect.stringContaining(why) }])
    expect(found.problems[0]?.message).toContain(`process ${sleeper.pid} (sleep 61)`)
  })

  it('refuses a process that started after the pid file was written', async () => {
    const before = new Date(Date.now() - 60_000)
    await utimes(pidFile, before, before)
    const found = await look({ pidFile })
    expect(found.roots).toEqual([])
    expect(found.problems).toMatchObject([{ kind: 'refused', message: expect.stringContaining('after the pid file') }])
  })

  it('refuses when the URL is served by somebody else, and names both', async () => {
    const code = "const s = require('net').createServer().listen(0, '127.0.0.1', () => console.log(s.address().port))"
    const other = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'ignore'] })
    try {
      const [port] = await once(other.stdout, 'data')
      const found = await look({ pidFile, url: `http://127.0.0.1:${Number(port)}/mcp` })
      expect(found.roots).toEqual([])
      expect(found.problems[0]?.kind).toBe('refused')
      expect(found.problems[0]?.message).toContain(`process ${sleeper.pid} `)
      expect(found.problems[0]?.message).toContain(`process ${other.pid} `)
    } finally {
      other.kill('SIGKILL')
    }
  })

  it('does not stop its own even when a child of it is named and it holds the port', async () => {
    const found = await look({ pidFile, url })
    expect(found.roots).toEqual([])
    expect(found.problems).toMatchObject([{ kind: 'refused', message: expect.stringContaining('this very tool') }])
  })

  it.each([
    ['pid', () => ({ pid: process.pid })],
    ['parent', () => ({ pid: process.ppid })],
    ['init', () => ({ pid: 1 })],
    ['URL', () => ({ url })],
  ])('refuses what is our own, named by %s', async (_, deployment) => {
    const found = await look(deployment())
    expect(found.roots).toEqual([])
    expect(found.problems).toMatchObject([{ kind: 'refused', message: expect.stringContaining('never stopped') }])
  })

  it('leaves out what is our own where only a pattern matches it', async () => {
    const found = await look({ match: { command: '*' } })
    expect(pids(found)).not.toContain(process.pid)
    expect(pids(found)).not.toContain(process.ppid)
    expect(pids(found)).not.toContain(1)
  })

  it('finds every process that matches a pattern, each a tree', async () => {
    const other = spawn('sleep', ['61'], { stdio: 'ignore', cwd: folder })
    await once(other, 'spawn')
    try {
      expect(pids(await look({ match: { command: 'sleep 61' } }))).toEqual(
        expect.arrayContaining([sleeper.pid, other.pid]),
      )
    } finally {
      other.kill('SIGKILL')
    }
  })

  it.each([
    ['no pid file', async () => rm(pidFile)],
    [
      'a pid that nobody has',
      async () => {
        sleeper.kill('SIGKILL')
        await once(sleeper, 'exit')
      },
    ],
  ])('finds nothing, and says why: %s', async (_, prepare) => {
    await prepare()
    const found = await look({ pidFile })
    expect(found.roots).toEqual([])
    expect(found.problems).toMatchObject([{ kind: 'warning' }])
  })

  it.each(['', 'abc', '-1', '0', '12\n13', '1e3'])('does not guess what a pid file with %j means', async (text) => {
    await writeFile(pidFile, text)
    expect((await look({ pidFile })).problems).toMatchObject([{ kind: 'input' }])
    // While there is another way to find it, that is used.
    const other = await look({ pidFile, match: { command: `*no such thing in ${folder}` } })
    expect(other.problems).toMatchObject([{ kind: 'warning' }])
  })
})
