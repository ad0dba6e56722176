import { expect, it } from 'vitest'
import { MemoryJournal } from '../../src/case/journal.ts'
import { pastOf } from '../../src/case/past.ts'
import type { Change } from '../../src/change.ts'

const change = (id: string): Change => ({
  id,
  action: 'deny-policy',
  target: id,
  summary: id,
  effect: 'reversible',
  priority: 'essential',
  after: [],
  breaks: [],
})
const operation = { key: 'crm', adapter: 'credentials/vault-approle', intent: 'revoke' }

it('tells what became of every change of a case, over all its steps, as the journal grows', () => {
  const journal = new MemoryJournal({ by: 'alice', now: () => new Date(0) })
  const past = pastOf(journal.lines)
  const plan = (changes: readonly Change[], undoes?: Record<string, string>) =>
    journal.append('step.planned', {
      run: 1,
      hash: '',
      warnings: [],
      operations: [{ ...operation, changes, ...(undoes === undefined ? {} : { undoes }) }],
    })
  plan([change('a'), change('b')])
  journal.append('change.recorded', { id: 'a', data: { issued: { accessor: 'x' } } })
  journal.append('change.applied', { id: 'a', receipt: { output: 1 }, settled: false })
  const its = () =>
    past()
      .of('credentials/vault-approle crm')
      ?.map(({ change: { id }, receipt }) => [id, receipt])
  expect(its()).toEqual([
    ['a', { output: 1 }],
    ['b', undefined],
  ])
  expect(past().of('credentials/vault-approle crm')?.[0]?.recorded).toEqual([{ issued: { accessor: 'x' } }])
  expect(past().recordedBy('credentials/')).toEqual([past().of('credentials/vault-approle crm')?.[0]])
  expect(past().recordedBy('containment/')).toEqual([])
  plan([change('undo a')], { 'undo a': 'a' })
  journal.append('change.applied', { id: 'undo a', receipt: {}, settled: false })
  expect(its()).toEqual([
    ['a', undefined],
    ['b', undefined],
    ['undo a', {}],
  ])
})
