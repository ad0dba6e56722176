import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkCase } from '../../src/case/check.ts'
import { type Company, serverName } from '../../src/drill/company.ts'
import { mcpIr, type Ran } from '../testbed/cli.ts'
import { appliedIds, company, liveTokens, onlyCase, processState } from '../testbed/incident.ts'

let own: Company
beforeAll(async () => {
  own = await company()
})
afterAll(() => own.end())

const run = (args: string[], started?: (pid: number) => void) =>
  mcpIr([...args, '--config', own.config], started === undefined ? {} : { started })

/** Waits until the journal says so. */
async function until(what: (kinds: string[]) => boolean): Promise<void> {
  for (;;) {
    const found = await onlyCase(own)
    if (what(found?.lines.map((line) => `${line.kind} ${line.step ?? ''}`) ?? [])) return
    await sleep(20)
  }
}

test('Ctrl-C in the middle leaves a contained, resumable case; a second responder is kept out; then it is finished', async () => {
  let pid = 0
  const first: Promise<Ran> = run(['respond', serverName, '--yes'], (started) => {
    pid = started
  })
  await until((kinds) => kinds.includes('change.applied isolate'))

  const second = await run(['isolate', serverName, '--yes', '--json', '--by', 'bob'])
  expect([second.code, second.json.status]).toEqual([4, 'refused'])
  expect(second.json.error.message).toContain('is working on this case')

  process.kill(pid, 'SIGINT')
  const interrupted = await first
  expect([interrupted.code, interrupted.stderr]).toEqual([130, expect.stringContaining('Run the same command again')])
  expect(processState(own.suspect)).toBe('T')
  const stood = await onlyCase(own)
  expect(stood?.lines.at(-1)?.kind).toBe('interrupted')
  expect((await checkCase(stood?.folder ?? '')).damage).toEqual([])

  const finished = await run(['respond', serverName, '--yes', '--json'])
  expect(finished.code, finished.stderr).toBe(0)
  const whole = await onlyCase(own)
  if (whole === undefined) throw new Error('no case')
  expect(new Set(appliedIds(whole)).size).toBe(appliedIds(whole).length)
  expect(await liveTokens(own)).toBe(1)
})

test('after the redeployment the rebuilt server can be isolated and released like any other', async () => {
  const isolated = await run(['isolate', serverName, '--yes', '--json'])
  expect(isolated.code, isolated.stderr).toBe(0)
  const released = await run(['release', serverName, '--yes', '--json'])
  expect(released.code, released.stderr).toBe(0)
  expect(released.json.result.plan.changes).toHaveLength(1)
})

test('a case with open points is closed only with a reason; it then takes no more steps', async () => {
  const refused = await run(['case', 'close'])
  expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining('declare: not answered')])
  expect((await run(['case', 'note', 'The board was told.', '--kind', 'call', '--at', '10m'])).code).toBe(0)
  expect((await run(['case', 'close', '--reason', 'only a test'])).code).toBe(0)
  const [list, show] = await Promise.all([run(['case', 'list', '--json']), run(['case', 'show'])])
  expect(list.json.result.cases[0]).toMatchObject({ server: serverName, closedAt: expect.any(String) })
  expect(show.stdout).toContain('closed')
  expect((await run(['case', 'check'])).code).toBe(0)
})
