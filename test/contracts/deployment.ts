import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ActionCall, Adapter, Call, Change, JsonObject, Receipt } from '../../src/change.ts'
import type { Deployments, DeploymentTarget, Redeployed } from '../../src/deployment/port.ts'
import { proven } from '../../src/deployment/prove.ts'
import type { Deployment } from '../../src/registry/port.ts'
import { redeployDying } from '../testbed/deployment-incident.ts'

export interface DeploymentCase<D extends Deployment> {
  /** Of a server that is isolated, with a verified build. */
  readonly target: DeploymentTarget<D>
  /** Everything in the world that a plan must not alter, as text. */
  readonly world: () => Promise<string>
  /** How many new ones there are by now: servers, instances, refreshes. */
  readonly started: () => Promise<number>
  /** What an emulator cannot show of one that is whole. */
  readonly residue?: readonly unknown[]
  readonly stop: () => Promise<void>
}

/** What the runner does with an adapter, without journal and consent. */
export class Driver<D extends Deployment> {
  readonly receipts = new Map<string, Receipt>()
  readonly recorded = new Map<string, JsonObject[]>()
  changes: readonly Change[] = []
  signal: AbortSignal = new AbortController().signal
  /** What was put among the evidence, by name. */
  readonly evidence = new Map<string, string>()
  readonly #adapter: Adapter<DeploymentTarget<D>, 'redeploy'>
  readonly #folder: string
  target: DeploymentTarget<D>

  constructor(adapter: Deployments<D>, target: DeploymentTarget<D>, folder: string) {
    // As the step has it.
    this.#adapter = proven(adapter)
    this.target = target
    this.#folder = folder
  }

  call(): Call<DeploymentTarget<D>> & { intent: 'redeploy' } {
    return {
      target: this.target,
      intent: 'redeploy',
      signal: this.signal,
      caseId: '20261123-crm-0000',
      privateFolder: this.#folder,
      now: () => new Date(),
      changeId: (action, target) => createHash('sha256').update(`${action} ${target}`).digest('hex').slice(0, 16),
      changes: this.changes,
      receipts: this.receipts,
      evidence: {
        put: async (name, mediaType, content) => {
          this.evidence.set(name, String(content))
          return { name, mediaType, sha256: '', bytes: 0 }
        },
        get: async () => new Uint8Array(),
        path: () => '',
      },
      progress: () => undefined,
    }
  }

  actionCall(change: Change): ActionCall<DeploymentTarget<D>> {
    const recorded = this.recorded.get(change.id) ?? []
    this.recorded.set(change.id, recorded)
    return { ...this.call(), recorded, record: async (data) => void recorded.push(data) }
  }

  async check() {
    return await this.#adapter.check(this.call())
  }

  async plan(): Promise<readonly Change[]> {
    this.changes = await this.#adapter.plan(this.call())
    return this.changes
  }

  async apply(change: Change): Promise<Receipt> {
    const action = this.#adapter.actions[change.action]
    if (action === undefined) throw new Error(`no action ${change.action}`)
    const receipt = await action.apply(change, this.actionCall(change))
    this.receipts.set(change.id, receipt)
    return receipt
  }

  async settle(change: Change): Promise<Receipt | undefined> {
    return await this.#adapter.actions[change.action]?.settle(change, this.actionCall(change))
  }

  /** In order: a plan lists what must come first first. */
  async applyAll(): Promise<void> {
    for (const change of this.changes) await this.apply(change)
  }

  async verify() {
    return await this.#adapter.verify(this.call())
  }
}

/** What every way of putting a server back has to do, whatever it runs on. */
export function deploymentContract<D extends Deployment>(
  name: string,
  adapter: Deployments<D>,
  make: (folder: string) => Promise<DeploymentCase<D>>,
): void {
  describe(`deployment contract: ${name}`, () => {
    let folder: string
    let given: DeploymentCase<D>
    let driver: Driver<D>
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'mcp-ir-deployment-'))
      given = await make(folder)
      driver = new Driver(adapter, given.target, folder)
    })
    afterAll(async () => {
      await given?.stop()
      await rm(folder, { recursive: true, force: true })
    })

    test('it declares its permissions', () => expect(adapter.permissions.length).toBeGreaterThan(0))

    test('an invalid build is refused by check', async () => {
      const { artifact } = given.target
      const invalid = {
        ...artifact,
        verdict: { ...artifact.verdict, state: 'invalid' as const, reasons: ['tampered'] },
      }
      const problems = await new Driver(adapter, { ...given.target, artifact: invalid }, folder).check()
      expect(problems).toContainEqual(expect.objectContaining({ kind: 'refused' }))
    })

    test('the compromised build is refused by check', async () => {
      const compromised = [given.target.artifact.verdict.sha256]
      const problems = await new Driver(adapter, { ...given.target, compromised }, folder).check()
      expect(problems).toContainEqual(expect.objectContaining({ kind: 'refused' }))
    })

    test('the verified build is not', async () => {
      expect((await driver.check()).filter(({ kind }) => kind !== 'warning')).toEqual([])
    })

    test('planning changes nothing and comes to the same plan twice', async () => {
      const before = await given.world()
      const plan = await driver.plan()
      expect(plan.length).toBeGreaterThan(0)
      expect(await driver.plan()).toEqual(plan)
      expect(await given.world()).toBe(before)
      for (const change of plan) {
        expect(proven(adapter).actions).toHaveProperty(change.action)
        expect(change.after.every((id) => plan.some((other) => other.id === id))).toBe(true)
        expect(JSON.stringify(change)).not.toMatch(/\d\.\d+[,}\]]/)
      }
      expect(new Set(plan.map(({ id }) => id)).size).toBe(plan.length)
    })

    test('nothing is settled before it is applied, everything afterwards, and the verdict is verified', async () => {
      for (const change of driver.changes) expect(await driver.settle(change)).toBeUndefined()
      await driver.applyAll()
      for (const change of driver.changes) expect(await driver.settle(change)).toBeDefined()
      const verdict = await driver.verify()
      const { residue = [] } = given
      expect(verdict).toMatchObject({ state: residue.length === 0 ? 'verified' : 'residual', residue })
      expect(await given.started()).toBe(1)
      const output = verdict.output as unknown as Redeployed
      expect(output.deployment).toBe(given.target.deployment.id)
      expect(output.toolsDigest).toBe(given.target.server.tools?.digest)
    })

    test('applied once more by a resumed run it does nothing twice', async () => {
      const before = await given.world()
      for (const change of driver.changes.filter(({ effect }) => effect === 'creates')) {
        expect(await driver.settle(change)).toBeDefined()
      }
      expect(await given.world()).toBe(before)
    })

    test('a new plan finds nothing to do', async () => expect(await driver.plan()).toEqual([]))

    test('dying at every append to the journal and gone on with, it comes to the same end and makes nothing twice', async () => {
      const own = await mkdtemp(join(tmpdir(), 'mcp-ir-deployment-'))
      const other = await make(own)
      try {
        const { report, deaths, applied } = await redeployDying(adapter, other.target)
        expect([report.state, report.open]).toEqual([expect.stringMatching(/^(done|residual|nothing-to-do)$/), []])
        expect(deaths).toBeGreaterThan(8)
        expect(new Set(applied).size).toBe(applied.length)
        expect(await other.started()).toBe(1)
      } finally {
        await other.stop()
        await rm(own, { recursive: true, force: true })
      }
    })

    test('no file that it was given was altered', async () => {
      const { file, verdict } = given.target.artifact
      expect(
        createHash('sha256')
          .update(await readFile(file))
          .digest('hex'),
      ).toBe(verdict.sha256)
    })
  })
}
