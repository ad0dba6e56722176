import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mcpIr, type Ran } from '../testbed/cli.ts'
import { startVaultCompany, type VaultCompany, vaultRegistry } from '../testbed/vault-company.ts'
import { watchProcesses } from '../testbed/watch-processes.ts'

/** By the command, against OpenBao and PostgreSQL; whatever is asserted of the world is seen by clients of the test's own. */
describe('revoke and rotate, by the command', () => {
  let company: VaultCompany
  const said: string[] = []
  /** Programs that were started meanwhile. */
  let children = 0
  const command = async (...args: string[]): Promise<Ran> => {
    const watch = watchProcesses()
    const ran = await mcpIr([...args, '--json'], { cwd: company.folder, env: company.env, started: watch.started })
    const seen = watch.stop()
    children += seen.children
    said.push(ran.stdout, ran.stderr, seen.arguments, seen.environments)
    return ran
  }
  const states = ({ json }: Ran): Record<string, string> =>
    Object.fromEntries(json.result.output.credentials.map((one: { id: string; state: string }) => [one.id, one.state]))

  beforeAll(async () => {
    company = await startVaultCompany()
    writeFileSync(join(company.folder, 'registry.yaml'), vaultRegistry(company, { legacy: true }), { mode: 0o600 })
  }, 240_000)
  afterAll(async () => company?.stop())

  it('says before consent what breaks for others, and changes nothing', async () => {
    const ran = await command('revoke', 'io.acme/crm', '--dry-run')
    expect(ran).toMatchObject({ code: 0 })
    const { changes } = ran.json.result.plan
    const breaks = changes.flatMap((change: { breaks: string[] }) => change.breaks)
    expect(breaks.join()).toContain('io.acme/billing')
    expect(await company.logsIn(company.secretId)).toBe(true)
    expect(await company.fetch()).toBeTypeOf('number')
    for (const login of [...company.logins, company.staticLogin]) expect(await company.connects(login)).toBe(true)
  })

  it('leaves nothing alive but what no issuer is known of, and says so with code 3', async () => {
    const ran = await command('revoke', 'io.acme/crm', '--yes')
    expect(states(ran)).toEqual({
      approle: 'dead',
      db: 'dead',
      reporting: 'dead',
      'api-key': 'dead',
      'legacy-key': 'alive',
    })
    expect(ran.code).toBe(3)
    const db = ran.json.result.output.credentials.find(({ id }: { id: string }) => id === 'db')
    expect(db.sharedWith).toEqual(['io.acme/billing'])

    expect(await company.logsIn(company.secretId)).toBe(false)
    for (const [kind, token] of Object.entries(company.tokens)) {
      const { status } = await company.bao.call('GET', 'database/creds/crm', undefined, token)
      expect(`${kind}: ${status}`).toBe(`${kind}: 403`)
    }
    for (const login of [...company.logins, company.staticLogin]) expect(await company.connects(login)).toBe(false)
    await expect(company.fetch()).rejects.toThrow()
    for (const session of company.sessions) await expect(session.query('SELECT 1')).rejects.toThrow()
    const left = await company.postgres.sql(
      `SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usesysid NOT IN (SELECT oid FROM pg_roles WHERE rolsuper)`,
    )
    expect(left).toEqual([])
    expect(JSON.parse(readFileSync(company.issuerFile, 'utf8')).secrets).toMatchObject([{ dead: true }])
  })

  it('delivers new ones that work', async () => {
    const ran = await command('rotate', 'io.acme/crm', '--yes')
    const delivered = (await company.bao.ok('GET', 'secret/data/mcp/next/crm')).data
    expect(await company.logsIn(delivered.data.approle)).toBe(true)
    expect(await company.logsIn(company.secretId)).toBe(false)
    const { secrets } = JSON.parse(readFileSync(company.issuerFile, 'utf8'))
    expect(secrets.filter((one: { dead?: boolean }) => !one.dead)).toMatchObject([
      { secret: delivered.data['api-key'] },
    ])
    // With the new secret id the server draws its own database user, and its tokens are good for what they were.
    const login = { role_id: company.roleId, secret_id: delivered.data.approle }
    const { auth } = await company.bao.ok('POST', 'auth/approle/login', login, '')
    expect(await company.connects(await company.draw(auth.client_token))).toBe(true)
    const { data } = await company.bao.ok('GET', 'database/static-creds/crm-static', undefined, auth.client_token)
    expect(await company.connects({ user: company.staticLogin.user, password: data.password })).toBe(true)
    const approle = ran.json.result.output.credentials.find(({ id }: { id: string }) => id === 'approle')
    expect(approle).toMatchObject({
      state: 'dead',
      delivered: { kind: 'vault-kv', path: 'secret/mcp/next/crm', version: expect.any(Number) },
    })
    said.push(JSON.stringify(ran.json))
    const fresh = Object.values(delivered.data) as string[]
    for (const secret of [...fresh, auth.client_token]) expect(everythingWritten(company, said)).not.toContain(secret)
  })

  it('lets no secret surface, old or new: in the case, the report, what was said, arguments and environments', async () => {
    expect(await command('report')).toMatchObject({ code: 0 })
    const written = everythingWritten(company, said)
    expect(written).toContain('io.acme/billing')
    // The issuer's program was seen at work, so that its arguments and environment were looked at.
    expect(children).toBeGreaterThan(0)
    expect(written).toContain('issuer.mjs')
    const around = (canary: string): string => written.slice(written.indexOf(canary) - 200).slice(0, 260)
    const surfaced = company.canaries.filter((canary) => written.includes(canary)).map(around)
    expect(surfaced).toEqual([])
  })
})

it('ends with code 0 when every value has an issuer', async () => {
  const company = await startVaultCompany()
  try {
    writeFileSync(join(company.folder, 'registry.yaml'), vaultRegistry(company, { legacy: false }), { mode: 0o600 })
    const options = { cwd: company.folder, env: company.env }
    const ran = await mcpIr(['revoke', 'io.acme/crm', '--yes', '--json'], options)
    expect(ran.json).toMatchObject({ status: 'done', problems: [] })
    expect(ran.code).toBe(0)
    expect(await company.logsIn(company.secretId)).toBe(false)
    // Nothing is left to do the second time.
    const again = await mcpIr(['revoke', 'io.acme/crm', '--yes', '--json'], options)
    expect(again).toMatchObject({ code: 0, json: { status: 'nothing-to-do' } })
  } finally {
    await company.stop()
  }
})

/** All files of the cases, and all that was said. */
function everythingWritten({ folder }: VaultCompany, said: readonly string[]): string {
  const cases = join(folder, 'cases')
  const files = readdirSync(cases, { recursive: true, encoding: 'utf8' }).map((name) => join(cases, name))
  return [...said, ...files.filter((file) => statSync(file).isFile()).map((file) => readFileSync(file, 'latin1'))].join(
    '\n',
  )
}
