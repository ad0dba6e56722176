import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { CredentialTarget } from '../../src/credentials/port.ts'
import { adapter as approle } from '../../src/credentials/vault-approle.ts'
import { adapter as entity } from '../../src/credentials/vault-entity.ts'
import { adapter as token } from '../../src/credentials/vault-token.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
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

type AppRole = CredentialTarget<CredentialOf<'vault-approle'>>

let bao: Openbao
let folder: string
let count = 0
const before = { ...process.env }

/** Everything that a token may do that it needs here. */
const rights = (extra = ''): string => `path "secret/data/*" { capabilities = ["read", "create", "update"] }\n${extra}`

const maker = `
path "auth/token/create" { capabilities = ["update"] }
path "auth/token/create-orphan" { capabilities = ["update", "sudo"] }
`

interface Given {
  readonly policies?: readonly string[]
  readonly role?: object
  readonly extra?: string
  readonly name?: string
}

/** One AppRole with one secret id, as a server would have it. */
async function newRole({ policies, role = {}, extra = '', name = `crm-${++count}` }: Given = {}) {
  if (policies === undefined) await bao.ok('PUT', `sys/policies/acl/${name}`, { policy: rights(extra) })
  const path = `auth/approle/role/${name}`
  await bao.ok('POST', path, { token_policies: policies ?? [name], token_ttl: '1h', token_max_ttl: '4h', ...role })
  const roleId = (await bao.ok('GET', `${path}/role-id`)).data.role_id as string
  const made = (await bao.ok('POST', `${path}/secret-id`, {})).data
  const secretId = made.secret_id as string
  const login = async (secret_id = secretId) => {
    const { status, body } = await bao.call('POST', 'auth/approle/login', { role_id: roleId, secret_id }, '')
    return status === 200 ? (body.auth as { client_token: string; accessor: string; entity_id: string }) : undefined
  }
  /** Whether the secret id logs in; leaves no token behind. */
  const logsIn = async (secret_id = secretId): Promise<boolean> => {
    const auth = await login(secret_id)
    if (auth === undefined) return false
    await bao.ok('POST', 'auth/token/revoke-self', {}, auth.client_token)
    return true
  }
  const secretIds = async (): Promise<string[]> => (await bao.call('LIST', `${path}/secret-id`)).body.data?.keys ?? []
  const clean = async (): Promise<void> => {
    await bao.ok('DELETE', path)
    await bao.ok('DELETE', `sys/policies/acl/${name}`)
  }
  return { name, path, secretId, accessor: made.secret_id_accessor as string, login, logsIn, secretIds, clean }
}

type Role = Awaited<ReturnType<typeof newRole>>

/** For what needs no role. */
const nobody = { name: 'nobody', secretId: '' }

function targetOf(role: Pick<Role, 'name' | 'secretId'>, more: Partial<AppRole> = {}): AppRole {
  const path = join(folder, `${role.name}.env`)
  return {
    server: 'io.acme/crm',
    credential: { id: 'approle', kind: 'vault-approle', mount: 'approle', role: role.name },
    sharedWith: [],
    deliverTo: { kind: 'file', path },
    deployments: [],
    since: new Date(Date.now() - 3_600_000).toISOString(),
    vault: { address: bao.url },
    held: async () => [{ secret: role.secretId, where: 'the test' }],
    ...more,
  }
}

const delivered = (role: Role): string | undefined => {
  try {
    return parseEnv(readFileSync(join(folder, `${role.name}.env`), 'utf8')).APPROLE
  } catch {
    return undefined
  }
}

async function works(secretToken: string): Promise<boolean> {
  const { status } = await bao.call('POST', 'secret/data/crm', { data: { a: 1 } }, secretToken)
  return status === 200
}

/** Made with a token of the suspect. */
async function mint(by: string, kind: 'child' | 'orphan' | 'batch' | 'batch orphan', more: object = {}) {
  const path = kind.endsWith('orphan') ? 'auth/token/create-orphan' : 'auth/token/create'
  const body = { ...(kind.startsWith('batch') ? { type: 'batch', ttl: '1h' } : {}), ...more }
  return (await bao.ok('POST', path, body, by)).auth as { client_token: string; accessor: string }
}

const reads = /\/(?:lookup|lookup-accessor|lookup-self|capabilities-accessor|entity)$/
/** A login that is tried to see it refused changes nothing. */
const changes = ({ method, path }: { method: string; path: string }): boolean =>
  method !== 'GET' && method !== 'LIST' && !reads.test(path) && !path.endsWith('/login')

/** What the contract asks of every world, over a proxy of its own. */
async function behindProxy<
  C extends AppRole['credential'] | CredentialOf<'vault-token'> | CredentialOf<'vault-entity'>,
>(
  faulty: Record<'revoke' | 'rotate', RegExp>,
  make: (
    proxy: FaultProxy,
  ) => Promise<Omit<CredentialsWorld<C>, 'fault' | 'stop' | 'changingCalls'> & { clean(): Promise<void> }>,
): Promise<CredentialsWorld<C>> {
  const proxy = await startFaultProxy(bao.url)
  const world = await make(proxy)
  return {
    ...world,
    changingCalls: () => proxy.calls.filter(changes).length,
    fault(intent, fault, times = 1) {
      // Of each thing that is changed.
      const left = new Map<string, number>()
      proxy.fault = ({ method, path, body }) => {
        if (method !== 'POST' || !faulty[intent].test(path)) return undefined
        // Each try brings a nonce of its own.
        const what = `${path} ${(JSON.stringify(body) ?? '').replace(/[0-9a-f]{32}/, '')}`
        const now = left.get(what) ?? times
        left.set(what, now - 1)
        return now > 0 ? fault : undefined
      }
    },
    async stop() {
      await proxy.stop()
      await world.clean()
    },
  }
}

describe.skipIf(skipWithoutEmulators('vault-auth'))('Vault: AppRoles, tokens and entities, in OpenBao', () => {
  beforeAll(async () => {
    bao = await startOpenbao()
    folder = mkdtempSync(join(tmpdir(), 'mcp-ir-vault-'))
    for (const name of Object.keys(process.env)) if (/^(?:VAULT|BAO)_/.test(name)) delete process.env[name]
    process.env.VAULT_TOKEN = bao.root
    await bao.ok('POST', 'sys/auth/approle', { type: 'approle' })
  })
  afterAll(async () => {
    await bao.stop()
    rmSync(folder, { recursive: true, force: true })
    process.env = before
  })

  credentialsContract<CredentialOf<'vault-approle'>>(
    'vault-approle',
    () =>
      behindProxy(
        { revoke: /\/secret-id-accessor\/destroy$|\/policies\/acl\//, rotate: /\/secret-id$/ },
        async (proxy) => {
          const role = await newRole()
          return {
            adapter: approle,
            target: targetOf(role, { vault: { address: proxy.url } }),
            oldWorks: () => role.logsIn(),
            async deliveredWorks() {
              const secret = delivered(role)
              const auth = secret === undefined ? undefined : await role.login(secret)
              return auth !== undefined && (await works(auth.client_token))
            },
            liveNew: async () => (await role.secretIds()).filter((one) => one !== role.accessor).length,
            clean: role.clean,
            secrets: () => [role.secretId, bao.root, ...(delivered(role) === undefined ? [] : [delivered(role) ?? ''])],
          }
        },
      ),
    // A policy and a secret id.
    { probed: true, rotates: true, tries: 60 },
  )

  credentialsContract<CredentialOf<'vault-token'>>(
    'vault-token',
    () =>
      behindProxy({ revoke: /\/revoke-accessor$/, rotate: /nothing/ }, async (proxy) => {
        const made = (await bao.ok('POST', 'auth/token/create-orphan', { policies: ['default'] })).auth
        return {
          adapter: token,
          target: {
            ...targetOf(nobody, { vault: { address: proxy.url } }),
            credential: { id: 'token', kind: 'vault-token', accessor: made.accessor },
            held: async () => [{ secret: made.client_token, where: 'the test' }],
          },
          oldWorks: () => bao.lives(made.client_token),
          deliveredWorks: async () => false,
          liveNew: async () => 0,
          clean: async () => undefined,
          secrets: () => [made.client_token, bao.root],
        }
      }),
    { probed: true, rotates: false },
  )

  credentialsContract<CredentialOf<'vault-entity'>>(
    'vault-entity',
    () =>
      behindProxy({ revoke: /\/identity\/entity\/id\//, rotate: /nothing/ }, async (proxy) => {
        const role = await newRole()
        const { entity_id } = (await role.login()) ?? { entity_id: '' }
        await bao.ok('POST', `identity/entity/id/${entity_id}`, { name: role.name })
        await role.logsIn()
        for (const one of (await bao.ok('LIST', 'auth/token/accessors')).data.keys) {
          const { body } = await bao.call('POST', 'auth/token/lookup-accessor', { accessor: one })
          if (body.data?.entity_id === entity_id) await bao.ok('POST', 'auth/token/revoke-accessor', { accessor: one })
        }
        return {
          adapter: entity,
          target: {
            ...targetOf(role, { vault: { address: proxy.url } }),
            credential: { id: 'entity', kind: 'vault-entity', entity: role.name },
            held: async () => [],
          },
          oldWorks: () => role.logsIn(),
          deliveredWorks: async () => false,
          liveNew: async () => 0,
          clean: role.clean,
          secrets: () => [role.secretId, bao.root],
        }
      }),
    { probed: false, rotates: false },
  )

  describe('what an AppRole leaves behind', () => {
    it('service, child, orphan and batch tokens: every one is refused afterwards, and stays so once it is rotated', async () => {
      const role = await newRole({ extra: maker })
      const target = targetOf(role)
      const login = await role.login()
      const service = login?.client_token ?? ''
      const minted = {
        child: (await mint(service, 'child')).client_token,
        orphan: (await mint(service, 'orphan')).client_token,
        batch: (await mint(service, 'batch')).client_token,
        'batch orphan': (await mint(service, 'batch orphan')).client_token,
      }
      const grandchild = (await mint(minted.orphan, 'child')).client_token
      const tokens = { service, ...minted, grandchild }
      for (const one of Object.values(tokens)) expect(await works(one)).toBe(true)

      const { verdict, state, journal } = await drive({ adapter: approle, target }, { intent: 'revoke' })
      expect(journal.failed).toEqual([])
      expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
      expect(state).toMatchObject({ state: 'dead', proof: 'probed' })
      const refused = async () =>
        Object.fromEntries(
          await Promise.all(Object.entries(tokens).map(async ([kind, one]) => [kind, !(await works(one))])),
        )
      const all = Object.fromEntries(Object.keys(tokens).map((kind) => [kind, true]))
      expect(await refused()).toEqual(all)
      // Nothing can end a batch orphan: it is there, and may do nothing.
      const lives = await Promise.all(
        Object.entries(tokens).map(async ([kind, one]) => ((await bao.lives(one)) ? kind : '')),
      )
      expect(lives.filter(Boolean)).toEqual(['batch orphan'])
      expect(await role.logsIn()).toBe(false)

      const rotated = await drive({ adapter: approle, target }, { intent: 'rotate' })
      expect(rotated.journal.failed).toEqual([])
      expect(rotated.verdict.observed.filter(({ holds }) => !holds)).toEqual([])
      expect(rotated.state).toMatchObject({ state: 'dead', delivered: { kind: 'file' } })
      const fresh = await role.login(delivered(role))
      expect(fresh === undefined ? false : await works(fresh.client_token)).toBe(true)
      expect(await refused()).toEqual(all)

      // A second revocation in this case, and a second rotation, leave the new one alone.
      for (const intent of ['revoke', 'rotate'] as const) {
        const again = await drive({ adapter: approle, target }, { intent })
        expect(again.journal.planned).toEqual([])
        expect(again.state.state).toBe('dead')
      }
      expect(await works(fresh?.client_token ?? '')).toBe(true)
      expect(everything(journal, verdict)).not.toContain(service)
    })

    it('a role that logs in with batch tokens: they are refused, and stay so when the role is rotated', async () => {
      const role = await newRole({ role: { token_type: 'batch' } })
      const target = targetOf(role)
      const old = (await role.login())?.client_token ?? ''
      expect(await works(old)).toBe(true)
      const { state } = await drive({ adapter: approle, target }, { intent: 'revoke' })
      expect(state.state).toBe('dead')
      expect(await works(old)).toBe(false)
      const rotated = await drive({ adapter: approle, target }, { intent: 'rotate' })
      expect(rotated.verdict.observed.filter(({ holds }) => !holds)).toEqual([])
      const fresh = await role.login(delivered(role))
      expect(await works(fresh?.client_token ?? '')).toBe(true)
      expect(await works(old)).toBe(false)
    })

    it('of two roles whose names share their first eight letters only the one dies', async () => {
      const [crm, reader] = [await newRole({ name: 'crm-mcp-writer' }), await newRole({ name: 'crm-mcp-reader' })]
      const tokens = [await crm.login(), await reader.login()].map((auth) => auth?.client_token ?? '')
      await drive({ adapter: approle, target: targetOf(crm) }, { intent: 'revoke' })
      expect(await Promise.all(tokens.map(works))).toEqual([false, true])
      expect([await crm.logsIn(), await reader.logsIn()]).toEqual([false, true])
    })

    it('a policy that others have is named and left alone, and its own tokens die all the same', async () => {
      await bao.ok('PUT', 'sys/policies/acl/shared', { policy: rights(maker) })
      const [crm, billing] = [await newRole({ policies: ['shared'] }), await newRole({ policies: ['shared'] })]
      const [mine, theirs] = [await crm.login(), await billing.login()]
      const orphan = await mint(mine?.client_token ?? '', 'orphan')
      const target = targetOf(crm)
      const problems = await approle.check(callFor(target, 'revoke'))
      expect(problems).toContainEqual({
        kind: 'warning',
        message: expect.stringMatching(
          new RegExp(`policy shared is not overwritten .*${billing.name} at auth/approle`),
        ),
      })
      const { journal, verdict } = await drive({ adapter: approle, target }, { intent: 'revoke' })
      expect(journal.planned?.map(({ action }) => action)).not.toContain('deny-policy')
      const made = journal.planned?.find(({ params }) => JSON.stringify(params).includes(orphan.accessor))
      expect(made?.breaks.join()).toContain(billing.name)
      expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
      expect(await works(orphan.client_token)).toBe(false)
      expect(await works(mine?.client_token ?? '')).toBe(false)
      expect(await works(theirs?.client_token ?? '')).toBe(true)
    })

    it('what a token made that has ended itself since is found by the policies that it had', async () => {
      const other = await newRole()
      const name = `crm-${++count}`
      await bao.ok('POST', `auth/token/roles/${name}`, { allowed_policies: [other.name], orphan: true })
      const role = await newRole({
        extra: `path "${other.path}/secret-id" { capabilities = ["update"] }\npath "auth/token/create/${name}" { capabilities = ["update"] }\n`,
      })
      const since = new Date().toISOString()
      const suspect = (await role.login())?.client_token ?? ''
      const orphan = (await bao.ok('POST', `auth/token/create/${name}`, {}, suspect)).auth
      const made = (await bao.ok('POST', `${other.path}/secret-id`, {}, suspect)).data
      await bao.ok('POST', 'auth/token/revoke-self', {}, suspect)
      expect(await works(orphan.client_token)).toBe(true)
      const { state } = await drive({ adapter: approle, target: targetOf(role, { since }) }, { intent: 'revoke' })
      expect(state.state).toBe('dead')
      expect(await works(orphan.client_token)).toBe(false)
      expect(await other.logsIn(made.secret_id)).toBe(false)
      expect(await other.logsIn()).toBe(true)
    })

    it('what a token makes elsewhere after the plan was made is seen, and not called dead', async () => {
      const other = await newRole()
      const name = `crm-${++count}`
      await bao.ok('POST', `auth/token/roles/${name}`, { allowed_policies: [other.name], orphan: true })
      const role = await newRole({
        extra: `path "${other.path}/secret-id" { capabilities = ["update"] }\npath "auth/token/create/${name}" { capabilities = ["update"] }\n`,
      })
      const target = targetOf(role, { since: new Date().toISOString() })
      const suspect = (await role.login())?.client_token ?? ''
      const journal = { ...emptyJournal(), planned: await approle.plan(callFor(target, 'revoke')) }
      const orphan = (await bao.ok('POST', `auth/token/create/${name}`, {}, suspect)).auth
      const made = (await bao.ok('POST', `${other.path}/secret-id`, {}, suspect)).data
      const first = await drive({ adapter: approle, target }, { intent: 'revoke', journal })
      expect(first.state.state).toBe('alive')
      expect(first.state.proof).toContain(orphan.accessor)
      expect(first.state.proof).toContain(made.secret_id_accessor)
      // The next run has them in its plan.
      const second = await drive({ adapter: approle, target }, { intent: 'revoke' })
      expect(second.state.state).toBe('dead')
      expect(await works(orphan.client_token)).toBe(false)
      expect(await other.logsIn(made.secret_id)).toBe(false)
    })

    it('a secret id is not ours because it says so', async () => {
      const role = await newRole()
      const { caseId } = callFor(targetOf(role), 'revoke')
      const metadata = JSON.stringify({ mcp_ir_case: caseId })
      const forged = (await bao.ok('POST', `${role.path}/secret-id`, { metadata })).data
      const drawn = (await role.login(forged.secret_id))?.client_token ?? ''
      const target = targetOf(role)
      const { state } = await drive({ adapter: approle, target }, { intent: 'revoke' })
      expect(state.state).toBe('dead')
      expect(await role.logsIn(forged.secret_id)).toBe(false)
      expect(await bao.lives(drawn)).toBe(false)
      const rotated = await drive({ adapter: approle, target }, { intent: 'rotate' })
      expect(rotated.state).toMatchObject({ state: 'dead', delivered: { kind: 'file' } })
      expect(await role.secretIds()).toHaveLength(1)
    })

    it('policies beside its own that were denied with it come back when it is rotated', async () => {
      const role = await newRole()
      const extra = `${role.name}-extra`
      const text = 'path "secret/data/extra" { capabilities = ["read"] }'
      await bao.ok('PUT', `sys/policies/acl/${extra}`, { policy: text })
      const login = await role.login()
      await bao.ok('POST', `identity/entity/id/${login?.entity_id}`, { policies: [extra] })
      const target = targetOf(role)
      const policy = async () => (await bao.ok('GET', `sys/policies/acl/${extra}`)).data.policy as string
      await drive({ adapter: approle, target }, { intent: 'revoke' })
      expect(await policy()).toContain('deny')
      const { verdict, journal } = await drive({ adapter: approle, target }, { intent: 'rotate' })
      expect(journal.failed).toEqual([])
      expect(await policy()).toBe(text)
      expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
    })

    it('a secret id of another role that its token made in the window is found and destroyed', async () => {
      const other = await newRole()
      const extra = `path "auth/approle/role/${other.name}/secret-id" { capabilities = ["update"] }`
      const role = await newRole({ extra })
      const login = await role.login()
      const since = new Date().toISOString()
      const made = await bao.ok('POST', `${other.path}/secret-id`, {}, login?.client_token)
      const { journal, verdict } = await drive(
        { adapter: approle, target: targetOf(role, { since }) },
        { intent: 'revoke' },
      )
      const found = journal.planned?.filter(({ target }) => target.includes(other.path))
      expect(found?.map(({ params }) => (params as { accessor: string }).accessor)).toEqual([
        made.data.secret_id_accessor,
      ])
      expect(found?.[0]?.breaks).toEqual([`whoever logs in as ${other.path} with it`])
      expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
      expect([await other.logsIn(made.data.secret_id), await other.logsIn()]).toEqual([false, true])
    })

    it('an orphan from before the window, and one of somebody else, live on', async () => {
      const role = await newRole({ extra: maker })
      const mine = await role.login()
      const old = await mint(mine?.client_token ?? '', 'orphan')
      await new Promise((resolve) => setTimeout(resolve, 2100))
      const since = new Date().toISOString()
      const fresh = await mint(mine?.client_token ?? '', 'orphan')
      const theirs = await mint(bao.root, 'orphan', { policies: ['default'] })
      await drive({ adapter: approle, target: targetOf(role, { since }) }, { intent: 'revoke' })
      expect(await Promise.all([old, fresh, theirs].map(({ client_token }) => bao.lives(client_token)))).toEqual([
        true,
        false,
        true,
      ])
    })

    it('is put back by undoing policy and entity; what somebody changed meanwhile is told', async () => {
      const role = await newRole()
      await role.logsIn()
      const target = targetOf(role)
      const { journal } = await drive({ adapter: approle, target }, { intent: 'revoke' })
      const call = { ...callFor(target, 'reinstate'), recorded: [], record: async () => undefined }
      const undoable = (journal.planned ?? []).filter(({ action }) => approle.actions[action]?.undo !== undefined)
      expect(undoable.map(({ action }) => action).sort()).toEqual(['deny-policy', 'disable-entity'])
      for (const change of undoable) {
        const undo = approle.actions[change.action]?.undo
        expect(await undo?.drift(change, {}, call)).toEqual([])
        expect(await undo?.settle(change, {}, call)).toBeUndefined()
        await undo?.apply(change, {}, call)
        expect(await undo?.settle(change, {}, call)).toEqual({})
        expect(await undo?.drift(change, {}, call)).not.toEqual([])
      }
      expect((await bao.ok('GET', `sys/policies/acl/${role.name}`)).data.policy).toBe(rights())
      const deny = undoable.find(({ action }) => action === 'deny-policy')
      await bao.ok('PUT', `sys/policies/acl/${role.name}`, { policy: '# mine' })
      if (deny !== undefined)
        expect(await approle.actions['deny-policy']?.undo?.drift(deny, {}, call)).toEqual(['somebody changed it'])
    })
  })

  describe('what stands in the way', () => {
    it('the responder’s own token, role and entity are refused', async () => {
      const admin = await newRole({
        extra: 'path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }',
      })
      const auth = await admin.login()
      process.env.VAULT_TOKEN = auth?.client_token
      try {
        const refused = [expect.objectContaining({ kind: 'refused' })]
        expect(await approle.check(callFor(targetOf(admin), 'revoke'))).toEqual(refused)
        const mine = {
          ...targetOf(admin),
          credential: { id: 't', kind: 'vault-token' as const, accessor: auth?.accessor ?? '' },
        }
        expect(await token.check(callFor(mine, 'revoke'))).toEqual(refused)
        const me = {
          ...targetOf(admin),
          credential: { id: 'e', kind: 'vault-entity' as const, entity: auth?.entity_id ?? '' },
        }
        expect(await entity.check(callFor(me, 'revoke'))).toEqual(refused)
      } finally {
        process.env.VAULT_TOKEN = bao.root
      }
    })

    it('where tokens may not be listed, the rest goes on, and it is open with the command', async () => {
      const role = await newRole()
      const login = await role.login()
      await bao.ok('PUT', 'sys/policies/acl/responder', {
        policy: `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
path "auth/token/accessors" { capabilities = ["deny"] }
path "auth/token/accessors/" { capabilities = ["deny"] }`,
      })
      const responder = (await bao.ok('POST', 'auth/token/create-orphan', { policies: ['responder'] })).auth
      process.env.VAULT_TOKEN = responder.client_token
      try {
        expect(await approle.check(callFor(targetOf(role), 'revoke'))).toContainEqual(
          expect.objectContaining({
            kind: 'warning',
            hint: expect.stringContaining('vault list auth/token/accessors'),
          }),
        )
        const { verdict, state } = await drive({ adapter: approle, target: targetOf(role) }, { intent: 'revoke' })
        expect([verdict.state, state.state]).toEqual(['failed', 'unknown'])
        expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([
          { claim: 'tokens can be looked at', seen: 'not permitted: vault list auth/token/accessors', holds: false },
        ])
        expect(await role.logsIn()).toBe(false)
        expect(await works(login?.client_token ?? '')).toBe(false)
      } finally {
        process.env.VAULT_TOKEN = bao.root
      }
    })

    it('a role that lets in without a secret id is not called dead, unless its entity is disabled', async () => {
      const roleless = await newRole()
      const open = { bind_secret_id: false, token_bound_cidrs: ['127.0.0.0/8'] }
      await bao.ok('POST', roleless.path, open)
      const { verdict, state } = await drive({ adapter: approle, target: targetOf(roleless) }, { intent: 'revoke' })
      expect([verdict.state, state.state]).toEqual(['failed', 'alive'])
      expect(state.proof).toContain(`vault write ${roleless.path} bind_secret_id=true`)
      const used = await newRole()
      await used.logsIn()
      await bao.ok('POST', used.path, open)
      expect((await drive({ adapter: approle, target: targetOf(used) }, { intent: 'revoke' })).state.state).toBe('dead')
      const role_id = (await bao.ok('GET', `${used.path}/role-id`)).data.role_id
      expect((await bao.call('POST', 'auth/approle/login', { role_id }, '')).status).toBe(403)
    })

    it('a role that does not exist, an own token that has expired, and no Vault at all are told apart', async () => {
      const role = await newRole()
      const target = targetOf(role)
      const missing = { ...target, credential: { ...target.credential, role: 'nobody' } }
      expect(await approle.check(callFor(missing, 'revoke'))).toMatchObject([
        { kind: 'input', message: expect.stringContaining('nobody') },
      ])
      process.env.VAULT_TOKEN = 's.expiredexpiredexpired123'
      await expect(approle.check(callFor(target, 'revoke'))).rejects.toMatchObject({ code: 'denied' })
      process.env.VAULT_TOKEN = bao.root
      const nowhere = { ...target, vault: { address: 'http://127.0.0.1:9' } }
      await expect(approle.check(callFor(nowhere, 'revoke'))).rejects.toMatchObject({
        code: 'unreachable',
        ambiguous: false,
      })
    })

    it('a sealed Vault says so', async () => {
      const sealed = await startOpenbao()
      try {
        await sealed.ok('PUT', 'sys/seal', {}, sealed.root)
        const target = targetOf(await newRole(), { vault: { address: sealed.url } })
        await expect(approle.check(callFor(target, 'revoke'))).rejects.toMatchObject({
          code: 'unreachable',
          message: expect.stringContaining('sealed'),
        })
      } finally {
        await sealed.stop()
      }
    })

    it('in a namespace, only there', async () => {
      await bao.ok('POST', 'sys/namespaces/team', {})
      await bao.ok('POST', 'team/sys/auth/approle', { type: 'approle' })
      await bao.ok('POST', 'team/auth/approle/role/crm-ns', { token_policies: ['default'] })
      const secret = (await bao.ok('POST', 'team/auth/approle/role/crm-ns/secret-id', {})).data
      const outside = await newRole({ name: 'crm-ns' })
      process.env.VAULT_NAMESPACE = 'team'
      try {
        const target = targetOf(outside, { held: async () => [{ secret: secret.secret_id, where: 'the test' }] })
        const { state } = await drive({ adapter: approle, target }, { intent: 'revoke' })
        expect(state).toMatchObject({ state: 'dead', proof: 'probed' })
        expect(await outside.logsIn()).toBe(true)
      } finally {
        delete process.env.VAULT_NAMESPACE
      }
    })
  })

  it('an entity: its tokens, their children and orphans, and those of another login of it', async () => {
    const role = await newRole({ extra: maker })
    const login = await role.login()
    const id = login?.entity_id ?? ''
    await bao.ok('POST', `identity/entity/id/${id}`, { name: `entity-of-${role.name}` })
    const mine = login?.client_token ?? ''
    const [child, orphan, batch] = [await mint(mine, 'child'), await mint(mine, 'orphan'), await mint(mine, 'batch')]
    const tokens = [mine, child.client_token, orphan.client_token, batch.client_token]
    const target: CredentialTarget<CredentialOf<'vault-entity'>> = {
      ...targetOf(role),
      credential: { id: 'entity', kind: 'vault-entity', entity: `entity-of-${role.name}` },
      held: async () => tokens.map((secret) => ({ secret, where: 'the test' })),
    }
    const { state, verdict } = await drive({ adapter: entity, target }, { intent: 'revoke' })
    expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([])
    expect(state).toMatchObject({ state: 'dead', proof: 'probed' })
    expect(await Promise.all(tokens.map((one) => bao.lives(one)))).toEqual([false, false, false, false])
    expect(await role.logsIn()).toBe(false)
    const rotated = await drive({ adapter: entity, target }, { intent: 'rotate' })
    expect(rotated.verdict.observed.filter(({ holds }) => !holds)).toEqual([])
    expect(await role.logsIn()).toBe(true)
    // Its parent is gone, and with it the batch token.
    expect(await Promise.all(tokens.map((one) => bao.lives(one)))).toEqual([false, false, false, false])
  })

  it('a token by accessor: children and orphans of it', async () => {
    await bao.ok('PUT', 'sys/policies/acl/lone', { policy: rights(maker) })
    const mine = (await bao.ok('POST', 'auth/token/create-orphan', { policies: ['lone'] })).auth
    const [child, orphan] = [await mint(mine.client_token, 'child'), await mint(mine.client_token, 'orphan')]
    const target: CredentialTarget<CredentialOf<'vault-token'>> = {
      ...targetOf(nobody),
      credential: { id: 'token', kind: 'vault-token', accessor: mine.accessor },
      held: async () => [],
    }
    const { state } = await drive({ adapter: token, target }, { intent: 'revoke' })
    expect(state.state).toBe('dead')
    const tokens = [mine.client_token, child.client_token, orphan.client_token]
    expect(await Promise.all(tokens.map((one) => bao.lives(one)))).toEqual([false, false, false])
  })

  it('what is unusual in the audit log is shown with the credential, before consent and with the verdict', async () => {
    const auditLog = join(folder, 'audit.log')
    const audited = await startOpenbao({ auditLog })
    const shared = bao
    bao = audited
    try {
      await bao.ok('POST', 'sys/auth/approle', { type: 'approle' })
      const role = await newRole({ name: 'crm-audited' })
      const login = await role.login()
      for (let n = 0; n < 45; n++) await works(login?.client_token ?? '')
      const lone = (await bao.ok('POST', 'auth/token/create-orphan', { policies: ['default'] })).auth
      await bao.lives(lone.client_token)
      // What it did two days ago, at noon and from elsewhere, and one that was cut off.
      const old = readFileSync(auditLog, 'utf8')
        .split('\n')
        .filter((line) => line.includes('"path":"secret/data/crm"'))
        .slice(0, 4)
        .map((line) =>
          line
            .replace(/"time":"[^"]+"/, '"time":"2026-01-07T12:00:00Z"')
            .replace(/"remote_address":"[^"]+"/, '"remote_address":"10.0.0.9"'),
        )
      writeFileSync(auditLog, `${old.join('\n')}\n${readFileSync(auditLog, 'utf8')}{"time":"2026-`)
      const otherDay = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'][(new Date().getUTCDay() + 3) % 7] ?? ''
      const hours = { zone: 'UTC', days: otherDay, from: '08:00', to: '19:00' }
      const target = targetOf(role, { vault: { address: bao.url, auditLog }, hours })
      const { journal, verdict } = await drive({ adapter: approle, target }, { intent: 'revoke' })
      const said = journal.planned?.[0]?.facts?.['use by the audit log'] ?? ''
      expect(said).toMatch(
        /^45 requests since .* from 127\.0\.0\.1; from addresses never seen before: 127\.0\.0\.1; up to \d+ requests an hour, 2 at most before; \d+ of them outside of working hours$/,
      )
      expect(verdict.observed.map(({ seen }) => seen)).toContain(said)
      const other = { ...target, credential: { id: 'token', kind: 'vault-token' as const, accessor: lone.accessor } }
      const [change] = await token.plan(callFor(other, 'revoke'))
      expect(change?.facts?.['use by the audit log']).toMatch(/^1 requests since .*nothing tells what is usual/)
      const missing = { ...target, vault: { address: bao.url, auditLog: '/nonexistent' } }
      await bao.ok('POST', `${role.path}/secret-id`, {})
      const [next] = await approle.plan(callFor(missing, 'revoke'))
      expect(next?.facts?.['use by the audit log']).toBe('the audit log of Vault cannot be read (ENOENT)')
    } finally {
      bao = shared
      await audited.stop()
    }
  })
})
