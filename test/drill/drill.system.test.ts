import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkCase } from '../../src/case/check.ts'
import type { Context } from '../../src/context.ts'
import { type DrillResult, drill } from '../../src/drill/drill.ts'

const said: string[] = []
const context: Context = {
  version: 'test',
  by: 'alice@test',
  approvedBy: undefined,
  now: () => new Date(),
  random: (bytes) => randomBytes(bytes),
  // The drill brings its own configuration.
  config: undefined as never,
  registry: async () => undefined,
  ui: {
    interactive: false,
    write: (text) => void said.push(text),
    say: (text) => void said.push(text),
    task: (_, work) => work((text) => void said.push(text)),
    ask: undefined as never,
  },
  signal: new AbortController().signal,
}
const playbooks = fileURLToPath(new URL('../../playbooks', import.meta.url))

describe.runIf(existsSync('/proc/self/cmdline'))('a drill', () => {
  let outcome: DrillResult
  let folder: string
  beforeAll(async () => {
    outcome = await drill(context, { consent: 'yes', playbooks, scenario: 'compromise', keep: false })
    folder = outcome.result.folder ?? ''
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  test('ends well, and every claim was measured before and after', () => {
    expect(outcome.problems).toEqual([])
    expect(outcome.result.proof.map(({ claim, holds }) => ({ claim, holds }))).toEqual([
      { claim: 'bytes that the sink received in 1500 ms', holds: true },
      { claim: 'server answering while isolated', holds: true },
      { claim: 'old token downstream (HTTP status)', holds: true },
      { claim: 'new token downstream (HTTP status)', holds: true },
      { claim: 'tampered build', holds: true },
      { claim: 'tools served (digest)', holds: true },
    ])
    for (const { before, after } of outcome.result.proof) expect(before).not.toEqual(after)
    expect(outcome).toMatchObject({ status: 'done', exitCode: 0 })
    expect(outcome.result.steps.map(({ use }) => use)).toEqual([
      'network.isolate',
      'credentials.revoke',
      'credentials.rotate',
      'invocations.review',
      'blast-radius.compute',
      'deployment.redeploy',
      'report.write',
    ])
  })

  test('finds every forgery of the case, and none in what is whole', () => {
    expect(outcome.result.custody.map(({ done, holds }) => ({ done, holds }))).toEqual([
      { done: 'nothing: the case as it stands', holds: true },
      { done: 'one bit of the evidence was turned', holds: true },
      { done: 'a time in the journal was changed and the chain computed anew', holds: true },
      {
        done: 'closed, sealed with a new key, exported; the archive was checked with the public key alone',
        holds: true,
      },
      { done: 'a line was to be added to the sealed case', holds: true },
      { done: 'the sealed journal was changed and its chain computed anew', holds: true },
    ])
  })

  test('leaves the case with its reports, and no process', async () => {
    const { report } = outcome.result
    const cases = join(folder, 'cases', outcome.case ?? '')
    for (const format of ['html', 'md', 'json'] as const) {
      expect(report?.[format]).toBe(join(cases, 'report', `report.${format}`))
    }
    expect(await checkCase(cases)).toMatchObject({ damage: [] })
    const marker = basename(folder)
    const living = readdirSync('/proc').filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(marker)
      } catch {
        return false
      }
    })
    expect(living).toEqual([])
  })

  test('shows no secret: not in the case, and not on the terminal', () => {
    const canaries: Record<string, string> = JSON.parse(readFileSync(join(folder, 'canaries.json'), 'utf8'))
    expect(Object.keys(canaries).sort()).toEqual(['client', 'environment', 'next', 'said', 'token'])
    const cases = join(folder, 'cases')
    for (const [name, secret] of Object.entries(canaries)) {
      expect(said.join('\n'), name).not.toContain(secret)
      const files = holders(secret, cases)
      // What people said is in the raw log records, which are kept as evidence and never printed.
      if (name === 'said') expect(files.filter((file) => !file.includes('/evidence/'))).toEqual([])
      else expect(files, name).toEqual([])
    }
  })
})

test.runIf(existsSync('/proc/self/cmdline'))(
  'a drill that is declined shows what it can without evidence',
  async () => {
    const no = {
      confirm: async () => false,
      typed: async () => false,
      text: async () => '',
      select: undefined as never,
    }
    const declining = { ...context, ui: { ...context.ui, interactive: true, ask: no } }
    const { result } = await drill(declining, { consent: 'ask', playbooks, scenario: 'compromise', keep: false })
    try {
      expect(result.custody.length).toBeGreaterThan(0)
      expect(result.custody.filter(({ holds }) => !holds)).toEqual([])
    } finally {
      await rm(result.folder ?? '', { recursive: true, force: true })
    }
  },
)

/** Files below a folder that hold a text. */
function holders(text: string, folder: string): string[] {
  try {
    return execFileSync('grep', ['-rlF', text, folder], { encoding: 'utf8' }).trim().split('\n')
  } catch {
    // grep's exit code when nothing was found.
    return []
  }
}
