import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type Case, createCase, openCase } from '../../src/case/case.ts'
import { checkCase } from '../../src/case/check.ts'
import type { Journal } from '../../src/case/journal.ts'
import { pastOf } from '../../src/case/past.ts'
import type { Action, Adapter, Change } from '../../src/change.ts'
import { IrError } from '../../src/errors.ts'
import { type Presenter, runStep, type StepOptions } from '../../src/playbook/runner.ts'
import type { CaseView, StepKind } from '../../src/playbook/step.ts'
import { clock, opened, server } from '../testbed/cases.ts'
import { testContext } from '../testbed/terminal.ts'

/** A world of named switches, and how often each was thrown. */
class World {
  readonly on = new Set<string>()
  readonly thrown: string[] = []
  /** What happens when a switch is thrown, by name: an error before or after the change. */
  readonly faults = new Map<string, (when: 'before' | 'after') => void>()
}

function adapterOf(world: World, switches: Record<string, Partial<Change>>): Adapter<unknown> {
  const name = (change: Change) => change.target
  const flip: Action<unknown> = {
    apply: async (change, call) => {
      world.faults.get(name(change))?.('before')
      if (world.on.has(name(change))) throw new Error(`${name(change)} was thrown twice`)
      world.on.add(name(change))
      world.thrown.push(name(change))
      world.faults.get(name(change))?.('after')
      await call.record({ flipped: 1 })
      return { output: name(change) }
    },
    settle: async (change) => (world.on.has(name(change)) ? { output: 'found' } : undefined),
    undo: {
      drift: async (change) => (world.on.has(name(change)) ? [] : ['somebody switched it off']),
      apply: async (change) => {
        if (!world.on.delete(name(change))) throw new Error(`${name(change)} was undone twice`)
        return {}
      },
      settle: async (change) => (world.on.has(name(change)) ? undefined : {}),
    },
  }
  return {
    permissions: [],
    check: async () => [],
    plan: async (call) =>
      Object.entries(switches)
        .filter(([target]) => !world.on.has(target))
        .map(([target, over]) => ({
          id: call.changeId('flip', target),
          action: 'flip',
          target,
          summary: `flip ${target}`,
          effect: 'reversible',
          priority: 'essential',
          undo: { was: 'off' },
          breaks: [],
          ...over,
          after: (over.after ?? []).map((other) => call.changeId('flip', other)),
        })),
    verify: async (call) => {
      const wanted =
        call.intent === 'release' ? (target: string) => !world.on.has(target) : (target: string) => world.on.has(target)
      const off = Object.entries(switches).filter(
        ([target, over]) => over.priority !== 'best-effort' && !wanted(target),
      )
      return {
        state: off.length === 0 ? 'verified' : 'failed',
        observed: Object.keys(switches).map((target) => ({
          claim: `${target} is set`,
          seen: String(wanted(target)),
          holds: wanted(target),
        })),
        residue: [],
        limits: [],
      }
    },
    actions: { flip },
  }
}

function kindOf(adapter: Adapter<unknown>, kind = 'network.isolate', intent = 'isolate'): StepKind {
  return {
    kind,
    summary: '',
    with: z.strictObject({}),
    operations: async () => [
      {
        key: 'prod',
        adapter: 'test/world',
        intent,
        target: {},
        load: async () => adapter as never,
        ...(intent === 'release' ? { undoes: [] } : {}),
      },
    ],
    result: async (_, outcome) => ({ output: outcome.operations.map(({ state }) => state) }),
  }
}

const silent: Presenter = {
  warnings: () => {},
  plan: () => {},
  consent: async () => true,
  change: () => undefined,
  report: () => {},
}

const options: StepOptions = {
  id: 'isolate',
  with: {},
  consent: 'yes',
  dryRun: false,
  expect: undefined,
  deployment: undefined,
}

const view = {
  id: 'x',
  folder: '',
  server: server(),
  servers: [],
  since: '',
  sinceFrom: 'default',
  until: '',
  isolatedAt: undefined,
  past: pastOf([]),
  output: async () => undefined,
  standing: () => [],
  decisionsSince: () => [],
} satisfies CaseView

const newCase = (): Case =>
  createCase(mkdtempSync(join(tmpdir(), 'mcp-ir-runner-')), opened(), { ...clock(), takeOver: false })
const run = (incident: Case, kind: StepKind, over: Partial<StepOptions> = {}, context = testContext('')) =>
  runStep(kind, { ...options, ...over }, incident, view, context, silent)

describe('a step', () => {
  test('plans, applies in order and observes; a second run has nothing to do', async () => {
    const world = new World()
    const kind = kindOf(adapterOf(world, { b: { after: ['a'] }, a: {}, c: { after: ['b'] } }))
    const incident = newCase()
    const first = await run(incident, kind)
    expect(first).toMatchObject({ state: 'done', open: [] })
    expect(world.thrown).toEqual(['a', 'b', 'c'])
    expect(await run(incident, kind)).toMatchObject({ state: 'nothing-to-do' })
    expect(world.thrown).toHaveLength(3)
    incident.close()
  })

  test('what is best effort never stops the cut; what is denied is open with its command', async () => {
    const world = new World()
    const denied = () => {
      throw new IrError('denied', 'not permitted')
    }
    world.faults.set('tag', denied)
    const kind = kindOf(
      adapterOf(world, {
        tag: { priority: 'best-effort', command: 'world tag prod' },
        cut: {},
        snap: { priority: 'best-effort', after: ['tag'] },
      }),
    )
    const incident = newCase()
    const report = await run(incident, kind)
    expect(world.thrown).toEqual(['cut'])
    expect(report.state).toBe('partial')
    expect(report.open).toEqual([
      'flip tag: not permitted. Somebody with the right can run: world tag prod',
      'flip snap: not attempted, because flip tag failed.',
    ])
    // With the cause removed, the same step finishes the rest and nothing else.
    world.faults.clear()
    expect(await run(incident, kind)).toMatchObject({ state: 'done', open: [] })
    expect(world.thrown).toEqual(['cut', 'tag', 'snap'])
    incident.close()
  })

  test('a later stage begins once the earlier ones have ended, well or not; `after` orders within one', async () => {
    const world = new World()
    const denied = () => {
      throw new IrError('denied', 'not permitted')
    }
    world.faults.set('mint b', denied)
    const kind = kindOf(
      adapterOf(world, {
        issue: { stage: 3 },
        sweep: { stage: 2, after: ['end'] },
        end: {},
        'mint b': { stage: 0 },
        'end b': { stage: 1, after: ['mint b'] },
        mint: { stage: 0, after: ['look'], priority: 'best-effort' },
        look: { stage: 0, priority: 'best-effort' },
        early: { stage: 0, after: ['issue'] },
      }),
    )
    const incident = newCase()
    const report = await run(incident, kind)
    expect(world.thrown).toEqual(['look', 'mint', 'end', 'sweep', 'issue', 'early'])
    expect(report.open).toEqual([
      'flip mint b: not permitted.',
      'flip end b: not attempted, because flip mint b failed.',
      expect.stringContaining('prod: not seen that mint b is set'),
      expect.stringContaining('prod: not seen that end b is set'),
    ])
    incident.close()
  })

  test('two targets with the same change are two changes, each with the receipts of its own alone', async () => {
    const undone: string[] = []
    const seen: Record<string, unknown[]> = {}
    const adapter: Adapter<{ name: string }> = {
      permissions: [],
      check: async () => [],
      plan: async (call) => [
        {
          id: call.changeId('suspend', 'group web'),
          action: 'suspend',
          target: 'group web',
          summary: `suspend web in ${call.target.name}`,
          effect: 'reversible',
          priority: 'essential',
          after: [],
          breaks: [],
        },
      ],
      verify: async ({ target, receipts }) => {
        seen[target.name] = [...receipts.values()].map(({ output }) => output)
        return { state: 'verified', observed: [], residue: [], limits: [] }
      },
      actions: {
        suspend: {
          apply: async (_, { target }) => ({ output: target.name }),
          settle: async () => undefined,
          undo: {
            drift: async () => [],
            apply: async (_, { output }) => {
              undone.push(String(output))
              return { output: `${output} again` }
            },
            settle: async () => undefined,
          },
        },
      },
    }
    const both = (kind: string, more: object): StepKind => ({
      ...kindOf(adapter as Adapter<unknown>, kind),
      operations: async () =>
        ['east', 'west'].map((name) => ({
          key: name,
          adapter: 'test/scaling',
          intent: 'isolate',
          target: { name },
          load: async () => adapter as never,
          ...more,
        })),
    })
    const incident = newCase()
    await run(incident, both('network.isolate', {}))
    expect(seen).toEqual({ east: ['east'], west: ['west'] })
    await run(incident, both('network.release', { undoes: [] }), { id: 'release' })
    expect(undone.sort()).toEqual(['east', 'west'])
    expect(seen).toEqual({ east: ['east again'], west: ['west again'] })
    incident.close()
  })

  test('changes that go in one call are made at once, as many as fit into it, and what others wait for comes first', async () => {
    const world = new World()
    const plain = Object.fromEntries(Array.from({ length: 30 }, (_, n) => [`plain ${n}`, {}]))
    const adapter = adapterOf(world, {
      ...plain,
      gate: {},
      ...Object.fromEntries(
        Array.from({ length: 40 }, (_, n) => [`member ${n}`, { action: 'leave', after: ['gate'] }]),
      ),
    })
    const flip = adapter.actions.flip as Action<unknown>
    const begun: string[] = []
    let leaving = 0
    let most = 0
    const leave: Action<unknown> = {
      ...flip,
      together: 20,
      apply: async (change, call) => {
        most = Math.max(most, ++leaving)
        await new Promise((resolve) => setTimeout(resolve, 20))
        leaving--
        return flip.apply(change, call)
      },
    }
    const first: Action<unknown> = {
      ...flip,
      apply: async (change, call) => {
        begun.push(change.target)
        await new Promise((resolve) => setTimeout(resolve, 1))
        return flip.apply(change, call)
      },
    }
    const incident = newCase()
    const actions = { flip: first, leave }
    expect(await run(incident, kindOf({ ...adapter, actions }))).toMatchObject({ state: 'done', open: [] })
    expect(begun[0]).toBe('gate')
    expect(begun).toHaveLength(31)
    expect(most).toBe(40)
    incident.close()
  })

  test('what is best effort never takes all places while the cut is to come', async () => {
    const world = new World()
    let hanging = 0
    let most = 0
    const slow = Promise.withResolvers<void>()
    const adapter = adapterOf(world, {
      ...Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`tag ${n}`, { priority: 'best-effort' as const }])),
      group: {},
      cut: { after: ['group'] },
    })
    const flip = adapter.actions.flip as Action<unknown>
    const apply: Action<unknown>['apply'] = async (change, call) => {
      if (change.priority === 'best-effort') {
        most = Math.max(most, ++hanging)
        await slow.promise
      }
      if (change.target === 'cut') slow.resolve()
      return flip.apply(change, call)
    }
    const incident = newCase()
    const report = await run(incident, kindOf({ ...adapter, actions: { flip: { ...flip, apply } } }))
    // It came although everything else hung; afterwards all places are everybody's.
    expect(world.thrown.slice(0, 2)).toEqual(['group', 'cut'])
    expect(most).toBeGreaterThan(4)
    expect(report.state).toBe('done')
    incident.close()
  })

  test('an answer that was lost after the change is settled, not repeated', async () => {
    const world = new World()
    world.faults.set('cut', (when) => {
      if (when === 'after') throw new IrError('unreachable', 'connection reset', { ambiguous: true })
    })
    const incident = newCase()
    expect(await run(incident, kindOf(adapterOf(world, { cut: {} })))).toMatchObject({ state: 'done' })
    expect(world.thrown).toEqual(['cut'])
    expect(incident.journal.lines.find((line) => line.kind === 'change.applied')).toMatchObject({
      data: { settled: true },
    })
    incident.close()
  })

  test('one that never answers is tried a bounded number of times and ends open', async () => {
    const world = new World()
    world.faults.set('cut', () => {
      throw new IrError('unreachable', 'connection reset', { ambiguous: true })
    })
    const incident = newCase()
    expect(await run(incident, kindOf(adapterOf(world, { cut: {} })))).toMatchObject({ state: 'failed' })
    expect(incident.journal.lines.filter((line) => line.kind === 'change.started')).toHaveLength(5)
    incident.close()
  })

  test('an unknown error keeps what it carries to itself', async () => {
    const world = new World()
    world.faults.set('cut', () => {
      throw Object.assign(new Error('Bearer canary-secret'), { code: 'EWEIRD' })
    })
    const incident = newCase()
    const report = await run(incident, kindOf(adapterOf(world, { cut: {} })))
    expect(JSON.stringify([report, incident.journal.lines])).not.toContain('canary-secret')
    expect(report.open[0]).toContain('unexpected Error (EWEIRD)')
    incident.close()
  })

  test('release puts back exactly what stands, newest first, and isolation begins anew after it', async () => {
    const world = new World()
    const adapter = adapterOf(world, { a: {}, b: { after: ['a'] } })
    const incident = newCase()
    const isolate = kindOf(adapter)
    const release = kindOf(adapter, 'network.release', 'release')
    for (let round = 0; round < 2; round++) {
      expect(await run(incident, isolate)).toMatchObject({ state: 'done' })
      expect(incident.state().isolatedAt).toBeDefined()
      const back = await run(incident, release, { id: 'release' })
      expect(back).toMatchObject({ state: 'done' })
      expect(back.plan?.changes.map((change) => change.target)).toEqual(['b', 'a'])
      expect(incident.state().isolatedAt).toBeUndefined()
      expect(world.on.size).toBe(0)
    }
    incident.close()
  })

  test('release over what somebody changed since is refused without a look at the plan', async () => {
    const world = new World()
    const adapter = adapterOf(world, { a: {} })
    const incident = newCase()
    await run(incident, kindOf(adapter))
    world.on.clear()
    const release = kindOf(adapter, 'network.release', 'release')
    await expect(run(incident, release, { id: 'release' })).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('somebody switched it off'),
    })
    incident.close()
  })

  test('the plan hash is the same for the same plan in another case, and another for another plan', async () => {
    const hashes: (string | undefined)[] = []
    for (const switches of [
      { a: {}, b: {} },
      { b: {}, a: {} },
      { a: {}, b: { breaks: ['billing'] } },
    ]) {
      const incident = newCase()
      hashes.push((await run(incident, kindOf(adapterOf(new World(), switches)), { dryRun: true })).plan?.hash)
      incident.close()
    }
    expect(hashes[0]).toMatch(/^[0-9a-f]{64}$/)
    expect(hashes[1]).toBe(hashes[0])
    expect(hashes[2]).not.toBe(hashes[0])
    const incident = newCase()
    await expect(run(incident, kindOf(adapterOf(new World(), { a: {} })), { expect: hashes[0] })).rejects.toMatchObject(
      { code: 'refused' },
    )
    incident.close()
  })

  test('without consent nothing is changed', async () => {
    const world = new World()
    const incident = newCase()
    expect(await run(incident, kindOf(adapterOf(world, { a: {} })), { consent: 'none' })).toMatchObject({
      state: 'consent-required',
    })
    expect(world.thrown).toEqual([])
    incident.close()
  })

  test('a server of high criticality needs somebody else', async () => {
    const incident = newCase()
    const kind = kindOf(adapterOf(new World(), { a: {} }))
    const high = { ...view, server: server({ criticality: 'high' }) }
    const attempt = (approvedBy: string | undefined) =>
      runStep(kind, options, incident, high, testContext('', { approvedBy }), silent)
    await expect(attempt(undefined)).rejects.toMatchObject({ code: 'consent' })
    await expect(attempt('alice@laptop')).rejects.toMatchObject({ code: 'consent' })
    expect(await attempt('bob')).toMatchObject({ state: 'done' })
    incident.close()
  })

  test('Ctrl-C lets nothing new begin and leaves a case that goes on', async () => {
    const world = new World()
    const controller = new AbortController()
    world.faults.set('a', (when) => when === 'after' && controller.abort())
    const kind = kindOf(adapterOf(world, { a: {}, b: { after: ['a'] } }))
    const incident = newCase()
    await expect(run(incident, kind, {}, testContext('', { signal: controller.signal }))).rejects.toMatchObject({
      code: 'interrupted',
    })
    expect(world.thrown).toEqual(['a'])
    expect(incident.journal.lines.at(-1)?.kind).toBe('interrupted')
    world.faults.clear()
    expect(await run(incident, kind)).toMatchObject({ state: 'done' })
    expect(world.thrown).toEqual(['a', 'b'])
    incident.close()
  })
})

class Crash extends Error {}

/** Dies at the n-th append, before or after the line is on disk. */
function crashing(incident: Case, at: number, when: 'before' | 'after'): Case {
  let appends = 0
  const journal: Journal = {
    get lines() {
      return incident.journal.lines
    },
    append: (kind, data, step) => {
      appends++
      if (appends > at) throw new Crash()
      if (appends === at && when === 'before') throw new Crash()
      const line = incident.journal.append(kind, data, step)
      if (appends === at) throw new Crash()
      return line
    },
    commit: async (kind, data, step) => journal.append(kind, data, step),
  }
  return { ...incident, journal, state: incident.state }
}

test('aborted at any append, before or after it, isolate and release end the same and change nothing twice', async () => {
  const switches = { a: {}, b: { after: ['a'] }, c: { priority: 'best-effort' as const } }
  let crashes = 0
  for (const when of ['before', 'after'] as const) {
    for (let at = 1; ; at++) {
      const world = new World()
      const adapter = adapterOf(world, switches)
      const incident = newCase()
      const both = async (on: Case) => {
        if (on.state().isolatedAt === undefined && world.thrown.length < 3) await run(on, kindOf(adapter))
        else if (on.state().steps.get('isolate')?.runs.at(-1)?.finished === undefined) await run(on, kindOf(adapter))
        await run(on, kindOf(adapter, 'network.release', 'release'), { id: 'release' })
      }
      let crashed = false
      try {
        await both(crashing(incident, at, when))
      } catch (error) {
        if (!(error instanceof Crash)) throw error
        crashed = true
      }
      incident.close()
      const again = openCase(incident.folder, { ...clock(), takeOver: false })
      if (crashed) await both(again)
      expect([...world.thrown].sort()).toEqual(['a', 'b', 'c'])
      expect(world.on.size).toBe(0)
      const applied = again.journal.lines.flatMap((line) => (line.kind === 'change.applied' ? [line.data.id] : []))
      expect(new Set(applied).size).toBe(applied.length)
      expect(applied).toHaveLength(6)
      again.close()
      expect((await checkCase(incident.folder)).damage).toEqual([])
      if (!crashed) break
      crashes++
    }
  }
  expect(crashes).toBeGreaterThan(40)
}, 60_000)
