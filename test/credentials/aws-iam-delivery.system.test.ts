import { randomBytes } from 'node:crypto'
import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { userCredentials } from '../../src/credentials/aws-iam-user.ts'
import type { Credentials } from '../../src/credentials/port.ts'
import { storedCredential } from '../../src/credentials/stored.ts'
import { stored } from '../../src/credentials/vault-kv.ts'
import type { IrError } from '../../src/errors.ts'
import {
  type CredentialsWorld,
  callFor,
  credentialsContract,
  drive,
  emptyJournal,
  everything,
} from '../contracts/credentials.ts'
import { type FaultProxy, startFaultProxy } from '../testbed/fault-proxy.ts'
import { type Openbao, startOpenbao } from '../testbed/openbao.ts'
import { skipWithoutEmulators } from '../testbed/python.ts'
import { type Fault, type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'
import {
  type IamWorld,
  type Keys,
  quick,
  root,
  startIamWorld,
  type UserTarget,
  withoutPauses,
} from './aws-iam-world.ts'
import { actAs } from './vault-kv-world.ts'

const adapter = userCredentials(quick)

describe.skipIf(skipWithoutEmulators('aws-iam'))('a new access key goes to a store', () => {
  let world: IamWorld
  let aws: RecordingProxy
  let bao: Openbao
  let vault: FaultProxy
  let back: () => void

  beforeAll(async () => {
    world = await startIamWorld()
    aws = await startRecordingProxy(world.emulator.url)
    world.become(root, aws.url)
    bao = await startOpenbao()
    vault = await startFaultProxy(bao.url)
    back = actAs(vault, bao.root)
  })
  afterAll(async () => {
    back()
    await vault.stop()
    await bao.stop()
    await aws.stop()
    await world.stop()
  })
  beforeEach(withoutPauses)
  afterEach(() => {
    vi.restoreAllMocks()
    vault.fault = () => undefined
    aws.fault = () => undefined
  })

  /** As an AWS tool reads what a program prints (credential_process). */
  function keysOf(text: unknown): Keys {
    const { Version, AccessKeyId, SecretAccessKey } = JSON.parse(String(text))
    expect(Version).toBe(1)
    return { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey }
  }

  async function inVault(): Promise<{
    readonly name: string
    readonly key: Keys
    readonly target: UserTarget
    /** The fields that lie there, by the test's own client. */
    read(): Promise<Record<string, unknown>>
    readonly place: string
  }> {
    const user = await world.newUser()
    const path = `mcp/crm/${randomBytes(4).toString('hex')}/next`
    const place = `secret/data/${path}`
    await bao.ok('POST', place, { data: { 'api-key': 'of-somebody-else' } })
    const target: UserTarget = {
      ...user.target,
      deliverTo: { kind: 'vault-kv', mount: 'secret', path },
      vault: { address: vault.url },
    }
    return { ...user, target, place, read: async () => (await bao.ok('GET', place)).data.data }
  }

  describe('in Vault', () => {
    const faults: Readonly<Record<Parameters<CredentialsWorld['fault']>[1], Fault>> = {
      lost: 'lost',
      'reset-before': 'reset',
      'reset-after': 'lost',
      '5xx': 'error',
      throttled: 'throttle',
      denied: { deny: 'AccessDenied' },
    }
    const actions = { revoke: /^(Put|Update)/, rotate: /^Create/ }

    credentialsContract(
      'aws-iam-user, delivered to Vault KV',
      async () => {
        const { name, key, target, read } = await inVault()
        const session = await world.session(key)
        aws.calls.length = 0
        const seen: Keys[] = []
        const delivered = async (): Promise<Keys> => {
          const text = (await read())['crm-user']
          if (text === undefined) return { accessKeyId: 'none', secretAccessKey: 'none' }
          seen.push(keysOf(text))
          return keysOf(text)
        }
        return {
          adapter: {
            ...adapter,
            // What must surface nowhere is known once it lies there.
            async verify(call) {
              const verdict = await adapter.verify(call)
              await delivered()
              return verdict
            },
          },
          target,
          oldWorks: async () => (await world.works(key)) || (await world.works(session)),
          deliveredWorks: async () => world.works(await delivered()),
          liveNew: async () => (await world.active(name)).filter((id) => id !== key.accessKeyId).length,
          changingCalls: () =>
            aws.calls.filter(({ changes, params }) => changes && [...params.values()].includes(name)).length,
          secrets: () => [key, session, ...seen].map(({ secretAccessKey }) => secretAccessKey),
          fault(intent, fault, times = 1) {
            let left = times
            aws.fault = ({ action }) => (actions[intent].test(action) && left-- > 0 ? faults[fault] : undefined)
          },
          stop: async () => {
            aws.fault = () => undefined
          },
        }
      },
      { probed: false, rotates: true, tries: 100 },
    )

    it('lies in one field in the form that AWS tools read, beside the fields of others', async () => {
      const { target, read, key, name } = await inVault()
      await drive({ adapter, target }, { intent: 'revoke' })
      expect(await adapter.check(callFor(target, 'rotate'))).toEqual([])
      const { verdict, state, journal } = await drive({ adapter, target }, { intent: 'rotate' })
      expect(verdict).toMatchObject({ state: 'verified', residue: [] })
      const { path } = target.deliverTo as { path: string }
      expect(state.delivered).toEqual({ kind: 'vault-kv', path: `secret/${path}`, version: 2 })
      const fields = await read()
      expect(Object.keys(fields).sort()).toEqual(['api-key', 'crm-user'])
      expect(fields['api-key']).toBe('of-somebody-else')
      const fresh = keysOf(fields['crm-user'])
      expect([await world.works(fresh), await world.works(key)]).toEqual([true, false])
      expect(await world.active(name)).toEqual([fresh.accessKeyId])
      expect(everything(journal, verdict)).not.toContain(fresh.secretAccessKey)

      // Neither another rotation nor another revocation in this case touches the delivered one.
      for (const intent of ['rotate', 'revoke'] as const) {
        const again = await drive({ adapter, target }, { intent })
        expect([again.journal.planned, again.verdict.state]).toEqual([[], 'verified'])
      }
      expect(await world.works(fresh)).toBe(true)
    })

    it.each(['lost', 'reset-after', 'reset-before', '5xx', 'throttled'] as const)(
      'is one living new key, the delivered one, when its delivery is %s',
      async (fault) => {
        const { target, read, name } = await inVault()
        await drive({ adapter, target }, { intent: 'revoke' })
        let left = 1
        vault.fault = ({ method, path }) =>
          method !== 'GET' && path.includes('/data/') && left-- > 0 ? fault : undefined
        const { verdict, journal } = await drive({ adapter, target }, { intent: 'rotate' })
        expect([left < 1, journal.failed, verdict.state]).toEqual([true, [], 'verified'])
        const fresh = keysOf((await read())['crm-user'])
        expect(await world.works(fresh)).toBe(true)
        expect(await world.active(name)).toEqual([fresh.accessKeyId])
      },
    )

    it('is taken back where it may not be written, nothing tells it, and the next run delivers another', async () => {
      const { target, read, name } = await inVault()
      await drive({ adapter, target }, { intent: 'revoke' })
      const journal = emptyJournal()
      const created: string[] = []
      aws.fault = ({ action }) => {
        if (action === 'CreateAccessKey') created.push(action)
        return undefined
      }
      vault.fault = ({ method, path }) => (method !== 'GET' && path.includes('/data/') ? 'denied' : undefined)
      const { verdict, state } = await drive({ adapter, target }, { intent: 'rotate', journal })
      expect(journal.failed.map(({ error }) => (error as IrError).code)).toEqual(['denied', 'partial'])
      expect([created.length, verdict.state, state.delivered]).toEqual([1, 'failed', undefined])
      expect(await world.active(name)).toEqual([])
      expect(Object.keys(await read())).toEqual(['api-key'])
      expect(everything(journal, verdict)).not.toMatch(/SecretAccessKey/)

      vault.fault = () => undefined
      const again = await drive({ adapter, target }, { intent: 'rotate' })
      expect(again.verdict.state).toBe('verified')
      expect(await world.active(name)).toEqual([keysOf((await read())['crm-user']).accessKeyId])
    })

    it('is not asked for where we could not write it, or the old identity of the server could read it', async () => {
      const { target, place } = await inVault()
      const name = `p-${randomBytes(4).toString('hex')}`
      await bao.ok('POST', `sys/policies/acl/${name}`, { policy: `path "${place}" { capabilities = ["read"] }` })
      const { auth } = await bao.ok('POST', 'auth/token/create', { policies: [name] })
      const old = { id: 'login', kind: 'vault-token', accessor: auth.accessor } as const
      expect(await adapter.check(callFor({ ...target, undead: [old] }, 'rotate'))).toMatchObject([{ kind: 'refused' }])
      const restore = actAs(vault, auth.client_token)
      try {
        expect(await adapter.check(callFor(target, 'rotate'))).toMatchObject([{ kind: 'denied' }])
      } finally {
        restore()
      }
    })

    it('does not replace a value where it lies, as it is two', async () => {
      const { target } = await inVault()
      const place = { kind: 'vault-kv', mount: 'secret', path: 'mcp/crm/legacy' } as const
      const credential = { id: 'sync', ...place }
      const value = storedCredential(stored, {
        adapter: adapter as unknown as Credentials,
        target: { ...target, deliverTo: place, replaces: { field: 'value' } },
      })
      await bao.ok('POST', 'secret/data/mcp/crm/legacy', { data: { value: 'x' } })
      const call = callFor({ ...target, credential, deliverTo: undefined }, 'rotate')
      expect(await value.check(call)).toMatchObject([{ kind: 'input', hint: expect.stringContaining('deliverTo') }])
      await expect(value.plan(call)).rejects.toMatchObject({ code: 'input' })
    })
  })

  describe('in Secrets Manager', () => {
    it('is one key of its JSON, and goes there only once the old identity is dead', async () => {
      const user = await world.newUser()
      const secret = `mcp/crm/${randomBytes(4).toString('hex')}`
      const target: UserTarget = { ...user.target, deliverTo: { kind: 'aws-secret', secret, region: 'us-east-1' } }
      const undead = { ...target, undead: [target.credential] }
      expect(await adapter.check(callFor(undead, 'rotate'))).toMatchObject([{ kind: 'refused' }])
      await drive({ adapter, target }, { intent: 'revoke' })
      expect(await adapter.check(callFor(target, 'rotate'))).toEqual([])
      const { verdict, state } = await drive({ adapter, target }, { intent: 'rotate' })
      expect(verdict).toMatchObject({ state: 'verified', residue: [] })
      const found = await new SecretsManagerClient(world.config(root)).send(
        new GetSecretValueCommand({ SecretId: secret }),
      )
      expect(state.delivered).toEqual({ kind: 'aws-secret', path: secret, version: found.VersionId })
      const fresh = keysOf(JSON.parse(found.SecretString ?? '')['crm-user'])
      expect([await world.works(fresh), await world.works(user.key)]).toEqual([true, false])
      expect(await world.active(user.name)).toEqual([fresh.accessKeyId])
    })
  })
})
