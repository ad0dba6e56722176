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
