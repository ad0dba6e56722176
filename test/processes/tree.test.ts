import { describe, expect, it } from 'vitest'
import type { Process } from '../../src/processes/proc.ts'
import {
  type Look,
  relatedOrphans,
  scriptOf,
  supervisorOf,
  treeOf,
  unitOf,
  untouchable,
} from '../../src/processes/tree.ts'

const one = (pid: number, ppid: number, more: Partial<Process> = {}): Process => ({
  pid,
  ppid,
  comm: 'node',
  group: pid,
  session: pid,
  state: 'S',
  kernel: false,
  cpuTicks: 0,
  startTicks: pid,
  ...more,
})
const look = (more: Partial<Record<keyof Look, Record<number, unknown>>> = {}): Look =>
  ({
    cgroup: (pid: number) => more.cgroup?.[pid] ?? '/',
    commandLine: (pid: number) => more.commandLine?.[pid] ?? ['node', 'server.js'],
    cwd: (pid: number) => more.cwd?.[pid] ?? '/srv/crm',
    exe: (pid: number) => more.exe?.[pid] ?? '/usr/bin/node',
    uid: (pid: number) => more.uid?.[pid] ?? 1000,
  }) as Look
const pids = (list: readonly Process[]): number[] => list.map(({ pid }) => pid)
const none = new Set<number>()

describe('a process tree', () => {
  const root = one(100, 1)

  it('has the descendants, parents first, those in sessions of their own too', () => {
    const table = [one(1, 0), root, one(140, 130), one(130, 100, { group: 100 }), one(110, 100), one(90, 1)]
    expect(pids(treeOf(table, [root], none, look()))).toEqual([100, 110, 130, 140])
  })

  it('has what is left of a group or session that a member leads, though its parent has ended', () => {
    const table = [one(1, 0), root, one(120, 1, { session: 100 }), one(130, 1, { group: 100, session: 7 }), one(140, 1)]
    expect(pids(treeOf(table, [root], none, look()))).toEqual([100, 120, 130])
  })

  it('keeps what a member that has ended meanwhile left behind', () => {
    const table = [one(1, 0), root, one(120, 1, { group: 110, session: 110 })]
    expect(pids(treeOf(table, [root, { pid: 110, startTicks: 110 }], none, look()))).toEqual([100, 120])
    // Another process has that pid now.
    const reused = [...table, one(110, 1, { startTicks: 115 })]
    expect(pids(treeOf(reused, [root, { pid: 110, startTicks: 110 }], none, look()))).toEqual([100])
  })

  it('never has the responder, what it hangs on, or init', () => {
    const table = [one(1, 0), root, one(110, 100), one(120, 110), one(130, 100)]
    const protectedPids = untouchable(table, 120)
    expect([...protectedPids].sort((a, b) => a - b)).toEqual([0, 1, 2, 100, 110, 120])
    expect(treeOf(table, [root, one(1, 0)], protectedPids, look())).toEqual([])
    expect(pids(treeOf(table, [one(130, 100)], protectedPids, look()))).toEqual([130])
  })

  it('is not of a process that merely has the pid', () => {
    expect(treeOf([one(100, 1, { startTicks: 999 })], [root], none, look())).toEqual([])
  })

  it('has the whole systemd unit or container of its main process, but nobody else of a shared one', () => {
    const table = [one(1, 0), root, one(150, 1), one(160, 1)]
    const unit = '/system.slice/crm.service'
    const own = look({ cgroup: { 100: unit, 150: unit } })
    expect(pids(treeOf(table, [root], none, own))).toEqual([100, 150])
    // cron started both; it is the older one.
    const cron = look({ cgroup: { 50: unit, 100: unit, 150: unit } })
    expect(pids(treeOf([one(50, 1), ...table], [root], none, cron))).toEqual([100])
    expect(pids(treeOf(table, [root], new Set([150]), own))).toEqual([100])
  })
})

describe('a unit', () => {
  it.each([
    ['/system.slice/crm.service', { kind: 'service', name: 'crm.service', user: false }],
    [
      '/user.slice/user-1000.slice/user@1000.service/app.slice/crm.service',
      { kind: 'service', name: 'crm.service', user: true },
    ],
    [`/system.slice/docker-${'a1'.repeat(32)}.scope`, { kind: 'container', name: 'a1a1a1a1a1a1', user: false }],
    [`/docker/${'b2'.repeat(32)}`, { kind: 'container', name: 'b2b2b2b2b2b2', user: false }],
    ['/user.slice/user-1000.slice/session-3.scope', undefined],
    ['/user.slice/user-1000.slice/user@1000.service', undefined],
    ['/', undefined],
    ["/system.slice/x';reboot;'.service", undefined],
  ])('of %s', (path, expected) => {
    expect(unitOf(path)).toEqual(expected)
  })
})

describe('a supervisor', () => {
  const root = one(100, 90)
  const table = [one(1, 0), one(90, 1), root]

  it.each([
    [['PM2 v5.3.0: God Daemon (/home/crm/.pm2)'], 'pm2 (process 90)'],
    [['/usr/bin/python3', '/usr/bin/supervisord', '-n'], 'supervisord (process 90)'],
    [['node', '/srv/node_modules/.bin/nodemon', 'server.js'], 'nodemon (process 90)'],
    [['/usr/bin/containerd-shim-runc-v2', '-id', 'x'], 'a container runtime (process 90)'],
  ])('%j is named', (line, name) => {
    expect(supervisorOf(table, root, look({ commandLine: { 90: line } }))?.name).toBe(name)
  })

  it('is systemd for a unit, and nobody for a shell', () => {
    const unit = look({ cgroup: { 100: '/system.slice/crm.service' } })
    expect(supervisorOf(table, root, unit)).toEqual({
      name: 'systemd (unit crm.service)',
      command: "systemctl stop 'crm.service'",
    })
    expect(supervisorOf(table, root, look({ commandLine: { 90: ['-bash'] } }))).toBeUndefined()
  })
})

describe('orphans', () => {
  const root = one(100, 1)
  const found = (orphan: Process, more: Parameters<typeof look>[0] = {}): number[] =>
    pids(relatedOrphans([one(1, 0), root, orphan], root, new Set([100]), none, look(more)))

  it('are named when they look like the server and nobody else started them', () => {
    expect(found(one(200, 1))).toEqual([200])
    expect(found(one(200, 1), { cwd: { 200: '/elsewhere' } })).toEqual([200])
    expect(found(one(200, 1), { exe: { 200: '/bin/sh' } })).toEqual([200])
  })

  it('are not: children of others, older ones, other users, other programs in other folders, zombies', () => {
    expect(found(one(200, 77))).toEqual([])
    expect(found(one(99, 1))).toEqual([])
    expect(found(one(200, 1), { uid: { 200: 0 } })).toEqual([])
    expect(found(one(200, 1), { cwd: { 200: '/elsewhere' }, commandLine: { 200: ['node', 'other.js'] } })).toEqual([])
    expect(found(one(200, 1, { state: 'Z' }))).toEqual([])
  })

  it.each([
    [['node', '--enable-source-maps', 'server.js', 'x'], 'server.js'],
    [['node', '-e', 'code'], undefined],
    [['sh', '-c', 'code'], undefined],
    [['node'], undefined],
    [[], undefined],
  ])('have the script of %j', (args, script) => {
    expect(scriptOf(args)).toBe(script)
  })
})
