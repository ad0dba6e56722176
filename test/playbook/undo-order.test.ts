import { describe, expect, test } from 'vitest'
import type { PlannedOperation } from '../../src/case/events.ts'
import type { StandingChange } from '../../src/case/state.ts'
import type { Change, Receipt } from '../../src/change.ts'
import { undoOrder } from '../../src/playbook/undo-order.ts'

const receipt: Receipt = {}

/** Changes of one plan, by id; each with a target of its own unless it says one. */
function plan(changes: Readonly<Record<string, Partial<Change>>>): StandingChange[] {
  const operation: PlannedOperation = { key: 'prod', adapter: 'test', intent: 'isolate', changes: [] }
  return Object.entries(changes).map(([id, over]) => ({
    step: 'isolate',
    use: 'network.isolate',
    operation,
    receipt,
    change: {
      id,
      action: 'flip',
      target: id,
      summary: id,
      effect: 'reversible',
      priority: 'essential',
      after: [],
      breaks: [],
      ...over,
    },
  }))
}

/** Each change with what is put back before it. */
const order = (stands: readonly StandingChange[]): [string, string[]][] =>
  undoOrder(stands).map(({ stands: { change }, after }) => [change.id, after.map((other) => other.change.id)])

describe('the order in which changes are put back', () => {
  test('is the reverse of the one in which they waited; what has nothing to do with each other waits for nothing', () => {
    expect(order(plan({ group: {}, eni: { after: ['group'] }, other: { after: ['group'] }, tag: {} }))).toEqual([
      ['tag', []],
      ['other', []],
      ['eni', []],
      ['group', ['other', 'eni']],
    ])
  })

  test('is the newest first of the same target, and of different plans', () => {
    expect(order(plan({ first: { target: 'host' }, second: { target: 'host' } }))).toEqual([
      ['second', []],
      ['first', ['second']],
    ])
    expect(order([...plan({ group: {}, tag: {} }), ...plan({ eni: {} })])).toEqual([
      ['eni', []],
      ['tag', ['eni']],
      ['group', ['eni']],
    ])
  })

  test('heeds what must be back first although it never waited, whichever was planned first', () => {
    const scaling = { undoAfter: ['eni'] }
    expect(order(plan({ scaling, eni: {} }))).toEqual([
      ['eni', []],
      ['scaling', ['eni']],
    ])
    // The suspension was denied at first and came later: the newest-first rule gives way.
    expect(order([...plan({ eni: {} }), ...plan({ tag: {} }), ...plan({ scaling })])).toEqual([
      ['tag', []],
      ['eni', ['tag']],
      ['scaling', ['tag', 'eni']],
    ])
  })
})
