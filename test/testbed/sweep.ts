import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { checkCase } from '../../src/case/check.ts'
import { type Company, serverName } from '../../src/drill/company.ts'
import { mcpIr } from './cli.ts'
import { appliedIds, liveTokens, onlyCase, processState } from './incident.ts'

/** Once the journal says that the isolation is applied, the compromised process never runs again. */
export async function neverUnisolated(of: Company): Promise<void> {
  const found = await onlyCase(of)
  if (found === undefined) return
  const { lines } = found
  if (!lines.some((line) => line.kind === 'change.applied' && line.step === 'isolate')) return
  expect(['T', undefined]).toContain(processState(of.suspect))
}

/** What a respond must have come to, however often it died on the way. */
export async function wellEnded(of: Company): Promise<void> {
  const found = await onlyCase(of)
  if (found === undefined) throw new Error('no case')
  expect((await checkCase(found.folder)).damage).toEqual([])
  const applied = appliedIds(found)
  expect(new Set(applied).size).toBe(applied.length)
  expect(
    [...found.state.steps.values()]
      .filter((step) => step.use !== 'manual')
      .map(({ id, runs }) => [id, runs.at(-1)?.finished?.state]),
  ).toEqual([
    ['isolate', expect.stringMatching(/^(done|nothing-to-do)$/)],
    ['revoke', expect.stringMatching(/^(done|nothing-to-do)$/)],
    // A kill between asking for a token and hearing of it leaves one that nobody can name: told, not hidden.
    ['rotate', expect.stringMatching(/^(done|residual)$/)],
    ['review', 'done'],
    ['blast-radius', 'done'],
    ['redeploy', 'done'],
    ['report', 'done'],
  ])
  expect(processState(of.suspect)).toBeUndefined()
}

export type When = 'before' | 'torn' | 'after'
export const whens: readonly When[] = ['before', 'torn', 'after']

const preload = fileURLToPath(new URL('./programs/die-at-append.mjs', import.meta.url))

/**
 * Runs the real `respond` until it ends by itself. Every run is killed (SIGKILL) at the first append where none was killed
 * before: one of each kind of line, or every single one.
 * @returns the points at which it died
 */
export async function killSweep(own: Company, by: 'kind' | 'point', when: (run: number) => When): Promise<string[]> {
  const died = join(own.folder, 'died')
  writeFileSync(died, '')
  for (let run = 0; ; run++) {
    const ran = await mcpIr(['respond', serverName, '--config', own.config, '--yes', '--json'], {
      node: ['--import', preload],
      env: { DIE_AT: died, DIE_BY: by, DIE_WHEN: when(run) },
    })
    await neverUnisolated(own)
    if (ran.signal !== 'SIGKILL') {
      expect([0, 6], ran.stderr).toContain(ran.code)
      break
    }
    expect(run).toBeLessThan(300)
  }
  await wellEnded(own)
  // The delivered one, and at most the one whose answer a kill cut off.
  expect(await liveTokens(own)).toBeLessThanOrEqual(2)
  return readFileSync(died, 'utf8').trimEnd().split('\n')
}
