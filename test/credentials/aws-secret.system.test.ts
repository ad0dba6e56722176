import {
  CreateSecretCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  RotateSecretCommand,
  SecretsManagerClient,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { secretValues } from '../../src/credentials/aws-secret.ts'
import { execCredentials } from '../../src/credentials/exec.ts'
import type { Credentials } from '../../src/credentials/port.ts'
import { storedCredential } from '../../src/credentials/stored.ts'
import { awsSecretStore } from '../../src/credentials/stores/aws-secret.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import { callFor, drive, everything, type Journal } from '../contracts/credentials.ts'
import { awsEnvironment } from '../testbed/aws-world.ts'
import { type Emulator, skipWithoutEmulators, startMinistack, startMoto } from '../testbed/python.ts'
import { actAsAws, type SecretsWorld, type SecretTarget, startSecretsWorld } from './aws-secret-world.ts'
import { type ExecWorld, startExecWorld } from './exec-world.ts'

const settings = { pollMs: 20, polls: 100, strayAfterMs: -60_000 }
const stored = secretValues(settings)

describe.skipIf(skipWithoutEmulators('aws-secret'))('aws-secret against moto', () => {
  let moto: Emulator
  let world: SecretsWorld
  let issuer: ExecWorld
  let back: () => void
  beforeAll(async () => {
    moto = await startMoto()
    world = await startSecretsWorld(moto.url)
    back = actAsAws(world)
  })
  afterAll(async () => {
    back()
    await world.stop()
    await moto.stop()
  })
  beforeEach(async () => {
    issuer = await startExecWorld()
    world.calls.length = 0
    world.fault = () => undefined
  })
  afterEach(() => issuer.stop())

  const targetOf = (secret: string, more: Partial<CredentialOf<'aws-secret'>> = {}): SecretTarget => ({
    server: 'io.acme/crm',
    credential: { id: 'smtp', kind: 'aws-secret', secret, ...more },
    sharedWith: [],
    deployments: [],
  })

  /** As the steps put store and issuer together. */
  const issued = (target: SecretTarget): Credentials<CredentialOf<'aws-secret'>> =>
    storedCredential(stored, {
      adapter: execCredentials({ attempts: 3, pauseMs: 1 }) as unknown as Credentials,
      target: {
        ...target,
        credential: { ...issuer.target.credential, id: 'smtp' },
        deliverTo: { kind: 'aws-secret', secret: target.credential.secret, region: undefined },
        replaces: { field: undefined },
      },
    })

  const changed = (): readonly string[] => world.calls.map(({ name }) => name)

  describe('with a rotation function', () => {
    let passwords: string[]
    const rotating = storedCredential(stored, undefined)
    /** A database user whose password the function changes. */
    async function rotated(): Promise<SecretTarget> {
      passwords = ['old-password']
      const secret = await world.create(JSON.stringify({ username: 'crm', password: 'old-password', host: 'db' }))
      world.functions.set(secret, (current) => {
        passwords = [`new-password-${passwords.length}-f00d`]
        return JSON.stringify({ ...JSON.parse(current), password: passwords[0] })
      })
      return targetOf(secret)
    }

    it('is rotated by it, and waited for; the old value has no label any more', async () => {
      const target = await rotated()
      const { secret } = target.credential
      const old = (await world.labels(secret)).AWSCURRENT ?? ''
      const { verdict, state, journal } = await drive({ adapter: rotating, target }, { intent: 'rotate' })
      expect(journal.failed).toEqual([])
      expect(JSON.parse((await world.value(secret)) ?? '')).toEqual({
        username: 'crm',
        password: passwords[0],
        host: 'db',
      })
      expect(passwords).not.toContain('old-password')
      expect(verdict.state).toBe('verified')
      const { AWSCURRENT: now, ...others } = await world.labels(secret)
      expect(state).toMatchObject({
        state: 'dead',
        proof: 'issuer says so',
        delivered: { kind: 'aws-secret', path: secret, version: now },
      })
      expect(others).toEqual({ [`mcp-ir-20261123-crm-0a1b-${old.slice(0, 8)}`]: old })
      expect(everything(journal, verdict)).not.toMatch(/old-password|new-password/)
    })

    it('is dead for every later step of the case, and not rotated twice', async () => {
      const target = await rotated()
      const { journal } = await drive({ adapter: rotating, target }, { intent: 'rotate' })
      const again = await drive(
        { adapter: rotating, target },
        { intent: 'rotate', journal: { ...journal, planned: undefined } },
      )
      expect(again.journal.planned).toEqual([])
      expect(again.state).toMatchObject({ state: 'dead', delivered: { kind: 'aws-secret' } })
      expect(again.verdict.state).toBe('verified')
      const revoked = await drive({ adapter: rotating, target }, { intent: 'revoke' })
      expect(revoked.state.state).toBe('dead')
      expect(passwords).toHaveLength(1)
    })

    it('is alive when its function makes a version of the old value', async () => {
      const target = await rotated()
      world.functions.set(target.credential.secret, (current) => current)
      const { verdict, state } = await drive({ adapter: rotating, target }, { intent: 'rotate' })
      expect(verdict.state).toBe('failed')
      expect(state).toMatchObject({ state: 'alive', proof: expect.stringContaining('not rotated') })
      expect(state.delivered).toBeUndefined()
    })

    it('is alive until then, and says what to do', async () => {
      const target = await rotated()
      const { verdict, state } = await drive({ adapter: rotating, target }, { intent: 'revoke' })
      expect(verdict.state).toBe('failed')
      expect(state).toMatchObject({ state: 'alive', proof: expect.stringContaining('mcp-ir rotate') })
      expect(changed()).toEqual([])
    })

    it('loses a label that an earlier rotation left behind, and is rotated then', async () => {
      const target = await rotated()
      const { secret } = target.credential
      await world.aws.send(
        new PutSecretValueCommand({ SecretId: secret, SecretString: 'left-behind', VersionStages: ['AWSPENDING'] }),
      )
      const stray = (await world.labels(secret)).AWSPENDING ?? ''
      const { verdict, journal } = await drive({ adapter: rotating, target }, { intent: 'rotate' })
      expect(journal.planned?.map(({ action }) => action)).toEqual([
        'remove-label',
        'rotate-by-function',
        'retire-versions',
      ])
      expect(journal.planned?.[0]?.params).toEqual({ label: 'AWSPENDING', version: stray })
      expect(journal.failed).toEqual([])
      expect(verdict.state).toBe('verified')
      expect(passwords).not.toContain('old-password')
    })

    it('waits for a rotation that is under way, instead of spoiling it', async () => {
      const target = await rotated()
      const { secret } = target.credential
      await world.aws.send(
        new PutSecretValueCommand({ SecretId: secret, SecretString: 'under-way', VersionStages: ['AWSPENDING'] }),
      )
      const pending = (await world.labels(secret)).AWSPENDING ?? ''
      const patient = storedCredential(secretValues({ ...settings, strayAfterMs: 60_000 }), undefined)
      setTimeout(() => {
        void world.aws.send(
          new UpdateSecretVersionStageCommand({
            SecretId: secret,
            VersionStage: 'AWSPENDING',
            RemoveFromVersionId: pending,
          }),
        )
      }, 300)
      const { verdict, journal } = await drive({ adapter: patient, target }, { intent: 'rotate' })
      expect(journal.planned?.map(({ action }) => action)).toEqual(['rotate-by-function', 'retire-versions'])
      expect(verdict.state).toBe('verified')
    })

    it('is alive when its function does not end; the next try goes on with the same rotation', async () => {
      const target = await rotated()
      const { secret } = target.credential
      const mended = world.functions.get(secret)
      world.functions.set(secret, () => undefined)
      const impatient = storedCredential(secretValues({ ...settings, polls: 3 }), undefined)
      const { verdict, state, journal } = await drive({ adapter: impatient, target }, { intent: 'rotate' })
      expect(journal.failed.map(({ change }) => change.action)).toEqual(['rotate-by-function', 'retire-versions'])
      expect(verdict.state).toBe('failed')
      expect(state.state).toBe('alive')
      expect(verdict.observed.filter(({ holds }) => !holds)).toHaveLength(3)
      const { AWSPENDING: pending } = await world.labels(secret)
      if (mended !== undefined) world.functions.set(secret, mended)
      expect((await drive({ adapter: rotating, target }, { intent: 'rotate', journal })).verdict.state).toBe('verified')
      expect((await world.labels(secret)).AWSCURRENT).toBe(pending)
    })

    it('is rotated twice where two users take turns, both of them named', async () => {
      const accepted = new Map([
        ['crm', 'old-a-1234'],
        ['crm_clone', 'old-b-1234'],
      ])
      const secret = await world.create(JSON.stringify({ username: 'crm', password: 'old-a-1234', masterarn: 'arn:m' }))
      world.functions.set(secret, (current) => {
        const username = JSON.parse(current).username === 'crm' ? 'crm_clone' : 'crm'
        accepted.set(username, `fresh-${username}-99`)
        return JSON.stringify({ username, password: accepted.get(username), masterarn: 'arn:m' })
      })
      const { verdict, journal } = await drive({ adapter: rotating, target: targetOf(secret) }, { intent: 'rotate' })
      const rotations = journal.planned?.filter(({ action }) => action === 'rotate-by-function') ?? []
      expect(rotations.map(({ facts }) => facts?.users)).toEqual(['crm, crm_clone', 'crm, crm_clone'])
      expect(rotations[1]?.after).toEqual([rotations[0]?.id])
      expect([...accepted.values()]).toEqual(['fresh-crm-99', 'fresh-crm_clone-99'])
      expect(verdict.state).toBe('verified')
    })

    it.each(['reset-before', 'reset-after', '5xx', 'throttled'] as const)(
      'is rotated once when the call is %s',
      async (fault) => {
        const target = await rotated()
        let left = 1
        world.fault = (name) => (name === 'RotateSecret' && left-- > 0 ? fault : undefined)
        const { verdict } = await drive({ adapter: rotating, target }, { intent: 'rotate' })
        expect(verdict.state).toBe('verified')
        expect(passwords).toEqual(['new-password-1-f00d'])
      },
    )

    it('is refused while an identity of the server in AWS lives that may read the new one', async () => {
      const target: SecretTarget = {
        ...(await rotated()),
        undead: [{ id: 'cloud', kind: 'aws-iam-role', role: 'crm' }],
      }
      expect(await rotating.check(callFor(target, 'rotate'))).toMatchObject([{ kind: 'refused' }])
    })
  })

  describe('with an issuer', () => {
    it.each([
      ['plain text', (value: string) => value],
      ['JSON with a password', (value: string) => JSON.stringify({ username: 'crm', password: value })],
    ])('gets its new value where the old one lay: %s', async (_, wrap) => {
      const target = targetOf(await world.create(wrap(issuer.oldSecret)))
      const { secret } = target.credential
      const adapter = issued(target)
      expect((await drive({ adapter, target }, { intent: 'revoke' })).state).toMatchObject({
        state: 'dead',
        proof: 'probed',
      })
      const { verdict, state, journal } = await drive({ adapter, target }, { intent: 'rotate' })
      expect(journal.failed).toEqual([])
      expect(verdict.state).toBe('verified')
      const [fresh] = issuer.read().secrets.filter(({ dead }) => dead !== true)
      expect(await world.value(secret)).toBe(wrap(fresh?.secret ?? ''))
      expect(state.delivered).toEqual({
        kind: 'aws-secret',
        path: secret,
        version: (await world.labels(secret)).AWSCURRENT,
      })
      expect(Object.keys(await world.labels(secret))).toEqual(['AWSCURRENT', expect.stringMatching(/^mcp-ir-/)])

      await undo(target, journal)
      expect(Object.keys(await world.labels(secret))).toEqual(['AWSCURRENT', 'AWSPREVIOUS'])
      expect(await world.value(secret, 'AWSPREVIOUS')).toBe(wrap(issuer.oldSecret))
    })

    it.each(['denied', 'invalid'] as const)(
      'is taken back at its issuer when it is %s, and surfaces nowhere',
      async (fault) => {
        const target = targetOf(await world.create(issuer.oldSecret))
        const adapter = issued(target)
        await drive({ adapter, target }, { intent: 'revoke' })
        world.fault = (name) => (name === 'PutSecretValue' ? fault : undefined)
        const { verdict, journal } = await drive({ adapter, target }, { intent: 'rotate' })
        expect(journal.failed[0]?.error).toMatchObject({ code: fault === 'denied' ? 'denied' : 'partial' })
        expect(await issuer.liveNew()).toBe(0)
        for (const secret of issuer.secrets()) expect(everything(journal, verdict)).not.toContain(secret)
      },
    )

    it.each(['reset-before', 'reset-after', '5xx', 'throttled'] as const)(
      'leaves one living new secret when the delivery is %s',
      async (fault) => {
        const target = targetOf(await world.create(issuer.oldSecret))
        const adapter = issued(target)
        await drive({ adapter, target }, { intent: 'revoke' })
        let left = 1
        world.fault = (name) => (name === 'PutSecretValue' && left-- > 0 ? fault : undefined)
        const { verdict } = await drive({ adapter, target }, { intent: 'rotate' })
        expect(verdict.state).toBe('verified')
        expect(await issuer.liveNew()).toBe(1)
        expect(issuer.read().secrets.some(({ secret, dead }) => secret === issuer.oldSecret && dead === true)).toBe(
          true,
        )
      },
    )
  })

  describe('with neither', () => {
    it('is alive, and says where to change it', async () => {
      const target = targetOf(await world.create('somebody-elses-key'))
      const adapter = storedCredential(stored, undefined)
      for (const intent of ['revoke', 'rotate'] as const) {
        const { verdict, state } = await drive({ adapter, target }, { intent })
        expect(verdict.state).toBe('failed')
        expect(state).toMatchObject({ state: 'alive', proof: expect.stringContaining(target.credential.secret) })
      }
      expect(changed()).toEqual([])
    })

    it('is told of when it is not there', async () => {
      const check = stored.check({ ...callFor(targetOf('mcp/nowhere'), 'revoke'), intent: 'revoke' })
      expect(await check).toMatchObject([{ kind: 'input', message: expect.stringContaining('mcp/nowhere') }])
    })
  })

  describe('delivery to one secret for all', () => {
    const place = (secret: string) => awsSecretStore({ kind: 'aws-secret', secret })
    const call = () => callFor(targetOf('unused'), 'rotate')

    it('creates it, merges what many deliver at once, and carries values as they are', async () => {
      const secret = `mcp/crm/next-${process.pid}-${Date.now()}`
      const values = ['plain', 'a "b"\\\n\r\n$c', 'NUL \0 and é\u2028', 'x'.repeat(40_000)]
      expect(await place(secret).check(call())).toEqual([])
      expect(await place(secret).get('key-0', call())).toBeUndefined()
      await Promise.all(values.map((value, index) => place(secret).put(`key-${index}`, value, call())))
      expect(JSON.parse((await world.value(secret)) ?? '')).toEqual(
        Object.fromEntries(values.map((value, index) => [`key-${index}`, value])),
      )
      expect(await place(secret).get('key-1', call())).toMatchObject({ secret: values[1] })
    })

    it('is one version when it is the same secret again', async () => {
      const secret = await world.create('{}')
      const first = await place(secret).put('key', 'value', call())
      expect(await place(secret).put('key', 'value', call())).toEqual(first)
      expect(changed()).toEqual(['PutSecretValue'])
    })

    it('tells beforehand of one that holds no JSON', async () => {
      const secret = await world.create('a password')
      expect(await place(secret).check(call())).toMatchObject([
        { kind: 'input', message: expect.stringContaining('no JSON') },
      ])
    })
  })

  const undo = async (target: SecretTarget, journal: Journal): Promise<void> => {
    const change = journal.planned?.find(({ action }) => action === 'retire-versions')
    const receipt = journal.applied.get(change?.id ?? '')
    const action = stored.actions['retire-versions']?.undo
    if (change === undefined || receipt === undefined || action === undefined)
      throw new TypeError('nothing was retired')
    const acting = { ...callFor(target, 'reinstate'), recorded: [], record: async () => undefined }
    expect(await action.drift(change, receipt, acting)).toEqual([])
    expect(await action.settle(change, receipt, acting)).toBeUndefined()
    await action.apply(change, receipt, acting)
    expect(await action.settle(change, receipt, acting)).toBeDefined()
  }
})

describe.skipIf(skipWithoutEmulators('aws-secret'))('aws-secret against ministack', () => {
  it('is alive after a rotation that runs no function and copies the value, as ministack’s does', async () => {
    const ministack = await startMinistack()
    const before = { ...process.env }
    try {
      const environment = awsEnvironment(ministack.url)
      Object.assign(process.env, environment)
      const aws = new SecretsManagerClient({ endpoint: ministack.url, region: 'us-east-1' })
      await aws.send(new CreateSecretCommand({ Name: 'crm', SecretString: '{"username":"crm","password":"old"}' }))
      const RotationLambdaARN = 'arn:aws:lambda:us-east-1:000000000000:function:rotate'
      const first = await aws.send(new RotateSecretCommand({ SecretId: 'crm', RotationLambdaARN }))
      const target: SecretTarget = {
        server: 'io.acme/crm',
        credential: { id: 'smtp', kind: 'aws-secret', secret: 'crm' },
        sharedWith: [],
        deployments: [],
      }
      const adapter = storedCredential(stored, undefined)
      const { state, journal } = await drive({ adapter, target }, { intent: 'rotate' })
      expect(journal.failed).toEqual([])
      const now = await aws.send(new GetSecretValueCommand({ SecretId: 'crm' }))
      expect(now.VersionId).not.toBe(first.VersionId)
      expect(state).toMatchObject({ state: 'alive', proof: expect.stringContaining('not rotated') })
    } finally {
      process.env = before
      await ministack.stop()
    }
  })
})
