import { createHash } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ActionCall, Call, Change, Evidence, Json, JsonObject, Receipt, Verdict } from '../../src/change.ts'
import type { Containment, ContainmentIntent, ContainmentTarget } from '../../src/containment/port.ts'
import { IrError } from '../../src/errors.ts'

/** A server that really runs, and somebody beside the adapter who looks at it. */
export interface ContainmentWorld {
  readonly adapter: Containment
  readonly target: ContainmentTarget
  /** A target of the same kind that is not there. */
  readonly absent: ContainmentTarget
  /** A target that is the responder's own. */
  readonly own: ContainmentTarget
  /** Whether the server is at work and can be reached; false only when nothing of it is. Never asks the adapter. */
  readonly connected: () => Promise<boolean>
  /** Does a part of the planned changes by hand, as a crash would leave it. */
  readonly half: (changes: readonly Change[]) => Promise<void>
  /** Takes the isolation back in part, behind the adapter's back. */
  readonly disturb: () => Promise<void>
  /** Secrets that the server holds: they must appear in nothing that the adapter says or keeps. */
  readonly secrets: readonly string[]
  /** For an adapter that keeps bytes in the case; others are given none. */
  readonly privateFolder?: string
  readonly stop: () => Promise<void>
}

/** What every containment adapter must do, seen from the outside. */
export function containmentContract(name: string, create: () => Promise<ContainmentWorld>): void {
  describe(`containment contract: ${name}`, () => {
    let world: ContainmentWorld
    beforeEach(async () => {
      world = await create()
    })
    afterEach(async () => {
      await world.stop()
    })

    it('plans without changing anything, and the same again', async () => {
      const run = operate(world)
      const problems = await run.check()
      expect(problems.filter(({ kind }) => kind !== 'warning')).toEqual([])
      const first = await run.plan()
      expect(first.length).toBeGreaterThan(0)
      for (const change of first) {
        expect(run.adapter.actions).toHaveProperty([change.action])
        expect(change.effect === 'irreversible' || change.undo !== undefined).toBe(true)
        expect(change.summary).not.toBe('')
      }
      const again = await operate(world).plan()
      expect(again.map(({ id }) => id)).toEqual(first.map(({ id }) => id))
      expect(await world.connected()).toBe(true)
    })

    it('says that the server is not isolated before it is', async () => {
      const run = operate(world)
      const changes = await run.plan()
      expect(await run.settled(changes)).toEqual(changes.map(() => undefined))
      expect((await run.verify()).state).toBe('failed')
    })

    it('isolates, proves it, keeps evidence, and then has nothing left to do', async () => {
      const run = operate(world)
      const changes = await run.plan()
      await run.apply(changes)
      expect(await world.connected()).toBe(false)
      await run.collect()
      const verdict = await run.verify()
      expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
      expect(verdict.state).not.toBe('failed')
      expect(verdict.observed.length).toBeGreaterThan(0)
      expect(verdict.limits.length).toBeGreaterThan(0)
      expect((await run.settled(changes)).every((receipt) => receipt !== undefined)).toBe(true)
      expect(await operate(world).plan()).toEqual([])
      expect(await world.connected()).toBe(false)
    })

    it('puts it back, and isolates again', async () => {
      const run = operate(world)
      for (let round = 0; round < 2; round++) {
        const changes = await run.plan()
        await run.apply(changes)
        expect(await world.connected()).toBe(false)
        expect(await run.drift(changes)).toEqual([])
        const released = await run.undo(changes)
        expect(await world.connected()).toBe(true)
        expect(released.observed.filter(({ holds }) => !holds)).toEqual([])
        expect(released.state).toBe('verified')
      }
    })

    it('tells what changed since, before it puts anything back', async () => {
      const run = operate(world)
      const changes = await run.plan()
      await run.apply(changes)
      await world.disturb()
      expect((await run.drift(changes)).length).toBeGreaterThan(0)
      expect((await run.verify()).state).toBe('failed')
    })

    it('isolates again what somebody took back, and still knows the original state', async () => {
      const run = operate(world)
      await run.apply(await run.plan())
      await world.disturb()
      const changes = await run.plan()
      expect(changes.length).toBeGreaterThan(0)
      await run.apply(changes)
      expect(await world.connected()).toBe(false)
      expect((await run.undo(changes)).state).toBe('verified')
      expect(await world.connected()).toBe(true)
    })

    it('changes nothing once it is interrupted', async () => {
      const run = operate(world)
      const changes = await run.plan()
      const aborted = operate(world, AbortSignal.abort())
      for (const change of changes) {
        const error = await aborted.applyOne(change).catch((thrown: unknown) => thrown)
        expect(error).toBeInstanceOf(IrError)
        expect((error as IrError).code).toBe('interrupted')
      }
      expect(await world.connected()).toBe(true)
      expect(await run.settled(changes)).toEqual(changes.map(() => undefined))
    })

    it('finishes what was half done, and puts all of it back', async () => {
      const run = operate(world)
      const changes = await run.plan()
      await world.half(changes)
      expect((await run.settled(changes)).some((receipt) => receipt === undefined)).toBe(true)
      await run.apply(changes)
      expect(await world.connected()).toBe(false)
      expect((await run.verify()).state).not.toBe('failed')
      expect((await run.undo(changes)).state).toBe('verified')
      expect(await world.connected()).toBe(true)
    })

    it('finds what happened although nobody noted it', async () => {
      const lost = operate(world)
      const changes = await lost.plan()
      await lost.apply(changes)
      // The journal has the plan and what was recorded, but no receipt.
      const run = operate(world, undefined, lost.recorded)
      const receipts = await run.settled(changes)
      expect(receipts.every((receipt) => receipt !== undefined)).toBe(true)
      for (const [index, change] of changes.entries()) run.receipts.set(change.id, receipts[index] as Receipt)
      expect((await run.undo(changes)).state).toBe('verified')
      expect(await world.connected()).toBe(true)
    })

    it('refuses what is its own', async () => {
      const run = operate({ ...world, target: world.own })
      expect((await run.check()).map(({ kind }) => kind)).toContain('refused')
      const planned = await run.plan().catch((error: unknown) => error)
      expect(planned instanceof IrError ? planned.code : planned).toSatisfy(
        (result) => result === 'refused' || (Array.isArray(result) && result.length === 0),
      )
    })

    it('has nothing to do where nothing runs, and says so', async () => {
      const run = operate({ ...world, target: world.absent })
      const problems = await run.check()
      expect(problems.filter(({ kind }) => kind !== 'warning')).toEqual([])
      expect(await run.plan()).toEqual([])
      expect((await run.verify()).state).toBe('verified')
    })

    it('lets no secret out, and journals integers only', async () => {
      const run = operate(world)
      const problems = await run.check()
      const changes = await run.plan()
      await run.apply(changes)
      await run.collect()
      const verdict = await run.verify()
      const { output: _, ...journalled } = verdict
      const said = [problems, changes, [...run.receipts.values()], [...run.recorded.values()], journalled]
      const text = `${JSON.stringify([said, verdict])}${run.kept.join('')}${run.told.join('')}`
      for (const secret of world.secrets) expect(text.includes(secret)).toBe(false)
      for (const number of numbersIn(said)) expect(Number.isSafeInteger(number)).toBe(true)
    })
  })
}

/** Drives one adapter on one target as the runner does, with a journal in memory. */
export interface Operated {
  readonly adapter: Containment
  readonly receipts: Map<string, Receipt>
  readonly recorded: Map<string, JsonObject[]>
  /** What was stored as evidence. */
  readonly kept: string[]
  readonly told: string[]
  check(): ReturnType<Containment['check']>
  plan(): Promise<readonly Change[]>
  applyOne(change: Change): Promise<Receipt>
  /** In the order of `after`. */
  apply(changes: readonly Change[]): Promise<void>
  settled(changes: readonly Change[]): Promise<(Receipt | undefined)[]>
  collect(): Promise<void>
  verify(): Promise<Verdict>
  drift(changes: readonly Change[]): Promise<readonly string[]>
  /** Newest first; returns the verdict of the release. */
  undo(changes: readonly Change[]): Promise<Verdict>
}

export function operate(
  world: Pick<ContainmentWorld, 'adapter' | 'target' | 'privateFolder'>,
  signal: AbortSignal = new AbortController().signal,
  recorded: Map<string, JsonObject[]> = new Map(),
): Operated {
  const { adapter, target } = world
  const receipts = new Map<string, Receipt>()
  const originals = new Map<string, Json>()
  const kept: string[] = []
  const told: string[] = []
  let planned: readonly Change[] = []
  const evidence: Evidence = {
    put: async (name, mediaType, content) => {
      const parts: Buffer[] = []
      if (typeof content === 'string' || content instanceof Uint8Array) parts.push(Buffer.from(content as string))
      else for await (const part of content) parts.push(Buffer.from(part as string))
      const bytes = Buffer.concat(parts)
      kept.push(bytes.toString('utf8'))
      return { name, mediaType, sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length }
    },
    get: async () => new Uint8Array(),
    path: () => '',
  }
  const call = (
    intent: ContainmentIntent,
    changes = planned,
  ): Call<ContainmentTarget> & { intent: ContainmentIntent } => ({
    target,
    intent,
    signal,
    caseId: 'case-1',
    privateFolder: world.privateFolder ?? '/nonexistent',
    now: () => new Date(),
    changeId: (action, what) =>
      createHash('sha256')
        .update(JSON.stringify([action, what]))
        .digest('hex')
        .slice(0, 16),
    changes,
    receipts,
    evidence,
    progress: (text) => told.push(text),
  })
  const acting = (intent: ContainmentIntent, id: string): ActionCall<ContainmentTarget> => {
    const own = recorded.get(id) ?? []
    recorded.set(id, own)
    const record = async (data: JsonObject): Promise<void> => {
      own.push(data)
    }
    return { ...call(intent), record, recorded: own }
  }
  const actionOf = (change: Change) => {
    const action = adapter.actions[change.action]
    if (action === undefined) throw new TypeError(`no action ${change.action}`)
    return action
  }
  const undoOf = (change: Change) => {
    const { undo } = actionOf(change)
    if (undo === undefined) throw new TypeError(`${change.action} cannot be undone`)
    return undo
  }
  const undoable = (change: Change): boolean => actionOf(change).undo !== undefined
  const receiptOf = (change: Change): Receipt => {
    const receipt = receipts.get(change.id)
    if (receipt === undefined) throw new TypeError('not applied')
    return receipt
  }

  const run: Operated = {
    adapter,
    receipts,
    recorded,
    kept,
    told,
    check: () => adapter.check(call('isolate')),
    plan: async () => {
      // The first undo of a change is the original state; the runner keeps it.
      planned = (await adapter.plan(call('isolate'))).map((change) => {
        const undo = originals.get(change.id) ?? change.undo
        if (undo === undefined) return change
        originals.set(change.id, undo)
        return { ...change, undo }
      })
      return planned
    },
    applyOne: async (change) => {
      const receipt = await actionOf(change).apply(change, acting('isolate', change.id))
      receipts.set(change.id, receipt)
      return receipt
    },
    apply: async (changes) => {
      const waiting = [...changes]
      while (waiting.length > 0) {
        const next = waiting.findIndex(({ after }) => after.every((id) => !waiting.some((change) => change.id === id)))
        const [change] = waiting.splice(next, 1)
        if (next < 0 || change === undefined) throw new TypeError('the changes wait for each other')
        await run.applyOne(change)
      }
    },
    settled: (changes) =>
      Promise.all(changes.map((change) => actionOf(change).settle(change, acting('isolate', change.id)))),
    collect: async () => adapter.collect?.(call('isolate')),
    verify: () => adapter.verify(call('isolate')),
    drift: async (changes) => {
      const found = changes
        .filter(undoable)
        .map((change) => undoOf(change).drift(change, receiptOf(change), call('release')))
      return (await Promise.all(found)).flat()
    },
    undo: async (changes) => {
      const undone: Change[] = []
      // As the runner does: what has no undo (a snapshot) is left.
      for (const change of changes.filter(undoable).toReversed()) {
        const receipt = receiptOf(change)
        const id = `undo-${change.id}`
        const undo = undoOf(change)
        const already = await undo.settle(change, receipt, acting('release', id))
        if (already !== undefined) receipts.set(id, already)
        else {
          const back = await undo.apply(change, receipt, acting('release', id))
          expect(await undo.settle(change, receipt, acting('release', id))).toBeDefined()
          receipts.set(id, back)
        }
        const { params: _, undo: __, ...rest } = change
        undone.push({ ...rest, id, action: `undo ${change.action}` })
      }
      // A release run sees its own receipts only.
      const own = new Map([...receipts].filter(([id]) => id.startsWith('undo-')))
      const verdict = await adapter.verify({ ...call('release', undone), receipts: own })
      for (const change of changes) receipts.delete(change.id)
      originals.clear()
      return verdict
    },
  }
  return run
}

function numbersIn(value: unknown): number[] {
  if (typeof value === 'number') return [value]
  if (typeof value !== 'object' || value === null) return []
  return Object.values(value).flatMap(numbersIn)
}
