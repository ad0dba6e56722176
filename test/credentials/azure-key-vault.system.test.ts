import { randomBytes } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { keyVaultValues } from '../../src/credentials/azure-key-vault.ts'
import { execCredentials } from '../../src/credentials/exec.ts'
import type { Credentials, CredentialTarget } from '../../src/credentials/port.ts'
import { storedCredential } from '../../src/credentials/stored.ts'
import { keyVaultStore } from '../../src/credentials/stores/azure-key-vault.ts'
import { openKeyVault } from '../../src/credentials/stores/key-vault.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import { type CredentialsWorld, callFor, credentialsContract, drive, everything } from '../contracts/credentials.ts'
import { type KeyVaultServer, startKeyVault } from './azure-key-vault-world.ts'
import { type ExecWorld, startExecWorld } from './exec-world.ts'

type VaultCredential = CredentialOf<'azure-key-vault'>
type Target = CredentialTarget<VaultCredential>
interface World extends CredentialsWorld<VaultCredential> {
  readonly issuer: ExecWorld
  readonly secret: string
}

describe('azure-key-vault against a TLS server of our own that speaks the published REST shapes', () => {
  let vault: KeyVaultServer
  beforeAll(async () => {
    vault = await startKeyVault()
  })
  afterAll(() => vault.stop())

  const storeAt = (secret: string) =>
    keyVaultStore({ kind: 'azure-key-vault', vault: vault.url, secret }, vault.settings)
  const targetOf = (secret: string): Target => ({
    server: 'io.acme/crm',
    credential: { id: 'mail', kind: 'azure-key-vault', vault: vault.url, secret },
    sharedWith: [],
    deployments: [],
  })

  /** A value of the test's own program in a secret of its own, and the two put together as the steps do it. */
  async function startWorld(): Promise<World> {
    const issuer = await startExecWorld()
    const secret = `mail-${randomBytes(4).toString('hex')}`
    vault.fault = () => undefined
    vault.put(secret, 'an-older-one-4711')
    vault.put(secret, issuer.oldSecret)
    const target = targetOf(secret)
    const composed = (of: Target): Credentials<VaultCredential> =>
      storedCredential(keyVaultValues(vault.settings), {
        adapter: execCredentials({ attempts: 3, pauseMs: 1 }, async () => ({
          store: storeAt(secret),
          key: undefined,
        })) as unknown as Credentials,
        target: { ...of, credential: { ...issuer.target.credential, id: 'mail' }, replaces: {} },
      })
    return {
      issuer,
      secret,
      adapter: { ...composed(target), plan: (call) => composed(call.target).plan(call) },
      target,
      oldWorks: issuer.oldWorks,
      deliveredWorks: async () =>
        issuer.read().secrets.some((one) => one.secret === vault.value(secret) && one.dead !== true),
      liveNew: issuer.liveNew,
      changingCalls: issuer.changingCalls,
      secrets: () => [...issuer.secrets(), 'an-older-one-4711'],
      fault: issuer.fault,
      stop: issuer.stop,
    }
  }

  credentialsContract('azure-key-vault with an exec issuer', startWorld, { probed: true, rotates: true })

  describe('a value with an issuer', () => {
    let world: World
    beforeEach(async () => {
      world = await startWorld()
    })
    afterEach(() => world.stop())
    const enabled = () => vault.secrets.get(world.secret)?.map((one) => one.enabled)

    it('is a new version, and the old ones are disabled until they are wanted back', async () => {
      await drive(world, { intent: 'revoke' })
      expect(enabled()).toEqual([true, true])
      const { verdict, state, journal } = await drive(world, { intent: 'rotate' })
      expect(verdict.state).toBe('verified')
      expect(enabled()).toEqual([false, false, true])
      expect(state.delivered).toEqual({
        kind: 'azure-key-vault',
        path: `${vault.url}/secrets/${world.secret}`,
        version: vault.secrets.get(world.secret)?.at(-1)?.version,
      })

      const change = journal.planned?.find(({ action }) => action === 'disable-versions')
      const undo = world.adapter.actions['disable-versions']?.undo
      const receipt = journal.applied.get(change?.id ?? '')
      if (change === undefined || undo === undefined || receipt === undefined)
        throw new TypeError('nothing was disabled')
      const acting = { ...callFor(world.target, 'reinstate'), recorded: [], record: async () => undefined }
      expect(await undo.settle(change, receipt, acting)).toBeUndefined()
      await undo.apply(change, receipt, acting)
      expect(await undo.settle(change, receipt, acting)).toBeDefined()
      expect(enabled()).toEqual([true, true, true])
    })

    it('keeps what describes the secret', async () => {
      const [, newest] = vault.secrets.get(world.secret) ?? []
      Object.assign(newest ?? {}, { contentType: 'text/plain', tags: { owner: 'mail-team' } })
      await drive(world, { intent: 'revoke' })
      await drive(world, { intent: 'rotate' })
      expect(vault.secrets.get(world.secret)?.at(-1)).toMatchObject({
        contentType: 'text/plain',
        tags: { owner: 'mail-team' },
      })
    })

    it('is not disabled without a new one', async () => {
      await drive(world, { intent: 'revoke' })
      world.fault('rotate', 'denied', 20)
      const { verdict } = await drive(world, { intent: 'rotate' })
      expect(verdict.state).toBe('failed')
      expect(enabled()).toEqual([true, true])
    })

    it.each([
      ['what it may not put', 'denied', 'short'],
      ['more than a secret of Key Vault holds', undefined, 'x'.repeat(65_000)],
    ] as const)('is taken back at its issuer: %s', async (_, fault, value) => {
      await drive(world, { intent: 'revoke' })
      world.issuer.change((issuer) => {
        issuer.next = [value]
      })
      vault.fault = (method) => (method === 'PUT' ? fault : undefined)
      const { verdict, journal } = await drive(world, { intent: 'rotate' })
      expect(verdict.state).toBe('failed')
      expect(await world.liveNew()).toBe(0)
      // The server says in its errors what it was sent.
      expect(everything(journal, verdict)).not.toContain(value)
    })

    it.each(['reset-before', 'reset-after', '5xx', 'throttled'] as const)(
      'leaves one living new secret when the delivery is %s',
      async (fault) => {
        await drive(world, { intent: 'revoke' })
        let left = 4
        vault.fault = (method) => (method === 'PUT' && left-- > 0 ? fault : undefined)
        const { verdict } = await drive(world, { intent: 'rotate' })
        expect(verdict.state).toBe('verified')
        expect(await world.liveNew()).toBe(1)
        expect(await world.deliveredWorks()).toBe(true)
      },
    )

    it.each([
      ['quotes and newlines', 'a "b"\\ \n\r\n\'c\' $d `e` '],
      ['NUL and other controls', 'a\0b\u001b[31m\u2028é'],
    ])('carries a value with %s as it is', async (_, value) => {
      await drive(world, { intent: 'revoke' })
      world.issuer.change((issuer) => {
        issuer.next = [value]
      })
      expect((await drive(world, { intent: 'rotate' })).verdict.state).toBe('verified')
      expect(vault.value(world.secret)).toBe(value)
    })

    it('is missed when somebody deletes it meanwhile', async () => {
      await drive(world, { intent: 'revoke' })
      const { journal } = await drive(world, { intent: 'rotate' })
      vault.secrets.delete(world.secret)
      expect((await drive(world, { intent: 'rotate', journal })).verdict.state).toBe('failed')
    })
  })

  describe('a value without an issuer', () => {
    it('is alive, and the output says where to change it', async () => {
      const target = targetOf('legacy')
      vault.put('legacy', 'somebody-elses-key')
      vault.requests.length = 0
      const adapter = storedCredential(keyVaultValues(vault.settings), undefined)
      const { verdict, state } = await drive({ adapter, target }, { intent: 'revoke' })
      expect(verdict.state).toBe('failed')
      expect(state).toMatchObject({ state: 'alive', proof: expect.stringContaining(`legacy in ${vault.url}`) })
      expect(vault.requests.filter(({ method }) => method !== 'GET')).toEqual([])
    })

    it.each([
      ['is not there', () => vault.secrets.delete('odd'), 'input', /there is no/],
      ['is disabled', () => vault.secrets.set('odd', [{ ...one, enabled: false }]), 'warning', /disabled/],
      ['belongs to a certificate', () => vault.secrets.set('odd', [{ ...one, managed: true }]), 'input', /certificate/],
    ] as const)('is told of when it %s', async (_, arrange, kind, message) => {
      arrange()
      const found = await keyVaultValues(vault.settings).check({
        ...callFor(targetOf('odd'), 'revoke'),
        intent: 'revoke',
      })
      expect(found).toMatchObject([{ kind, message: expect.stringMatching(message) }])
    })
    const one = { version: 'v1', value: 'x', enabled: true, created: 1 }
  })

  describe('delivery to one secret for all', () => {
    it('makes it, and merges what many deliver at once', async () => {
      const call = callFor(targetOf('next'), 'rotate')
      expect(await storeAt('next').check(call)).toEqual([])
      const keys = Array.from({ length: 8 }, (_, index) => `key-${index}`)
      await Promise.all(keys.map((key) => storeAt('next').put(key, `secret of ${key}`, call)))
      expect(JSON.parse(vault.value('next') ?? '')).toEqual(
        Object.fromEntries(keys.map((key) => [key, `secret of ${key}`])),
      )
      const versions = vault.secrets.get('next')?.length
      await storeAt('next').put('key-0', 'secret of key-0', call)
      expect(vault.secrets.get('next')).toHaveLength(versions ?? 0)
    })
  })

  describe('where a token is sent', () => {
    const call = { signal: new AbortController().signal }
    it('is never plain http, nor a place that asks for a login of somebody else', async () => {
      const plain = openKeyVault({ vault: 'http://127.0.0.1:1', secret: 'mail' }, call, vault.settings)
      await expect(plain).rejects.toMatchObject({ code: 'input' })
      vault.requests.length = 0
      const { disableChallengeResourceVerification: _, ...client } = vault.settings.client ?? {}
      const strict = await openKeyVault({ vault: vault.url, secret: 'mail' }, call, { ...vault.settings, client })
      await expect(strict.read()).rejects.toMatchObject({ code: 'refused' })
      expect(vault.requests).toEqual([])
    })
  })
})
