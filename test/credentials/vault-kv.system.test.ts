import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { CredentialTarget } from '../../src/credentials/port.ts'
import { storedCredential } from '../../src/credentials/stored.ts'
import { vaultKvStore } from '../../src/credentials/stores/vault-kv.ts'
import { stored } from '../../src/credentials/vault-kv.ts'
import type { Credential } from '../../src/registry/port.ts'
import { callFor, drive, everything, type Journal } from '../contracts/credentials.ts'
import { type FaultProxy, startFaultProxy } from '../testbed/fault-proxy.ts'
import { type Openbao, startOpenbao } from '../testbed/openbao.ts'
import { skipWithoutEmulators } from '../testbed/python.ts'
import { actAs, type KvTarget, type KvWorld, startKvWorld } from './vault-kv-world.ts'

const issuerless = storedCredential(stored, undefined)

describe.skipIf(skipWithoutEmulators('vault-kv'))('vault-kv against OpenBao', () => {
  let bao: Openbao
  let world: KvWorld
  let back: () => void
  beforeAll(async () => {
    bao = await startOpenbao()
    await bao.ok('POST', 'sys/mounts/kv1', { type: 'kv', options: { version: '1' } })
    await bao.ok('POST', 'sys/auth/approle', { type: 'approle' })
  })
  afterAll(() => bao.stop())
  beforeEach(async () => {
    back = actAs(bao, bao.root)
    world = await startKvWorld(bao, 'secret')
  })
  afterEach(async () => {
    back()
    await world.stop()
  })

  /** A token that may do just this. */
  async function tokenWith(policy: string): Promise<string> {
    const name = `p-${Math.random().toString(36).slice(2)}`
    await bao.ok('POST', `sys/policies/acl/${name}`, { policy })
    return (await bao.ok('POST', 'auth/token/create', { policies: [name] })).auth.client_token
  }

  const check = (target: Partial<CredentialTarget>, intent: 'revoke' | 'rotate' = 'revoke') =>
    stored.check({ ...callFor({ ...world.target, ...target } as KvTarget, intent), intent })

  describe('a value with an issuer', () => {
    it('is replaced where it lies, beside what others have there; old versions can be had back', async () => {
      await drive(world, { intent: 'revoke' })
      expect(await world.versions()).toEqual(['there', 'there'])
      const { verdict, state, journal } = await drive(world, { intent: 'rotate' })
      expect(verdict.state).toBe('verified')
      expect(state.delivered).toEqual({ kind: 'vault-kv', path: world.path, version: 3 })
      expect(await world.read()).toEqual({ value: expect.stringMatching(/^pk-/), url: 'https://partner.example' })
      expect(await world.versions()).toEqual(['deleted', 'deleted', 'there'])

      await undo(journal)
      expect(await world.versions()).toEqual(['there', 'there', 'there'])
      expect((await world.read(2))?.value).toBe(world.issuer.oldSecret)
    })

    it('tells before it puts versions back that they were destroyed meanwhile', async () => {
      await drive(world, { intent: 'revoke' })
      const { journal } = await drive(world, { intent: 'rotate' })
      await bao.ok('POST', world.path.replace('/', '/destroy/'), { versions: [1] })
      expect(await drift(journal)).toEqual(['versions 1 were destroyed, which cannot be undone'])
    })

    it('is not retired without a new one', async () => {
      await drive(world, { intent: 'revoke' })
      world.fault('rotate', 'denied', 20)
      const { journal } = await drive(world, { intent: 'rotate' })
      // The runner does not even try it; tried all the same, it does nothing.
      expect(journal.failed.map(({ change }) => change.action)).toEqual([
        'issuer: issue-and-deliver',
        'delete-versions',
      ])
      expect(await world.versions()).toEqual(['there', 'there'])
    })

    it('keeps its current version where the new one goes elsewhere, as others read its other fields', async () => {
      const target: KvTarget = { ...world.target, deliverTo: { kind: 'file', path: '/run/elsewhere.env' } }
      expect(
        (await stored.planRetire({ ...callFor(target, 'rotate'), intent: 'rotate' }, [])).map(({ params }) => params),
      ).toEqual([{ versions: [1], replaced: false }])
    })

    it('is tried in all of its readable versions', async () => {
      world.issuer.change(({ secrets }) => secrets.push({ ref: 'key-0', secret: 'an-older-one-4711' }))
      const verdict = await world.adapter.verify(callFor(world.target, 'revoke'))
      expect(verdict.observed.map(({ claim, seen }) => `${claim}: ${seen}`).join('\n')).toMatch(
        /value of secret\/mcp\/crm\/\w+, version 2 is refused: alive\n.*version 1 is refused: alive/,
      )
    })

    it.each([
      ['quotes and newlines', 'a "b"\\ \n\r\n\'c\' $d `e` '],
      ['NUL and other controls', 'a\0b\u001b[31m\u2028é'],
      ['64 KB', 'x'.repeat(65_536)],
    ])('carries a value with %s as it is', async (_, value) => {
      await drive(world, { intent: 'revoke' })
      world.issuer.change((issuer) => {
        issuer.next = [value]
      })
      const { verdict, journal } = await drive(world, { intent: 'rotate' })
      expect(verdict.state).toBe('verified')
      expect((await world.read())?.value).toBe(value)
      expect(everything(journal, verdict)).not.toContain(JSON.stringify(value).slice(1, -1).slice(0, 20))
    })

    it('is not rotated when its issuer hands out what lay there before', async () => {
      await drive(world, { intent: 'revoke' })
      world.issuer.change((issuer) => {
        issuer.next = [world.issuer.oldSecret]
      })
      const { verdict, state, journal } = await drive(world, { intent: 'rotate' })
      expect(journal.failed[0]?.error).toMatchObject({ message: expect.stringMatching(/old value again/) })
      expect(verdict.state).toBe('failed')
      expect(state.delivered).toBeUndefined()
      expect(await world.versions()).toEqual(['there', 'there'])
    })

    it('has old versions put out of the way by the next run where that was not permitted', async () => {
      await drive(world, { intent: 'revoke' })
      back()
      const [mount, name] = [
        world.path.slice(0, world.path.indexOf('/')),
        world.path.slice(world.path.indexOf('/') + 1),
      ]
      const may = (operation: string, ...words: string[]): string =>
        `path "${mount}/${operation}/${name}" { capabilities = ${JSON.stringify(words)} }\n`
      back = actAs(bao, await tokenWith(may('data', 'create', 'read', 'update') + may('metadata', 'read')))
      const first = await drive(world, { intent: 'rotate' })
      expect(first.journal.failed.map(({ change }) => change.action)).toEqual(['delete-versions'])
      expect(await world.versions()).toEqual(['there', 'there', 'there'])
      back()
      back = actAs(bao, bao.root)
      const again = (journal: Journal): Journal => ({ ...journal, planned: undefined })
      const second = await drive(world, { intent: 'rotate', journal: again(first.journal) })
      expect(second.journal.planned?.map(({ action }) => action)).toEqual(['delete-versions'])
      expect(second.verdict.state).toBe('verified')
      expect(await world.versions()).toEqual(['deleted', 'deleted', 'there'])
      const third = await drive(world, { intent: 'rotate', journal: again(second.journal) })
      expect(third.journal.planned).toEqual([])
    })

    it('is missed when somebody deletes the new one', async () => {
      await drive(world, { intent: 'revoke' })
      const { journal } = await drive(world, { intent: 'rotate' })
      await bao.ok('DELETE', world.path.replace('/', '/metadata/'))
      const { verdict, state } = await drive(world, { intent: 'rotate', journal })
      expect(verdict.state).toBe('failed')
      expect(state.delivered).toBeUndefined()
    })

    it('is taken back at its issuer when it may not be delivered', async () => {
      await drive(world, { intent: 'revoke' })
      back()
      back = actAs(bao, await tokenWith(`path "${world.path.replace('/', '/+/')}" { capabilities = ["read"] }`))
      const { journal } = await drive(world, { intent: 'rotate' })
      expect(journal.failed[0]?.error).toMatchObject({ code: 'denied' })
      expect(await world.liveNew()).toBe(0)
    })
  })

  describe('a value in engine version 1', () => {
    it('is replaced where it lies, and has no old versions', async () => {
      await world.stop()
      world = await startKvWorld(bao, 'kv1')
      expect((await drive(world, { intent: 'revoke' })).state).toMatchObject({ state: 'dead', proof: 'probed' })
      const { verdict, state, journal } = await drive(world, { intent: 'rotate' })
      expect(verdict.state).toBe('verified')
      expect(journal.planned?.map(({ action }) => action)).toEqual(['issuer: issue-and-deliver'])
      expect(state.delivered).toEqual({ kind: 'vault-kv', path: world.path })
      expect(await world.read()).toEqual({ value: expect.stringMatching(/^pk-/), url: 'https://partner.example' })
    })
  })

  describe('a value without an issuer', () => {
    it('is alive whatever is done here, and the output says where to change it', async () => {
      for (const intent of ['revoke', 'rotate'] as const) {
        const { verdict, state, journal } = await drive({ adapter: issuerless, target: world.target }, { intent })
        expect(journal.planned).toEqual([])
        expect(verdict.state).toBe('failed')
        expect(state).toMatchObject({ state: 'alive', proof: expect.stringContaining(`${world.path} in Vault`) })
      }
      expect(await world.versions()).toEqual(['there', 'there'])
    })
  })

  describe('what the registry says', () => {
    it.each([
      [
        'a path with nothing',
        { mount: 'secret', path: 'mcp/nothing' },
        'input',
        /there is nothing at secret\/mcp\/nothing/,
      ],
      ['a field that is not there', { fields: ['password'] }, 'warning', /has no password/],
    ])('is compared: %s', async (_, given, kind, message) => {
      const credential = { ...world.target.credential, ...given }
      expect(await check({ credential })).toMatchObject([{ kind, message: expect.stringMatching(message) }])
    })

    it.each([
      ['a mount that is no KV engine', { mount: 'sys', path: 'x' }, 'input', /no KV engine/],
      ['a mount that is not there', { mount: 'nowhere', path: 'x' }, 'denied', /no nowhere\/x/],
      ['a path with dots', { mount: 'secret', path: '../sys/seal' }, 'input', /\. or \.\./],
    ])('cannot be followed: %s', async (_, given, code, message) => {
      const credential = { ...world.target.credential, ...given }
      await expect(check({ credential })).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
    })

    it('may name mount and path with slashes around', async () => {
      const { mount, path } = world.target.credential
      expect(
        await check({ credential: { ...world.target.credential, mount: `${mount}/`, path: `/${path}/` } }),
      ).toEqual([])
    })

    it('has to name the field that is replaced, where it is not plain', async () => {
      const { fields: _, ...credential } = world.target.credential
      await bao.ok('POST', world.path.replace('/', '/data/'), { data: { password: 'x', user: 'y' } })
      expect(await check({ credential }, 'rotate')).toMatchObject([
        { kind: 'input', hint: expect.stringContaining('password, user') },
      ])
    })

    it('is told of a value that somebody deleted', async () => {
      await bao.ok('DELETE', world.path.replace('/', '/data/'))
      expect(await check({})).toMatchObject([{ kind: 'warning', message: expect.stringContaining('version 2') }])
    })
  })

  describe('delivery', () => {
    const place = () => ({ kind: 'vault-kv', mount: 'secret', path: `${world.target.credential.path}/next` }) as const
    const call = (more: Partial<KvTarget> = {}) => callFor({ ...world.target, ...more }, 'rotate')

    it('merges what many deliver at once, and loses nothing', async () => {
      const store = vaultKvStore(place())
      const keys = Array.from({ length: 20 }, (_, index) => `key-${index}`)
      await Promise.all(keys.map((key) => store.put(key, `secret of ${key}`, call())))
      const { data } = await bao.ok('GET', `secret/data/${place().path}`)
      expect(data.data).toEqual(Object.fromEntries(keys.map((key) => [key, `secret of ${key}`])))
    })

    it('goes beside more fields than Vault takes in one request, and says what is missing where it may not', async () => {
      const path = `secret/data/${place().path}`
      const many = (from: number) =>
        Object.fromEntries(Array.from({ length: 400 }, (_, index) => [`key-${from + index}`, 'x']))
      await bao.ok('POST', path, { data: many(0) })
      await fetch(`${bao.url}/v1/${path}`, {
        method: 'PATCH',
        headers: { 'X-Vault-Token': bao.root, 'content-type': 'application/merge-patch+json' },
        body: JSON.stringify({ data: many(400) }),
      })
      await vaultKvStore(place()).put('one more', 'secret', call())
      const { data } = await bao.ok('GET', path)
      expect(Object.keys(data.data)).toHaveLength(801)
      expect(data.data['one more']).toBe('secret')
      back()
      back = actAs(bao, await tokenWith(`path "${path}" { capabilities = ["read", "create", "update"] }`))
      await expect(vaultKvStore(place()).put('another', 'secret', call())).rejects.toMatchObject({
        message: expect.stringMatching(/more fields/),
        hints: [expect.stringMatching(/patch/)],
      })
    })

    it('is the same delivery when it is the same secret', async () => {
      const store = vaultKvStore(place())
      const { version } = await store.put('key', 'secret', call())
      expect(await store.put('key', 'secret', call())).toEqual({ version })
      expect(await store.get('key', call())).toEqual({ secret: 'secret', version })
      expect(await store.get('constructor', call())).toBeUndefined()
    })

    describe('with a bad line', () => {
      let proxy: FaultProxy
      beforeEach(async () => {
        proxy = await startFaultProxy(bao.url)
        back()
        back = actAs(proxy, bao.root)
      })
      afterEach(() => proxy.stop())

      it.each(['lost', 'reset-after', 'reset-before', '5xx', 'throttled'] as const)(
        'leaves one living new secret, the delivered one: %s',
        async (fault) => {
          await drive(world, { intent: 'revoke' })
          let left = 1
          proxy.fault = ({ method, path }) =>
            method === 'POST' && path.includes('/data/') && left-- > 0 ? fault : undefined
          const { verdict, journal } = await drive(world, { intent: 'rotate' })
          expect(journal.failed).toEqual([])
          expect(verdict.state).toBe('verified')
          expect(await world.deliveredWorks()).toBe(true)
          expect(await world.liveNew()).toBe(1)
        },
      )
    })

    describe('where a suspect may read', () => {
      const data = () => `secret/data/${place().path}`
      const refused = async (undead: readonly Credential[]): Promise<readonly string[]> => {
        const problems = await vaultKvStore(place()).check(call({ undead }))
        expect(problems.every(({ kind }) => kind === 'refused')).toBe(true)
        return problems.map(({ message }) => message)
      }
      const role = async (policy: string): Promise<Credential> => {
        const name = `r-${Math.random().toString(36).slice(2)}`
        await bao.ok('POST', `sys/policies/acl/${name}`, { policy })
        await bao.ok('POST', `auth/approle/role/${name}`, { token_policies: [name] })
        return { id: 'login', kind: 'vault-approle', mount: 'approle', role: name }
      }

      it('refuses while its old role lets it', async () => {
        const able = await role(`path "secret/data/mcp/*" { capabilities = ["read"] }`)
        expect(await refused([able])).toEqual([expect.stringContaining('can still read it')])
      })

      it('goes ahead where the role does not, or is denied just this', async () => {
        const other = await role(`path "secret/data/billing/*" { capabilities = ["read"] }`)
        const denied = await role(
          `path "secret/data/mcp/*" { capabilities = ["read"] }\npath "${data()}" { capabilities = ["deny"] }`,
        )
        expect(await refused([other, denied])).toEqual([])
        expect(await refused([{ id: 'badge', kind: 'exec', command: ['x'] }])).toEqual([])
      })

      it.each(['entity', 'group', 'older token'] as const)(
        'refuses where the role does not let it, but its %s does',
        async (what) => {
          const reading = `path "secret/data/mcp/*" { capabilities = ["read"] }`
          const old = await role(
            what === 'older token' ? reading : 'path "secret/data/billing" { capabilities = ["read"] }',
          )
          if (old.kind !== 'vault-approle') throw new TypeError('no role')
          const path = `auth/approle/role/${old.role}`
          const { role_id } = (await bao.ok('GET', `${path}/role-id`)).data
          const { secret_id } = (await bao.ok('POST', `${path}/secret-id`)).data
          const { auth } = await bao.ok('POST', 'auth/approle/login', { role_id, secret_id }, '')
          const extra = `extra-${old.role}`
          await bao.ok('POST', `sys/policies/acl/${extra}`, { policy: reading })
          if (what === 'entity') await bao.ok('POST', `identity/entity/id/${auth.entity_id}`, { policies: [extra] })
          if (what === 'group')
            await bao.ok('POST', 'identity/group', {
              name: extra,
              policies: [extra],
              member_group_ids: [],
              member_entity_ids: [auth.entity_id],
            })
          if (what === 'older token') await bao.ok('POST', path, { token_policies: ['default'] })
          expect(await refused([old])).toEqual([expect.stringContaining('can still read it')])
        },
      )

      it('asks Vault what a token may do', async () => {
        const tokens = await Promise.all(
          [data(), 'secret/data/billing'].map(async (path) => {
            const token = await tokenWith(`path "${path}" { capabilities = ["read"] }`)
            return (await bao.ok('GET', 'auth/token/lookup-self', undefined, token)).data.accessor as string
          }),
        )
        const [able, unable] = tokens.map((accessor): Credential => ({ id: 'token', kind: 'vault-token', accessor }))
        expect(await refused([able as Credential])).toEqual([expect.stringContaining('can still read it')])
        expect(await refused([unable as Credential])).toEqual([])
      })

      it('refuses what it cannot find out', async () => {
        const gone: Credential = { id: 'login', kind: 'vault-approle', mount: 'approle', role: 'deleted' }
        const entity: Credential = { id: 'entity', kind: 'vault-entity', entity: 'crm' }
        expect(await refused([gone, entity])).toEqual([
          expect.stringContaining('is not known'),
          expect.stringContaining('is not known'),
        ])
      })

      it('says beforehand that we may not write', async () => {
        back()
        back = actAs(bao, await tokenWith(`path "${data()}" { capabilities = ["read"] }`))
        expect(await vaultKvStore(place()).check(call())).toMatchObject([
          { kind: 'denied', hint: expect.stringContaining(data()) },
        ])
      })
    })
  })

  const retired = (journal: Journal) => {
    const change = journal.planned?.find(({ action }) => action === 'delete-versions')
    const receipt = journal.applied.get(change?.id ?? '')
    const action = stored.actions['delete-versions']?.undo
    if (change === undefined || receipt === undefined || action === undefined)
      throw new TypeError('nothing was retired')
    return { change, receipt, action }
  }
  const drift = async (journal: Journal) => {
    const { change, receipt, action } = retired(journal)
    return await action.drift(change, receipt, callFor(world.target, 'reinstate'))
  }
  const undo = async (journal: Journal) => {
    const { change, receipt, action } = retired(journal)
    const acting = { ...callFor(world.target, 'reinstate'), recorded: [], record: async () => undefined }
    expect(await drift(journal)).toEqual([])
    expect(await action.settle(change, receipt, acting)).toBeUndefined()
    await action.apply(change, receipt, acting)
    expect(await action.settle(change, receipt, acting)).toBeDefined()
  }
})
