import { stripVTControlCharacters } from 'node:util'
import { expect, test } from 'vitest'
import type { Change } from '../../src/change.ts'
import type { Ui } from '../../src/ui/port.ts'
import { presenter } from '../../src/ui/presenter.ts'
import { server } from '../testbed/cases.ts'

const change = (n: number, over: Partial<Change> = {}): Change => ({
  id: `c${n}`,
  action: 'revoke',
  target: `token ${n}`,
  summary: `Revoke token ${n}`,
  effect: 'irreversible',
  priority: 'essential',
  after: [],
  breaks: n === 99 ? ['io.acme/billing'] : [],
  ...over,
})

function shown(changes: readonly Change[]) {
  const said: string[] = []
  const ui = { say: (text: string) => said.push(text) } as unknown as Ui
  const told = presenter(ui, 'yes', 100, false)
  const operations = changes.map((one, n) => ({
    key: `k${n}`,
    adapter: 'credentials/vault-token',
    intent: 'revoke',
    changes: [one],
  }))
  told.plan('revoke', server(), operations, 'sha256-x')
  return { said, told, text: () => said.join('\n') }
}

test('shows what hangs on what, and changes in the order of their stages', () => {
  const hostile = 'session \u001b[2J'
  const { text } = shown([
    change(1, { chain: ['lease a', hostile], stage: 1, summary: 'End it' }),
    change(2, { chain: ['lease a'], stage: 0, summary: 'Note it' }),
  ])
  expect(text()).toContain('└─ lease a')
  expect(text()).not.toContain('\u001b[2J')
  expect(text().indexOf('Note it')).toBeLessThan(text().indexOf('End it'))
})

test('of very many credentials it shows some, and tells of each that is not as it should be', () => {
  const hanging = Array.from({ length: 100 }, (_, n) => change(n, { chain: [`role ${n}`] }))
  const { said, told, text } = shown(hanging)
  expect(text()).toContain('└─ role 59')
  expect(text()).not.toContain('role 60')
  expect(text()).toContain('and 40 more like these')
  const before = said.length
  const verdict = hanging.map((_, n) => ({
    key: `k${n}`,
    adapter: 'credentials/vault-token',
    state: n >= 98 ? ('failed' as const) : n === 0 ? ('residual' as const) : ('verified' as const),
    observed:
      n === 98
        ? []
        : [
            { claim: 'it is gone', seen: n === 99 ? 'it is there' : 'gone', holds: n !== 99 },
            { claim: 'it was looked for', seen: 'yes', holds: true },
          ],
    residue: [],
    limits: [],
    output: undefined,
  }))
  const at = '2026-11-30T00:00:00.000Z'
  told.report({
    id: 'revoke',
    use: 'credentials.revoke',
    state: 'partial',
    startedAt: at,
    endedAt: at,
    tookMs: 1000,
    verdict,
    open: ['k99: not seen'],
    residue: Array.from({ length: 70 }, (_, n) => `residue ${n}`),
    limits: Array.from({ length: 70 }, (_, n) => `limit ${n}`),
    warnings: [],
  })
  const lines = said.slice(before).map((line) => stripVTControlCharacters(line))
  expect(lines).toContain('  ✗ k99: it is gone: it is there')
  expect(lines).toContain('  ✗ k98: failed, and nothing that was seen says why')
  expect(lines).toContain(
    '  ! vault-token: 98 observed as they should be (196 observations: --json has them), 1 of them with something left, which is told below',
  )
  expect(lines.filter((line) => /^ {2}[✓✗!]/.test(line))).toHaveLength(3)
  expect(lines).toContain('    - residue 69')
  expect(lines).toContain('    - limit 69')
})

test('of very many changes it lists some, says what the others break, and tells progress by system', () => {
  const changes = Array.from({ length: 100 }, (_, n) => change(n))
  const { said, told, text } = shown(changes)
  expect(text()).toContain('and 40 more like these, 40 of which CANNOT be undone; they break io.acme/billing.')
  expect(text()).not.toContain('Revoke token 99')
  const before = said.length
  let progress: string | undefined
  for (const one of changes) {
    expect(told.change('revoke', one, 'started')).toBeUndefined()
    progress = told.change('revoke', one, one.id === 'c7' ? 'failed' : 'applied', 'not permitted') ?? progress
    if (one.id === 'c49') expect(progress).toBe('vault-token: 49 of 100, 1 failed')
  }
  const lines = said.slice(before).map((line) => stripVTControlCharacters(line))
  expect(lines).toEqual([
    expect.stringContaining('✗ Revoke token 7: not permitted'),
    expect.stringContaining('✗ vault-token: 99 of 100, 1 failed'),
  ])
})
