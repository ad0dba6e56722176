import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { acquireLock } from '../../src/case/lock.ts'

const folder = () => mkdtempSync(join(tmpdir(), 'mcp-ir-lock-'))
const now = new Date('2026-11-23T02:00:00Z')

/** A lock that another process took before it was killed. */
async function deadLock(path: string) {
  const lock = new URL('../../src/case/lock.ts', import.meta.url)
  const code = `const {acquireLock} = await import(${JSON.stringify(lock.href)}); acquireLock(${JSON.stringify(path)}, 'bob', new Date(), false); process.kill(process.pid, 'SIGKILL')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code])
  await once(child, 'exit')
  return child.pid
}

test('one at a time; the holder is named', () => {
  const path = folder()
  const lock = acquireLock(path, 'alice', now, false)
  expect(() => acquireLock(path, 'bob', now, true)).toThrow(`alice is working on this case (process ${process.pid}`)
  lock.release()
  acquireLock(path, 'bob', now, false).release()
  expect(readdirSync(path)).toEqual([])
})

test('the lock of a dead process is taken over, time and again', async () => {
  const path = folder()
  const dead = await deadLock(path)
  await deadLock(path)
  const lock = acquireLock(path, 'alice', now, false)
  expect(lock.takenOver?.holder.by).toBe('bob')
  expect(lock.takenOver?.holder.pid).not.toBe(dead)
  expect(() => acquireLock(path, 'carol', now, false)).toThrow('alice')
  lock.release()
  acquireLock(path, 'carol', now, false).release()
})

test('a pid that another process has since is not the holder', () => {
  const path = folder()
  writeFileSync(
    join(path, 'lock'),
    JSON.stringify({
      host: hostname(),
      pid: process.pid,
      started: 'another-boot/1',
      by: 'bob',
      at: '',
      nonce: '0'.repeat(16),
    }),
  )
  expect(acquireLock(path, 'alice', now, false).takenOver?.holder.by).toBe('bob')
})

test('the lock of another host is left, unless the responder says so', () => {
  const path = folder()
  writeFileSync(
    join(path, 'lock'),
    JSON.stringify({ host: 'elsewhere', pid: 1, by: 'bob', at: '', nonce: '0'.repeat(16) }),
  )
  expect(() => acquireLock(path, 'alice', now, false)).toThrow('on elsewhere')
  expect(acquireLock(path, 'alice', now, true).takenOver?.why).toContain('--take-over')
})

test('of many that take over at once exactly one wins', async () => {
  const path = folder()
  await deadLock(path)
  const lock = new URL('../../src/case/lock.ts', import.meta.url)
  const log = join(path, 'log')
  writeFileSync(log, '')
  // Each tries until it has the lock, writes that it is in and out, and goes.
  const code = `
    import {appendFileSync} from 'node:fs'
    const {acquireLock} = await import(${JSON.stringify(lock.href)})
    for (let done = 0; done < 5; ) {
      let held
      try { held = acquireLock(${JSON.stringify(path)}, 'p' + process.pid, new Date(), false) } catch { continue }
      appendFileSync(${JSON.stringify(log)}, 'in\\n'); appendFileSync(${JSON.stringify(log)}, 'out\\n')
      done++
      if (done === 5) process.kill(process.pid, 'SIGKILL')
      held.release()
    }`
  const children = Array.from({ length: 4 }, () => spawn(process.execPath, ['--input-type=module', '-e', code]))
  await Promise.all(children.map((child) => once(child, 'exit')))
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n')
  expect(lines).toEqual(Array.from({ length: 20 }, () => ['in', 'out']).flat())
})
