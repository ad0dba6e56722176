import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { containment, discover } from '../../src/containment/index.ts'
import type { Containment, ContainmentTarget } from '../../src/containment/port.ts'
import { answersMcp } from '../../src/mcp/probe.ts'
import type { Deployment } from '../../src/registry/port.ts'
import { operate } from '../contracts/containment.ts'
import { type RunningServer, startServerEverything } from '../testbed/server-everything.ts'

const answers = async (url: string): Promise<boolean> =>
  (await answersMcp(url, { timeoutMs: 2000, signal: new AbortController().signal })).answers

describe('a real MCP server', () => {
  let server: RunningServer
  let adapter: Containment
  const target = (deployment: object): ContainmentTarget => ({
    server: 'io.modelcontextprotocol/everything',
    owner: 'somebody',
    deployment: { id: 'dev', kind: 'local-process', ...deployment } as Deployment,
  })
  beforeEach(async () => {
    adapter = (await containment['local-process']?.()) as unknown as Containment
    server = await startServerEverything()
  })
  afterEach(async () => {
    await server.stop()
  })

  it.each([
    ['pid file and URL', () => target({ pidFile: server.pidFile, url: server.url })],
    ['URL', () => target({ url: server.url })],
    [
      'command and working folder',
      () => target({ pidFile: server.pidFile, match: { command: '*server-everything*' } }),
    ],
  ])('falls silent and answers again, twice, found by %s', async (_, entry) => {
    const run = operate({ adapter, target: entry() })
    for (let round = 0; round < 2; round++) {
      expect(await answers(server.url)).toBe(true)
      expect(await run.check()).toEqual([])
      const changes = await run.plan()
      expect(changes.map(({ target: what }) => what)).toEqual([
        expect.stringMatching(`^process ${server.pid} \\(start tick \\d+\\)$`),
      ])
      await run.apply(changes)
      const verdict = await run.verify()
      expect(verdict.state).toBe('verified')
      expect(await answers(server.url)).toBe(false)
      expect((await run.undo(changes)).state).toBe('verified')
      expect(await answers(server.url)).toBe(true)
    }
  })

  it.each([
    ['url', () => server.url],
    ['pid', () => `${server.pid}`],
  ])('is found by --target %s', async (kind, id) => {
    const { deployment, suggestedName } = await discover(kind, id())
    expect(deployment).toMatchObject({ id: 'target', kind: 'local-process', pid: server.pid })
    expect(suggestedName).toMatch(/^local\/[a-z0-9-]+$/)
    const run = operate({ adapter, target: { ...target({}), deployment } })
    await run.apply(await run.plan())
    expect((await run.verify()).state).toBe('verified')
    expect(await answers(server.url)).toBe(false)
    // While it is stopped the same target still names it.
    expect((await discover(kind, id())).deployment).toEqual(deployment)
  })

  it('is not taken for the process that a wrong pid file names: nobody is stopped', async () => {
    const other = spawn('sleep', ['60'], { stdio: 'ignore' })
    await once(other, 'spawn')
    try {
      await writeFile(server.pidFile, `${other.pid}`)
      const run = operate({ adapter, target: target({ pidFile: server.pidFile, url: server.url }) })
      const [problem] = await run.check()
      expect(problem?.kind).toBe('refused')
      expect(problem?.message).toContain(`process ${other.pid} `)
      expect(problem?.message).toContain(`process ${server.pid} `)
      await expect(run.plan()).rejects.toMatchObject({ code: 'refused' })
      expect(await answers(server.url)).toBe(true)
    } finally {
      other.kill('SIGKILL')
    }
  })

  it('is released as long as it is the same process: one that ended meanwhile is told', async () => {
    const run = operate({ adapter, target: target({ pidFile: server.pidFile, url: server.url }) })
    const changes = await run.plan()
    await run.apply(changes)
    process.kill(server.pid, 'SIGKILL')
    for (let tried = 0; tried < 100 && (await run.drift(changes)).length > 0; tried++) await sleep(20)
    expect(await run.drift(changes)).toEqual([])
    const verdict = await run.undo(changes)
    expect(verdict.state).toBe('residual')
    expect(verdict.residue.join()).toContain('start the server by its own means')
  })
})
