import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { IrError } from '../../src/errors.ts'
import { Crash, callFor, credentialsContract, drive, emptyJournal, everything } from '../contracts/credentials.ts'
import { mcpIr, type Ran, workplace } from '../testbed/cli.ts'
import { type FaultProxy, startFaultProxy } from '../testbed/fault-proxy.ts'
import { type Openbao, startOpenbao } from '../testbed/openbao.ts'
import { skipWithoutEmulators } from '../testbed/python.ts'
import { watchProcesses } from '../testbed/watch-processes.ts'
import { inOneCase } from './oauth-case.ts'
import { startOauthWorld } from './oauth-world.ts'
import { actAs } from './vault-kv-world.ts'

describe.skipIf(skipWithoutEmulators('vault-kv'))('a new token goes to Vault KV', () => {
  let bao: Openbao
  let vault: FaultProxy
  let back: () => void
  let stop: () => Promise<void> = async () => {}

  beforeAll(async () => {
    bao = await startOpenbao()
    vault = await startFaultProxy(bao.url)
    back = actAs(vault, bao.root)
  })
  afterAll(async () => {
    back()
    await vault.stop()
    await bao.stop()
  })
  afterEach(async () => {
    vault.fault = () => undefined
    await stop()
    stop = async () => {}
  })

  async function startWorld() {
    const world = await startOauthWorld()
    const path = `mcp/crm/${randomBytes(4).toString('hex')}/next`
    const place = `secret/data/${path}`
    await bao.ok('POST', place, { data: { 'api-key': 'of-somebody-else' } })
    const read = async (): Promise<Record<string, string>> => (await bao.ok('GET', place)).data.data
    return {
      ...inOneCase({
        ...world,
        target: {
          ...world.target,
          deliverTo: { kind: 'vault-kv', mount: 'secret', path },
          vault: { address: vault.url },
        },
        deliveredWorks: async () => {
          const token = (await read())['ledger-token']
          return token !== undefined && (await world.server.accepts(token))
        },
      }),
      read,
      place,
      path: `secret/${path}`,
    }
  }

  async function revoked() {
    const world = await startWorld()
    stop = world.stop
    await drive(world, { intent: 'revoke' })
    return world
  }

  const writes = ({ method, path }: { method: string; path: string }): boolean =>
    method !== 'GET' && path.includes('/data/')

  credentialsContract('oauth, delivered to Vault KV', startWorld, { probed: true, rotates: true })

  it('lies in one field beside those of others, and is the one in use for the next revocation', async () => {
    const world = await revoked()
    expect(await world.adapter.check(callFor(world.target, 'rotate'))).toEqual([])
    const { verdict, state } = await drive(world, { intent: 'rotate' })
    expect(verdict.state).toBe('verified')
    expect(state.delivered).toEqual({ kind: 'vault-kv', path: world.path, version: 2 })
    expect(Object.keys(await world.read()).sort()).toEqual(['api-key', 'ledger-token'])
    expect((await world.read())['api-key']).toBe('of-somebody-else')

    const again = await drive(world, { intent: 'revoke' })
    expect(again.journal.planned?.map(({ target }) => target)).toEqual([
      expect.stringContaining(`vault-kv ${world.path}`),
    ])
    expect([again.verdict.state, await world.liveNew()]).toEqual(['verified', 0])
  })

  it.each(['lost', 'reset-after', 'reset-before', '5xx', 'throttled'] as const)(
    'is one living token, the delivered one, when its delivery is %s',
    async (fault) => {
      const world = await revoked()
      let left = 1
      vault.fault = (request) => (writes(request) && left-- > 0 ? fault : undefined)
      const { verdict, journal } = await drive(world, { intent: 'rotate' })
      expect([left < 1, journal.failed, verdict.state]).toEqual([true, [], 'verified'])
      expect([await world.deliveredWorks(), await world.liveNew()]).toEqual([true, 1])
    },
  )

  it.each(['denied', '5xx'] as const)(
    'is revoked at once where its delivery stays %s, nothing tells it, and the next run delivers another',
    async (fault) => {
      const world = await revoked()
      vault.fault = (request) => (writes(request) ? fault : undefined)
      const { verdict, journal, state } = await drive(world, { intent: 'rotate' })
      expect(journal.failed.map(({ error }) => (error as IrError).code)).toEqual([
        fault === 'denied' ? 'denied' : 'unreachable',
      ])
      expect([verdict.state, state.delivered, await world.liveNew()]).toEqual(['failed', undefined, 0])
      for (const secret of world.secrets()) expect(everything(journal, verdict)).not.toContain(secret)

      vault.fault = () => undefined
      expect((await drive(world, { intent: 'rotate' })).verdict.state).toBe('verified')
      expect([await world.deliveredWorks(), await world.liveNew()]).toEqual([true, 1])
    },
    60_000,
  )

  it('does not take what somebody else put there after a crash for its own', async () => {
    const world = await revoked()
    const journal = emptyJournal()
    // Planned, started, then asked for: it dies before it asks.
    await expect(drive(world, { intent: 'rotate', journal, crash: { at: 3, when: 'after' } })).rejects.toThrow(Crash)
    await bao.ok('POST', world.place, { data: { 'ledger-token': 'planted-by-mallory' } })
    const { verdict } = await drive(world, { intent: 'rotate', journal })
    expect((await world.read())['ledger-token']).not.toBe('planted-by-mallory')
    expect([await world.deliveredWorks(), await world.liveNew()]).toEqual([true, 1])
    expect(verdict.residue).toEqual([expect.stringContaining('1 more token(s) may have been issued')])
  })

  it('is not asked for where the old identity of the server could read it', async () => {
    const world = await revoked()
    const name = `p-${randomBytes(4).toString('hex')}`
    await bao.ok('POST', `sys/policies/acl/${name}`, { policy: `path "${world.place}" { capabilities = ["read"] }` })
    const { auth } = await bao.ok('POST', 'auth/token/create', { policies: [name] })
    const undead = [{ id: 'login', kind: 'vault-token', accessor: auth.accessor }] as const
    const problems = await world.adapter.check(callFor({ ...world.target, undead }, 'rotate'))
    expect(problems).toMatchObject([{ kind: 'refused' }])
  })

  it('by the command: the old token is dead, the new one lies in Vault, and neither surfaces', async () => {
    const world = await startWorld()
    stop = world.stop
    const { credential } = world.target
    const folder = workplace(
      `servers:
  - name: io.acme/crm
    version: 2.4.1
    status: approved
    owner: crm-team
    package: {registryType: npm, identifier: "@acme/crm-mcp", version: 2.4.1}
    deployments: []
    credentials:
      - ${JSON.stringify(credential)}
    deliverTo: {kind: vault-kv, mount: secret, path: "${world.path.replace('secret/', '')}"}
`,
      `vault: {address: "${bao.url}"}\n`,
    )
    const env = { VAULT_TOKEN: bao.root, MCP_IR_CONFIG: join(folder, 'mcp-ir.yaml') }
    const said: string[] = []
    const run = async (...args: string[]): Promise<Ran> => {
      const watch = watchProcesses()
      const ran = await mcpIr([...args, '--yes', '--json'], { cwd: folder, env, started: watch.started })
      const seen = watch.stop()
      said.push(ran.stdout, ran.stderr, seen.arguments, seen.environments)
      return ran
    }
    const revoke = await run('revoke', 'io.acme/crm')
    expect(revoke.json.result.output.credentials, revoke.stdout).toMatchObject([{ id: 'ledger-token', state: 'dead' }])
    const rotate = await run('rotate', 'io.acme/crm')
    expect(rotate.json.result.output.credentials, rotate.stdout).toMatchObject([
      { state: 'dead', delivered: { kind: 'vault-kv', path: world.path, version: 2 } },
    ])
    expect(rotate.code).toBe(0)
    expect([await world.oldWorks(), await world.deliveredWorks(), await world.liveNew()]).toEqual([false, true, 1])
    const written = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .map((name) => join(folder, name))
      .filter((path) => statSync(path).isFile())
      .map((path) => readFileSync(path, 'utf8'))
      .concat(said)
    expect(written.length).toBeGreaterThan(said.length)
    for (const secret of world.secrets()) expect(written.filter((text) => text.includes(secret))).toEqual([])
  })
})
