import { createHash } from 'node:crypto'
import { inspect } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import type { Past } from '../../src/case/past.ts'
import type { Call, Change, Evidence, Json, JsonObject, Receipt, Verdict } from '../../src/change.ts'
import { issuedIn } from '../../src/credentials/issue.ts'
import type { CredentialState, Credentials, CredentialTarget } from '../../src/credentials/port.ts'
import { IrError } from '../../src/errors.ts'
import type { Credential } from '../../src/registry/port.ts'

/** One server's credential in a real system, and a client of the test's own to look at it from outside. */
export interface CredentialsWorld<C extends Credential = Credential> {
  readonly adapter: Credentials<C>
  readonly target: CredentialTarget<C>
  /** Whether the secret that the suspect holds works, by the test's own client. */
  oldWorks(): Promise<boolean>
  /** Whether what lies at the destination works, read as its new holder reads it. */
  deliveredWorks(): Promise<boolean>
  /** Secrets beside the old one that work. */
  liveNew(): Promise<number>
  /** Requests so far that could have changed something. */
  changingCalls(): number
  /** Every secret that must surface nowhere. */
  secrets(): readonly string[]
  /** The next `times` requests that make the change misbehave. */
  fault(intent: 'revoke' | 'rotate', fault: ChangeFault, times?: number): void
  stop(): Promise<void>
}

/** `lost` and `reset-after`: the change is made, its answer does not arrive. `throttled` and `5xx`: it is not made. */
type ChangeFault = 'lost' | 'reset-before' | 'reset-after' | '5xx' | 'throttled' | 'denied'

/** What a case would have on disk: enough to go on after a crash. */
export interface Journal {
  planned: readonly Change[] | undefined
  readonly started: Map<string, number>
  readonly recorded: Map<string, JsonObject[]>
  readonly applied: Map<string, Receipt>
  readonly failed: { readonly change: Change; readonly error: unknown }[]
  /** Appends so far, over all tries. */
  appends: number
}

export function emptyJournal(): Journal {
  return { planned: undefined, started: new Map(), recorded: new Map(), applied: new Map(), failed: [], appends: 0 }
}

export class Crash extends Error {}

export interface DriveOptions {
  readonly intent: 'revoke' | 'rotate' | 'reinstate'
  readonly journal?: Journal
  /** The process dies at this append (counted from 1 over all tries), just before or just after the line is on disk. */
  readonly crash?: { readonly at: number; readonly when: 'before' | 'after' }
  readonly signal?: AbortSignal
  readonly now?: () => Date
}

const caseId = '20261123-crm-0a1b'

/** What is done to one target is one case. */
const cases = new WeakMap<CredentialTarget, Set<Journal>>()

/** Plans, applies and verifies as the runner does, in memory. */
export async function drive<C extends Credential>(
  { adapter, target }: Pick<CredentialsWorld<C>, 'adapter' | 'target'>,
  options: DriveOptions,
): Promise<{ readonly verdict: Verdict; readonly state: CredentialState; readonly journal: Journal }> {
  const { intent } = options
  const journal = options.journal ?? emptyJournal()
  journal.failed.length = 0
  const append = (write: () => void): void => {
    journal.appends++
    const dies = options.crash?.at === journal.appends
    if (dies && options.crash?.when === 'before') throw new Crash()
    write()
    if (dies) throw new Crash()
  }
  const journals = cases.get(target) ?? new Set<Journal>()
  cases.set(target, journals.add(journal))
  const past = (): readonly Past[] =>
    [...journals].flatMap(({ planned, applied, recorded }) =>
      (planned ?? []).map((change) => ({
        change,
        receipt: applied.get(change.id),
        recorded: recorded.get(change.id) ?? [],
      })),
    )
  const call = {
    ...callFor({ past, issued: () => issuedIn(past()), ...target }, intent, options),
    get changes() {
      return journal.planned ?? []
    },
    receipts: journal.applied,
  }
  if (journal.planned === undefined) {
    const planned = await adapter.plan(call)
    append(() => {
      journal.planned = planned
    })
  }
  for (const change of journal.planned ?? []) {
    if (journal.applied.has(change.id)) continue
    const action = adapter.actions[change.action]
    if (action === undefined) throw new TypeError(`no action ${change.action}`)
    const recorded = [...(journal.recorded.get(change.id) ?? [])]
    const acting = {
      ...call,
      recorded,
      record: async (data: JsonObject) => {
        append(() => journal.recorded.set(change.id, [...(journal.recorded.get(change.id) ?? []), data]))
        recorded.push(data)
      },
    }
    for (let tried = 0; ; tried++) {
      if (journal.started.has(change.id)) {
        const receipt = await action.settle(change, acting)
        if (receipt !== undefined) {
          append(() => journal.applied.set(change.id, receipt))
          break
        }
      }
      append(() => journal.started.set(change.id, (journal.started.get(change.id) ?? 0) + 1))
      try {
        const receipt = await action.apply(change, acting)
        append(() => journal.applied.set(change.id, receipt))
        break
      } catch (error) {
        if (error instanceof Crash) throw error
        if (error instanceof IrError && error.ambiguous && tried < 3) continue
        journal.failed.push({ change, error })
        break
      }
    }
  }
  const verdict = await adapter.verify(call)
  return { verdict, state: verdict.output as unknown as CredentialState, journal }
}

export function callFor<C extends Credential, I extends DriveOptions['intent']>(
  target: CredentialTarget<C>,
  intent: I,
  options: Partial<DriveOptions> = {},
): Call<CredentialTarget<C>> & { readonly intent: I } {
  return {
    target,
    intent,
    signal: options.signal ?? new AbortController().signal,
    caseId,
    privateFolder: '/nonexistent',
    now: options.now ?? (() => new Date()),
    changeId: (action, of) => createHash('sha256').update(`${caseId} ${action} ${of}`).digest('hex').slice(0, 16),
    changes: [],
    receipts: new Map(),
    evidence: noEvidence,
    progress: () => undefined,
  }
}

const noEvidence: Evidence = {
  put: () => Promise.reject(new Error('no evidence is expected')),
  get: () => Promise.reject(new Error('no evidence is expected')),
  path: () => '',
}

/** Everything that a case would keep or show of a run, as one text. */
export function everything(journal: Journal, verdict?: Verdict): string {
  const shown = inspect(
    { journal, verdict, stacks: journal.failed.map(({ error }) => inspect(error, { depth: 12 })) },
    {
      depth: 12,
      maxStringLength: Number.POSITIVE_INFINITY,
      maxArrayLength: Number.POSITIVE_INFINITY,
    },
  )
  return `${shown}\n${JSON.stringify([journal.planned, [...journal.recorded], [...journal.applied], verdict])}`
}

/** What every credentials adapter has to hold to, against its real system. */
export function credentialsContract<C extends Credential>(
  name: string,
  start: () => Promise<CredentialsWorld<C>>,
  expected: {
    /** Whether its old secret can be proven dead by trying it. */
    readonly probed: boolean
    readonly rotates: boolean
    /** Fewer calls than this in all, when every one that changes is throttled. */
    readonly tries?: number
  },
): void {
  describe(`credentials contract: ${name}`, () => {
    let world: CredentialsWorld<C>
    afterEach(async () => {
      await world.stop()
    })

    it('revokes: the old secret worked, and is dead by the verdict and by our own client', async () => {
      world = await start()
      expect(await world.oldWorks()).toBe(true)
      const { verdict, state } = await drive(world, { intent: 'revoke' })
      expect(await world.oldWorks()).toBe(false)
      expect(verdict.state).toBe('verified')
      expect(verdict.observed.length).toBeGreaterThan(0)
      expect(verdict.observed.every(({ holds }) => holds)).toBe(true)
      expect(state).toMatchObject({ id: world.target.credential.id, kind: world.target.credential.kind, state: 'dead' })
      if (expected.probed) expect(state.proof).toBe('probed')
    })

    it('does not say dead while the old secret works', async () => {
      world = await start()
      const verdict = await world.adapter.verify(callFor(world.target, 'revoke'))
      expect(verdict.state).toBe('failed')
      expect(verdict.output).toMatchObject({ state: 'alive' })
    })

    it('changes nothing by checking and planning, and plans the same again', async () => {
      world = await start()
      for (const intent of ['revoke', ...(expected.rotates ? (['rotate'] as const) : [])] as const) {
        const call = callFor(world.target, intent)
        expect(await world.adapter.check(call)).toEqual([])
        const plan = await world.adapter.plan(call)
        expect(plan).toEqual(await world.adapter.plan(call))
        expect(plan.map(({ action }) => action in world.adapter.actions)).toEqual(plan.map(() => true))
        expect(plan.length).toBeGreaterThan(0)
        expect(() => wholeNumbers(plan as unknown as Json)).not.toThrow()
      }
      expect(world.changingCalls()).toBe(0)
      expect(await world.oldWorks()).toBe(true)
    })

    it('names those who break with it', async () => {
      world = await start()
      const target = { ...world.target, sharedWith: ['io.acme/billing'] }
      const plan = await world.adapter.plan(callFor(target, 'revoke'))
      expect(plan.some(({ breaks }) => breaks.includes('io.acme/billing'))).toBe(true)
    })

    it('has nothing to do the second time, and still proves it', async () => {
      world = await start()
      await drive(world, { intent: 'revoke' })
      const calls = world.changingCalls()
      const { verdict, journal } = await drive(world, { intent: 'revoke' })
      expect(journal.planned).toEqual([])
      expect(world.changingCalls()).toBe(calls)
      expect(verdict.state).toBe('verified')
      expect(verdict.output).toMatchObject({ state: 'dead' })
    })

    it('settles by looking: not done before, done after, also when only the world knows', async () => {
      world = await start()
      const call = callFor(world.target, 'revoke')
      const [change] = await world.adapter.plan(call)
      if (change === undefined) throw new TypeError('an empty plan')
      const action = world.adapter.actions[change.action]
      const acting = { ...call, recorded: [], record: async () => undefined }
      expect(await action?.settle(change, acting)).toBeUndefined()
      await action?.apply(change, acting)
      const calls = world.changingCalls()
      expect(await action?.settle(change, acting)).toBeDefined()
      expect(world.changingCalls()).toBe(calls)
    })

    for (const fault of ['lost', 'reset-before', 'reset-after', '5xx', 'throttled'] as const) {
      it(`ends with a dead secret when the revocation is ${fault}`, async () => {
        world = await start()
        world.fault('revoke', fault)
        const { verdict, journal } = await drive(world, { intent: 'revoke' })
        expect(journal.failed).toEqual([])
        expect(verdict.state).toBe('verified')
        expect(await world.oldWorks()).toBe(false)
      })
    }

    it('says denied when it is not permitted, changes nothing, and does not call it dead', async () => {
      world = await start()
      world.fault('revoke', 'denied', 20)
      const { verdict, journal } = await drive(world, { intent: 'revoke' })
      expect(journal.failed.length).toBe(journal.planned?.length)
      expect(journal.failed.every(({ error }) => (error as IrError).code === 'denied')).toBe(true)
      expect(verdict.state).toBe('failed')
      expect(verdict.output).toMatchObject({ state: 'alive' })
      expect(await world.oldWorks()).toBe(true)
      const found = world.secrets().filter((secret) => everything(journal, verdict).includes(secret))
      expect(found).toEqual([])
    })

    it('gives up after a bounded number of tries when the system stays throttled', async () => {
      world = await start()
      world.fault('revoke', 'throttled', 1000)
      const { verdict, journal } = await drive(world, { intent: 'revoke' })
      expect(journal.failed.length).toBe(journal.planned?.length)
      expect(world.changingCalls()).toBeLessThan(expected.tries ?? 30)
      expect(verdict.state).toBe('failed')
    })

    it('stops when interrupted', async () => {
      world = await start()
      const stop = new AbortController()
      stop.abort()
      await expect(drive(world, { intent: 'revoke', signal: stop.signal })).rejects.toThrow()
      expect(world.changingCalls()).toBe(0)
    })

    if (expected.rotates) {
      it('rotates: one new secret lives, the delivered one, and the old is dead', async () => {
        world = await start()
        await drive(world, { intent: 'revoke' })
        const { verdict, state, journal } = await drive(world, { intent: 'rotate' })
        expect(verdict.state).toBe('verified')
        expect(state.state).toBe('dead')
        expect(state.delivered).toBeDefined()
        expect(await world.deliveredWorks()).toBe(true)
        expect(await world.liveNew()).toBe(1)
        expect(await world.oldWorks()).toBe(false)
        expect(() => wholeNumbers([...journal.applied.values()] as unknown as Json)).not.toThrow()
      })

      it('does not call a rotation done while the old secret works', async () => {
        world = await start()
        const { verdict, state } = await drive(world, { intent: 'rotate' })
        expect(await world.deliveredWorks()).toBe(true)
        expect(verdict.state).toBe('failed')
        expect(state).toMatchObject({ state: 'alive' })
        expect(state.delivered).toBeDefined()
      })

      it('whatever append the process dies at, exactly one new secret lives in the end, the delivered one', async () => {
        world = await start()
        await drive(world, { intent: 'revoke' })
        const whole = (await drive(world, { intent: 'rotate' })).journal.appends
        await world.stop()
        expect(whole).toBeGreaterThanOrEqual(5)
        for (const when of ['before', 'after'] as const) {
          for (let at = 1; at <= whole; at++) {
            world = await start()
            await drive(world, { intent: 'revoke' })
            const journal = emptyJournal()
            await expect(drive(world, { intent: 'rotate', journal, crash: { at, when } })).rejects.toThrow(Crash)
            const { verdict } = await drive(world, { intent: 'rotate', journal })
            const seen = `killed ${when} append ${at}: ${await world.liveNew()} live, delivered works: ${await world.deliveredWorks()}`
            expect(seen).toBe(`killed ${when} append ${at}: 1 live, delivered works: true`)
            // Killed between saying that it asks and asking, it cannot know that it did not: then it says so.
            expect(verdict.state).not.toBe('failed')
            expect(verdict.residue.filter((left) => !left.includes('may have been issued'))).toEqual([])
            await world.stop()
          }
        }
      })

      it.each(['reset-before', '5xx', 'throttled'] as const)('rotates when issuing is %s at first', async (fault) => {
        world = await start()
        await drive(world, { intent: 'revoke' })
        world.fault('rotate', fault)
        const { journal } = await drive(world, { intent: 'rotate' })
        expect(journal.failed).toEqual([])
        expect(await world.deliveredWorks()).toBe(true)
        expect(await world.liveNew()).toBe(1)
      })

      it.each(['lost', 'reset-after'] as const)(
        'tells of the secret that was issued when its answer is %s',
        async (fault) => {
          world = await start()
          await drive(world, { intent: 'revoke' })
          world.fault('rotate', fault)
          const { verdict } = await drive(world, { intent: 'rotate' })
          expect(await world.deliveredWorks()).toBe(true)
          if ((await world.liveNew()) > 1) expect(verdict.residue.join()).toMatch(/1 more/)
        },
      )
    }

    it('lets no secret surface: not in plans, receipts, records, verdicts, progress or errors', async () => {
      world = await start()
      const runs: string[] = []
      world.fault('revoke', 'lost')
      const revoked = await drive(world, { intent: 'revoke' })
      runs.push(everything(revoked.journal, revoked.verdict))
      if (expected.rotates) {
        world.fault('rotate', 'denied')
        const denied = await drive(world, { intent: 'rotate' })
        runs.push(everything(denied.journal, denied.verdict))
        const rotated = await drive(world, { intent: 'rotate' })
        runs.push(everything(rotated.journal, rotated.verdict))
      }
      const reinstated = await drive(world, { intent: 'reinstate' })
      runs.push(everything(reinstated.journal, reinstated.verdict))
      expect(world.secrets().length).toBeGreaterThan(expected.rotates ? 2 : 0)
      for (const secret of world.secrets()) expect(runs.some((run) => run.includes(secret))).toBe(false)
    })
  })
}

/** The journal holds integers only. */
function wholeNumbers(value: Json): void {
  if (typeof value === 'number' && !Number.isInteger(value)) throw new TypeError(`${value} is not an integer`)
  if (typeof value === 'object' && value !== null) for (const one of Object.values(value)) wholeNumbers(one)
}
