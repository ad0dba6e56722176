import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as proc from '../../src/processes/proc.ts'

const stat = (name: string): string =>
  `4711 (${name}) S 1 4700 4600 0 -1 4194560 1 2 3 4 70 30 0 0 20 0 11 0 123456 1 2 18446744073709551615 1 1 0 0 0`

describe('/proc', () => {
  it.each(['node', 'a b c', 'tricky) R 1 2 3', '((', 'two\nlines', ''])(
    'reads the line of a process named %j',
    (name) => {
      expect(proc.parseStat(stat(name))).toEqual({
        pid: 4711,
        comm: name,
        state: 'S',
        ppid: 1,
        group: 4700,
        session: 4600,
        kernel: false,
        cpuTicks: 100,
        startTicks: 123456,
      })
    },
  )

  it('takes what is no such line for no process', () => {
    expect(proc.parseStat('')).toBeUndefined()
    expect(proc.parseStat('12 node S 1')).toBeUndefined()
    expect(proc.parseStat('12 (node) S 1 2')).toBeUndefined()
  })

  it('reads sockets of both families', () => {
    const head = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n'
    const tcp = `${head}   0: 0100007F:1B59 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 87123 1 0\n`
    expect(proc.parseSockets(tcp, 'tcp')).toEqual([
      {
        protocol: 'tcp',
        local: { address: '127.0.0.1', port: 7001 },
        remote: { address: '0.0.0.0', port: 0 },
        state: 'listen',
        sendQueue: 0,
        receiveQueue: 3,
        uid: 1000,
        inode: 87123,
      },
    ])
    const tcp6 = (address: string): string =>
      `${head}   1: ${address}:1B59 00000000000000000000000000000000:0000 01 0000000A:00000000 00:00000000 00000000 0 0 5 1 0\n`
    expect(proc.parseSockets(tcp6('00000000000000000000000001000000'), 'tcp6')[0]).toMatchObject({
      local: { address: '::1', port: 7001 },
      remote: { address: '::', port: 0 },
      state: 'established',
      sendQueue: 10,
    })
    // An IPv4 client of an IPv6 socket.
    expect(proc.parseSockets(tcp6('0000000000000000FFFF00000100007F'), 'tcp6')[0]?.local.address).toBe('127.0.0.1')
    expect(proc.parseSockets(`${head}nonsense\n`, 'tcp')).toEqual([])
  })

  it('reads unix sockets, whose path is whatever its owner likes', () => {
    const text =
      'Num       RefCount Protocol Flags    Type St Inode Path\n' +
      '0000000000000000: 00000002 00000000 00010000 0001 01 20001 /run/a b.sock\n' +
      '0000000000000000: 00000003 00000000 00000000 0001 03 20002\n' +
      '0000000000000000: 00000002 00000000 00010000 0001 01 20003 @abstract\n'
    expect(proc.parseUnixSockets(text)).toEqual([
      { path: '/run/a b.sock', inode: 20001, listening: true },
      { path: '', inode: 20002, listening: false },
      { path: '@abstract', inode: 20003, listening: true },
    ])
  })

  it('reads users, debugger and pending signals', () => {
    const text =
      'Name:\tx\nTracerPid:\t77\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000040000\n'
    expect(proc.parseStatus(text)).toEqual({
      uids: [1, 2, 3, 4],
      gids: [5, 6, 7, 8],
      tracer: 77,
      innerPid: 0,
      pending: 0x40000n,
    })
  })

  it.each([
    [['T', 'T'], false, 'held'],
    [['t'], false, 'held'],
    [['T', 'S'], false, 'running'],
    [['R'], true, 'running'],
    // The main thread has ended, another runs on.
    [['Z', 'S'], false, 'running'],
    [['Z', 'T'], false, 'held'],
    [['Z'], false, 'gone'],
    [[], false, 'gone'],
    // In the kernel, with or without a stop on its way.
    [['D'], false, 'running'],
    [['D'], true, 'held'],
    [['D', 'T'], false, 'held'],
  ] as const)('judges threads %j (stop pending: %s) as %s', (states, pending, judged) => {
    expect(proc.judge(states, () => pending)).toBe(judged)
  })

  it('tells a stopped process from a running one, an ended one and another of the same pid', async () => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore' })
    await once(child, 'spawn')
    const id = proc.readProcess(child.pid as number) as proc.Process
    expect(proc.condition(id)).toBe('running')
    expect(Math.abs(proc.startedAt(id).getTime() - Date.now())).toBeLessThan(60_000)
    child.kill('SIGSTOP')
    while (!readFileSync(`/proc/${child.pid}/stat`, 'latin1').includes(') T ')) await new Promise(setImmediate)
    expect(proc.condition(id)).toBe('held')
    expect(proc.condition({ ...id, startTicks: id.startTicks + 1 })).toBe('gone')
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(proc.condition(id)).toBe('gone')
  })
})
