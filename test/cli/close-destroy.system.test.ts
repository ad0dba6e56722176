import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { mcpIr } from '../testbed/cli.ts'
import { startVaultCompany, vaultRegistry } from '../testbed/vault-company.ts'

it('old versions in Vault are destroyed when the case is closed with --destroy: agreed to, listed, and not where somebody holds them', async () => {
  const company = await startVaultCompany()
  try {
    writeFileSync(join(company.folder, 'registry.yaml'), vaultRegistry(company, { legacy: false }), { mode: 0o600 })
    const run = (...args: string[]) => mcpIr([...args, '--json'], { cwd: company.folder, env: company.env })
    const path = 'mcp/crm/api-key'
    const states = async (): Promise<string[]> => {
      const { data } = await company.bao.ok('GET', `secret/metadata/${path}`)
      return Object.values(data.versions as Record<string, { destroyed: boolean; deletion_time: string }>).map((one) =>
        one.destroyed ? 'destroyed' : one.deletion_time === '' ? 'there' : 'deleted',
      )
    }
    expect((await run('revoke', 'io.acme/crm', '--yes')).code).toBe(0)
    expect((await run('rotate', 'io.acme/crm', '--yes')).code).not.toBe(3)
    const before = await states()
    expect(before).toContain('deleted')

    const asked = await run('case', 'close', '--destroy', '--reason', 'a test')
    expect(asked).toMatchObject({ code: 2, json: { status: 'consent-required' } })
    expect(asked.json.result.plan.changes).toMatchObject([{ action: 'destroy-versions', effect: 'irreversible' }])
    expect(await states()).toEqual(before)

    const hold = (custom_metadata: object) => company.bao.ok('POST', `secret/metadata/${path}`, { custom_metadata })
    await hold({ 'legal-hold': 'case 7' })
    const dry = await run('case', 'close', '--destroy', '--dry-run')
    expect(dry.json.result.plan.changes).toEqual([])
    expect(dry.json.result.warnings.join()).toMatch(/legal-hold=case 7/)
    await hold({})

    const closed = await run('case', 'close', '--destroy', '--yes', '--reason', 'a test')
    expect(closed).toMatchObject({ code: 0, json: { status: 'done' } })
    expect(await states()).toEqual(before.map((state) => (state === 'deleted' ? 'destroyed' : state)))
    expect((await run('case', 'close', '--destroy', '--yes')).json.error.message).toMatch(/was closed/)
  } finally {
    await company.stop()
  }
})
