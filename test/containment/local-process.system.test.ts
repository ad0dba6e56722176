import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import type { Change, JsonObject, Receipt } from '../../src/change.ts'
import { localProcess } from '../../src/containment/local-process.ts'
import type { Containment, ContainmentTarget } from '../../src/containment/port.ts'
import { planHash } from '../../src/playbook/plan.ts'
import type { Deployment } from '../../src/registry/port.ts'
import { type ContainmentWorld, containmentContract, operate } from '../contracts/containment.ts'

const program = fileURLToPath(new URL('../testbed/forking-server.ts', import.meta.url))
const secret = 'canary-4f1d77-do-not-tell'
const adapter = localProcess as unknown as Containment

const target = (
  deployment: Omit<Extract<Deployment, { kind: 'local-process' }>, 'id' | 'kind'>,
): ContainmentTarget => ({
  server: 'io.acme/forking',
  owner: 'crm-team',
  deployment: { id: 'dev', kind: 'local-process', ...deployment },
})

interface Forest extends ContainmentWorld {
  readonly folder: string
  readonly pid: number
  readonly url: string
  readonly pidFile: string
  /** Living processes of it, by the folder that they work in. */
  readonly pids: () => number[]
}

async function forest(...options: string[]): Promise<Forest> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-forest-'))
  const child = spawn(process.execPath, [program, 'root', ...options, `--api-token=${secret}`], {
    cwd: folder,
    detached: true,
    stdio: 'ignore',
    env: { PATH: process.env.PATH, ACME_TOKEN: secret, ACME_FOLDER: folder },
  })
  await once(child, 'spawn')
  child.unref()
  const pid = child.pid as number
  const pidFile = join(folder, 'server.pid')
  await writeFile(pidFile, `${pid}\n`)
  const pids = (): number[] =>
    readdirSync('/proc').flatMap((name) => {
      try {
        return /^\d+$/.test(name) && workingFolder(name) === folder ? Number(name) : []
      } catch {
        return []
      }
    })
  const stop = async (): Promise<void> => {
    for (let left = pids(); left.length > 0; left = pids()) {
      for (const one of left) kill(one, 'SIGSTOP')
      for (const one of left) kill(one, 'SIGKILL')
      await sleep(10)
    }
    await rm(folder, { recursive: true, force: true })
  }
  const expected = ['root', 'child', 'detached', 'left-behind', 'forker', 'forked', ...options]
  if (options.includes('leaver')) expected.push('left')
  const beats = (): Record<string, number> =>
    Object.fromEntries(expected.map((role) => [role, size(join(folder, `beat-${role}`))]))
  await until(() => Object.values(beats()).every((bytes) => bytes > 0) && size(join(folder, 'ready')) > 0)
  const url = `http://127.0.0.1:${readFileSync(join(folder, 'ready'), 'utf8')}/mcp`
  return {
    adapter,
    target: target({ pidFile, url, cwd: folder }),
    absent: target({ pidFile: join(folder, 'no.pid'), match: { command: `*${folder}/nothing-like-it*` } }),
    own: target({ pid: process.ppid }),
    secrets: [secret],
    folder,
    pid,
    url,
    pidFile,
    pids,
    connected: async () => {
      // Long enough for each of them to have moved, had it run; and they all have moved when they do.
      const before = beats()
      const moved = (): boolean[] => Object.entries(beats()).map(([role, bytes]) => bytes > (before[role] ?? 0))
      await sleep(400)
      if (moved().some((one) => one)) {
        await until(() => moved().every((one) => one))
        expect((await fetch(url, { signal: AbortSignal.timeout(10_000) })).ok).toBe(true)
        return true
      }
      await expect(fetch(url, { signal: AbortSignal.timeout(300) })).rejects.toThrow()
      return false
    },
    half: async () => {
      kill(pid, 'SIGSTOP')
    },
    disturb: async () => {
      kill(pid, 'SIGCONT')
    },
    stop,
  }
}

containmentContract('local-process', () => forest())

describe('local-process', () => {
  it.each([
    ['a chain of processes of which each starts the next and ends', 'walker'],
    ['a process that keeps starting others in sessions of their own', 'leaver'],
  ])('stops %s, and continues it', async (_, option) => {
    const world = await forest(option)
    try {
      const run = operate(world)
      const changes = await run.plan()
      await run.apply(changes)
      expect(await world.connected()).toBe(false)
      const verdict = await run.verify()
      expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
      expect(verdict.residue).toEqual([])
      expect((await run.undo(changes)).state).toBe('verified')
      expect(await world.connected()).toBe(true)
    } finally {
      await world.stop()
    }
  })

  it('does not continue what somebody else had stopped before', async () => {
    const world = await forest()
    try {
      const stopped = Number(
        world.pids().find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('\0left-behind\0')),
      )
      kill(stopped, 'SIGSTOP')
      const run = operate(world)
      const changes = await run.plan()
      await run.apply(changes)
      const verdict = await run.undo(changes)
      expect(verdict.state).toBe('residual')
      expect(verdict.residue.join()).toContain(`process ${stopped} `)
      expect(state(stopped)).toBe('T')
      expect(state(world.pid)).not.toBe('T')
    } finally {
      await world.stop()
    }
  })

  it.skipIf(process.getuid?.() !== 0)('says what another user may not stop, and stops nothing', async () => {
    const world = await forest()
    try {
      const code = `
        const { localProcess } = await import(process.argv[1])
        process.setgid(65534); process.setuid(65534)
        const target = JSON.parse(process.argv[2])
        const call = { target, intent: 'isolate', signal: new AbortController().signal, changeId: () => 'id',
          changes: [], receipts: new Map(), recorded: [], record: async () => {}, progress: () => {} }
        const problems = await localProcess.check(call)
        const [change] = await localProcess.plan(call)
        const error = await localProcess.actions[change.action].apply(change, call).catch((e) => e)
        console.log(JSON.stringify({ problems, command: change.command, code: error.code, hints: error.hints }))`
      const module = fileURLToPath(new URL('../../src/containment/local-process.ts', import.meta.url))
      const child = spawn(
        process.execPath,
        ['--input-type=module', '-e', code, module, JSON.stringify(target({ pid: world.pid }))],
        {
          stdio: ['ignore', 'pipe', 'inherit'],
        },
      )
      const said = JSON.parse(await text(child.stdout))
      expect(said.problems).toMatchObject([{ kind: 'denied', hint: expect.stringContaining('sudo') }])
      expect(said.code).toBe('denied')
      expect(said.command).toMatch(new RegExp(`^kill -STOP ${world.pid}( |$)`))
      expect(said.hints.join()).toContain(`sudo kill -STOP ${world.pid} `)
      expect(await world.connected()).toBe(true)
    } finally {
      await world.stop()
    }
  })

  it.each([
    ['and kept its environment', '{ ...process.env, MORE: "1" }', "'ignore'", 'failed', 'environment'],
    ['and kept its open pipes', '{}', "['ignore', 'inherit', 'ignore']", 'failed', 'open pipe or socket'],
    ['and runs the same program', '{}', "'ignore'", 'residual', 'program'],
  ])('does not call it clean when a child detached itself %s', async (_, env, stdio, expected, common) => {
    const world = await runaway(`'./program', ['-c', 'while :; do /bin/sleep 1; done'], ${env}, ${stdio}`)
    try {
      const run = operate(world)
      await run.apply(await run.plan())
      const verdict = await run.verify()
      expect(verdict.state).toBe(expected)
      expect(verdict.residue.join()).toContain(`process ${world.child} (`)
      expect(verdict.residue.join()).toContain(`same ${common}`)
      expect(verdict.residue.join()).toMatch(new RegExp(`kill -STOP .*${world.child}\\b`))
      expect(verdict.observed.filter(({ holds }) => !holds).map(({ claim }) => claim)).toEqual(
        expected === 'failed' ? ['no process that descends from the server runs on'] : [],
      )
      expect(state(world.child)).not.toBe('T')
      // Once it is stopped, it is none that runs on.
      kill(world.child, 'SIGSTOP')
      await until(() => state(world.child) === 'T')
      const after = await run.verify()
      expect(after.state).not.toBe('failed')
      expect(after.residue.join()).not.toContain(`process ${world.child} `)
    } finally {
      await world.stop()
    }
  })

  it('says always that a process which has shed everything cannot be found', async () => {
    const world = await runaway(`'/usr/bin/tail', ['-f', '/dev/null'], {}, 'ignore'`)
    try {
      const run = operate(world)
      await run.apply(await run.plan())
      const verdict = await run.verify()
      expect(verdict.residue.join()).not.toContain(`process ${world.child} `)
      expect(verdict.limits.join()).toContain('detached itself')
    } finally {
      await world.stop()
    }
  })

  it('plans the same for a server that keeps starting processes, in groups of their own too', async () => {
    const world = await forest('leaver', 'walker')
    try {
      const plans = []
      for (let round = 0; round < 4; round++) {
        plans.push(planHash('isolate', [{ key: 'dev', changes: await operate(world).plan() } as never], 'case-1'))
        await sleep(50)
      }
      expect(new Set(plans).size).toBe(1)
      const [change] = await operate(world).plan()
      expect(change?.undo).toEqual({ pid: world.pid, startTicks: expect.any(Number), bootId: expect.any(String) })
      expect(change?.target).toMatch(new RegExp(`^process ${world.pid} \\(start tick \\d+\\)$`))
    } finally {
      await world.stop()
    }
  })

  it('continues what the plan lists where the receipt misses it', async () => {
    const world = await forest()
    try {
      const run = operate(world)
      const changes = await run.plan()
      await run.apply(changes)
      const [change] = changes as [Change]
      const { undo } = run.receipts.get(change.id) as Receipt
      run.receipts.set(change.id, { undo: { ...(undo as JsonObject), processes: [] } })
      await run.undo(changes)
      expect(state(world.pid)).not.toBe('T')
    } finally {
      await world.stop()
    }
  })

  it('knows what an earlier try stopped that ended without a receipt', async () => {
    const world = await forest()
    try {
      const run = operate(world)
      await run.apply(await run.plan())
      run.receipts.clear()
      kill(world.pid, 'SIGCONT')
      const changes = await run.plan()
      await run.apply(changes)
      expect(await run.undo(changes)).toMatchObject({ state: 'verified', residue: [] })
      expect(await world.connected()).toBe(true)
    } finally {
      await world.stop()
    }
  })

  it('knows what the signals of an earlier try to whole groups stopped, which it had no time to note', async () => {
    const world = await forest()
    try {
      const run = operate(world)
      const [first] = (await run.plan()) as [Change]
      await run.apply([first])
      run.receipts.clear()
      const groups = world.pids().map((pid) => Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[4]))
      const startTicks = (first.undo as JsonObject).startTicks as number
      const noted = { stopping: [{ pid: world.pid, startTicks }], heldBefore: [], groups: [...new Set(groups)] }
      run.recorded.set(first.id, [noted])
      kill(world.pid, 'SIGCONT')
      const changes = await run.plan()
      await run.apply(changes)
      expect(await run.undo(changes)).toMatchObject({ state: 'verified', residue: [] })
      expect(await world.connected()).toBe(true)
    } finally {
      await world.stop()
    }
  })

  it('finishes the release of a server that was ended while it was stopped', async () => {
    const world = await forest()
    try {
      const run = operate(world)
      const changes = await run.plan()
      await run.apply(changes)
      const pids = world.pids()
      for (const pid of pids) kill(pid, 'SIGKILL')
      await until(() => pids.every(ended))
      expect(await run.drift(changes)).toEqual([])
      const verdict = await run.undo(changes)
      expect(verdict.state).toBe('residual')
      expect(verdict.residue).toContain(
        'the processes ended while they were stopped: there is nothing to put back; start the server by its own means',
      )
    } finally {
      await world.stop()
    }
  })

  it('continues the others when the root was ended while it was stopped', async () => {
    const world = await forest()
    try {
      const run = operate(world)
      const changes = await run.plan()
      await run.apply(changes)
      kill(world.pid, 'SIGKILL')
      await until(() => ended(world.pid))
      expect(await run.drift(changes)).toEqual([])
      const verdict = await run.undo(changes)
      expect(verdict.state).toBe('residual')
      expect(verdict.residue.join()).toContain('ended while they were stopped')
      expect(world.pids().length).toBeGreaterThan(0)
      expect(world.pids().map((pid) => whileThere(() => state(pid)))).not.toContain('T')
    } finally {
      await world.stop()
    }
  })

  it('captures what the stopped processes show, without a secret', async () => {
    const world = await forest()
    try {
      const run = operate(world)
      await run.apply(await run.plan())
      await run.collect()
      await run.collect()
      expect(run.kept).toHaveLength(2)
      expect(run.kept[0]).toBe(run.kept[1])
      const { processes } = JSON.parse(run.kept[0] ?? '')
      const root = processes.find((one: { pid: number }) => one.pid === world.pid)
      expect(root.condition).toBe('held')
      expect(root.commandLine.at(-1)).toMatch(/^--api-token=\[redacted \d+ characters\]$/)
      expect(root.environment.listed).toContainEqual({ name: 'ACME_TOKEN', valueLength: secret.length })
      expect(root.executable.sha256).toMatch(/^[0-9a-f]{64}$/)
      expect(root.sockets.listed).toContainEqual(
        expect.objectContaining({
          state: 'listen',
          local: { address: '127.0.0.1', port: Number(new URL(world.url).port) },
        }),
      )
      expect(processes.length).toBeGreaterThanOrEqual(5)
    } finally {
      await world.stop()
    }
  })
})

/** A server of which a child has left for good, by way of two parents that ended. */
async function runaway(how: string) {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-runaway-'))
  // A file of its own, so that it has nothing in common with what other tests run.
  await copyFile('/bin/sh', join(folder, 'program'))
  const last = `
    const start = (file, args, env, stdio) =>
      require('child_process').spawn(file, args, { argv0: 'kworker/u8:1', cwd: '/', detached: true, env, stdio })
    require('fs').writeFileSync('child', String(start(${how.replace('./', `${folder}/`)}).pid))
    process.exit()`
  const code = `
    const { spawn } = require('child_process')
    spawn('./program', ['-c', 'while :; do /bin/sleep 1; done'], { stdio: 'ignore' })
    spawn(process.execPath, ['-e', process.argv[1]], { detached: true, stdio: 'inherit' })
    setInterval(() => {}, 1000)`
  const root = spawn(process.execPath, ['-e', code, last], {
    cwd: folder,
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH, ACME_FOLDER: folder },
  })
  await once(root, 'spawn')
  await until(() => size(join(folder, 'child')) > 0)
  const child = Number(readFileSync(join(folder, 'child'), 'utf8'))
  await until(() => /^1$/.test(readFileSync(`/proc/${child}/stat`, 'latin1').split(') ').at(-1)?.split(' ')[1] ?? ''))
  const stop = async (): Promise<void> => {
    kill(-(root.pid as number), 'SIGKILL')
    kill(-child, 'SIGKILL')
    root.stdout?.destroy()
    await rm(folder, { recursive: true, force: true })
  }
  return { adapter, target: target({ pid: root.pid as number }), child, stop }
}

function workingFolder(pid: string): string {
  return readlinkSync(`/proc/${pid}/cwd`)
}

function state(pid: number, thread = `${pid}`): string {
  return readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1').split(') ').at(-1)?.[0] ?? ''
}

/** All of it: of a process that is killed the main thread can be a zombie already while others are still on their way out. */
function ended(pid: number): boolean {
  const threads = whileThere(() => readdirSync(`/proc/${pid}/task`)) ?? []
  return threads.every((thread) => 'ZX'.includes(whileThere(() => state(pid, thread)) ?? 'X'))
}

function whileThere<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

function size(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended.
  }
}

async function until(holds: () => boolean): Promise<void> {
  for (let tried = 0; tried < 1000; tried++) {
    if (holds()) return
    await sleep(20)
  }
  throw new Error('it did not come to that')
}
