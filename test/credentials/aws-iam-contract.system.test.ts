import { existsSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, beforeEach, describe, vi } from 'vitest'
import { roleCredentials } from '../../src/credentials/aws-iam-role.ts'
import { userCredentials } from '../../src/credentials/aws-iam-user.ts'
import type { Credentials } from '../../src/credentials/port.ts'
import type { Credential } from '../../src/registry/port.ts'
import { type CredentialsWorld, credentialsContract } from '../contracts/credentials.ts'
import { skipWithoutEmulators } from '../testbed/python.ts'
import { type Fault, type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'
import { type IamWorld, type Keys, quick, root, startIamWorld, withoutPauses } from './aws-iam-world.ts'

describe.skipIf(skipWithoutEmulators('aws-iam'))(
  'IAM users and roles, in an IAM that really evaluates policies',
  () => {
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
    afterEach(() => void vi.restoreAllMocks())

    const faults: Readonly<Record<Parameters<CredentialsWorld['fault']>[1], Fault>> = {
      lost: 'lost',
      'reset-before': 'reset',
      'reset-after': 'lost',
      '5xx': 'error',
      throttled: 'throttle',
      denied: { deny: 'AccessDenied' },
    }
    const actions = { revoke: /^(Put|Update)/, rotate: /^Create/ }

    /** What both have in common: the calls for this one, and what goes wrong with them. */
    function around<C extends Credential>(
      adapter: Credentials<C>,
      of: readonly string[],
    ): Pick<CredentialsWorld<C>, 'adapter' | 'changingCalls' | 'fault' | 'stop'> {
      proxy.calls.length = 0
      return {
        adapter,
        changingCalls: () =>
          proxy.calls.filter(({ changes, params }) => changes && of.some((name) => [...params.values()].includes(name)))
            .length,
        fault(intent, fault, times = 1) {
          let left = times
          proxy.fault = ({ action }) => (actions[intent].test(action) && left-- > 0 ? faults[fault] : undefined)
        },
        stop: async () => {
          proxy.fault = () => undefined
        },
      }
    }

    const secretsOf = ({ secretAccessKey, sessionToken }: Keys): readonly string[] =>
      sessionToken === undefined ? [secretAccessKey] : [secretAccessKey, sessionToken]

    credentialsContract(
      'aws-iam-user',
      async () => {
        const { name, key, target } = await world.newUser()
        const session = await world.session(key)
        const path = (target.deliverTo as { path: string }).path
        const fresh = (): readonly Keys[] => (existsSync(path) ? [world.delivered(target)] : [])
        return {
          ...around(userCredentials(quick), [name]),
          target,
          oldWorks: async () => (await world.works(key)) || (await world.works(session)),
          deliveredWorks: async () => world.works(world.delivered(target)),
          liveNew: async () => (await world.active(name)).filter((id) => id !== key.accessKeyId).length,
          secrets: () => [key, session, ...fresh()].flatMap(secretsOf),
        }
      },
      { probed: false, rotates: true, tries: 100 },
    )

    for (const [kind, sharedWith] of [
      ['its own', []],
      ['shared', ['io.acme/ledger']],
    ] as const) {
      credentialsContract(
        `aws-iam-role, ${kind}`,
        async () => {
          const { name, target, session } = await world.newRole(sharedWith)
          return {
            ...around(roleCredentials(quick), [name]),
            target,
            oldWorks: () => world.works(session),
            deliveredWorks: () => Promise.reject(new Error('a role has nothing to deliver')),
            liveNew: () => Promise.reject(new Error('a role has nothing to deliver')),
            secrets: () => secretsOf(session),
          }
        },
        { probed: false, rotates: false, tries: 50 },
      )
    }
  },
)
