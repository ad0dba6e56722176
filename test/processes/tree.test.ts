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
    program: (pid: number) => more.program?.[pid] ?? `8:1 ${pid}`,
    uid: (pid: number) => more.uid?.[pid] ?? 1000,
    environment: (pid: number) => more.environment?.[pid] ?? [`PID=${pid}`],
    open: (pid: number) => new Set((more.open?.[pid] as string[] | undefined) ?? []),
    adopts: (pid: number) => more.adopts?.[pid] ?? false,
    running: ({ pid }: { pid: number }) => more.running?.[pid] ?? true,
  }) as unknown as Look
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
  const root = one(100, 60)
  const outside = [one(1, 0), one(50, 1), one(60, 1)]
  const links = (orphan: Process, more: Parameters<typeof look>[0] = {}): unknown[] =>
    relatedOrphans([...outside, root, orphan], [root], none, look(more)).map(({ process, link, common }) => [
      process.pid,
      link,
      ...common,
    ])
  /** Has nothing in common with the server but what is added. */
  const shed = { cwd: { 200: '/' }, commandLine: { 200: ['kworker/u8:1'] }, exe: { 200: '/usr/bin/python3' } }

  it('are named when they look like the server and nobody else started them', () => {
    expect(links(one(200, 1))).toEqual([[200, 'weak', 'folder', 'script']])
    expect(links(one(200, 1), { cwd: { 200: '/elsewhere' } })).toEqual([[200, 'weak', 'script']])
    expect(links(one(200, 1), { exe: { 200: '/bin/sh' } })).toEqual([[200, 'weak', 'folder']])
    expect(links(one(200, 1), { ...shed, program: { 100: '8:1 7', 200: '8:1 7' } })).toEqual([[200, 'weak', 'program']])
  })

  it('are not: children of others, older ones, other users, what is stopped, what has nothing in common', () => {
    expect(links(one(200, 77))).toEqual([])
    expect(links(one(99, 1))).toEqual([])
    expect(links(one(200, 1), { uid: { 200: 1001 } })).toEqual([])
    expect(links(one(200, 1), { running: { 200: false } })).toEqual([])
    expect(links(one(200, 1), shed)).toEqual([])
  })

  it('are not those that merely run what others run too, unless they hide it', () => {
    const plain = { ...shed, program: { 50: '8:1 7', 100: '8:1 7', 200: '8:1 7' }, commandLine: { 200: ['python3'] } }
    expect(links(one(200, 1), plain)).toEqual([])
    expect(links(one(200, 1), { ...plain, environment: { 200: [] } })).toEqual([[200, 'weak', 'program']])
    expect(links(one(200, 1), { ...plain, commandLine: { 200: ['kworker/u8:1'] } })).toEqual([[200, 'weak', 'program']])
  })

  it('are those that a process other than init took over, too', () => {
    expect(links(one(200, 60), { adopts: { 60: true } })).toEqual([[200, 'weak', 'folder', 'script']])
  })

  it('are linked by the environment of the server, whatever they added to it', () => {
    const own = ['PATH=/bin', 'CRM_TOKEN=x']
    const environment = { 50: ['PATH=/bin', '_=/bin/node'], 100: own }
    expect(links(one(200, 1), { ...shed, environment: { ...environment, 200: own } })).toEqual([
      [200, 'strong', 'environment'],
    ])
    expect(links(one(200, 1), { ...shed, environment: { ...environment, 200: ['MORE=1', 'CRM_TOKEN=x'] } })).toEqual([
      [200, 'strong', 'environment'],
    ])
    expect(links(one(200, 1), { ...shed, environment: { ...environment, 200: ['PATH=/bin'] } })).toEqual([])
    // What started before the server did not get it from the server.
    const everyones = { 50: own, 100: own, 200: own }
    expect(links(one(200, 1), { ...shed, environment: everyones })).toEqual([[200, 'weak', 'environment']])
    expect(links(one(200, 1), { ...shed, environment: { 100: [], 200: [] } })).toEqual([])
  })

  it('are linked by a pipe or socket that both have open at the same end', () => {
    const open = (mine: string, theirs: string, others: string[] = []) => ({
      ...shed,
      open: { 50: others, 100: [mine], 200: [theirs] },
    })
    expect(links(one(200, 1), open('pipe:[7] w', 'pipe:[7] w'))).toEqual([[200, 'strong', 'open pipe or socket']])
    expect(links(one(200, 1), open('pipe:[7] w', 'pipe:[7] w', ['pipe:[7] r']))).toHaveLength(1)
    expect(links(one(200, 1), open('pipe:[7] w', 'pipe:[7] r'))).toEqual([])
    expect(links(one(200, 1), open('pipe:[7] w', 'pipe:[7] w', ['pipe:[7] w']))).toEqual([])
    expect(links(one(200, 1), open('file 8:1 w', 'file 8:1 w'))).toEqual([[200, 'weak', 'open file']])
  })

  it('of a server of root may have any user, if more than the folder is the same', () => {
    const open = { 100: ['socket:[7] rw'], 200: ['socket:[7] rw'] }
    expect(links(one(200, 1), { uid: { 100: 0, 200: 65534 }, open })).toEqual([[200, 'strong', 'open pipe or socket']])
    expect(links(one(200, 1), { uid: { 100: 0, 200: 65534 } })).toEqual([])
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
