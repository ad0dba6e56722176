import { existsSync } from 'node:fs'
import { GetRolePolicyCommand, GetUserPolicyCommand } from '@aws-sdk/client-iam'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { roleCredentials } from '../../src/credentials/aws-iam-role.ts'
import { userCredentials } from '../../src/credentials/aws-iam-user.ts'
import type { Credentials } from '../../src/credentials/port.ts'
import type { Credential } from '../../src/registry/port.ts'
import { Crash, type CredentialsWorld, drive, emptyJournal, type Journal } from '../contracts/credentials.ts'
import { skipWithoutEmulators } from '../testbed/python.ts'
import { type Fault, type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'
import { type IamWorld, quick, root, startIamWorld, withoutPauses } from './aws-iam-world.ts'

type Intent = 'revoke' | 'rotate'
interface Subject extends Pick<CredentialsWorld, 'adapter' | 'target'> {
  /** What a person would see in the end, without ids and times. */
  state(): Promise<unknown>
}

describe.skipIf(skipWithoutEmulators('aws-iam'))('whatever goes wrong on the way, the end is the same', () => {
  let world: IamWorld
  let proxy: RecordingProxy

  beforeAll(async () => {
    world = await startIamWorld()
    proxy = await startRecordingProxy(world.emulator.url)
    world.become(root, proxy.url)
  })
  afterAll(async () => {
    await proxy.stop()
    await world.stop()
  })
  beforeEach(withoutPauses)
  afterEach(() => {
    vi.restoreAllMocks()
    proxy.fault = () => undefined
  })

  const any = <C extends Credential>(adapter: Credentials<C>) => adapter as unknown as Credentials
  /** Which sessions a policy denies, and for whom, without when. */
  const shape = (document: string | undefined): string[] =>
    decodeURIComponent(document ?? '')
      .split('"Sid":"')
      .slice(1)
      .map(
        (one) =>
          `${/^(?:McpIr|Change|Run|Since|Issued|Idle|Fresh)/.exec(one)?.[0]}${one.includes('DateLessThan') ? ' older' : ''}`,
      )
      .sort()

  async function user(keys: 1 | 2): Promise<Subject> {
    const { name, key, target } = await world.newUser()
    const all = keys === 1 ? [key] : [key, await world.newKey(name)]
    const stolen = await Promise.all(all.map((one) => world.session(one)))
    const path = (target.deliverTo as { path: string }).path
    return {
      adapter: any(userCredentials(quick)),
      target,
      async state() {
        const document = async (PolicyName: string) =>
          (await world.iam.send(new GetUserPolicyCommand({ UserName: name, PolicyName }))).PolicyDocument
        const fresh = existsSync(path) ? world.delivered(target) : undefined
        return {
          policies: await Promise.all(
            (await world.policies(name)).map(async (one) => [one, shape(await document(one))]),
          ),
          old: await Promise.all([...all, ...stolen].map((one) => world.works(one))),
          active: (await world.active(name)).map((id) => (id === fresh?.accessKeyId ? 'the delivered one' : 'another')),
          keys: (await world.keysListed(name)).length,
          delivered: fresh === undefined ? undefined : await world.works(fresh),
        }
      },
    }
  }

  async function role(sharedWith: readonly string[]): Promise<Subject> {
    const { name, target, session } = await world.newRole(sharedWith)
    return {
      adapter: any(roleCredentials(quick)),
      target,
      async state() {
        const document = async (PolicyName: string) =>
          (await world.iam.send(new GetRolePolicyCommand({ RoleName: name, PolicyName }))).PolicyDocument
        return {
          policies: await Promise.all(
            (await world.rolePolicies(name)).map(async (one) => [one, shape(await document(one))]),
          ),
          old: await world.works(session),
        }
      },
    }
  }

  const subjects: readonly (readonly [string, () => Promise<Subject>, readonly Intent[]])[] = [
    ['a user', () => user(1), ['revoke', 'rotate']],
    ['a user with two keys', () => user(2), ['revoke']],
    ['a role of its own', () => role([]), ['revoke', 'rotate']],
    ['a shared role', () => role(['io.acme/ledger']), ['revoke']],
  ]

  // The rotation of a user is killed in the contract suite.
  it.each(subjects.filter(([name]) => name !== 'a user'))(
    '%s: killed at any append to the journal',
    async (_, make, intents) => {
      const calm = await make()
      const appends: number[] = []
      for (const intent of intents) appends.push((await drive(calm, { intent })).journal.appends)
      const wanted = await calm.state()
      for (const [index, dies] of intents.entries()) {
        for (const when of ['before', 'after'] as const) {
          for (let at = 1; at <= (appends[index] ?? 0); at++) {
            const subject = await make()
            for (const intent of intents) {
              const journal = emptyJournal()
              if (intent === dies) {
                await expect(drive(subject, { intent, journal, crash: { at, when } })).rejects.toThrow(Crash)
              }
              const { verdict } = await drive(subject, { intent, journal })
              expect([intent, dies, when, at, verdict.state, journal.failed]).toEqual([
                intent,
                dies,
                when,
                at,
                'verified',
                [],
              ])
            }
            expect([dies, when, at, await subject.state()]).toEqual([dies, when, at, wanted])
          }
        }
      }
    },
    120_000,
  )

  describe.each([1, 2, 3])('of 100 calls 30 throttled, 10 server errors, 5 answers lost, seed %i', (seed) => {
    it.each(subjects)(
      '%s',
      async (_, make, intents) => {
        const calm = await make()
        for (const intent of intents) await drive(calm, { intent })
        const subject = await make()
        const hit: Record<string, number> = {}
        const random = randomFrom(seed)
        proxy.fault = () => {
          const dice = random()
          const fault: Fault = dice < 0.3 ? 'throttle' : dice < 0.4 ? 'error' : dice < 0.45 ? 'lost' : undefined
          if (typeof fault === 'string') hit[fault] = (hit[fault] ?? 0) + 1
          return fault
        }
        for (const intent of intents) await untilDone(subject, intent)
        proxy.fault = () => undefined
        expect(await subject.state()).toEqual(await calm.state())
        expect(Object.keys(hit)).toContain('throttle')
      },
      120_000,
    )
  })

  /** The same command again where it says that something is left: at most three times. */
  async function untilDone(subject: Subject, intent: Intent): Promise<void> {
    let journal: Journal = emptyJournal()
    let last: unknown
    for (let tried = 0; tried < 4; tried++) {
      try {
        const { verdict } = await drive(subject, { intent, journal })
        // What stands open is listed, and what is listed as done is.
        expect(verdict.state === 'verified').toBe(journal.failed.length === 0)
        if (verdict.state === 'verified') return
        last = journal.failed.map(({ error }) => error)
        journal = { ...emptyJournal(), started: journal.started, recorded: journal.recorded }
      } catch (error) {
        if ((error as { code?: string }).code !== 'unreachable') throw error
        last = error
      }
    }
    throw last
  }
})

/** The same numbers for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
